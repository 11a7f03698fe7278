import numpy as np
import pytest

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import hybrid, polar, scalar
from rca_jax.errors import InputError

SYMBOLS = 40


def profile(n=60, decay=4.0):
  w = np.exp(-np.arange(n) / decay)
  return w / w.sum() * n


def gaussian(rng, shape):
  return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def transmit(w, snr_db, num_reports, num_symbols=SYMBOLS, seed=0):
  """The design, the symbols, and each report's squared error."""
  rng = np.random.default_rng(seed)
  noise_variance = 10 ** (-snr_db / 10)
  plan = hybrid.design(w, noise_variance, num_symbols)
  plans = [plan] * num_reports
  coefficients = np.sqrt(w) * gaussian(rng, (num_reports, w.size))
  symbols = hybrid.encode(plans, coefficients)
  received = symbols + np.sqrt(noise_variance) * gaussian(rng, symbols.shape)
  found = hybrid.decode(plans, received, noise_variance, w.size)
  return plan, symbols, (np.abs(found - coefficients) ** 2).sum(1)


def linear_error(w, snr_db, num_symbols):
  sent = np.repeat(w[:num_symbols], 2)  # real parts; the closed form of baselines.pca
  noise = 10 ** (-snr_db / 10) / 2
  power = least_error_powers(sent / 2, noise, num_symbols)
  return (sent / 2 * noise / (power + noise)).sum() + w[num_symbols:].sum()


def test_without_digital_symbols_it_is_the_linear_code():
  w = profile()
  plan = hybrid.design(w, 10 ** 1.5, SYMBOLS)
  assert plan.num_digital == 0
  assert plan.error == pytest.approx(linear_error(w, -15.0, SYMBOLS), rel=1e-6)
  np.testing.assert_allclose((plan.gain**2 * w[plan.analogue]).sum(), SYMBOLS, rtol=1e-6)


def test_fewer_coefficients_than_symbols_are_refused():
  with pytest.raises(InputError, match='20 variances on 40 symbols'):
    hybrid.design(profile(20), 0.1, SYMBOLS)


@pytest.mark.parametrize('snr_db', [-5.0, 0.0, 10.0, 20.0])
def test_it_is_never_expected_worse_than_linear_and_wins_where_variances_differ(snr_db):
  w = profile()
  error = hybrid.design(w, 10 ** (-snr_db / 10), SYMBOLS).error
  linear = linear_error(w, snr_db, SYMBOLS)
  assert error <= linear * (1 + 1e-9)
  assert snr_db < 10 or error < 0.85 * linear
  equal = np.ones(SYMBOLS)  # the linear code is optimal
  assert hybrid.design(equal, 10 ** (-snr_db / 10), SYMBOLS).num_digital == 0


@pytest.mark.parametrize('snr_db', [0.0, 10.0])
def test_measured_error_and_power_are_the_expected_ones(snr_db):
  plan, symbols, errors = transmit(profile(), snr_db, 600)
  assert plan.num_digital > 0 or snr_db == 0
  spread = errors.std() / np.sqrt(errors.size)
  # The block errors and the larger steps are models: good to 0.3 dB.
  assert abs(errors.mean() - plan.error) < 4 * spread + 0.07 * plan.error
  assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1, abs=0.06)


def test_same_variances_give_the_same_design_on_both_sides():
  ours, theirs = (hybrid.design(profile(), 0.1, SYMBOLS) for _ in range(2))
  assert ours.num_digital > 0
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_report_is_coded_alike_in_any_company():
  rng = np.random.default_rng(1)
  ws = [profile(decay=decay) for decay in (3.0, 4.0, 6.0)]
  plans = [hybrid.design(w, 0.1, SYMBOLS) for w in ws]
  coefficients = np.sqrt(ws) * gaussian(rng, (3, 60))
  symbols = hybrid.encode(plans, coefficients)
  received = (symbols + np.sqrt(0.1) * gaussian(rng, symbols.shape)).astype(np.complex64)
  found = hybrid.decode(plans, received, 0.1, 60)
  for i in range(3):
    alone = hybrid.encode(plans[i:i + 1], coefficients[i:i + 1])[0]
    np.testing.assert_array_equal(alone, symbols[i])
    alone = hybrid.decode(plans[i:i + 1], received[i:i + 1], 0.1, 60)[0]
    np.testing.assert_allclose(alone, found[i], atol=1e-5)


