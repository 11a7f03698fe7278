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
  def values(key):
    # 1000 sets of waves, 8 fields of each.
    normal = jax.random.normal(key, fields.normal_shape(1000, 8))
    field = fields.from_normals(normal, correlation, np.full(1000, DISTANCE_M, np.float32))
    places = jnp.stack([jnp.append(10.0, 10.0 + AT_M), jnp.full(4, 3.0)], -1)
    return jax.vmap(fields.evaluate, (None, 0), 1)(field, places)

  found = np.asarray(values(jax.random.key(0)))  # [set, place, 8]
  assert abs(found.mean()) < 0.05
  assert found.var() == pytest.approx(1, abs=0.05)
  return (found[:, :1] * found[:, 1:]).mean((0, 2))


def test_stock_is_smooth_near_zero():
  expected = np.exp(-(AT_M / DISTANCE_M) ** 2)
  np.testing.assert_allclose(_correlation('stock'), expected, atol=0.05)


def test_exponential_is_the_tr_s_law():
  np.testing.assert_allclose(_correlation('exponential'), np.exp(-AT_M / DISTANCE_M), atol=0.05)
