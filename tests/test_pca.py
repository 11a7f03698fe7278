import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines.pca import fit, least_error_powers, reconstruct, transmit
from rca_jax.errors import InputError
from rca_jax.uplink.known import Uplink

SPECTRUM = np.array([9.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.05])


@pytest.fixture(scope='module')
def features() -> np.ndarray:
  """[20000, 8] Gaussians of a known spectrum in a random basis, off the origin."""
  rng = np.random.default_rng(0)
  basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
  samples = rng.normal(size=(20000, 8)) * np.sqrt(SPECTRUM)
  return (samples @ basis + np.arange(8)).astype(np.float32)


def allocate_power(variances, snr_db):
  """Of k real coefficients on k/2 symbols of unit power."""
  variances = np.asarray(variances, np.float64)
  return least_error_powers(variances, 10 ** (-snr_db / 10) / 2, variances.size / 2)


def _distortion(variances, power, snr_db):
  return np.sum(variances / (1 + power / (10 ** (-snr_db / 10) / 2)))


def test_fit_finds_the_principal_directions(features):
  code = fit(features, 4)
  np.testing.assert_allclose(code.mean, features.mean(axis=0), atol=1e-4)
  np.testing.assert_allclose(code.variances, SPECTRUM[:4], rtol=0.05)
  np.testing.assert_allclose(code.components @ code.components.T, np.eye(4), atol=1e-5)
  coefficients = (features - code.mean) @ code.components.T
  np.testing.assert_allclose(np.cov(coefficients.T), np.diag(code.variances), atol=5e-3)


def test_noise_free_error_is_what_was_left_out(features):
  for k in (2, 4, 6):
    error = np.mean(np.sum((reconstruct(fit(features, k), features) - features)**2, axis=-1))
    np.testing.assert_allclose(error, SPECTRUM[k:].sum(), rtol=0.05)
  np.testing.assert_allclose(reconstruct(fit(features, 8), features), features, atol=1e-4)


@pytest.mark.parametrize('snr_db', [-10.0, 0.0, 10.0, 20.0])
def test_allocation_beats_every_other_on_a_grid(snr_db):
  variances = np.array([4.0, 1.0, 0.3, 0.05])
  power = allocate_power(variances, snr_db)
  assert (power >= 0).all()
  np.testing.assert_allclose(power.sum(), 2)
  best = min(
      _distortion(variances, np.array(p) / 15, snr_db)
      for p in itertools.product(range(31), repeat=4) if sum(p) == 30)
  ours = _distortion(variances, power, snr_db)
  assert ours <= best * (1 + 1e-9)
  assert ours > 0.97 * best  # and the grid is fine enough to say so


def test_equal_variances_share_the_power_equally():
  power = allocate_power(np.full(6, 2.0), 10.0)
  np.testing.assert_allclose(power, 0.5)
  # Every coefficient then meets the symbols' own SNR: error lambda / (1 + SNR).
  np.testing.assert_allclose(_distortion(np.full(6, 2.0), power, 10.0), 6 * 2 / 11)


def test_weak_coefficients_are_given_up_at_low_snr():
  assert np.count_nonzero(allocate_power(SPECTRUM, -20.0)) == 1
  assert np.count_nonzero(allocate_power(SPECTRUM, 40.0)) == 8
  np.testing.assert_array_equal(allocate_power(np.zeros(4), 0.0), 0)


def test_transmission_meets_its_theory_and_improves_with_snr_and_length(features):
  errors = {}
  for k, snr_db in itertools.product((2, 4, 8), (-5.0, 5.0, 15.0)):
    code = fit(features, k)
    estimate = transmit(jax.random.key(1), code, features, Uplink(snr_db))
    errors[k, snr_db] = np.mean(np.sum((estimate - features)**2, axis=-1))
    theory = SPECTRUM[k:].sum() + _distortion(
        code.variances, allocate_power(code.variances, snr_db), snr_db)
    np.testing.assert_allclose(errors[k, snr_db], theory, rtol=0.05)
  for k in (2, 4, 8):
    assert errors[k, -5.0] > errors[k, 5.0] > errors[k, 15.0]
  for snr_db in (-5.0, 5.0, 15.0):
    assert errors[2, snr_db] > errors[4, snr_db] > errors[8, snr_db]


def test_no_noise_is_the_noise_free_code_on_any_leading_axes(features):
  code = fit(features, 4)
  batch = jnp.asarray(features[:12]).reshape(3, 4, 8)
  run = jax.jit(lambda key, x: transmit(key, code, x, Uplink(120.0)))
  np.testing.assert_allclose(
      run(jax.random.key(0), batch), reconstruct(code, batch), atol=1e-3)


def test_dimensions_without_variance_are_harmless():
  features = np.zeros((100, 8), np.float32)
  features[:, 0] = np.random.default_rng(0).normal(size=100)
  estimate = transmit(jax.random.key(0), fit(features, 4), features, Uplink(10.0))
  assert np.isfinite(estimate).all()
  assert np.isfinite(
      transmit(jax.random.key(0), fit(np.zeros((100, 8)), 4), features, Uplink(10.0))).all()


@pytest.mark.parametrize(
    'shape, k, message', [
        ((10, 2, 8), 4, r'expected \[n, D\]'), ((100, 8), 3, 'k=3'), ((100, 8), 10, 'k=10'),
        ((100, 8), 0, 'k=0'), ((4, 8), 4, 'n=4 samples')])
def test_bad_fits_are_input_errors(shape, k, message):
  with pytest.raises(InputError, match=message):
    fit(np.zeros(shape, np.float32), k)


def test_a_code_knows_its_dimension(features):
  with pytest.raises(InputError, match='D=8'):
    reconstruct(fit(features, 4), features[:, :7])
