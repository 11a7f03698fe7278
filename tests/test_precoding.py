import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel.subbands import (
    CARRIERS_PER_SUBBAND,
    NUM_SUBBANDS,
    dominant_direction,
    subband_response,
)
from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import layer_sgcs, subband_sgcs
from rca_jax.evaluation.precoding import beamforming_gain, sum_rate, sum_rates

pytestmark = pytest.mark.usefixtures('quick_compilation')
NUM_ROWS, NUM_TX = 4, 8


def random_csi(shape, seed=0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(*shape, NUM_ROWS, NUM_TX, 2)) @ [1, 1j]).astype(np.complex64) / 2**0.5


def flat_csi(*directions):
  """One group of UEs without delays, mean |h|^2 = 1 each: [1, ue, N_a, N_t]."""
  csi = np.zeros((1, len(directions), NUM_ROWS, NUM_TX), np.complex64)
  unit = [np.asarray(x) / np.linalg.norm(x) for x in directions]
  csi[:, :, 0] = np.array(unit) * np.sqrt(NUM_ROWS * NUM_TX)
  return csi


def numpy_response(csi):
  """As sums over delays, the carriers one by one."""
  num_carriers = NUM_SUBBANDS * CARRIERS_PER_SUBBAND
  found = np.array([
      sum(csi[..., d, :] * np.exp(-2j * np.pi * f * d / num_carriers) for d in range(NUM_ROWS))
      for f in range(num_carriers)]) / np.sqrt(NUM_ROWS)
  found = np.moveaxis(found, 0, -2)
  return found.reshape(*csi.shape[:-2], NUM_SUBBANDS, CARRIERS_PER_SUBBAND, NUM_TX)


def test_the_response_is_the_transform_of_the_delays_and_keeps_the_power():
  csi = random_csi((3, 2))
  response = subband_response(csi)
  np.testing.assert_allclose(response, numpy_response(csi), atol=1e-5)
  np.testing.assert_allclose(
      np.mean(np.abs(response) ** 2, (-3, -2, -1)), np.mean(np.abs(csi) ** 2, (-2, -1)), rtol=1e-5)


def test_layers_are_right_singular_vectors_of_all_antennas():
  csi, csi_hat = random_csi((3, 2)), random_csi((3, 2)) + random_csi((3, 2), 1)
  responses = [np.moveaxis(numpy_response(x), 1, 2) for x in (csi, csi_hat)]  # 2 antennas a UE
  responses = [h.reshape(3, NUM_SUBBANDS, -1, h.shape[-1]) for h in responses]
  expected = np.zeros((3, NUM_SUBBANDS, 2))
  for place in np.ndindex(3, NUM_SUBBANDS):
    v, v_hat = (np.linalg.svd(h[place])[2][:2] for h in responses)
    expected[place] = np.abs(np.sum(v.conj() * v_hat, -1)) ** 2
  found = layer_sgcs(csi, csi_hat, 2)
  np.testing.assert_allclose(found, expected.mean(1), atol=1e-4)
  np.testing.assert_allclose(found, layer_sgcs(csi[:, ::-1], csi_hat[:, ::-1], 2), atol=1e-4)
  # Of one antenna the first layer is what `subband_sgcs` has.
  one = layer_sgcs(csi[:, :1], csi_hat[:, :1], 1)[:, 0]
  directions = (dominant_direction(subband_response(x[:, :1])) for x in (csi, csi_hat))
  np.testing.assert_allclose(one, subband_sgcs(*directions), atol=1e-6)


def test_subband_sgcs_is_that_of_dominant_eigenvectors():
  csi, csi_hat = random_csi((3, 2)), random_csi((3, 2)) + random_csi((3, 2), 1)
  found = subband_sgcs(*(dominant_direction(subband_response(x)) for x in (csi, csi_hat)))
  expected = np.zeros((3, 2, NUM_SUBBANDS))
  responses = [numpy_response(x) for x in (csi, csi_hat)]
  for place in np.ndindex(expected.shape):
    v, v_hat = (
        np.linalg.eigh(h[place].conj().T @ h[place])[1][:, -1] for h in responses)
    expected[place] = np.abs(v.conj() @ v_hat) ** 2
  np.testing.assert_allclose(found, expected.mean((1, 2)), atol=1e-4)
  assert 0.2 < found.min() and found.max() < 0.9


def test_directions_have_norm_1_and_zero_stays_zero():
  csi = random_csi((2, 2))
  csi[0, 1] = 0
  direction = dominant_direction(subband_response(csi))
  norms = np.linalg.norm(direction, axis=-1)
  np.testing.assert_allclose(norms[csi.any((-2, -1))], 1, rtol=1e-5)
  assert not norms[0, 1].any()
  assert subband_sgcs(direction[:1, 1:], direction[1:, 1:]) == 0


def test_the_best_beam_of_every_subband_is_the_measure():
  """Power of the eigenvector is the largest eigenvalue, of any other beam its own."""
  csi = random_csi((3, 2))
  response = subband_response(csi)
  direction, other = dominant_direction(response), dominant_direction(
      subband_response(random_csi((3, 2), 1)))
  np.testing.assert_allclose(beamforming_gain(response, direction, 3j * direction / 3), 1)
  h = numpy_response(csi)
  best = np.linalg.svd(h)[1][..., 0] ** 2
  power = np.sum(np.abs(np.einsum('buscn,busn->busc', h, np.conj(other))) ** 2, -1)
  np.testing.assert_allclose(
      beamforming_gain(response, direction, other), np.mean(power.sum(-1) / best.sum(-1), -1),
      rtol=1e-4)
  np.testing.assert_array_equal(beamforming_gain(response, direction, 0 * direction), 0)


