import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import CsiGroups, statistics, uma
from rca_jax.channel.site import Paths, paths, sample_site
from rca_jax.config import CsiConfig
from rca_jax.report.csi_statistics import QUADRIGA, figure, markdown_table, measure

REFERENCE = json.loads(QUADRIGA.read_text())


def test_magnitude_correlation_by_hand():
  csi = np.zeros((1, 3, 1, 2), np.complex64)
  csi[0, 0, 0], csi[0, 1, 0], csi[0, 2, 0] = [1, 0], [1j, 1], [0, 5]
  positions = np.array([[[0, 0, 0], [1.2, 0, 0], [5.5, 0, 0]]], np.float32)
  los = np.array([[True, True, False]])
  found = statistics.magnitude_correlation(CsiGroups(csi, positions, los, None), True)
  assert found.num_pairs.sum() == found.num_pairs[1] == 1
  assert found.mean[1] == pytest.approx(np.sqrt(0.5))


def test_compaction_by_hand():
  csi = np.ones((1, 1, 32, 32), np.complex64)
  groups = CsiGroups(csi, np.zeros((1, 1, 3)), np.array([[False]]), None)
  expected = 10 * np.log10(1 - np.array(statistics.COMPACTION_SIZES) / 1024)
  np.testing.assert_allclose(statistics.compaction_db(groups, False), expected, atol=1e-5)


def test_spreads_by_hand():
  """A cluster of rays 0.3 rad to either side, and a LOS path with as much power."""
  gain = np.zeros((2, 4))
  gain[0] = np.sqrt(1 / 8)
  ray, zeros = np.array([0.3, -0.3, 0.3, -0.3]), np.zeros((2, 4))
  found = Paths(
      delay_s=np.full((2, 3), 1e-7), gain=gain, azimuth=0.5 + 2 * ray + zeros, zenith=zeros,
      arrival_azimuth=0.5 + np.pi + ray + zeros, los_gain=np.sqrt(0.5), los_azimuth=0.5,
      los_zenith=0, los=True)
  spreads = [10 ** float(x) for x in statistics.log_spreads(found)]
  expected = [np.rad2deg(np.sqrt(-2 * np.log((1 + np.cos(x)) / 2))) for x in (0.6, 0.3)]
  np.testing.assert_allclose(spreads, [0.5e-7, *expected], rtol=1e-5)


def test_nlos_spreads_are_the_tables():
  config = CsiConfig(scenario='uma_nlos')
  keys = jax.random.split(jax.random.key(0), 200)
  found = jax.jit(jax.vmap(lambda key: statistics.log_spreads(
      paths(sample_site(key, config), jnp.array([[80.0, 60.0, 1.5]])))))(keys)
  table = uma.state_tables(config.carrier_frequency_hz)
  for name, values in zip(('DS', 'ASD', 'ASA'), found, strict=True):
    column = uma.LSPS.index(name)
    assert abs(values.mean() - table.lsp_mean[0, column]) < 0.08
    assert abs(values.std() - table.lsp_std[0, column]) < 0.05


@pytest.mark.slow
def test_uma_resembles_the_reference_simulator():
  """A small sample; docs/data.md has the large one, with the bounds that it keeps."""
  found = measure(
      0, CsiConfig(), num_sites=60, num_groups=25, progress=lambda done: None)
  assert found['energy_kept'] == pytest.approx(REFERENCE['energy_kept'], abs=0.02)
  for state, tolerance in (('los', 0.08), ('nlos', 0.09)):
    ours, theirs = found[state], REFERENCE[state]
    np.testing.assert_allclose(  # 1 to 8 m; few pairs are farther apart
        ours['magnitude_correlation'][1:9], theirs['magnitude_correlation'][1:9], atol=tolerance)
    np.testing.assert_allclose(ours['compaction_db'], theirs['compaction_db'], atol=1.6)
  table = markdown_table(found, REFERENCE, CsiConfig())
  assert 'LOS fraction' in table and 'nan' not in table
  assert len(figure([found], REFERENCE).axes) == 2
