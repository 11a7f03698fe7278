"""Spatially consistent random fields over the ground, as random Fourier features.

A field is a sum of plane waves with random directions and weights: Gaussian at every position,
with a correlation that depends on distance alone. Position enters through cosines, so a field
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


def _exponential_wavevectors(key: jax.Array) -> jax.Array:
  """Of the correlation exp(-d), TR 38.901 eq. (7.4-5): density (1 + w^2)^(-3/2) in the plane."""
  angle_key, radius_key = jax.random.split(key)
  angle = jax.random.uniform(angle_key, (NUM_WAVES,), maxval=2 * jnp.pi)
  tail = jax.random.uniform(radius_key, (NUM_WAVES,), minval=1e-4)
  radius = jnp.sqrt(1 / tail**2 - 1)
  return radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def _gaussian_wavevectors(key: jax.Array) -> jax.Array:
  """Of the correlation exp(-d^2): smooth near zero, the TR's exp(-1) at d = 1."""
  return jnp.sqrt(2.0) * jax.random.normal(key, (NUM_WAVES, 2))


WAVEVECTORS = {
    'stock': _gaussian_wavevectors,
    'exponential': _exponential_wavevectors,
    'track': _gaussian_wavevectors,
}


def sample_field(key: jax.Array, correlation: str, distance_m, num_fields: int) -> Field:
  """Draws `num_fields` fields whose correlation has fallen to exp(-1) at `distance_m`."""
  wave_key, weight_key = jax.random.split(key)
  weights = jax.random.normal(weight_key, (2 * NUM_WAVES, num_fields))
  return Field(WAVEVECTORS[correlation](wave_key) / distance_m, weights / jnp.sqrt(NUM_WAVES))


def evaluate(field: Field, position: jax.Array) -> jax.Array:
  """The fields at one place: position [2] in m -> [F]."""
  phase = field.wavevectors @ position
  return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)]) @ field.weights
