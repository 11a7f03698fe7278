import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.uplink.djscc import (
  CHANNELS,
  awgn,
  from_symbols,
  narrowband_interference,
  noise_variance,
  rayleigh_block_fading,
  rayleigh_block_fading_equalised,
  resolve_channel,
  to_symbols,
)

pytestmark = pytest.mark.usefixtures('quick_compilation')
_interfere = jax.jit(narrowband_interference)


def _codewords(*shape: int) -> jax.Array:
  # UEs of very different strength.
  scale = jnp.array([0.01, 1.0, 100.0]).reshape((1,) * len(shape) + (3, 1))
  return scale * jax.random.normal(jax.random.key(0), (*shape, 3, 16))


def test_mean_power_is_one_per_ue_and_sample():
  power = np.mean(np.abs(to_symbols(_codewords(5)))**2, axis=-1)
  assert power.shape == (5, 3)
  np.testing.assert_allclose(power[:, 1:], 1, atol=1e-5)
  np.testing.assert_allclose(power[:, 0], 1, atol=1e-3)  # the epsilon shows at power 2e-4


def test_first_half_is_real_second_half_imaginary():
  codeword = jnp.arange(1.0, 9.0)
  symbols = to_symbols(codeword)
  assert symbols.dtype == jnp.complex64
  scale = np.sqrt(np.mean(np.arange(1.0, 9.0)**2) * 2)
  np.testing.assert_allclose(symbols[1], (2 + 6j) / scale, rtol=1e-6)
  np.testing.assert_allclose(from_symbols(symbols), codeword / scale, rtol=1e-6)


def test_gradient_is_finite_at_a_zero_codeword():
  weights = jnp.arange(16.0)
  gradient = jax.grad(lambda v: jnp.sum(weights * from_symbols(to_symbols(v))))(jnp.zeros(16))
  assert np.isfinite(gradient).all()
  assert np.abs(gradient).max() > 0


def test_odd_codeword_is_an_input_error():
  with pytest.raises(InputError, match='k=15 must be even'):
    to_symbols(jnp.zeros((2, 15)))


def test_noise_variance_is_inverse_snr():
  np.testing.assert_allclose(
      noise_variance(jnp.array([0.0, 10.0, 20.0, -3.0])), [1, 0.1, 0.01, 10**0.3], rtol=1e-6)


def test_awgn_has_the_named_variance_per_ue_and_half_per_real_part():
  symbols = to_symbols(jax.random.normal(jax.random.key(1), (200, 3, 2000)))
  snr_db = jnp.array([0.0, 10.0, 20.0])
  noise = np.asarray(awgn(jax.random.key(2), symbols, snr_db) - symbols)
  for ue, expected in enumerate([1, 0.1, 0.01]):
    part = noise[:, ue]
    np.testing.assert_allclose(np.var(part), expected, rtol=0.01)
    np.testing.assert_allclose(np.var(part.real), expected / 2, rtol=0.02)
    np.testing.assert_allclose(np.var(part.imag), expected / 2, rtol=0.02)
    assert abs(np.mean(part.real * part.imag)) < 0.01 * expected


@pytest.mark.parametrize('name', CHANNELS)
def test_noise_is_a_function_of_the_key_alone(name):
  channel = resolve_channel(name)
  symbols = to_symbols(_codewords(4))
  first = channel(jax.random.key(3), symbols, 10.0)
  assert first.shape == symbols.shape and first.dtype == jnp.complex64
  np.testing.assert_array_equal(first, channel(jax.random.key(3), symbols, 10.0))
  assert (first != channel(jax.random.key(4), symbols, 10.0)).all()


@pytest.mark.parametrize('snr_db', [10.0, np.full(3, 10.0), np.full((4, 1), 10.0)])
def test_snr_broadcasts_to_batch_and_ue(snr_db):
  symbols = to_symbols(_codewords(4))
  np.testing.assert_array_equal(
      awgn(jax.random.key(0), symbols, snr_db),
      awgn(jax.random.key(0), symbols, jnp.full((4, 3), 10.0)))