def test_a_lost_code_word_leaves_the_analogue_part_and_no_nan():
  rng = np.random.default_rng(2)
  w = profile()
  plan = hybrid.design(w, 0.1, SYMBOLS)
  coefficients = np.sqrt(w) * gaussian(rng, (200, w.size))
  symbols = hybrid.encode([plan] * 200, coefficients)
  symbols[:, :plan.num_digital] = 0  # lost
  received = symbols + np.sqrt(0.1) * gaussian(rng, symbols.shape)
  found = hybrid.decode([plan] * 200, received, 0.1, w.size)
  assert np.isfinite(found).all()
  # No candidate is believed: the error is near that of the prior, where a wrong message that is
  # believed would double the variance of what it carries.
  error = (np.abs(found - coefficients) ** 2).sum(1).mean()
  assert error < 1.35 * w.sum()


def test_range_code_is_lossless_and_never_needs_more_bits():
  rng = np.random.default_rng(3)
  deviations = tuple(np.repeat(np.sqrt(profile(10, 3.0)), 2).tolist())
  clipped = 0
  for num_bits in (6, 20, 40, 90):
    for scale in (0.1, 1.0, 10.0):  # reports weaker and far stronger than the prior
      coefficients = scale * np.array(deviations) * rng.standard_normal(len(deviations))
      number, values = scalar.encode(coefficients, deviations, 1.0, num_bits)
      assert 0 <= number < 2**num_bits
      np.testing.assert_array_equal(scalar.decode(number, deviations, 1.0, num_bits), values)
      clipped += np.abs(values - coefficients).max() > 4
  assert clipped  # the largest of these do not fit


def test_with_bits_enough_every_coefficient_is_in_its_cell():
  rng = np.random.default_rng(4)
  deviations = tuple(np.geomspace(8, 0.5, 20).tolist())
  coefficients = np.array(deviations) * rng.standard_normal(20)
  _, values = scalar.encode(coefficients, deviations, 0.5, 200)
  assert np.abs(values - coefficients).max() <= 0.25 * (1 + 1e-9) + 0.25 * 0.2


def test_any_number_decodes_to_some_values():
  deviations = tuple(np.geomspace(8, 0.5, 20).tolist())
  rng = np.random.default_rng(5)
  for _ in range(50):
    values = scalar.decode(int(rng.integers(2**30)), deviations, 1.0, 30)
    assert np.isfinite(values).all()


def test_all_symbols_carry_bits_where_nothing_is_analogue():
  rng = np.random.default_rng(4)
  w, noise_variance = profile(), 0.1
  plan = hybrid.design(w, noise_variance, SYMBOLS, only_bits=True)
  assert plan.num_digital == SYMBOLS and not plan.analogue.size
  assert plan.error >= hybrid.design(w, noise_variance, SYMBOLS).error
  coefficients = np.sqrt(w) * gaussian(rng, (300, w.size))
  symbols = hybrid.encode([plan] * 300, coefficients)
  received = symbols + np.sqrt(noise_variance) * gaussian(rng, symbols.shape)
  found = hybrid.decode([plan] * 300, received, noise_variance, w.size)
  errors = (np.abs(found - coefficients) ** 2).sum(1)
  assert abs(errors.mean() - plan.error) < 4 * errors.std() / 300**0.5 + 0.07 * plan.error
  with pytest.raises(InputError, match='carry no code word'):
    hybrid.design(w, 100.0, SYMBOLS, only_bits=True)


