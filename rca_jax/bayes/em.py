"""The profile of a place from samples of its CSI: one EM step, and a fit of several.

Every sample is y = A x + n with x ~ CN(0, diag(c)) and n ~ CN(0, noise I). Only A^H A (the *gram*)
and A^H y (the *projections*) enter, so compressed noisy reports y = F h + n take the same step with
F A in place of A.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.grid import Grid, gram_at, project

_NUM_ATOMS = 300  # that a fit begins with
_NUM_DECONVOLUTIONS = 5  # more follow the speckle of few samples
# The noise that samples are taken to have, step by step. It stands for what the grid cannot say.
_NOISE, _LAST_NOISE = (0.04, 0.016), 0.03


class Posterior(NamedTuple):
  """Of the atoms' amplitudes x, in units of their prior standard deviations sqrt(c)."""

  mean: jax.Array  # [..., K, N] complex64
  variance: jax.Array  # [..., K] float32, from 0 (seen) to 1 (as before the samples)


class Profile(NamedTuple):
  """c on the grid, where it is not zero; arrays of JAX or of numpy."""

  index: Any  # [..., K] int32, p Q + q
  power: Any  # [..., K] float32, of atoms of norm 1


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


def deconvolve(grid: Grid, energy: jax.Array) -> jax.Array:
  """Richardson-Lucy: powers whose atoms leave the energies that are seen, sidelobes and all.

  One atom of power 1 is seen at another place of the grid with the square of their inner product,
  a product of a delay and an angle table: a step is four small matrix products.

  Args:
    energy: mean |a^H y|^2 [..., P, Q] float32.

  Returns:
    c, like energy.
  """
  delay, angle = (jnp.abs(atoms.conj().T @ atoms) ** 2 for atoms in grid)

  def spread(values: jax.Array) -> jax.Array:
    return delay @ values @ angle

  def one_step(_, power: jax.Array) -> jax.Array:
    return power * spread(energy / (spread(power) + floor)) / spread(jnp.ones(grid.shape))

  floor = 1e-5 * energy.mean((-2, -1), keepdims=True)
  return jax.lax.fori_loop(0, _NUM_DECONVOLUTIONS, one_step, energy)


def fit(
    grid: Grid, csi: jax.Array, weights: jax.Array, noise: jax.Array, num_atoms: int) -> Profile:
  """Profiles of B places, of the power that CSI has, strongest atoms first.

  The deconvolved energies choose the atoms, EM steps settle their powers; then the weakest are
  left out, and one more step gives what they had to the others.

  Args:
    csi: samples [B, N, N_a, N_t] complex64, mean |h|^2 = 1.
    weights: [B, N], of sum 1; 0 for samples that are not there.
    noise: variance of what is noise in an entry of the samples, [].
    num_atoms: K of the profile.
  """
  projections = project(grid, csi)
  energy = (jnp.abs(projections) ** 2 * weights[..., None, None]).sum(1)
  energy = jnp.maximum(energy - noise, 1e-3 * energy)
  clear = deconvolve(grid, energy).reshape(len(csi), -1)
  power, index = jax.lax.top_k(clear, max(num_atoms, min(_NUM_ATOMS, clear.shape[-1])))
  power *= csi[0, 0].size / power.sum(-1, keepdims=True)
  flat = projections.reshape(*csi.shape[:2], -1)

  def stepped(power: jax.Array, index: jax.Array, assumed: tuple[float, ...]) -> jax.Array:
    gram = gram_at(grid, index)
    seen = jnp.swapaxes(jnp.take_along_axis(flat, index[:, None], 2), 1, 2)
    for extra in assumed:
      found = posterior(power, gram, seen, jnp.full(len(csi), noise + extra))
      power = step(power, found, weights)
    return power

  power, kept = jax.lax.top_k(stepped(power, index, _NOISE), num_atoms)
  index = jnp.take_along_axis(index, kept, -1)
  power, order = jax.lax.top_k(stepped(power, index, (_LAST_NOISE,)), num_atoms)
  # Steps overshoot where atoms share what is seen; the sum is known.
  power *= csi[0, 0].size / power.sum(-1, keepdims=True)
  return Profile(jnp.take_along_axis(index, order, -1), power)
