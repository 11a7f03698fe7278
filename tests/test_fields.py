import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.csi import fields

DISTANCE_M = 20.0


def _correlation(correlation: str, at_m: float) -> float:
  """Of the values at two places `at_m` apart, over many fields."""

  @jax.jit
  @jax.vmap
  def values(key):
    field = fields.sample_field(key, correlation, DISTANCE_M, 8)
    here, there = jnp.array([10.0, 3.0]), jnp.array([10.0 + at_m, 3.0])
    return fields.evaluate(field, here), fields.evaluate(field, there)

  here, there = (np.asarray(v).ravel() for v in values(jax.random.split(jax.random.key(0), 1000)))
  assert abs(here.mean()) < 0.05
  assert here.var() == pytest.approx(1, abs=0.05)
  return float(np.mean(here * there))


@pytest.mark.parametrize('at_m', [2.0, 10.0, 20.0])
def test_stock_is_smooth_near_zero(at_m):
  assert _correlation('stock', at_m) == pytest.approx(np.exp(-(at_m / DISTANCE_M) ** 2), abs=0.05)


@pytest.mark.parametrize('at_m', [2.0, 10.0, 20.0])
def test_exponential_is_the_tr_s_law(at_m):
  assert _correlation('exponential', at_m) == pytest.approx(np.exp(-at_m / DISTANCE_M), abs=0.05)
