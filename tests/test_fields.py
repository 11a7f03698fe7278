import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import fields

DISTANCE_M = 20.0


AT_M = np.array([2.0, 10.0, 20.0])


def _correlation(correlation: str) -> np.ndarray:
  """Of the values at two places AT_M apart, over many fields: [3]."""

  @jax.jit
  @jax.vmap
  def values(key):
    field = fields.sample_field(key, correlation, DISTANCE_M, 8)
    places = jnp.stack([jnp.append(10.0, 10.0 + AT_M), jnp.full(4, 3.0)], -1)
    return jax.vmap(fields.evaluate, (None, 0))(field, places)

  found = np.asarray(values(jax.random.split(jax.random.key(0), 1000)))  # [fields, place, 8]
  assert abs(found.mean()) < 0.05
  assert found.var() == pytest.approx(1, abs=0.05)
  return (found[:, :1] * found[:, 1:]).mean((0, 2))


def test_stock_is_smooth_near_zero():
  expected = np.exp(-(AT_M / DISTANCE_M) ** 2)
  np.testing.assert_allclose(_correlation('stock'), expected, atol=0.05)


def test_exponential_is_the_tr_s_law():
  np.testing.assert_allclose(_correlation('exponential'), np.exp(-AT_M / DISTANCE_M), atol=0.05)