@pytest.mark.parametrize('is_regularised', [False, True])
def test_a_single_ue_has_the_gain_of_the_whole_array(is_regularised):
  csi = flat_csi(np.exp(2j * np.arange(NUM_TX)))
  response = subband_response(csi)
  found = sum_rate(response, dominant_direction(response), 10.0, is_regularised)
  np.testing.assert_allclose(found, np.log2(1 + 10 * NUM_TX), rtol=1e-5)


@pytest.mark.parametrize('is_regularised', [False, True])
def test_orthogonal_ues_share_the_power_and_nothing_else(is_regularised):
  csi = flat_csi(*np.exp(2j * np.pi * np.outer([1, 3, 4], np.arange(NUM_TX)) / NUM_TX))
  response = subband_response(csi)
  found = sum_rate(response, dominant_direction(response), 10.0, is_regularised)
  np.testing.assert_allclose(found, 3 * np.log2(1 + 10 / 3 * NUM_TX), rtol=1e-5)


def test_two_ues_that_are_not_orthogonal_have_the_closed_forms():
  """Of |v_1^H v_2| = c zero-forcing keeps 1 - c^2 of the power."""
  c, snr_db = 0.6, 7.0
  response = subband_response(flat_csi(np.eye(NUM_TX)[0], [0.6j, 0.8] + [0] * (NUM_TX - 2)))
  direction = dominant_direction(response)
  each = 10 ** (snr_db / 10) * NUM_TX / 2
  np.testing.assert_allclose(
      sum_rate(response, direction, snr_db, False), 2 * np.log2(1 + each * (1 - c**2)), rtol=1e-4)
  # Regularised, the precoders of such UEs maximise each UE's signal to leakage and noise, which
  # for two alike UEs is their SINR: lambda^H (I + leakage)^-1 lambda.
  expected = 2 * np.log2(1 + each * (1 - c**2 * each / (1 + each)))
  np.testing.assert_allclose(sum_rate(response, direction, snr_db, True), expected, rtol=1e-4)


def test_regularised_zero_forcing_tends_to_zero_forcing_and_to_matched_beams():
  csi, csi_hat = random_csi((4, 3)), random_csi((4, 3)) + 0.3 * random_csi((4, 3), 1)
  response, direction = subband_response(csi), dominant_direction(subband_response(csi_hat))
  for snr_db, is_close in ((0.0, False), (50.0, True)):
    rates = [sum_rate(response, direction, snr_db, kind) for kind in (False, True)]
    assert np.allclose(*rates, rtol=1e-3) == is_close
  matched = np.einsum('buscn,bksn->bscuk', response, np.conj(direction))
  power = 10 ** (-3.0) / 3 * np.abs(matched) ** 2
  signal = np.diagonal(power, axis1=-2, axis2=-1)
  expected = np.log2(1 + signal / (1 + power.sum(-1) - signal)).sum(-1).mean((1, 2))
  np.testing.assert_allclose(
      sum_rate(response, direction, -30.0, True), expected, rtol=2e-2)


def test_rates_of_recovered_csi_beside_perfect_csi():
  csi = random_csi((4, 3))
  of_itself = sum_rates(csi, 2j * csi, 10.0)
  np.testing.assert_allclose(of_itself.zf_rate, of_itself.zf_rate_perfect, rtol=1e-3)
  np.testing.assert_allclose(of_itself.rzf_rate, of_itself.rzf_rate_perfect, rtol=1e-3)
  noisy = sum_rates(csi, csi + random_csi((4, 3), 1), 10.0)
  np.testing.assert_allclose(noisy.zf_rate_perfect, of_itself.zf_rate_perfect)
  assert np.all(noisy.zf_rate < noisy.zf_rate_perfect)
  assert np.all(noisy.rzf_rate < noisy.rzf_rate_perfect)


def test_ues_without_power_change_nothing_and_equal_ones_are_served():
  csi = random_csi((4, 3))
  csi[:, 2] = 0
  for more, less in zip(sum_rates(csi, csi, 10.0), sum_rates(csi[:, :2], csi[:, :2], 10.0),
                        strict=True):
    np.testing.assert_allclose(more, less, rtol=1e-4)
  same = sum_rates(csi[:, [0, 0]], csi[:, [0, 0]], 10.0)
  assert np.all(np.isfinite(jnp.stack(same))) and np.all(np.array(same.rzf_rate) > 0.5)


def test_shapes_that_do_not_fit_are_an_input_error():
  response = subband_response(random_csi((2, 2)))
  direction = dominant_direction(response)
  with pytest.raises(InputError, match='directions have shape .2, 1, 13, 8. and the response'):
    sum_rate(response, direction[:, :1], 10.0, False)
  with pytest.raises(InputError, match='expected .batch, ue, subband, N_t'):
    beamforming_gain(response, direction[..., :4], direction[..., :4])
