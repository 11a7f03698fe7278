"""The folding code against its expectation, the linear code and closed forms."""

import numpy as np
import pytest

from rca_jax.baselines.genie import reverse_water_filling
from rca_jax.bayes import fold, hybrid
from rca_jax.errors import InputError

SYMBOLS = 24


def profile(num=48, decay=0.12):
  return 40 * np.exp(-decay * np.arange(num))


def gaussian(rng, shape):
  return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def errors(w, snr_db, num=4000):
  """Sums of squared errors of many reports, and the mean power of their symbols."""
  rng, noise = np.random.default_rng(0), 10 ** (-snr_db / 10)
  plans = [fold.design(w, noise, SYMBOLS)] * num
  values = np.sqrt(w) * gaussian(rng, (num, w.size))
  symbols = fold.encode(plans, values)
  found = fold.decode(
      plans, symbols + np.sqrt(noise) * gaussian(rng, symbols.shape), noise, w.size)
  return (np.abs(found - values) ** 2).sum(1), (np.abs(symbols) ** 2).mean()


@pytest.mark.parametrize('snr_db', [-5, 5, 10, 20, 25])
def test_the_error_is_what_the_design_expects(snr_db):
  """By simulation, to 3 %: between the bound and the linear code, at mean power 1."""
  w, noise = profile(), 10 ** (-snr_db / 10)
  plan = fold.design(w, noise, SYMBOLS)
  found, power = errors(w, snr_db)
  assert found.mean() == pytest.approx(plan.error, rel=0.03 + 4 * found.std() / found.mean() / 63)
  assert power == pytest.approx(1, rel=0.03)
  bits = SYMBOLS * np.log2(1 + 1 / noise)
  assert w.sum() * reverse_water_filling(w, bits) < found.mean()
  assert plan.error <= hybrid.linear_design(w, noise, SYMBOLS).error


@pytest.mark.parametrize('snr_db,decay,gain', [(10, 0.3, 1.15), (20, 0.12, 1.35), (20, 0.4, 1.3)])
def test_it_gains_over_the_linear_code(snr_db, decay, gain):
  w = profile(decay=decay)
  linear = hybrid.linear_design(w, 10 ** (-snr_db / 10), SYMBOLS).error
  assert linear > gain * errors(w, snr_db)[0].mean()


def test_equal_variances_are_coded_linearly():
  """One for each symbol: the linear code meets the bound."""
  plan = fold.design(np.ones(SYMBOLS), 0.1, SYMBOLS)
  assert not len(plan.tents) and not len(plan.snakes)
  assert plan.error == pytest.approx(SYMBOLS * 0.1 / 1.1)


def test_twice_as_many_equal_variances_share_symbols():
  """At a high SNR two on each symbol: better than half of them sent, and above sqrt(N) each."""
  w, noise = np.ones(2 * SYMBOLS), 0.01
  plan = fold.design(w, noise, SYMBOLS)
  assert len(plan.snakes) == SYMBOLS and not len(plan.tents)
  assert 2 * SYMBOLS * (noise / (1 + noise)) ** 0.5 < plan.error < 0.4 * SYMBOLS


@pytest.mark.parametrize('curve', [fold.tent(0.6), fold.snake(1.0), fold.snake(2.2)])
def test_curves_have_mean_power_one_and_are_centroids(curve):
  rng = np.random.default_rng(1)
  source = rng.standard_normal((200_000, curve.source.shape[1]))
  sent = curve.send(source)
  assert (sent**2).mean() == pytest.approx(1, rel=0.01)
  assert curve.weights.sum() == pytest.approx(1)
  np.testing.assert_allclose(curve.weights @ curve.source, 0, atol=1e-9)


@pytest.mark.parametrize('curve', [fold.tent(0.6), fold.snake(1.3)])
def test_without_noise_a_curve_is_inverted(curve):
  """A tent says its number, a snake its strip and the place along it, if it is not cut off."""
  rng = np.random.default_rng(2)
  source = rng.uniform(-1.6, 1.6, (500, curve.source.shape[1]))
  found, left = fold._moments(curve, curve.send(source), np.full((1, 1), 1e-4))
  assert (left >= 0).all() and left.mean() < 0.1
  assert np.abs(found - source)[:, -1].max() < 0.1
  assert np.abs(found - source).max() < 0.75  # half of a strip


def test_reports_do_not_touch_each_other():
  """Reports of several designs are coded together as each alone."""
  rng = np.random.default_rng(3)
  plans = [fold.design(profile(decay=d), 0.03, SYMBOLS) for d in (0.05, 0.12, 0.3)]
  assert len({(len(plan.tents), len(plan.snakes)) for plan in plans}) > 1
  values = gaussian(rng, (3, 48))
  symbols = fold.encode(plans, values)
  found = fold.decode(plans, symbols, np.full(3, 0.03), 48)
  for i in range(3):
    alone = fold.encode(plans[i:i + 1], values[i:i + 1])
    np.testing.assert_allclose(alone[0], symbols[i], atol=1e-6)
    np.testing.assert_allclose(
        fold.decode(plans[i:i + 1], alone, 0.03, 48)[0], found[i], atol=1e-5)


def test_too_few_variances_are_refused():
  with pytest.raises(InputError, match='at least one for each symbol'):
    fold.design(profile(20), 0.1, SYMBOLS)


@pytest.mark.parametrize('snr_db,decay,kind', [
    (10, 0.12, 'snakes'), (20, 0.12, 'snakes'), (10, 0.4, 'tents'), (20, 0.4, 'tents')])
def test_what_is_heard_is_as_exact_as_it_says(snr_db, decay, kind):
  """Tents, linear coefficients and snakes alike: a snake says no more than its strip."""
  rng, w, noise = np.random.default_rng(1), profile(decay=decay), 10 ** (-snr_db / 10)
  plan = fold.design(w, noise, SYMBOLS)
  values = np.sqrt(w) * gaussian(rng, (4000, w.size))
  symbols = fold.encode([plan] * 4000, values)
  heard, variance = fold.hear(
      [plan] * 4000, symbols + np.sqrt(noise) * gaussian(rng, symbols.shape), noise, w.size)
  lmmse = w / (w + variance)
  error, said = (np.abs(lmmse * heard - values) ** 2).mean(0), (w * (1 - lmmse)).mean(0)
  assert len(getattr(plan, kind))
  first = len(plan.deviations) - 2 * len(plan.snakes)
  for part in filter(None, (range(len(plan.tents)), range(len(plan.tents), first),
                            range(first, len(plan.deviations)))):
    assert error[part].sum() == pytest.approx(said[part].sum(), rel=0.1)


@pytest.mark.parametrize('curve', [fold.tent(0.6), fold.snake(0.6)])
def test_a_number_that_is_heard_at_a_curves_end_is_not_certain(curve):
  source = np.full((1, curve.source.shape[1]), 9.0)
  _, left = fold._moments(curve, curve.send(source), np.full((1, 1), 1e-3))
  assert left[0, 0] > 0.05
