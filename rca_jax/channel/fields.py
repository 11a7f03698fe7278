"""Spatially consistent random fields over the ground, as random Fourier features.

A field is a sum of plane waves with random directions and weights: Gaussian at every position,
with a correlation that, in the mean over environments, depends on distance alone; that of one
environment has the directions of its waves, of which `exponential` would need more than there are
here. Position enters through cosines, so a field
is a pure, smooth function that can be evaluated (and differentiated) anywhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NUM_WAVES = 128


class Field(NamedTuple):
  """F independent scalar fields of zero mean and unit variance."""

  wavevectors: jax.Array  # [NUM_WAVES, 2] float32, rad/m
  weights: jax.Array  # [2 * NUM_WAVES, F] float32


def _exponential_wavevectors(normal: jax.Array) -> jax.Array:
  """Of the correlation exp(-d), TR 38.901 eq. (7.4-5): density (1 + w^2)^(-3/2) in the plane.

  A pair of normals has a uniform direction, and exp(-r^2 / 2) of its length is uniform too.
  """
  square = jnp.sum(normal**2, -1, keepdims=True)
  uniform = jnp.maximum(jnp.exp(-square / 2), 1e-4)
  return normal * jnp.sqrt((1 / uniform**2 - 1) / square)


def _gaussian_wavevectors(normal: jax.Array) -> jax.Array:
  """Of the correlation exp(-d^2): smooth near zero, the TR's exp(-1) at d = 1."""
  return jnp.sqrt(2.0) * normal


WAVEVECTORS = {
    'stock': _gaussian_wavevectors,
    'exponential': _exponential_wavevectors,
    'track': _gaussian_wavevectors,
}


def sample_field(key: jax.Array, correlation: str, distance_m, num_fields: int) -> Field:
  """Draws `num_fields` fields whose correlation has fallen to exp(-1) at `distance_m`."""
  normal = jax.random.normal(key, (NUM_WAVES, 2 + 2 * num_fields))  # one draw compiles faster
  weights = normal[:, 2:].reshape(2 * NUM_WAVES, num_fields) / jnp.sqrt(NUM_WAVES)
  return Field(WAVEVECTORS[correlation](normal[:, :2]) / distance_m, weights)


def evaluate(field: Field, position: jax.Array) -> jax.Array:
  """The fields at one place: position [2] in m -> [F]."""
  phase = field.wavevectors @ position
  return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)]) @ field.weights
