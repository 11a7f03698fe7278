"""From a profile to the transform that codes CSI with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, gram_at


class Klt(NamedTuple):
  """The S strongest directions of a covariance: A_K `mixing`, A_K the atoms at `index`."""

  variances: jax.Array  # [..., S] float32, largest first
  index: jax.Array  # [..., K] int32, see em.Profile
  mixing: jax.Array  # [..., K, S] complex64


def transform(grid: Grid, profile: Profile, size: int) -> Klt:
  """The KLT of A diag(c) A^H, scaled to CSI of mean |h|^2 = 1.

  From the K x K matrix S A^H A S, S = sqrt(diag(c)), which has the same eigenvalues.
  """
  num_entries = grid.delay.shape[0] * grid.angle.shape[0]
  power = profile.power.astype(jnp.float32)
  root = jnp.sqrt(power * num_entries / power.sum(-1, keepdims=True))[..., None]
  gram = gram_at(grid, profile.index)
  variances, vectors = jnp.linalg.eigh(root * gram * jnp.swapaxes(root, -1, -2))
  variances, vectors = variances[..., ::-1][..., :size], vectors[..., ::-1][..., :size]
  variances = jnp.maximum(variances, 1e-6)
  return Klt(variances, profile.index, root * vectors / jnp.sqrt(variances)[..., None, :])


def coefficients(grid: Grid, klt: Klt, csi: jax.Array) -> jax.Array:
  """U^H h: [..., N_a, N_t] -> [..., S]."""
  delay, angle = _atoms(grid, klt.index)
  rows = jnp.einsum('...kd,...da->...ka', delay.conj(), csi)
  seen = (rows * angle.conj()).sum(-1)
  return jnp.einsum('...ks,...k->...s', klt.mixing.conj(), seen)


def synthesise(grid: Grid, klt: Klt, values: jax.Array) -> jax.Array:
  """U z: [..., S] -> [..., N_a, N_t]."""
  delay, angle = _atoms(grid, klt.index)
  amplitudes = jnp.einsum('...ks,...s->...k', klt.mixing, values)
  return jnp.einsum('...kd,...ka->...da', delay, amplitudes[..., None] * angle)


def mean_powers(grid: Grid, profile: Profile) -> jax.Array:
  """What is expected of |h|^2: [..., N_a, N_t] float32, of mean 1."""
  delay, angle = (jnp.abs(atoms) ** 2 for atoms in _atoms(grid, profile.index))
  power = jnp.einsum('...kd,...ka->...da', delay, profile.power[..., None] * angle)
  return power / power.mean((-2, -1), keepdims=True)


def _atoms(grid: Grid, index: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Delay [..., K, N_a] and angle [..., K, N_t] of the atoms at flat indices."""
  p, q = jnp.divmod(index, grid.shape[1])
  return grid.delay.T[p], grid.angle.T[q]
