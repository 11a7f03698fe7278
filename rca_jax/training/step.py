"""The train step: groups are made, fed back, compared, all inside one compiled program.

The steps of a call are fused by `lax.scan`. Everything random in step n comes from
`fold_in(key, n)`, n counted from the stage's start, so a resumed run draws what an
uninterrupted one draws.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from rca_jax.channel import to_features
from rca_jax.data.source import CsiSource
from rca_jax.training.sharding import over_batch, replicated


@flax.struct.dataclass
class TrainState:
  """What training changes: arrays only. `step` is the number of steps made."""

  step: jax.Array
  params: Any
  opt_state: optax.OptState


class StepMetrics(NamedTuple):
  """Of one step, or stacked [steps]; float32."""

  loss: jax.Array
  nmse: jax.Array  # linear, mean over UEs and groups
  gradient_norm: jax.Array  # before clipping
  learning_rate: jax.Array


# Compiled: (state, source.arrays, key, snr_db_range, num_steps) -> (TrainState, StepMetrics).
TrainCall = jax.stages.Wrapped


def init_params(model: nn.Module, key: jax.Array, features_shape: tuple[int, ...]) -> Any:
  """Parameters of `model`; `features_shape` is [batch, ue, N_t, 2*N_a]."""
  params_key, noise_key = jax.random.split(key)
  features = jnp.zeros(features_shape, jnp.float32)
  snr_db = jnp.zeros(features_shape[:2], jnp.float32)
  return model.init(params_key, features, snr_db, noise_key)['params']


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  """A stage's first state: given parameters, fresh optimizer state, step 0."""
  # Muon's constants are float64 with JAX_ENABLE_X64: a run then could not go on without it.
  opt_state = jax.tree.map(
      lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      optimizer.init(params))
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state)


def mse_loss(
    features_hat: jax.Array, features: jax.Array, allow_silent: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """The paper's loss, and the NMSE beside it; float32 scalars.

  Args:
    features_hat, features: [batch, ue, N_t, 2*N_a].
    allow_silent: UEs whose features are all zero count in neither.

  Returns:
    Squared error, summed over UEs and entries, mean over the batch; and the linear NMSE, per UE
    squared error over energy, mean over UEs and batch.
  """
  features = features.astype(jnp.float32)
  error = jnp.sum((features_hat.astype(jnp.float32) - features) ** 2, axis=(-2, -1))
  energy = jnp.sum(features**2, axis=(-2, -1))
  if allow_silent:
    present = energy > 0
    ratio = jnp.mean(error / jnp.where(present, energy, 1), where=present)
    return jnp.mean(jnp.sum(jnp.where(present, error, 0), axis=-1)), ratio
  return jnp.mean(jnp.sum(error, axis=-1)), jnp.mean(error / energy)


def make_validation(
    model: nn.Module, mesh: Mesh, allow_silent: bool = False,
) -> Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]:
  """Compiles (params, features, key, snr_db_range) -> the linear NMSE, float32.

  `features` [n, batch, ue, N_t, 2*N_a] are n batches, scored one after the other. SNR and noise
  follow from `key` alone, so two sets of parameters are compared under the same ones.
  """

  def nmse(params: Any, features: jax.Array, key: jax.Array, snr_db_range: jax.Array) -> jax.Array:

    def batch_nmse(batch: tuple[jax.Array, jax.Array]) -> jax.Array:
      features, index = batch
      snr_key, noise_key = jax.random.split(jax.random.fold_in(key, index))
      snr_db = jax.random.uniform(
          snr_key, features.shape[:2], jnp.float32, snr_db_range[0], snr_db_range[1])
      mask = _mask(features, noise_key, 0.0, allow_silent)
      features_hat: Any = model.apply({'params': params}, features, snr_db, noise_key, *mask)
      return mse_loss(features_hat, features, allow_silent)[1]

    return jnp.mean(jax.lax.map(batch_nmse, (features, jnp.arange(len(features)))))

  return jax.jit(nmse, out_shardings=replicated(mesh))


