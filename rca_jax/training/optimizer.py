"""Learning-rate schedules and optimizers. A schedule takes the number of steps made so far."""

import jax
import jax.numpy as jnp
import optax

from rca_jax.config import OptimizerConfig
from rca_jax.errors import InputError


def noam(scale: float, model_dim: int, warmup_steps: int) -> optax.Schedule:
  """lr(t) = scale d^-1/2 min(t^-1/2, t warmup^-3/2), t counted from 1; largest at t = warmup."""

  def schedule(count: jax.Array) -> jax.Array:
    t = jnp.asarray(count, jnp.float32) + 1
    return scale * model_dim**-0.5 * jnp.minimum(t**-0.5, t * warmup_steps**-1.5)

  return schedule


def cosine(peak: float, warmup_steps: int, num_steps: int) -> optax.Schedule:
  """Linear to `peak` at step `warmup_steps`, then half a cosine that reaches 0 after the last.

  Raises:
    InputError: the warm-up leaves no step to the cosine.
  """
  if warmup_steps >= num_steps:
    raise InputError(
        f'optimizer.warmup_steps={warmup_steps} must be less than num_steps={num_steps} of its '
        'stage: the cosine begins where the warm-up ends.')

  def schedule(count: jax.Array) -> jax.Array:
    count = jnp.asarray(count, jnp.float32)
    decayed = jnp.clip((count - warmup_steps) / (num_steps - warmup_steps), 0, 1)
    return peak * jnp.minimum((count + 1) / warmup_steps, 0.5 * (1 + jnp.cos(jnp.pi * decayed)))

  return schedule


def make_schedule(config: OptimizerConfig, model_dim: int, num_steps: int) -> optax.Schedule:
  """The schedule that `config` names, for a stage of `num_steps`."""
  if config.schedule == 'noam':
    return noam(config.learning_rate, model_dim, config.warmup_steps)
  return cosine(config.learning_rate, config.warmup_steps, num_steps)


def make_optimizer(
    config: OptimizerConfig, model_dim: int, num_steps: int) -> optax.GradientTransformation:
  """Adam, or Muon for the matrices with Adam for biases and LayerNorms.

  Muon orthogonalises 2-D parameters. Every kernel of ours is a plain [in, out] matrix, heads
  included, so all of them go to Muon and nothing has to be told apart by name; BL2's convolutions
  go to Adam. Its update is scaled by optax's default sqrt(max(1, out / in)); the others' Adam
  follows the same schedule times `vector_scale`.
  """
  schedule = make_schedule(config, model_dim, num_steps)
  if config.name == 'muon':
    optimizer = optax.contrib.muon(
        schedule, adam_b1=config.b1, adam_b2=config.b2, eps=config.eps,
        adam_learning_rate=lambda count: config.vector_scale * schedule(count))
  else:
    optimizer = optax.adam(schedule, b1=config.b1, b2=config.b2, eps=config.eps)
  if config.clip_norm:
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
  return optimizer
