"""From a profile to the transform that codes CSI with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, atoms_at, gram_at


class Klt(NamedTuple):
  """The S strongest directions of a covariance."""

  variances: jax.Array  # [..., S] float32, largest first
  basis: jax.Array  # [..., S, N_a, N_t] complex64, orthonormal
  rest: jax.Array  # [...] float32, variance in all other directions together


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
  mixing = root * vectors / jnp.sqrt(variances)[..., None, :]
  basis = jnp.einsum('...ks,...kda->...sda', mixing, atoms_at(grid, profile.index))
  return Klt(variances, basis, jnp.maximum(num_entries - variances.sum(-1), 0))


def coefficients(klt: Klt, csi: jax.Array) -> jax.Array:
  """U^H h: [..., N_a, N_t] -> [..., S]."""
  return jnp.einsum('...sda,...da->...s', klt.basis.conj(), csi)


def synthesise(klt: Klt, values: jax.Array) -> jax.Array:
  """U z: [..., S] -> [..., N_a, N_t]."""
  return jnp.einsum('...sda,...s->...da', klt.basis, values)
