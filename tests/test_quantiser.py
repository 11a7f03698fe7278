import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.uplink.quantiser import bound, from_bits, quantise, to_bits, to_levels

NUMS_BITS = range(1, 7)
CODEWORD = np.append(3 * np.random.default_rng(0).normal(size=997), [0, 30, -30]).astype(np.float32)


def _numpy_bound(codeword) -> np.ndarray:
  codeword = codeword.astype(np.float64)
  return np.tanh(codeword / np.sqrt(np.mean(codeword**2)))


def _numpy_quantise(codeword, num_bits: int) -> np.ndarray:
  """The middle, of all 2^q, that is nearest to the bounded entry."""
  middles = -1 + (np.arange(2**num_bits) + 0.5) * 2 / 2**num_bits
  distance = np.abs(_numpy_bound(codeword)[..., None] - middles)
  return middles[distance.argmin(-1)]


@pytest.mark.parametrize('num_bits', NUMS_BITS)
def test_quantiser_is_the_nearest_of_2_to_the_q_middles(num_bits):
  found = quantise(CODEWORD, num_bits)
  tie = CODEWORD == 0  # on a border: either neighbour is as near
  np.testing.assert_allclose(found[~tie], _numpy_quantise(CODEWORD, num_bits)[~tie], atol=1e-6)
  error = np.abs(found - _numpy_bound(CODEWORD))
  assert 0.9 / 2**num_bits < error.max() <= 1.0001 / 2**num_bits
  # A report of even entries has rms 4 / sqrt(3) and reaches tanh(+-sqrt(3)) = +-0.94.
  levels = np.unique(to_levels(np.linspace(-4, 4, 4001), num_bits))
  assert len(levels) == 2**num_bits - 2 * (num_bits == 6)


def test_a_report_is_heard_alike_at_any_power():
  reports = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
  for scale in (1e-2, 1e3):
    np.testing.assert_allclose(bound(scale * reports), bound(reports), rtol=1e-3)
  np.testing.assert_allclose(bound(reports)[2], _numpy_bound(reports[2]), rtol=1e-6)
  gradient = jax.grad(lambda v: jnp.sum(quantise(v, 3)))(jnp.zeros(16))
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize('num_bits', NUMS_BITS)
def test_quantiser_is_monotone_and_stays_within_the_interval(num_bits):
  found = np.asarray(quantise(np.sort(CODEWORD), num_bits))
  assert (np.diff(found) >= -1e-6).all()
  assert np.abs(found).max() < 1


@pytest.mark.parametrize('num_bits', [1, 3])
def test_gradient_is_that_of_an_unquantised_report(num_bits):
  gradient, expected = (
      jax.grad(lambda v, f=f: jnp.sum(jnp.arange(1000.0) * f(v)))(CODEWORD)
      for f in (lambda v: quantise(v, num_bits), bound))
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)
  assert np.abs(gradient).max() > 1


@pytest.mark.parametrize('num_bits', NUMS_BITS)
def test_bits_carry_every_level(num_bits):
  index = np.arange(2**num_bits).reshape(2, -1)
  bits = np.asarray(to_bits(index, num_bits))
  assert bits.shape == (2, index.shape[1] * num_bits) and bits.dtype == np.uint8
  assert set(bits.ravel()) == {0, 1}
  np.testing.assert_array_equal(from_bits(bits, num_bits), index)


@pytest.mark.parametrize('num_bits', NUMS_BITS)
def test_bits_of_neighbouring_levels_differ_in_one(num_bits):
  bits = np.asarray(to_bits(np.arange(2**num_bits), num_bits)).reshape(-1, num_bits).astype(int)
  assert (np.abs(np.diff(bits, axis=0)).sum(axis=1) == 1).all()
  # The first bit is the most significant: it is the sign.
  np.testing.assert_array_equal(bits[:, 0], np.arange(2**num_bits) >= 2 ** (num_bits - 1))


def test_bits_of_an_entry_stay_together():
  bits = np.asarray(to_bits(np.array([[0, 1, 2, 3]]), 2))
  np.testing.assert_array_equal(bits, [[0, 0, 0, 1, 1, 1, 1, 0]])
