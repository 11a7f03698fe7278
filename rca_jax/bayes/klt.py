"""From a profile to the transform that codes CSI with it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, atoms_at, entry_atoms, gram_at

_ROUND_OFF, _LEAST = 1e-6, 1e-6  # of the largest variance; instead of it
# Share of CSI's power outside of an entry's atoms, the mean of 200 UEs on a map of 0.85 m squares.
_OUTSIDE = 2.5e-3
_JITTER = 3e-4  # of the squared length of directions


class Klt(NamedTuple):
  """The S strongest directions of a covariance: A_K `mixing`, A_K the atoms at `index`.

  Arrays of JAX or of numpy.
  """

  variances: Any  # [..., S] float32, largest first
  index: Any  # [..., K] int32, see em.Profile
  mixing: Any  # [..., K, S] complex64


def transform(grid: Grid, profile: Profile, size: int) -> Klt:
  """The KLT of A diag(c) A^H, scaled to CSI of mean |h|^2 = 1.

  From the K x K matrix S A^H A S, S = sqrt(diag(c)), which has the same eigenvalues. Where more
  than K directions are asked for, the others are entries of CSI, made orthogonal to the K: those of
  the largest expected power outside of the K. Together they get the power that CSI has there.
  """
  num_entries = grid.delay.shape[0] * grid.angle.shape[0]
  power = profile.power.astype(jnp.float32)
  root = jnp.sqrt(power * num_entries / power.sum(-1, keepdims=True))[..., None]
  gram = gram_at(grid, profile.index)
  variances, vectors = jnp.linalg.eigh(root * gram * jnp.swapaxes(root, -1, -2))
  variances, vectors = variances[..., ::-1][..., :size], vectors[..., ::-1][..., :size]
  # Where atoms depend on each other round-off is all that an eigenvalue has.
  is_real = variances > _ROUND_OFF * variances[..., :1]
  scale = jnp.where(is_real, jax.lax.rsqrt(jnp.where(is_real, variances, 1)), 0)
  found = Klt(
      jnp.where(is_real, variances, _LEAST), profile.index, root * vectors * scale[..., None, :])
  return _with_others(grid, found, profile, size) if size > power.shape[-1] else found


def _with_others(grid: Grid, inner: Klt, profile: Profile, size: int) -> Klt:
  """`inner` and the strongest directions outside of it, `size` in all, largest first."""
  delay, angle = atoms_at(grid, inner.index)
  atoms = (delay[..., :, None] * angle[..., None, :]).reshape(*inner.index.shape, -1)
  old = jnp.swapaxes(atoms, -1, -2) @ inner.mixing
  missing = jnp.maximum(1 - (jnp.abs(old) ** 2).sum(-1), _JITTER)
  outside = mean_powers(grid, profile).reshape(missing.shape) * missing
  outside *= _OUTSIDE * outside.shape[-1] / outside.sum(-1, keepdims=True)
  power, entry = jax.lax.top_k(outside, size - old.shape[-1])
  # Gram and Schmidt, by Cholesky: the old ones first, which round-off left not quite orthogonal.
  seen = jnp.swapaxes(jnp.take_along_axis(old, entry[..., None], -2).conj(), -1, -2)
  new = jnp.broadcast_to(jnp.eye(size - old.shape[-1]), (*seen.shape[:-2], *2 * seen.shape[-1:]))
  gram = _blocks(_adjoint(old) @ old, seen, _adjoint(seen), new)
  eye = jnp.eye(size, dtype=gram.dtype)
  factor = jnp.linalg.cholesky(gram + _JITTER * eye)
  inverse = jax.lax.linalg.triangular_solve(
      factor, jnp.broadcast_to(eye, factor.shape), left_side=True, lower=True)
  spanned = jnp.diagonal(factor, axis1=-2, axis2=-1).real[..., old.shape[-1]:] ** 2
  new_variances = power * spanned / jnp.take_along_axis(missing, entry, -1)
  variances = jnp.concatenate([inner.variances, new_variances], -1)
  mixing = _blocks(inner.mixing, jnp.zeros_like(seen), jnp.zeros_like(_adjoint(seen)), new)
  order = jnp.argsort(-variances, -1)
  return Klt(
      jnp.take_along_axis(variances, order, -1),
      jnp.concatenate([inner.index, entry_atoms(grid)[entry]], -1),
      jnp.take_along_axis(mixing @ _adjoint(inverse), order[..., None, :], -1))


def with_fixed_phases(klt: Klt) -> Klt:
  """The same directions, whatever phases an eigen-decomposition gives them, of the same shapes.

  The largest entry of each column of `mixing` is real and positive.
  """
  place = jnp.abs(klt.mixing).argmax(-2, keepdims=True)
  largest = jnp.take_along_axis(klt.mixing, place, -2)
  length = jnp.abs(largest)
  turn = largest.conj() / jnp.where(length > 0, length, 1)  # a column may be zero
  return klt._replace(mixing=klt.mixing * turn)


def coefficients(grid: Grid, klt: Klt, csi: jax.Array) -> jax.Array:
  """U^H h: [..., N_a, N_t] -> [..., S]."""
  delay, angle = atoms_at(grid, klt.index)
  rows = jnp.einsum('...kd,...da->...ka', delay.conj(), csi)
  seen = (rows * angle.conj()).sum(-1)
  return jnp.einsum('...ks,...k->...s', klt.mixing.conj(), seen)


def synthesise(grid: Grid, klt: Klt, values: jax.Array) -> jax.Array:
  """U z: [..., S] -> [..., N_a, N_t]."""
  delay, angle = atoms_at(grid, klt.index)
  amplitudes = jnp.einsum('...ks,...s->...k', klt.mixing, values)
  return jnp.einsum('...kd,...ka->...da', delay, amplitudes[..., None] * angle)


def mean_powers(grid: Grid, profile: Profile) -> jax.Array:
  """What is expected of |h|^2: [..., N_a, N_t] float32, of mean 1."""
  delay, angle = (jnp.abs(atoms) ** 2 for atoms in atoms_at(grid, profile.index))
  power = jnp.einsum('...kd,...ka->...da', delay, profile.power[..., None] * angle)
  return power / power.mean((-2, -1), keepdims=True)


def _blocks(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
  """The matrix [[a, b], [c, d]]."""
  return jnp.concatenate([jnp.concatenate([a, b], -1), jnp.concatenate([c, d], -1)], -2)


def _adjoint(matrix: jax.Array) -> jax.Array:
  return jnp.swapaxes(matrix.conj(), -1, -2)