def make_train_call(
    model: nn.Module, optimizer: optax.GradientTransformation, schedule: optax.Schedule,
    source: CsiSource, mesh: Mesh,
    group_sizes: tuple[int, ...] = (), report_loss: float = 0.0,
    allow_silent: bool = False) -> TrainCall:
  """Compiles (state, source.arrays, key, snr_db_range, num_steps) -> (state, metrics [num_steps]).

  The state is donated: use the returned one. Another `num_steps` is another compilation.
  `snr_db_range` is [min, max] in dB; the SNR is uniform in it, afresh per UE and step.
  `group_sizes` share every batch equally: of its groups, each uses the first so many UEs (none: all
  UEs of all groups). `report_loss` is the probability that a UE's report is lost; its CSI counts in
  the loss all the same. `allow_silent`: UEs without power report nothing and count nowhere.
  """

  def step(state: TrainState, arrays: Any, key: jax.Array, snr_db_range: jax.Array):
    groups_key, snr_key, noise_key, loss_key = jax.random.split(
        jax.random.fold_in(key, state.step), 4)
    with jax.named_scope('csi'):  # as profiles name it
      csi = source.batch(arrays, groups_key, state.step)
      csi = jax.lax.with_sharding_constraint(csi, over_batch(mesh))
      features = to_features(csi)
    snr_db = jax.random.uniform(
        snr_key, features.shape[:2], jnp.float32, minval=snr_db_range[0], maxval=snr_db_range[1])

    def loss_fn(params):
      parts = _by_group_size(features, snr_db, noise_key, group_sizes)
      losses = []
      for i, part in enumerate(parts):
        part_key = jax.random.fold_in(loss_key, i)
        mask = _mask(part[0], part_key, report_loss, allow_silent)
        features_hat: Any = model.apply({'params': params}, *part, *mask)
        losses.append(mse_loss(features_hat, part[0], allow_silent))
      return jax.tree.map(lambda *values: sum(values) / len(values), *losses)

    (loss, nmse), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    with jax.named_scope('optimizer'):
      updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
      params = optax.apply_updates(state.params, updates)
      metrics = StepMetrics(loss, nmse, optax.tree.norm(gradient), schedule(state.step))
    return TrainState(state.step + 1, params, opt_state), metrics

  def call(
      state: TrainState, arrays: Any, key: jax.Array, snr_db_range: jax.Array, num_steps: int):
    return jax.lax.scan(
        lambda state, _: step(state, arrays, key, snr_db_range), state, length=num_steps)

  return jax.jit(
      call, donate_argnums=0, static_argnums=4, out_shardings=replicated(mesh))


def _by_group_size(
    features: jax.Array, snr_db: jax.Array, key: jax.Array, group_sizes: tuple[int, ...],
) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
  """The arguments of one forward pass for every group size."""
  if not group_sizes:
    return [(features, snr_db, key)]
  # Every n-th group, by a reshape: each device keeps the groups it has.
  features, snr_db = (
      x.reshape(-1, len(group_sizes), *x.shape[1:]) for x in (features, snr_db))
  return [
      (features[:, i, :size], snr_db[:, i, :size], jax.random.fold_in(key, i))
      for i, size in enumerate(group_sizes)]


def _mask(
    features: jax.Array, key: jax.Array, report_loss: float, allow_silent: bool,
) -> tuple[jax.Array, ...]:
  """Which reports [batch, ue] arrive, as the last argument of a model; nothing where all do."""
  if not report_loss and not allow_silent:
    return ()
  mask = features.any(axis=(-2, -1)) if allow_silent else jnp.ones(features.shape[:2], bool)
  if report_loss:
    mask &= ~jax.random.bernoulli(key, jnp.float32(report_loss), features.shape[:2])
  return (mask,)
