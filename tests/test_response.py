import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import from_features, normalise, paths, response, sample_site, to_features
from rca_jax.config import CsiConfig

CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=16, num_tx_antennas=12)


def _taps(num_taps=5, seed=0):
  generator = np.random.default_rng(seed)
  shape = (3, num_taps, CONFIG.num_tx_antennas)
  coefficient = generator.normal(size=shape) + 1j * generator.normal(size=shape)
  delay_s = generator.uniform(0, 10 / CONFIG.bandwidth_hz, (3, num_taps))
  delay_s[:, 0] = 0
  return response.Taps(jnp.array(delay_s, jnp.float32), jnp.array(coefficient, jnp.complex64))


def _full_csi(taps):
  """Eq. (1)'s sum over every subcarrier and antenna, then both DFTs, in numpy: [3, N_c, N_t]."""
  k = np.arange(CONFIG.num_subcarriers)
  phase = np.exp(-2j * np.pi * k[:, None] / CONFIG.num_subcarriers
                 * np.asarray(taps.delay_s, np.float64)[:, None] * CONFIG.bandwidth_hz)
  frequency = phase @ np.asarray(taps.coefficient)
  delay = np.fft.ifft(frequency, axis=-2, norm='ortho')
  return np.fft.ifft(delay, axis=-1, norm='ortho')


def test_delay_angle_is_the_direct_sum_and_its_dfts():
  taps = _taps()
  expected = _full_csi(taps)[:, :CONFIG.num_delay_taps]
  np.testing.assert_allclose(response.delay_angle(taps, CONFIG), expected, atol=2e-4)


def test_total_energy_is_parseval_s():
  taps = _taps()
  expected = (np.abs(_full_csi(taps)) ** 2).sum((-1, -2))
  np.testing.assert_allclose(response.total_energy(taps, CONFIG), expected, rtol=1e-4)


@pytest.mark.parametrize(('row', 'sine'), [(0, 0.0), (3, 0.5), (7, -0.5)])
def test_energy_lands_in_the_row_of_the_delay_and_the_column_of_the_angle(row, sine):
  config = CsiConfig(num_tx_antennas=32)
  taps = response.Taps(
      jnp.array([row / config.bandwidth_hz]), response.steering(jnp.array([sine]), 32))
  power = np.abs(response.delay_angle(taps, config)) ** 2
  assert np.unravel_index(power.argmax(), power.shape) == (row, 16 * sine % 32)
  assert power.max() > 0.999 * power.sum()


def test_taps_sum_the_rays_of_each_subcluster():

  @jax.jit
  def draw(key):
    found = paths(sample_site(key, CONFIG), jnp.array([[60.0, 20.0, 1.5]]))
    return found, response.taps(found, CONFIG.num_tx_antennas)

  found, taps = draw(jax.random.key(0))
  sine = np.asarray(jnp.sin(found.zenith) * jnp.sin(found.azimuth), np.float64)[0]
  rays = np.asarray(found.gain)[0, ..., None] * np.exp(
      -1j * np.pi * np.arange(CONFIG.num_tx_antennas) * sine[..., None])
  expected = np.stack([rays[:, :10].sum(1), rays[:, 10:16].sum(1), rays[:, 16:].sum(1)], 1)
  np.testing.assert_allclose(
      taps.coefficient[0, :-1], expected.reshape(-1, CONFIG.num_tx_antennas), atol=1e-5)
  np.testing.assert_array_equal(taps.delay_s[0, :-1], found.delay_s[0].ravel())
  assert taps.delay_s[0, -1] == 0
  np.testing.assert_allclose(np.abs(taps.coefficient[0, -1]), abs(found.los_gain[0]), rtol=1e-5)


def test_features_hold_real_then_imaginary_parts_and_come_back():
  csi = _full_csi(_taps()).astype(np.complex64)
  features = to_features(csi)
  assert features.shape == (3, CONFIG.num_tx_antennas, 2 * CONFIG.num_subcarriers)
  assert features.dtype == jnp.float32
  np.testing.assert_array_equal(features[1, 4, 7], csi[1, 7, 4].real)
  np.testing.assert_array_equal(features[1, 4, CONFIG.num_subcarriers + 7], csi[1, 7, 4].imag)
  np.testing.assert_array_equal(from_features(features), csi)


def test_normalise_gives_each_ue_unit_mean_power():
  csi = normalise(jnp.asarray(_full_csi(_taps())) * jnp.array([1e-4, 1.0, 1e3])[:, None, None])
  np.testing.assert_allclose((jnp.abs(csi) ** 2).mean((-1, -2)), 1, rtol=1e-5)
  assert not normalise(jnp.zeros((4, 4), jnp.complex64)).any()