@pytest.mark.parametrize('shape', [(8,), (4, 3, 1), (4,)])
def test_snr_never_broadcasts_against_symbols(shape):
  with pytest.raises(InputError, match=r'broadcasts to \[batch, ue\] = \[4, 3\]'):
    awgn(jax.random.key(0), to_symbols(_codewords(4)), jnp.zeros(shape))


def test_fading_is_one_unit_power_gain_per_report():
  symbols = jnp.ones((4000, 3, 4), jnp.complex64)
  gains = np.asarray(rayleigh_block_fading(jax.random.key(0), symbols, 120.0))
  assert np.abs(gains - gains[..., :1]).max() < 1e-5
  gains = gains[..., 0]
  np.testing.assert_allclose(np.mean(np.abs(gains)**2), 1, rtol=0.05)
  np.testing.assert_allclose(np.mean(np.abs(gains)**4), 2, rtol=0.15)  # complex Gaussian
  assert abs(np.mean(gains[:, 0] * np.conj(gains[:, 1]))) < 0.05


def test_equaliser_undoes_the_gain_and_beats_no_equaliser():
  symbols = to_symbols(jax.random.normal(jax.random.key(1), (2000, 3, 16)))
  def error(channel, snr_db):
    return np.mean(np.abs(channel(jax.random.key(0), symbols, snr_db) - symbols)**2)
  # An MMSE receiver's error is E[N_0 / (|g|^2 + N_0)]: about N_0 ln(1/N_0) when small.
  gains = np.random.default_rng(0).exponential(size=1_000_000)
  for snr_db in (0.0, 10.0, 20.0):
    n0 = 10 ** (-snr_db / 10)
    np.testing.assert_allclose(
        error(rayleigh_block_fading_equalised, snr_db), np.mean(n0 / (gains + n0)), rtol=0.05)
    assert error(rayleigh_block_fading, snr_db) > 1


@pytest.mark.parametrize('num_symbols', [5, 20])
def test_interference_hits_an_eighth_of_neighbouring_symbols(num_symbols):
  symbols = to_symbols(jax.random.normal(jax.random.key(1), (1000, 3, 2 * num_symbols)))
  difference = np.asarray(_interfere(jax.random.key(2), symbols, 120.0) - symbols)
  hit = np.abs(difference) > 1e-4
  width = int(np.ceil(num_symbols / 8))
  assert (hit.sum(-1) == width).all()
  first = hit.argmax(-1)
  assert (hit[..., ::-1].argmax(-1) == num_symbols - width - first).all()  # no gap between them
  assert set(first.ravel()) == set(range(num_symbols - width + 1))
  assert (first[:, 0] != first[:, 1]).any()  # a place of its own for every UE
  np.testing.assert_allclose(np.mean(np.abs(difference[hit])**2), 1, rtol=0.1)
  assert abs(np.mean(difference[hit] ** 2)) < 0.1  # circular


def test_interference_adds_to_the_noise_of_awgn():
  symbols = to_symbols(jax.random.normal(jax.random.key(1), (2000, 3, 32)))
  def error(snr_db):
    return np.asarray(_interfere(jax.random.key(2), symbols, snr_db) - symbols)
  hit = np.abs(error(jnp.full(3, 120.0))) > 1e-4  # the place follows from the key
  noisy = error(jnp.array([0.0, 10.0, 20.0]))
  for ue, n0 in enumerate([1, 0.1, 0.01]):
    inside, outside = noisy[:, ue][hit[:, ue]], noisy[:, ue][~hit[:, ue]]
    np.testing.assert_allclose(np.mean(np.abs(inside)**2), 1 + n0, rtol=0.1)
    np.testing.assert_allclose(np.mean(np.abs(outside)**2), n0, rtol=0.03)


def test_unknown_channel_is_an_input_error():
  with pytest.raises(InputError, match="uplink.channel='fiber' is unknown; choose one of awgn"):
    resolve_channel('fiber')
