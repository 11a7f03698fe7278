"""The sample files are read back as what the generator made."""

import numpy as np
import pytest

from rca_jax.data.files import read_csi
from rca_jax.data.sample import write_samples


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  return write_samples(tmp_path_factory.mktemp('sample'))


def test_both_files_hold_the_same_ues_and_are_small(files):
  npz, mat = files
  groups, ues = read_csi(npz), read_csi(mat)
  assert groups.csi.shape == (50, 4, 32, 32) and ues.csi.shape == (200, 1, 32, 32)
  # One by the generator's own CSI, one by the reader's sum over paths.
  np.testing.assert_allclose(ues.csi.reshape(groups.csi.shape), groups.csi, atol=2e-3)
  np.testing.assert_allclose(
      ues.positions.reshape(50, 4, 3)[..., :2], groups.positions[..., :2], atol=1e-3)
  assert npz.stat().st_size <= 2_000_000 and mat.stat().st_size <= 2_000_000


def test_groups_of_the_sample_are_near_each_other(files):
  positions = read_csi(files[0]).positions
  distance = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
  assert distance.max() <= 10
