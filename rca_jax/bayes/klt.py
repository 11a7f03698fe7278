"""From a profile to the transform that codes CSI with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, gram_at, project


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
  projections = project(grid, csi)
  projections = projections.reshape(*projections.shape[:-2], -1)
  seen = jnp.take_along_axis(projections, klt.index, -1)
  return jnp.einsum('...ks,...k->...s', klt.mixing.conj(), seen)


def synthesise(grid: Grid, klt: Klt, values: jax.Array) -> jax.Array:
  """U z: [n, S] -> [n, N_a, N_t]."""
  amplitudes = jnp.einsum('nks,ns->nk', klt.mixing, values)
  rows = jnp.arange(len(values))[:, None]
  whole = jnp.zeros((len(values), grid.delay.shape[1] * grid.angle.shape[1]), amplitudes.dtype)
  whole = whole.at[rows, klt.index].add(amplitudes).reshape(-1, *grid.shape)
  return jnp.einsum('dp,npq,aq->nda', grid.delay, whole, grid.angle)
