import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import from_features, normalise, paths, response, to_features, uma
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
  """Eq. (1)'s sum over every subcarrier and antenna, then both DFTs, in numpy: [n, N_c, N_t]."""
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


def test_taps_are_the_sum_over_all_rays(make_site):
  """TR 38.901 eq. (7.5-22) ray by ray in numpy: every ray has the delay of its sub-cluster."""
  ground = np.random.default_rng(0).uniform(-90, 90, (40, 2)).astype(np.float32)
  found = jax.jit(paths)(
      make_site(), jnp.pad(ground, ((0, 0), (0, 1)), constant_values=1.5)[:, None])
  assert found.los.any() and not found.los.all()
  found = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], found)
  taps = jax.jit(response.taps, static_argnums=1)(found, CONFIG)
  delay_s = np.repeat(found.delay_s, np.diff(uma.SUBCLUSTER_ENDS), -1)  # [..., C, R]
  assert (np.ptp(delay_s, axis=-1) > 0).any()  # some clusters are split
  sine = np.append(
      (np.sin(found.zenith) * np.sin(found.azimuth)).reshape(len(delay_s), -1),
      (np.sin(found.los_zenith) * np.sin(found.los_azimuth))[:, None], -1).astype(np.float64)
  gain = np.append(found.gain.reshape(len(delay_s), -1), found.los_gain[:, None], -1)
  delay_s = np.append(delay_s.reshape(len(delay_s), -1), np.zeros((len(delay_s), 1)), -1)
  steer = np.exp(-1j * np.pi * np.arange(CONFIG.num_tx_antennas) * sine[..., None])
  rays = response.Taps(delay_s, gain[..., None] * steer)
  np.testing.assert_allclose(_full_csi(taps), _full_csi(rays), atol=2e-4)
  np.testing.assert_allclose(np.abs(taps.coefficient[:, -1]), np.abs(found.los_gain)[:, None] *
                             np.ones(CONFIG.num_tx_antennas), rtol=1e-5)


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
