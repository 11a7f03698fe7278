"""CSI of channels that quadriga-lib computed and wrote itself; needs the extra `files`."""

import numpy as np
import pytest

from rca_jax.config import CsiConfig
from rca_jax.data.files import read_csi

CONFIG = CsiConfig(num_tx_antennas=8, num_subcarriers=256)
STATION = np.array([100.0, 50.0, 25.0])
CARRIER_HZ = 6.7e9


def channel(library, ues, scatterers):
  """LOS and one path over each scatterer [3], from a ULA along y; a snapshot for each UE."""
  station = library.arrayant.generate('ula', N=8, freq=CARRIER_HZ)
  terminal = library.arrayant.generate('omni', freq=CARRIER_HZ)
  coefficients, delays = [], []
  for ue in ues:
    bounces = np.stack([(STATION + ue) / 2, *scatterers], -1)
    lengths = sum(np.linalg.norm(bounces.T - end, axis=-1) for end in (STATION, ue))
    matrix = np.zeros((8, len(lengths), 1))
    matrix[0], matrix[6] = 1, -1  # polarisation is kept
    gains = np.r_[1.0, np.full(len(scatterers), 0.1)][:, None]
    coefficient, delay = library.arrayant.get_channels_spherical(
        station, terminal, bounces, bounces, gains, lengths, matrix, STATION, np.zeros(3), ue,
        np.zeros(3), center_freq=np.array([CARRIER_HZ]), use_absolute_delays=True, complex=True)
    coefficients.append(coefficient)
    delays.append(delay)
  return {
      'name': 'Tx_Rx', 'center_frequency': np.array([CARRIER_HZ]),
      'tx_position': STATION[:, None], 'rx_position': np.stack(ues, -1),
      'coeff': coefficients, 'delay': delays}


def expected_csi(coefficient, delay):
  """Path by path, carrier by carrier; [1, tx, path] to [N_a, N_t]."""
  carriers = np.arange(CONFIG.num_subcarriers) * CONFIG.bandwidth_hz / CONFIG.num_subcarriers
  stored = np.broadcast_to(np.float32(delay), coefficient.shape).astype(float)
  response = sum(
      coefficient[0, :, path] * np.exp(-2j * np.pi * carriers[:, None] * stored[0, :, path])
      for path in range(coefficient.shape[-1]))
  rows = np.fft.ifft2(response, norm='ortho')[:CONFIG.num_delay_taps]
  return rows / np.sqrt(np.mean(np.abs(rows) ** 2))


@pytest.fixture
def library():
  return pytest.importorskip('quadriga_lib')


@pytest.fixture
def channels(library):
  """Of 1, 3 and 2 snapshots; the last has delays that the antennas share."""
  ues = STATION * [1, 1, 0] + [
      [80, 60, 1.5], [90, -40, 1.5], [91, -40, 1.5], [92, -41, 1.5], [-30, 70, 1.5], [-31, 70, 1.5]]
  scatterers = np.array([[130.0, 0, 10], [220, 140, 5], [60, 160, 8]])
  found = [
      channel(library, ues[:1], scatterers[:2]), channel(library, ues[1:4], scatterers),
      channel(library, ues[4:], scatterers[:1])]
  found[2]['delay'] = [delay.mean(1, keepdims=True) for delay in found[2]['delay']]
  found[1]['coeff'][1], found[1]['delay'][1] = (
      values[1][..., :2] for values in (found[1]['coeff'], found[1]['delay']))  # fewer paths
  return found


def test_a_file_of_quadriga_lib_has_the_csi_of_its_paths(tmp_path, library, channels):
  path = tmp_path / 'uma.hdf5'
  library.channel.hdf5_create_file(str(path), 3, 2)
  with pytest.warns(UserWarning, match='overwriting'):
    for index, written in ((0, channels[2]), (0, channels[0])):  # the second takes its place
      library.channel.hdf5_write_channel(str(path), written, ix=index)
  library.channel.hdf5_write_channel(str(path), channels[2], par={'KF': np.ones(3)}, ix=0, iy=1)
  library.channel.hdf5_write_channel(str(path), channels[1], ix=2)
  library.channel.hdf5_write_dset(str(path), ix=1, iy=1, name='note', data=np.ones(3))
  groups = read_csi(path, config=CONFIG)

  expected = [
      expected_csi(*paths) for each in channels
      for paths in zip(each['coeff'], each['delay'], strict=True)]
  np.testing.assert_allclose(groups.csi[:, 0], expected, atol=1e-5)
  positions = np.concatenate([each['rx_position'] for each in channels], -1).T
  np.testing.assert_allclose(groups.positions[:, 0], positions - STATION * [1, 1, 0], atol=1e-4)


def test_the_los_path_is_at_its_delay_and_angle(tmp_path, library, channels):
  """QuaDRiGa numbers its antennas along +y: azimuths run from column 0 downwards."""
  library.channel.hdf5_write_channel(str(tmp_path / 'uma.hdf5'), channels)
  groups = read_csi(tmp_path / 'uma.hdf5', config=CONFIG)
  for csi, ue in zip(groups.csi[:, 0], groups.positions[:, 0], strict=True):
    line = ue - STATION * [0, 0, 1]
    distance = np.linalg.norm(line)
    row, column = np.unravel_index(np.abs(csi).argmax(), csi.shape)
    assert abs(row - distance / 299792458 * CONFIG.bandwidth_hz) < 0.6
    assert abs((column + 4 * line[1] / distance + 4) % 8 - 4) < 0.6


def test_responses_are_those_of_quadriga_lib(tmp_path, library, channels):
  library.channel.hdf5_write_channel(str(tmp_path / 'uma.hdf5'), channels[1])
  carriers = np.arange(CONFIG.num_subcarriers) / CONFIG.num_subcarriers
  response = library.channel.baseband_freq_response(
      coeff=channels[1]['coeff'], delay=channels[1]['delay'], bandwidth=CONFIG.bandwidth_hz,
      pilot_grid=carriers)[0]  # [tx, carrier, snapshot], in single precision
  rows = np.fft.ifft2(response.transpose(2, 1, 0), norm='ortho')[:, :CONFIG.num_delay_taps]
  expected = rows / np.sqrt(np.mean(np.abs(rows) ** 2, (-2, -1), keepdims=True))
  csi = read_csi(tmp_path / 'uma.hdf5', config=CONFIG).csi
  np.testing.assert_allclose(csi[:, 0], expected, atol=1e-3)
