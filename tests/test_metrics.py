import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import (
    bootstrap_ci95,
    cosine_similarity,
    nmse,
    paired_gain,
    sgcs,
    to_db,
)


def _csi(seed: int = 0, shape=(5, 2, 4, 8)) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def test_zero_estimate_is_0_db():
  np.testing.assert_allclose(to_db(nmse(_csi(), 0 * _csi())), 0, atol=1e-5)


def test_ten_percent_amplitude_error_is_minus_20_db():
  np.testing.assert_allclose(to_db(nmse(_csi(), 1.1 * _csi())), -20, atol=1e-3)


def test_nmse_is_the_mean_of_the_ues_ratios():
  csi = np.ones((1, 2, 4, 8), np.complex64)
  csi[:, 1] *= 10
  csi_hat = csi.copy()
  csi_hat[:, 0] = 0  # the weak UE is lost: ratios 1 and 0; a ratio of sums would say 1/101
  np.testing.assert_allclose(nmse(csi, csi_hat), [0.5], rtol=1e-6)


def test_nmse_is_the_same_on_features():
  csi, csi_hat = _csi(0), _csi(1)
  features, features_hat = (
      np.concatenate([np.swapaxes(x.real, -1, -2), np.swapaxes(x.imag, -1, -2)], axis=-1)
      for x in (csi, csi_hat))
  np.testing.assert_allclose(nmse(features, features_hat), nmse(csi, csi_hat), rtol=1e-5)


def _numpy_cosines(csi, csi_hat, num_rows=257, num_carriers=125):
  delays = np.arange(csi.shape[-2])
  carriers = np.exp(-2j * np.pi * np.outer(np.arange(num_carriers), delays) / num_rows)
  h, h_hat = (np.einsum('cd,buda->buca', carriers, x) for x in (csi, csi_hat))
  inner = np.abs(np.sum(np.conj(h_hat) * h, axis=-1))
  return inner / np.linalg.norm(h, axis=-1) / np.linalg.norm(h_hat, axis=-1)


def test_cosines_follow_their_definition():
  csi, csi_hat = _csi(0), _csi(0) + 2 * _csi(1)
  cosines = _numpy_cosines(csi, csi_hat)
  np.testing.assert_allclose(
      cosine_similarity(csi, csi_hat), cosines.mean(axis=(1, 2)), atol=1e-5)
  np.testing.assert_allclose(sgcs(csi, csi_hat), (cosines**2).mean(axis=(1, 2)), atol=1e-5)
  np.testing.assert_allclose(
      cosine_similarity(csi, csi_hat, num_padded_rows=16, num_carriers=7),
      _numpy_cosines(csi, csi_hat, 16, 7).mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize('metric', [cosine_similarity, sgcs])
def test_cosines_ignore_scale_and_phase_but_not_zero(metric):
  csi = _csi()
  np.testing.assert_allclose(metric(csi, 3j * csi), 1, atol=1e-5)
  np.testing.assert_array_equal(metric(csi, 0 * csi), 0)
  orthogonal = np.zeros_like(csi)
  orthogonal[..., 1] = 1
  only_first = np.zeros_like(csi)
  only_first[..., 0] = 1
  np.testing.assert_allclose(metric(only_first, orthogonal), 0, atol=1e-6)


def test_metrics_are_per_sample():
  csi, csi_hat = _csi(0), _csi(1)
  for metric in (nmse, cosine_similarity, sgcs):
    values = jax.jit(metric)(csi, csi_hat)
    assert values.shape == (5,) and values.dtype == jnp.float32
    np.testing.assert_allclose(metric(csi[3:4], csi_hat[3:4]), values[3:4], rtol=1e-5)


@pytest.mark.parametrize('metric', [nmse, cosine_similarity, sgcs])
def test_shapes_that_differ_are_an_input_error(metric):
  with pytest.raises(InputError, match='expected the same'):
    metric(_csi(), _csi()[:, :1])
  with pytest.raises(InputError, match='expected the same'):
    metric(_csi()[0], _csi()[0])


@pytest.mark.parametrize('sizes', [(3, 2), (257, 258), (257, 0)])
def test_impossible_carrier_grids_are_an_input_error(sizes):
  with pytest.raises(InputError, match='num_padded_rows='):
    cosine_similarity(_csi(), _csi(), *sizes)


def test_interval_is_that_of_the_mean_in_db():
  values = np.random.default_rng(0).exponential(size=2000)
  low, high = bootstrap_ci95(values, 1, in_db=False)
  spread = values.std() / np.sqrt(values.size)
  np.testing.assert_allclose(
      [low, high], values.mean() + np.array([-1.96, 1.96]) * spread, atol=0.3 * spread)
  # The logarithm is monotone: the interval in dB is the interval's dB, not the dBs' interval.
  np.testing.assert_allclose(
      bootstrap_ci95(values, 1, in_db=True), 10 * np.log10([low, high]), atol=1e-3)
  assert bootstrap_ci95(values, 1, in_db=False) == (low, high)
  assert bootstrap_ci95(values, 2, in_db=False) != (low, high)


def test_interval_of_one_constant_is_that_constant():
  np.testing.assert_allclose(bootstrap_ci95(np.full(9, 0.1), 0, in_db=True), -10)


@pytest.mark.parametrize('values', [np.zeros(0), np.zeros((2, 2))])
def test_interval_needs_samples(values):
  with pytest.raises(InputError, match='one value per sample'):
    bootstrap_ci95(values, 0, in_db=False)


def test_gain_of_a_constant_shift_is_the_shift_without_an_interval():
  errors = np.random.default_rng(0).exponential(size=200)
  gain_db, interval = paired_gain(errors * 10 ** -0.15, errors, 0)
  np.testing.assert_allclose([gain_db, *interval], 1.5, atol=1e-9)


def test_gain_of_the_same_groups_is_surer_than_of_other_groups():
  rng = np.random.default_rng(0)
  errors = rng.exponential(size=2000)
  ours = 0.8 * errors * rng.uniform(0.9, 1.1, size=2000)
  gain_db, (low, high) = paired_gain(ours, errors, 1)
  assert low < gain_db < high and gain_db == pytest.approx(10 * np.log10(1 / 0.8), abs=0.05)
  other_low, other_high = paired_gain(ours, rng.permutation(errors), 1)[1]
  assert high - low < 0.1 * (other_high - other_low)
  # The delta method: the interval of a difference of logarithms of two means.
  ratio = ours / ours.mean() - errors / errors.mean()
  spread_db = 10 / np.log(10) * ratio.std() / np.sqrt(ratio.size)
  np.testing.assert_allclose(high - low, 2 * 1.96 * spread_db, rtol=0.15)


def test_gain_needs_the_same_groups():
  with pytest.raises(InputError, match='3 and 4 groups cannot be paired'):
    paired_gain(np.ones(3), np.ones(4), 0)
