"""Learning-rate schedules and optimizers. A schedule takes the number of steps made so far."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rca_jax.config import OptimizerConfig


def noam(scale: float, model_dim: int, warmup_steps: int) -> optax.Schedule:
  """lr(t) = scale d^-1/2 min(t^-1/2, t warmup^-3/2), t counted from 1; largest at t = warmup."""

  def schedule(count: jax.Array) -> jax.Array:
    t = jnp.asarray(count, jnp.float32) + 1
    return scale * model_dim**-0.5 * jnp.minimum(t**-0.5, t * warmup_steps**-1.5)

  return schedule


def cosine(peak: float, warmup_steps: int, num_steps: int) -> optax.Schedule:
  """Linear to `peak` at step `warmup_steps`, then half a cosine that reaches 0 after the last.

  `warmup_steps` < `num_steps`, or the cosine never begins.
  """
  schedule = optax.join_schedules([
      optax.linear_schedule(peak / warmup_steps, peak, warmup_steps - 1),
      optax.cosine_decay_schedule(peak, max(1, num_steps - warmup_steps))], [warmup_steps])
  # Not of the integer: with JAX_ENABLE_X64 that gives float64.
  return lambda count: schedule(jnp.asarray(count, jnp.float32))


def make_schedule(config: OptimizerConfig, model_dim: int, num_steps: int) -> optax.Schedule:
  """The schedule that `config` names, for a stage of `num_steps`."""
  if config.schedule == 'noam':
    return noam(config.learning_rate, model_dim, config.warmup_steps)
  return cosine(config.learning_rate, config.warmup_steps, num_steps)


def make_optimizer(
    config: OptimizerConfig, model_dim: int, num_steps: int) -> optax.GradientTransformation:
  """Adam, or Muon for the matrices with Adam for biases and LayerNorms.

  Muon orthogonalises 2-D parameters. Every kernel of ours is a plain [in, out] matrix, heads
  included, so all of them go to Muon, whatever their names; BL2's convolutions go to Adam. Muon's
  update is scaled by optax's default sqrt(max(1, out / in)); the others' Adam follows the same
  schedule times `vector_scale`.
  """
  schedule = make_schedule(config, model_dim, num_steps)
  if config.name == 'muon':
    optimizer = _by_shape(optax.contrib.muon(
        schedule, adam_b1=config.b1, adam_b2=config.b2, eps=config.eps,
        adam_learning_rate=lambda count: config.vector_scale * schedule(count),
        muon_weight_dimension_numbers=_stacked_matrices))
  else:
    optimizer = optax.adam(schedule, b1=config.b1, b2=config.b2, eps=config.eps)
  if config.clip_norm:
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
  return optimizer


def _stacked_matrices(params: Any) -> Any:
  """For Muon: stacks [n, in, out] are n matrices each; None, so Adam, for all else."""
  one_each = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
  return jax.tree.map(lambda stack: one_each if stack.ndim == 3 else None, params)


def _by_shape(inner: optax.GradientTransformation) -> optax.GradientTransformation:
  """Shows `inner` all parameters of one shape as one array [n, ...], in the order of the tree.

  Muon multiplies matrices 15 times for every kernel: one by one that is 1,800 starts of a kernel on
  a GPU, and most of the time to compile.
  """

  def stack(tree: Any) -> dict[str, jax.Array]:
    leaves: dict[str, list[jax.Array]] = {}
    for leaf in jax.tree.leaves(tree):
      leaves.setdefault(str(leaf.shape), []).append(leaf)
    return {shape: jnp.stack(same) for shape, same in leaves.items()}

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    stacks, state = inner.update(
        stack(updates), state, None if params is None else stack(params))
    leaves, structure = jax.tree.flatten(updates)
    rows = {shape: iter(jnp.unstack(found)) for shape, found in stacks.items()}
    return jax.tree.unflatten(
        structure, [next(rows[str(leaf.shape)]) for leaf in leaves]), state

  return optax.GradientTransformation(lambda params: inner.init(stack(params)), update)