def test_measured_rate_of_the_quantiser_is_its_entropy_and_its_values_are_centroids():
  """Of drawn coefficients, and of cells counted without the quantiser's own formula."""
  rng = np.random.default_rng(5)
  deviations = np.repeat([3.0, 1.0, 0.5, 0.1], 100_000)
  x = deviations * rng.standard_normal(deviations.size)
  values, bits = scalar.quantise(x, deviations, 0.8)
  for deviation in (3.0, 1.0, 0.5):
    of = deviations == deviation
    _, cell, count = np.unique(np.rint(x[of] / 0.8), return_inverse=True, return_counts=True)
    share = count / count.sum()
    assert bits[of].mean() == pytest.approx(-(share * np.log2(share)).sum(), rel=0.01)
    assert np.mean((x - values)[of] ** 2) == pytest.approx(
        np.mean((x[of] - (np.bincount(cell, x[of]) / count)[cell]) ** 2), rel=0.01)
  weak = deviations == 0.1
  assert not values[weak].any() and not bits[weak].any()
  values, bits = scalar.quantise(np.array([-50.0, 50.0]), np.full(2, 0.5), 1.0)
  np.testing.assert_array_equal(values, [-50, 50])  # of no probability: finite all the same
  assert np.isfinite(bits).all()


def test_moments_of_the_quantiser():
  rng = np.random.default_rng(6)
  x = rng.standard_normal(400_000)
  for ratio in (0.3, 1.0, 2.4):
    _, _, error = scalar.moments(np.array([ratio]))
    cell = np.rint(x / ratio).astype(int)
    cell -= cell.min()
    count = np.bincount(cell)
    mean = np.bincount(cell, x) / np.maximum(count, 1)
    assert error[0] == pytest.approx(np.mean((x - mean[cell]) ** 2), rel=0.02)


@pytest.mark.parametrize('num_bits, symbols, per_symbol', [(8, 16, 2), (30, 24, 2), (60, 24, 4)])
def test_polar_code_round_trip_and_its_probabilities(num_bits, symbols, per_symbol):
  rng = np.random.default_rng(7)
  code = polar.polar_code(num_bits, symbols, per_symbol)
  bits = rng.integers(0, 2, (40, num_bits)).astype(np.uint8)
  sent = polar.encode(code, bits)
  assert np.mean(np.abs(sent) ** 2) == pytest.approx(1, abs=0.05)
  found, probability = polar.decode(code, sent, 1e-2)
  np.testing.assert_array_equal(found[:, 0], bits)
  assert (probability.sum(1) <= 1 + 1e-4).all() and probability[:, 0].min() > 0.99
  lost, probability = polar.decode(code, 0.3 * gaussian(rng, sent.shape), 1.0)
  assert np.isfinite(probability).all() and probability.sum(1).max() <= 1 + 1e-4


def test_polar_list_holds_every_message_of_a_small_code():
  """With no more messages than paths, the probabilities are Bayes' over all of them."""
  rng = np.random.default_rng(8)
  code = polar.polar_code(4, 8, 2)
  messages = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
  words = polar.encode(code, messages)
  received = words[:5] + np.sqrt(0.5) * gaussian(rng, words[:5].shape)
  found, probability = polar.decode(code, received, 1.0)
  score = -(np.abs(received[:, None] - words) ** 2).sum(-1)
  bayes = np.exp(score - np.logaddexp.reduce(score, 1)[:, None])
  order = found @ (1 << np.arange(4))
  np.testing.assert_allclose(probability, np.take_along_axis(bayes, order, 1), rtol=2e-3, atol=1e-6)


def test_probability_of_the_first_candidate_is_how_often_it_is_right():
  rng = np.random.default_rng(9)
  code = polar.polar_code(30, 24, 2)
  bits = rng.integers(0, 2, (600, 30)).astype(np.uint8)
  noise_variance = 10 ** -0.3
  sent = polar.encode(code, bits)
  received = sent + np.sqrt(noise_variance) * gaussian(rng, sent.shape)
  found, probability = polar.decode(code, received, noise_variance)
  wrong = (found[:, 0] != bits).any(1).mean()
  assert 0.02 < wrong < 0.6
  assert abs(1 - probability[:, 0].mean() - wrong) < 4 * np.sqrt(wrong * (1 - wrong) / 600) + 0.02
