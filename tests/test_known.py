"""The uplink of codes that know their noise, and the codes over it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines.pca import fit, transmit
from rca_jax.errors import InputError
from rca_jax.uplink.djscc import CHANNELS, narrowband_interference, noise_variance, through
from rca_jax.uplink.known import KNOWN, Uplink, check_known

KEYS = jax.random.split(jax.random.key(0), (2000, 3))
SNRS_DB = np.array([0.0, 5.0, 20.0])


@pytest.fixture(scope='module')
def symbols():
  return jax.random.normal(jax.random.key(1), (2000, 3, 16), jnp.complex64)


@pytest.mark.parametrize('channel', KNOWN)
def test_the_noise_of_each_ue_is_what_the_bs_believes(symbols, channel):
  """Relative to the N_0 that is told the noise has unit power, on average over fading too."""
  received, noise = Uplink(SNRS_DB, channel=channel).send(KEYS, symbols)
  assert noise.shape == (2000, 3)
  found = (np.abs(received - symbols) ** 2 / noise[..., None]).mean((0, 2))
  np.testing.assert_allclose(found, 1, atol=0.05)
  _, told = Uplink(SNRS_DB, 3.0, channel).send(KEYS, symbols)
  assert (told < noise).all() and (told > 0.5 * noise).all()


def test_a_known_gain_is_that_of_the_equalised_channel(symbols):
  received, noise = Uplink(SNRS_DB, channel='rayleigh_block_fading_equalised').send(KEYS, symbols)
  power = noise_variance(SNRS_DB) / noise
  assert abs(float(power.mean()) - 1) < 0.05
  shrunk = received * (power / (power + noise_variance(SNRS_DB)))[..., None]
  expected = through(CHANNELS['rayleigh_block_fading_equalised'], KEYS, symbols, SNRS_DB)
  np.testing.assert_allclose(shrunk, expected, atol=2e-4)


def test_noise_and_interference_are_the_draws_of_the_channel(symbols):
  received, _ = Uplink(SNRS_DB, channel='narrowband_interference').send(KEYS, symbols)
  expected = through(narrowband_interference, KEYS, symbols, SNRS_DB)
  np.testing.assert_array_equal(received, expected)
  assert Uplink(10.0, -3.0).noise(16) == pytest.approx(10**-0.7)
  assert Uplink(10.0, channel='narrowband_interference').noise(9) == pytest.approx(0.1 + 2 / 9)


@pytest.mark.parametrize('channel', KNOWN)
def test_the_linear_code_of_every_ue_meets_its_theory(channel):
  """UEs of one spectrum at three SNRs: lambda / (1 + p |g|^2 / N), averaged over the gain."""
  spectrum = np.array([9.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.05])
  rng = np.random.default_rng(0)
  features = (rng.normal(size=(20_000, 3, 8)) * np.sqrt(spectrum)).astype(np.float32)
  code, uplink = fit(features[:, 0], 6), Uplink(SNRS_DB, channel=channel)
  keys = jax.random.split(jax.random.key(2), features.shape[:2])
  errors = ((transmit(keys, code, features, uplink) - features) ** 2).sum(-1).mean(0)
  gains = -np.log((np.arange(4000) + 0.5) / 4000) if 'fading' in channel else np.ones(1)
  for noise, error in zip(uplink.noise(3) / 2, errors, strict=True):
    active = np.arange(1, 7)
    roots = np.sqrt(spectrum[:6])
    levels = np.cumsum(roots) / (3 / noise + active)
    last = active[roots > levels][-1] - 1
    power = noise * np.maximum(roots / levels[last] - 1, 0)
    theory = (spectrum[:6] / (1 + power * gains[:, None] / noise)).sum(1).mean() + 0.15
    np.testing.assert_allclose(error, theory, rtol=0.05)


def test_a_gain_without_phase_is_refused_in_one_line():
  with pytest.raises(InputError, match="'rayleigh_block_fading': without the phase of the gain"):
    check_known('rayleigh_block_fading')
  with pytest.raises(InputError, match="'wire' is unknown"):
    check_known('wire')
