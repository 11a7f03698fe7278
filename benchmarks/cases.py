"""What is timed. Every case yields rows {case, groups, seconds, groups_per_s, flops_per_s}."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import fastest_call_s
from rca_jax.config import CsiConfig, ExperimentConfig
from rca_jax.csi import sample_groups, sample_site, to_features
from rca_jax.models.rca_munet import build_model
from rca_jax.training.data import generator_source
from rca_jax.training.optimizer import make_optimizer, make_schedule
from rca_jax.training.sharding import data_mesh
from rca_jax.training.step import init_params, init_state, make_train_call, mse_loss

Row = dict[str, Any]


def matmul_peak(size: int, dtype: str) -> Row:
  """Floating-point operations a second of one square matrix product: the machine's own peak."""
  a = jax.random.normal(jax.random.key(0), (size, size), dtype)
  with jax.default_matmul_precision('default'):
    multiply = jax.jit(jnp.matmul)
    seconds = fastest_call_s(lambda i: multiply(a, a))
  return _row(f'matmul {size} x {size}, {dtype}', 0, seconds, flops=2 * size**3)


def generator(config: CsiConfig, batch_sizes: tuple[int, ...], num_ues: int = 4) -> Iterator[Row]:
  """`sample_groups` as training calls it, at several batch sizes: cost is linear in groups."""
  sample = jax.jit(sample_groups, static_argnames=('config', 'num_groups', 'num_ues'))
  sample_one_site = jax.jit(sample_site, static_argnames='config')
  site = sample_one_site(jax.random.key(0), config) if config.mode == 'site' else None
  for num_groups in batch_sizes:
    seconds = fastest_call_s(
        lambda i, n=num_groups: sample(jax.random.key(i), config, n, num_ues, site))
    yield _row(f'generator, {config.mode} mode, {num_ues} UEs', num_groups, seconds)


def train_step(name: str, config: ExperimentConfig, steps_per_call: int = 2) -> Row:
  """One optimizer step with its CSI from the generator, as in training."""
  model, stage, mesh = build_model(config), config.training.pretrain, data_mesh()
  schedule = make_schedule(stage.optimizer, config.model.model_dim, stage.num_steps)
  optimizer = make_optimizer(stage.optimizer, config.model.model_dim, stage.num_steps)
  source = generator_source(config)
  shape = (
      config.training.batch_size, config.num_ues, config.csi.num_tx_antennas,
      2 * config.csi.num_delay_taps)
  params = jax.jit(lambda key: init_params(model, key, shape))(jax.random.key(0))
  train = make_train_call(model, optimizer, schedule, source, steps_per_call, mesh)
  snr_db_range = jnp.array([stage.snr_db_min, stage.snr_db_max])
  flops = _gradient_flops(model, params, shape)
  state = init_state(params, optimizer)

  def call(i: int) -> Any:
    nonlocal state  # donated: every call continues from the last one's state
    state, metrics = train(state, source.arrays, jax.random.key(1), snr_db_range)
    return metrics

  with jax.default_matmul_precision(config.matmul_precision):
    seconds = fastest_call_s(call) / steps_per_call
  return _row(f'train step, {name}', shape[0], seconds, flops)


def _gradient_flops(model: Any, params: Any, shape: tuple[int, ...]) -> float:
  """Operations of the network's loss gradient, as XLA counts them; the generator's not."""

  def loss(params: Any, csi: jax.Array) -> jax.Array:
    features = to_features(csi)
    return mse_loss(
        model.apply({'params': params}, features, jnp.zeros(shape[:2]), jax.random.key(0)),
        features)[0]

  csi = jax.ShapeDtypeStruct((*shape[:2], shape[3] // 2, shape[2]), jnp.complex64)
  return jax.jit(jax.grad(loss)).lower(params, csi).cost_analysis()['flops']


def _row(case: str, groups: int, seconds: float, flops: float = 0.0) -> Row:
  return {
      'case': case,
      'groups': groups,
      'seconds': seconds,
      'groups_per_s': groups / seconds,
      'flops_per_s': flops / seconds,
  }
