"""The profile of a place from samples of its CSI: one EM step, and a fit of several.

Every sample is y = A x + n with x ~ CN(0, diag(c)) and n ~ CN(0, noise I). Only A^H A (the *gram*)
and A^H y (the *projections*) enter, so compressed noisy reports y = F h + n take the same step with
F A in place of A.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.grid import Grid, gram_at, project

# Atoms that are kept and steps that are taken with them: weak atoms are dropped on the way.
SCHEDULE = ((700, 3), (500, 3), (400, 2), (300, 4))
_NOISE = 0.01  # where the noise ends that samples are taken to have: what the grid cannot say
_DECAY = 0.4  # of it, step by step: few strong atoms are settled before many weak ones


class Posterior(NamedTuple):
  """Of the atoms' amplitudes x, in units of their prior standard deviations sqrt(c)."""

  mean: jax.Array  # [..., K, N] complex64
  variance: jax.Array  # [..., K] float32, from 0 (seen) to 1 (as before the samples)


class Profile(NamedTuple):
  """c on the grid, where it is not zero."""

  index: jax.Array  # [..., K] int32, p Q + q
  power: jax.Array  # [..., K] float32, of atoms of norm 1


def posterior(
    power: jax.Array, gram: jax.Array, projections: jax.Array, noise: jax.Array) -> Posterior:
  """What N samples of one covariance say about their amplitudes.

  The K x K form (Woodbury): with S = sqrt(diag(c)), M = S A^H A S + noise I, mean M^-1 S A^H y and
  variance noise M^-1.

  Args:
    power: c [..., K] float32.
    gram: A^H A [..., K, K] complex64.
    projections: A^H y [..., K, N] complex64.
    noise: variance of a complex entry of n, [...] float32, positive.
  """
  root = jnp.sqrt(power)[..., None]
  eye = jnp.eye(gram.shape[-1], dtype=gram.dtype)
  precision = root * gram * jnp.swapaxes(root, -1, -2) + noise[..., None, None] * eye
  factor = jnp.linalg.cholesky(precision)
  inverse = jax.lax.linalg.triangular_solve(
      factor, jnp.broadcast_to(eye, factor.shape), left_side=True, lower=True)
  half = inverse @ (root * projections)
  mean = jnp.swapaxes(inverse.conj(), -1, -2) @ half
  return Posterior(mean, noise[..., None] * (jnp.abs(inverse) ** 2).sum(-2))


def step(power: jax.Array, found: Posterior, weights: jax.Array) -> jax.Array:
  """c <- c mean|a^H R^-1 y|^2 / (a^H R^-1 a), MacKay's form of the EM step.

  With the square root of that factor the likelihood could never fall (a majorise-minimise step);
  the whole factor is several times as fast.

  Args:
    weights: of the samples, [..., N], of sum 1.
  """
  seen = (jnp.abs(found.mean) ** 2 * weights[..., None, :]).sum(-1)
  return power * seen / jnp.maximum(1 - found.variance, 1e-6)


def fit(
    grid: Grid, csi: jax.Array, weights: jax.Array, schedule: Sequence[tuple[int, int]]
) -> Profile:
  """Profiles of B places, of the energy of their samples.

  Args:
    csi: samples [B, N, N_a, N_t] complex64, mean |h|^2 = 1.
    weights: [B, N], of sum 1; 0 for samples that are not there.
    schedule: (atoms kept, steps) one after the other; static under jit.
  """
  projections = project(grid, csi).reshape(*csi.shape[:2], -1)
  energy = (jnp.abs(projections) ** 2 * weights[..., None]).sum(1)
  power, index = jax.lax.top_k(energy, min(schedule[0][0], energy.shape[-1]))
  power *= csi[0, 0].size / power.sum(-1, keepdims=True)
  level = jnp.ones(len(csi))
  for num_atoms, num_steps in schedule:
    power, kept = jax.lax.top_k(power, min(num_atoms, power.shape[-1]))
    index = jnp.take_along_axis(index, kept, -1)
    gram = gram_at(grid, index)
    seen = jnp.swapaxes(jnp.take_along_axis(projections, index[:, None], 2), 1, 2)

    def one_step(_, state, gram=gram, seen=seen):
      power, level = state
      power = step(power, posterior(power, gram, seen, level), weights)
      return power, jnp.maximum(_NOISE, _DECAY * level)

    power, level = jax.lax.fori_loop(0, num_steps, one_step, (power, level))
  return Profile(index, power)
