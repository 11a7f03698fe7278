"""Spatially consistent random fields over the ground, as random Fourier features.

A field is a sum of plane waves with random directions and weights. It is Gaussian at every
position. Its mean correlation over many environments depends on the distance alone. In one
environment the correlation also depends on the direction, since the number of waves is finite;
`exponential` would need more waves than there are here. The position enters through cosines, so a
field is a smooth function that can be evaluated (and differentiated) anywhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NUM_WAVES = 128


class Field(NamedTuple):
  """S sets of F independent fields of zero mean and unit variance; a set shares its waves."""

  wavevectors: jax.Array  # [S, NUM_WAVES, 2] float32, rad/m
  weights: jax.Array  # [S, 2 * NUM_WAVES, F] float32


def _exponential_wavevectors(normal: jax.Array) -> jax.Array:
  """Of the correlation exp(-d), TR 38.901 eq. (7.4-5): density (1 + w^2)^(-3/2) in the plane.

  A pair of normals has a uniform direction, and exp(-r^2 / 2) of its length is uniform too.
  """
  square = jnp.sum(normal**2, -1, keepdims=True)
  uniform = jnp.maximum(jnp.exp(-square / 2), 1e-4)
  return normal * jnp.sqrt((1 / uniform**2 - 1) / square)


def _gaussian_wavevectors(normal: jax.Array) -> jax.Array:
  """Of the correlation exp(-d^2): smooth near zero, the TR's exp(-1) at d = 1."""
  return 2.0**0.5 * normal


WAVEVECTORS = {
    'stock': _gaussian_wavevectors,
    'exponential': _exponential_wavevectors,
    'track': _gaussian_wavevectors,
}


def normal_shape(num_sets: int, num_fields: int) -> tuple[int, int, int]:
  """The standard normal variables that `from_normals` takes."""
  return num_sets, NUM_WAVES, 2 + 2 * num_fields


def from_normals(normal: jax.Array, correlation: str, distance_m: np.ndarray) -> Field:
  """Fields made of normals [S, NUM_WAVES, 2 + 2 F].

  The correlation of the fields of set s falls to exp(-1) at distance_m[s].
  """
  weights = normal[..., 2:].reshape(len(normal), 2 * NUM_WAVES, -1) / NUM_WAVES**0.5
  return Field(WAVEVECTORS[correlation](normal[..., :2]) / distance_m[:, None, None], weights)


def evaluate(field: Field, position: jax.Array) -> jax.Array:
  """The fields at one place: position [2] in m -> [S, F]."""
  phase = field.wavevectors @ position
  waves = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], -1)
  return jnp.einsum('sw,swf->sf', waves, field.weights)
