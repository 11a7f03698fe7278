"""What a report adds to the power profile of its cell: a network between a map and an estimate.

A label says the cell, and the map its profile c. The coefficients that the BS received say more:
which of the cell's atoms this UE really has. The network sees, atom by atom, what an EM step sees,
and corrects log c; then the CSI is estimated anew. Its last layer begins at zero, so it begins at
the code that it is put behind. It knows no site: it is trained on cells of ever new ones.
"""

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, atoms_at, gram_at
from rca_jax.bayes.klt import Klt

_MOST = 8.0  # correction of log c
_LEAST = 1e-6  # c, of the power of all atoms
# How near atoms are: exp(-d^2 / width) of the steps between delays and between angles.
_NEAR = ((8.0, None), (200.0, None), (None, 4.0), (None, 60.0), (8.0, 4.0))


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
  """The size of the network."""

  width: int = 32
  num_layers: int = 2
  num_heads: int = 4
  num_rounds: int = 2  # of which each has weights of its own


class Heard(NamedTuple):
  """What the BS knows of KLT coefficients before it asks the profile: z + CN(0, variance)."""

  values: jax.Array  # [..., S] complex64
  variance: jax.Array  # [..., S] float32; inf where nothing is known


class Refiner(nn.Module):
  """Corrects the profiles of cells by reports."""

  config: RefinerConfig
  grid_shape: tuple[int, int]

  @nn.compact
  def __call__(
      self, index: jax.Array, power: jax.Array, seen: jax.Array, received: jax.Array) -> jax.Array:
    """Amplitudes of the atoms, less those that the profile alone leads to.

    Permuting the atoms permutes them.

    Args:
      index, power: the profile's, [n, K]; see `bayes.em.Profile`.
      seen: the atoms as the report shows them, per unit of noise [n, S, K] complex64.
      received: the report, per unit of noise [n, S] complex64.

    Returns:
      [n, K] complex64.
    """
    first = power / power.sum(-1, keepdims=True)
    scale = power.sum(-1, keepdims=True)
    found = first
    near, place = _near(index, self.grid_shape), _place(index, self.grid_shape)
    amplitude, variance, told_bits = _step(found * scale, seen, received)
    plain = found * scale * amplitude
    for _ in range(self.config.num_rounds):
      told = found * scale * variance
      factor = jnp.log(jnp.abs(amplitude) ** 2 / jnp.maximum(variance, 1e-9) + 1e-4)
      pictures = jnp.stack([
          jnp.log(first + _LEAST) / 3 + 2, jnp.log((found + _LEAST) / (first + _LEAST)), told,
          jnp.log1p(-jnp.minimum(told, 0.9999)) / 4, jnp.clip(factor, -6, 6) / 2,
          told * jnp.clip(factor, -6, 6)], -1)
      known = jnp.stack([told_bits, told_bits**2 / 8, jnp.log(first + _LEAST).mean(-1) / 3 + 2], -1)
      added = _Correction(self.config)(jnp.concatenate([pictures, place], -1), known, near)
      found = found * jnp.exp(jnp.clip(added, -_MOST, _MOST))
      amplitude, variance, told_bits = _step(found * scale, seen, received)
    return found * scale * amplitude - plain


class _Correction(nn.Module):
  """What is added to log c [n, K]: attention between atoms that knows how near they are."""

  config: RefinerConfig

  @nn.compact
  def __call__(self, atoms: jax.Array, known: jax.Array, near: jax.Array) -> jax.Array:
    width, num_heads = self.config.width, self.config.num_heads
    x = nn.Dense(width, name='atoms')(atoms) + nn.Dense(width, name='known')(known)[:, None]
    for i in range(self.config.num_layers):
      inner = nn.LayerNorm(name=f'norm_{i}')(x)
      query, key, value = (
          nn.Dense(width, use_bias=False, name=f'{name}_{i}')(inner)
          .reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)
          for name in ('query', 'key', 'value'))
      slope = self.param(f'near_{i}', nn.initializers.normal(1.0), (near.shape[-1], num_heads))
      logits = query @ key.swapaxes(-1, -2) * (width / num_heads) ** -0.5
      logits += jnp.moveaxis(near @ slope, -1, 1)
      attended = (jax.nn.softmax(logits, -1) @ value).swapaxes(1, 2).reshape(x.shape)
      x = x + nn.Dense(width, name=f'attended_{i}')(attended)
      inner = nn.Dense(2 * width, name=f'hidden_{i}')(nn.LayerNorm(name=f'hidden_norm_{i}')(x))
      x = x + nn.Dense(width, name=f'out_{i}')(nn.silu(inner))
    x = nn.LayerNorm(name='norm')(x)
    return nn.Dense(1, kernel_init=nn.initializers.zeros, name='log_power')(x)[..., 0]


