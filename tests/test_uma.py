import numpy as np
import pytest

from rca_jax.channel import uma

TABLES = uma.state_tables(6.7e9)
NLOS, LOS = 0, 1


@pytest.mark.parametrize(('state', 'lsp', 'expected'), [
    (LOS, 'DS', -7.035), (NLOS, 'DS', -6.449), (LOS, 'ASD', 1.152), (NLOS, 'ASD', 1.405)])
def test_table_7_5_6_at_6_7_ghz(state, lsp, expected):
  assert TABLES.lsp_mean[state, uma.LSPS.index(lsp)] == pytest.approx(expected, abs=1e-3)


def test_mixing_is_a_factor_of_a_correlation_matrix():
  for mixing in TABLES.lsp_mixing:
    correlation = mixing @ mixing.T
    np.testing.assert_allclose(np.diag(correlation), 1, atol=1e-6)
    assert np.abs(correlation - np.eye(7)).max() < 1
  los = TABLES.lsp_mixing[LOS] @ TABLES.lsp_mixing[LOS].T
  assert los[uma.LSPS.index('ASA'), uma.LSPS.index('DS')] == pytest.approx(0.8, abs=1e-6)


def test_los_probability_is_the_table_s():
  distance = np.array([5.0, 18.0, 50.0, 100.0, 200.0])
  far = np.maximum(distance, 18)
  expected = 18 / far + np.exp(-far / 63) * (1 - 18 / far)
  np.testing.assert_allclose(uma.los_probability(distance, 1.5), expected, rtol=1e-6)
  assert uma.los_probability(200.0, 20.0) > uma.los_probability(200.0, 1.5)


def test_ray_offsets_are_symmetric_with_unit_rms():
  np.testing.assert_allclose(np.sort(uma.RAY_OFFSETS), np.sort(-uma.RAY_OFFSETS))
  assert np.sqrt(np.mean(uma.RAY_OFFSETS**2)) == pytest.approx(1, abs=0.01)


def test_subclusters_hold_10_6_and_4_rays_in_the_table_s_order():
  assert np.diff(uma.SUBCLUSTER_ENDS).tolist() == [10, 6, 4]
  # Rays 13 to 16 of table 7.5-3 have offsets +-0.8844 and +-1.1481.
  np.testing.assert_allclose(np.abs(uma.RAY_OFFSETS[16:]), [0.8844, 0.8844, 1.1481, 1.1481])
