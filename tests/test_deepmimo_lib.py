"""CSI of channels that DeepMIMO computed from rays laid out here; needs `make test-extras`."""

import numpy as np
import pytest

from rca_jax.config import CsiConfig
from rca_jax.data.files import read_csi
from rca_jax.errors import InputError

NUM_ANTENNAS, NUM_CARRIERS = 8, 128
CONFIG = CsiConfig(num_tx_antennas=NUM_ANTENNAS, num_subcarriers=NUM_CARRIERS)
POSITIONS = np.array([[50.0, 20, 1.5], [60, -30, 1.5], [40, 0, 1.5], [70, 10, 1.5]])
SILENT = 2  # the user without a path


@pytest.fixture
def library():
  return pytest.importorskip('deepmimo')


def rays(delay_s, azimuth_deg, zenith_deg, power_db=0.0, phase_deg=0.0):
  """All [user, ray], DeepMIMO's names; absent rays are not a number there."""
  leaves = {
      'delay': delay_s, 'aod_az': azimuth_deg, 'aod_el': zenith_deg, 'aoa_az': 0.0, 'aoa_el': 90.0,
      'power': power_db, 'phase': phase_deg, 'inter': 0.0}
  found = {name: np.broadcast_to(leaf, delay_s.shape).copy() for name, leaf in leaves.items()}
  for leaf in found.values():
    leaf[SILENT] = np.nan
  return found


def channels(library, found, heading_deg=0.0, num_carriers=NUM_CARRIERS):
  """[user, 1, tx, carrier] of a half-wavelength ULA, turned around the vertical."""
  dataset = library.Dataset({
      'tx_pos': np.array([[0.0, 0, 25]]), 'rx_pos': POSITIONS, 'scene': library.Scene(), **found})
  return dataset.compute_channels(
      bs_antenna={
          'shape': np.array([NUM_ANTENNAS, 1]), 'rotation': np.array([0, 0, heading_deg])},
      ofdm={
          'bandwidth': CONFIG.bandwidth_hz, 'subcarriers': NUM_CARRIERS,
          'selected_subcarriers': np.arange(num_carriers)})


def save(path, channel):
  np.savez(path, channel=channel, rx_pos=POSITIONS)
  return path


def read_heard(path):
  """CSI and positions of the users with a path; the other is all zeros."""
  groups = read_csi(path, config=CONFIG, allow_silent=True)
  heard = np.arange(4) != SILENT
  np.testing.assert_array_equal(groups.csi.any((1, 2, 3)), heard)
  return groups.csi[heard, 0], groups.positions[heard, 0]


@pytest.mark.parametrize('heading_deg', [0, 40])
def test_a_ray_is_at_its_delay_and_angle(tmp_path, library, heading_deg):
  """DeepMIMO numbers its antennas along +y: azimuths run from column 0 downwards."""
  rows, beams = np.array([0, 3, 9, 31]), np.array([1, -3, 0, 2])
  zenith = 80.0
  azimuth = np.rad2deg(np.arcsin(2 * beams / NUM_ANTENNAS / np.sin(np.deg2rad(zenith))))
  found = rays((rows / CONFIG.bandwidth_hz)[:, None], azimuth[:, None] + heading_deg, zenith)
  path = save(tmp_path / 'a.npz', channels(library, found, heading_deg))
  csi, positions = read_heard(path)

  heard = np.arange(4) != SILENT
  expected = np.zeros((3, 32, NUM_ANTENNAS))
  expected[range(3), rows[heard], -beams[heard] % NUM_ANTENNAS] = np.sqrt(32 * NUM_ANTENNAS)
  np.testing.assert_allclose(np.abs(csi), expected, atol=1e-4)
  np.testing.assert_array_equal(positions, POSITIONS[heard].astype(np.float32))


def test_csi_is_that_of_a_sum_over_the_rays(tmp_path, library):
  rng = np.random.default_rng(0)
  shape = (4, 5)
  found = rays(
      rng.uniform(0, 1e-6, shape), rng.uniform(-90, 90, shape), rng.uniform(80, 120, shape),
      rng.uniform(-20, 0, shape), rng.uniform(-180, 180, shape))
  found = {name: np.where(np.arange(5) < [[5], [2], [0], [4]], leaf, np.nan)
           for name, leaf in found.items()}
  csi, _ = read_heard(save(tmp_path / 'a.npz', channels(library, found)))

  azimuth, zenith, phase = (np.deg2rad(found[name]) for name in ('aod_az', 'aod_el', 'phase'))
  gain = 10 ** (found['power'] / 20) * np.exp(1j * phase)
  carrier = np.arange(NUM_CARRIERS) * CONFIG.bandwidth_hz / NUM_CARRIERS
  turns = -2j * np.pi * carrier[:, None, None] * found['delay'][:, None, None]
  turns = turns + 1j * np.pi * np.arange(NUM_ANTENNAS)[:, None] * (
      np.sin(azimuth) * np.sin(zenith))[:, None, None]
  response = np.nansum(gain[:, None, None] * np.exp(turns), -1)  # [user, carrier, antenna]
  rows = np.fft.ifft2(response, norm='ortho')[np.arange(4) != SILENT, :32]
  expected = rows / np.sqrt(np.mean(np.abs(rows) ** 2, (-2, -1), keepdims=True))
  np.testing.assert_allclose(csi, expected, atol=1e-4)  # it computes in float32


def test_its_default_of_a_single_subcarrier_is_refused(tmp_path, library):
  channel = channels(library, rays(np.zeros((4, 1)), 0.0, 90.0), num_carriers=1)
  with pytest.raises(InputError, match='has a single subcarrier'):
    read_csi(save(tmp_path / 'a.npz', channel), config=CONFIG)