def refine(
    model: Refiner, params: Any, grid: Grid, profile: Profile, transform: Klt, heard: Heard
) -> jax.Array:
  """What the network adds to estimates of CSI, [n, N_a, N_t] complex64.

  Args:
    profile: leaves [n, K].
    transform: its KLT, of S directions at least.
    heard: leaves [n, S].
  """
  added = cast(jax.Array, model.apply(
      {'params': params}, *_inputs(grid, profile, transform, heard)))
  delay, angle = atoms_at(grid, profile.index)
  return jnp.einsum('nkd,nka->nda', delay, added[..., None] * angle)


def _inputs(grid: Grid, profile: Profile, transform: Klt, heard: Heard) -> tuple[jax.Array, ...]:
  num_atoms, size = profile.index.shape[-1], heard.values.shape[-1]
  gram = gram_at(grid, transform.index)[..., :num_atoms]
  known = 1 / jnp.sqrt(heard.variance)
  seen = jnp.swapaxes(transform.mixing[..., :size].conj(), -1, -2) @ gram * known[..., None]
  num_entries = grid.delay.shape[0] * grid.angle.shape[0]
  power = profile.power * num_entries / profile.power.sum(-1, keepdims=True)
  return profile.index, power, seen, jnp.where(known > 0, heard.values, 0) * known


def _step(
    power: jax.Array, seen: jax.Array, received: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """a^H R^-1 y and a^H R^-1 a of every atom [n, K], and log det R / S [n]; noise has variance 1."""
  num_symbols = seen.shape[-2]
  # No root of the power: where an atom has none its gradient would be no number.
  covariance = seen * power[..., None, :] @ jnp.swapaxes(seen.conj(), -1, -2)
  covariance += jnp.eye(num_symbols)
  factor = jnp.linalg.cholesky(covariance)
  half = jax.lax.linalg.triangular_solve(
      factor, jnp.concatenate([seen, received[..., None]], -1), left_side=True, lower=True)
  atoms, report = half[..., :-1], half[..., -1]
  amplitude = (atoms.conj() * report[..., None]).sum(-2)
  told = 2 * jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1).real).mean(-1)
  return amplitude, (jnp.abs(atoms) ** 2).sum(-2), told


def _near(index: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """How near atoms are to each other, [n, K, K, 5]; angles are a circle."""
  delay, angle = jnp.divmod(index, shape[1])
  delays = (delay[..., :, None] - delay[..., None, :]).astype(jnp.float32) ** 2
  angles = jnp.abs(angle[..., :, None] - angle[..., None, :])
  angles = jnp.minimum(angles, shape[1] - angles).astype(jnp.float32) ** 2
  return jnp.stack([
      jnp.exp(-(delays / of_delay if of_delay else 0) - (angles / of_angle if of_angle else 0))
      for of_delay, of_angle in _NEAR], -1)


def _place(index: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Where an atom is, [n, K, 6]."""
  delay, angle = jnp.divmod(index, shape[1])
  delay = 2 * delay / shape[0] - 1
  turn = angle * (2 * jnp.pi / shape[1])
  return jnp.stack([
      delay, delay**2, jnp.cos(turn), jnp.sin(turn), jnp.cos(2 * turn), jnp.sin(2 * turn)], -1)
