import json

import numpy as np
import pytest

from rca_jax.channel import CsiGroups, statistics
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
