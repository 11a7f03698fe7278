"""The folding code of independent Gaussian coefficients: analogue, but not one symbol for each.

A linear code gives every coefficient one symbol. A strong one then gets more power than one symbol
is worth, and those after the last symbol get nothing. Here both sides know the variances and
compute the same design: the strongest coefficients have two symbols each, along a line that is
folded (a *tent*); the weakest share a symbol by two (a *snake*, which runs through the strips of a
plane); those between are linear. Such maps are Shannon's (1949) and Kotelnikov's (1947). The BS
takes the posterior mean, so there is no cliff.

All maps act on real and imaginary parts alike.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from rca_jax.bayes.hybrid import linear_design
from rca_jax.bayes.power import limiting

# By search: half a tent's period in deviations, shares of the power that its first symbol has.
_FOLD, _SHARES = 1.2, (0.45, 0.6, 0.7, 0.8)
_STRIPS = (0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)  # widths of a snake's strips, in deviations
_END, _GAP = 1.7, 0.2  # half a strip's length in deviations; between strips, in half lengths
_MOST_STRIPS = 8  # on each side of the middle one
# Added to the variance at a curve's ends: a number that is heard there may lie far beyond, where
# a profile is wrong, and must not pass for certain.
_BEYOND = 0.1
_TENT_NODES, _STRIP_NODES, _FINE_NODES = (
    np.linspace(-reach, reach, num) for reach, num in ((4.5, 901), (_END, 29), (6, 2401)))
_NOISE_NODES = 7  # of a Gauss-Hermite rule
_EVERY = {1: 2, 2: 20}  # node of a curve on so many channels where its error is computed
# SNRs of a symbol where errors are computed, and which are chosen from.
_SNR_DB, _FINE_SNR = np.arange(-6, 25, 3), 10 ** (np.arange(-6, 24.1, 0.5) / 10)
_RATIOS = np.linspace(0.1, 1, 10)  # of two variances
_WORTH = np.linspace(-6, 18, 481)  # log of a variance over the price of energy
_LEAST_PRICE, _NUM_PRICES = 1e-7, 96  # of the largest variance
_MOST, _STEP = 40, 2  # numbers of tents and of snakes that are tried
_LEAST_VARIANCE = 1e-12
_MOST_LEFT = 0.9999  # of a variance, where symbols say something
_AT_ONCE = 2048  # parts of coefficients that are decoded at a time


class Curve(NamedTuple):
  """A map of Gaussian numbers of variance 1 to channel numbers, all of mean power 1.

  Without nodes it is the identity.
  """

  send: Callable[[np.ndarray], np.ndarray]  # [..., source] to [..., channel]
  weights: np.ndarray = np.zeros(0)  # of its nodes, [P]
  source: np.ndarray = np.zeros((0, 1))  # means of the numbers that a node stands for, [P, source]
  square: np.ndarray = np.zeros((0, 1))  # their mean squares, [P, source]
  channel: np.ndarray = np.zeros((0, 1))  # [P, channel]


class Design(NamedTuple):
  """How one report is coded."""

  deviations: np.ndarray  # of the complex coefficients that are sent, strongest first
  tents: np.ndarray  # the curve of each, int [q]: the strongest
  snakes: np.ndarray  # int [m]: the weakest, by two
  gains: np.ndarray  # root of the power of every symbol, tents first; a tent has one gain
  error: float  # expected sum of squared errors


class _Table(NamedTuple):
  """Least cost, error and energy, of what has some worth; in units of the price of energy."""

  tent: np.ndarray  # [W]
  tent_choice: np.ndarray  # [W] int, of curve and SNR
  snake: np.ndarray  # [R, W], of two coefficients; the worth is that of the stronger
  snake_choice: np.ndarray  # [R, W]


def design(variances: np.ndarray, noise_variance: float, num_symbols: int) -> Design:
  """The code of least expected error; without tents and snakes it is the linear one.

  At a given price of energy every coefficient has its own best curve and power, so the costs of all
  numbers of tents and snakes are cumulative sums. The price at which the energy is spent is that of
  the largest dual value.

  Args:
    variances: w [n] of the complex coefficients, largest first.
    noise_variance: N_0, per complex symbol of unit mean power.

  Raises:
    InputError: there are fewer variances than symbols.
  """
  linear = linear_design(variances, noise_variance, num_symbols)
  w = np.maximum(np.asarray(variances[:2 * num_symbols], np.float64), _LEAST_VARIANCE)
  energy = num_symbols / noise_variance
  ratio = np.rint(np.interp(w[1:] / w[:-1], _RATIOS, np.arange(len(_RATIOS)))).astype(int)
  table = _table()
  prices = w[0] * np.geomspace(_LEAST_PRICE, 0.5, _NUM_PRICES)
  q, m = np.meshgrid(*2 * [np.arange(0, _MOST + 1, _STEP)])
  first = num_symbols - q - m  # coefficient of the snakes
  fits = (first >= q) & (first + 2 * m <= w.size)
  q, m, first = q[fits], m[fits], first[fits]
  dual = _cost(table, w, ratio, prices, q, first, first + 2 * m) - prices[:, None] * energy
  at = dual.max(0).argmin()
  error = dual[:, at].max() + np.sum(variances, dtype=np.float64) - w.sum()
  if error >= linear.error or not (q[at] or m[at]):
    none = np.zeros(0, int)
    return Design(
        np.sqrt(linear.sent), none, none, linear.gain * np.sqrt(linear.sent), linear.error)
  price, q, first, end = prices[dual[:, at].argmax()], q[at], first[at], first[at] + 2 * m[at]
  place = np.rint(np.interp(np.log(w / price), _WORTH, np.arange(len(_WORTH)))).astype(int)
  tents, tent_snr = np.divmod(table.tent_choice[place[:q]], 1 + len(_FINE_SNR))
  snakes, snake_snr = np.divmod(
      table.snake_choice[ratio[first:end:2], place[first:end:2]], 1 + len(_FINE_SNR))
  snr = np.concatenate([
      _snr(tent_snr), np.maximum(np.sqrt(w[q:first] / price) - 1, 0), _snr(snake_snr)])
  snr *= energy / (snr.sum() + snr[:q].sum())
  return Design(np.sqrt(w[:end]), tents, snakes, np.sqrt(snr * noise_variance), float(error))


def encode(designs: Sequence[Design], coefficients: np.ndarray) -> np.ndarray:
  """Coefficients [n, D], one design each, as symbols [n, num_symbols] complex64."""
  num_symbols = len(designs[0].gains) + len(designs[0].tents)
  symbols = np.zeros((len(designs), num_symbols), np.complex64)
  for curve, report, places, gain, numbers, deviations in _slots(designs):
    sent = _parts(coefficients[report[:, None], numbers] / deviations)
    symbols[report[:, None], places] = gain * _complex(curve.send(sent))
  return symbols * limiting((np.abs(symbols) ** 2).mean(-1, keepdims=True))


def decode(
    designs: Sequence[Design], received: np.ndarray, noise_variance: np.ndarray | float,
    num_coefficients: int) -> np.ndarray:
  """The coefficients' posterior means, [n, num_coefficients] complex64.

  `noise_variance` is that of each report [n], or of all; it need not be what the design is for.
  """
  found = np.zeros((len(designs), num_coefficients), np.complex64)
  noise_variance = np.broadcast_to(noise_variance, len(designs))[:, None]
  for curve, report, places, gain, numbers, deviations in _slots(designs):
    heard = _parts(received[report[:, None], places] / gain)
    noise = np.tile(noise_variance[report] / gain**2, (2, 1))
    found[report[:, None], numbers] = deviations * _complex(_moments(curve, heard, noise)[0])
  return found


def hear(
    designs: Sequence[Design], received: np.ndarray, noise_variance: np.ndarray | float,
    num_coefficients: int) -> tuple[np.ndarray, np.ndarray]:
  """What the symbols say of the coefficients but for their prior, as `hybrid.hear`.

  The Gaussian that leads from the prior to the posterior's mean and variance.
  """
  values = np.zeros((len(designs), num_coefficients), np.complex64)
  variance = np.full(values.shape, np.inf, np.float32)
  noise_variance = np.broadcast_to(noise_variance, len(designs))[:, None]
  for curve, report, places, gain, numbers, deviations in _slots(designs):
    heard = _parts(received[report[:, None], places] / gain)
    noise = np.tile(noise_variance[report] / gain**2, (2, 1))
    mean, left = _moments(curve, heard, noise)
    left = np.clip(left.reshape(2, *numbers.shape).mean(0), _LEAST_VARIANCE, _MOST_LEFT)
    values[report[:, None], numbers] = deviations * _complex(mean) / (1 - left)
    variance[report[:, None], numbers] = deviations**2 * left / (1 - left)
  return values, variance


def tent(share: float) -> Curve:
  """A number on two channels: as it is, and folded; the first has `share` of the power."""

  def fold(values: np.ndarray) -> np.ndarray:
    return 2 * np.abs((values / _FOLD + 0.5) % 2 - 1) - 1

  weights = _gaussian(_TENT_NODES)
  size = np.sqrt(weights @ fold(_TENT_NODES) ** 2)
  gains = np.sqrt([2 * share, 2 * (1 - share)])

  def send(values: np.ndarray) -> np.ndarray:
    return gains * np.concatenate([values, fold(values) / size], -1)

  source = _TENT_NODES[:, None]
  return Curve(send, weights, source, _open_ended(source**2), send(source))


def snake(width: float) -> Curve:
  """Two numbers on one channel: the strip of the first, then the second along it."""

  def path(strip: np.ndarray, second: np.ndarray) -> np.ndarray:
    along = np.clip(second / _END, -1, 1)
    return (2 + _GAP) * strip + np.where(strip % 2, -along, along)

  def strip(first: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(first / width), -_MOST_STRIPS, _MOST_STRIPS)

  names, strip_weights, first, first_square = _lumped(strip(_FINE_NODES))
  ends, end_weights, second, second_square = _lumped(
      _STRIP_NODES[np.abs(_FINE_NODES[:, None] - _STRIP_NODES).argmin(1)])
  weights = np.outer(strip_weights, end_weights).ravel()
  channel = path(names[:, None], ends).ravel()
  size = np.sqrt(weights @ channel**2)

  def send(values: np.ndarray) -> np.ndarray:
    return path(strip(values[..., :1]), values[..., 1:]) / size

  source, square = (
      np.stack(np.meshgrid(*both, indexing='ij'), -1).reshape(-1, 2)
      for both in ((first, second), (_open_ended(first_square), second_square)))
  return Curve(send, weights, source, square, channel[:, None] / size)


def _lumped(names: np.ndarray) -> tuple[np.ndarray, ...]:
  """The names that `_FINE_NODES` have; of each its probability, its nodes' mean and mean square."""
  weights = _gaussian(_FINE_NODES)
  unique, of_each = np.unique(names, return_inverse=True)
  total, first, second = (
      np.bincount(of_each, weights * _FINE_NODES**power) for power in range(3))
  return unique, total, first / total, second / total


def _open_ended(square: np.ndarray) -> np.ndarray:
  ends = np.zeros_like(square)
  ends[[0, -1]] = _BEYOND
  return square + ends


@functools.cache
def _curves() -> tuple[list[Curve], list[Curve]]:
  return [tent(share) for share in _SHARES], [snake(width) for width in _STRIPS]


@functools.cache
def _table() -> _Table:
  tents, snakes = _curves()
  worth, snr = np.exp(_WORTH), np.concatenate([[0], _FINE_SNR])
  errors = np.stack([_errors(curve)[0] for curve in tents])
  cost = worth[:, None, None] * errors + 2 * snr
  cost = cost.reshape(len(worth), -1)
  of_two = np.stack([_errors(curve) for curve in snakes])
  both = []
  for ratio in _RATIOS:
    of_ratio = worth[:, None, None] * (of_two[:, 0] + ratio * of_two[:, 1]) + snr
    both.append(of_ratio.reshape(len(worth), -1))
  of_pairs = np.stack(both)
  return _Table(cost.min(-1), cost.argmin(-1), of_pairs.min(-1), of_pairs.argmin(-1))


def _errors(curve: Curve) -> np.ndarray:
  """Of each source number, of variance 1: [source, 1 + SNRs], at no power and `_FINE_SNR`."""
  node, weight = np.polynomial.hermite_e.hermegauss(_NOISE_NODES)
  num_channels = curve.channel.shape[1]
  noise = np.stack(np.meshgrid(*num_channels * [node]), -1).reshape(-1, num_channels)
  chance = functools.reduce(np.multiply.outer, num_channels * [weight / weight.sum()]).ravel()
  some = slice(None, None, _EVERY[num_channels])
  weights = curve.weights[some] / curve.weights[some].sum()
  found = []
  for snr in 10 ** (_SNR_DB / 10):
    heard = curve.channel[some][:, None] + noise / np.sqrt(snr)
    mean, _ = _moments(curve, heard.reshape(-1, num_channels), np.full((1, 1), 1 / snr))
    power = (mean.reshape(*heard.shape[:2], -1) ** 2 * chance[:, None]).sum(1)
    found.append(np.log(np.maximum(1 - weights @ power, 1e-6)))
  fine = np.log(_FINE_SNR)
  fine = np.exp([np.interp(fine, np.log(10) * _SNR_DB / 10, row) for row in np.transpose(found)])
  return np.concatenate([np.ones((len(fine), 1)), fine], 1)


def _moments(
    curve: Curve, heard: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Posterior means and variances [n, source] of numbers [n, channel] with noise [n, 1]."""
  if not curve.weights.size:
    return heard / (1 + noise), np.broadcast_to(noise / (1 + noise), heard.shape)
  noise = np.broadcast_to(noise, (len(heard), 1))
  moments = np.concatenate([curve.source, curve.square], -1)
  found = []
  for start in range(0, len(heard), _AT_ONCE):
    part = slice(start, start + _AT_ONCE)
    far = (heard[part] ** 2).sum(-1, keepdims=True) - 2 * heard[part] @ curve.channel.T
    far += (curve.channel**2).sum(-1)
    found.append(softmax(np.log(curve.weights) - far / (2 * noise[part]), -1) @ moments)
  mean, square = np.split(np.concatenate(found), 2, -1)
  return mean, np.maximum(square - mean**2, 0)


def _cost(
    table: _Table, w: np.ndarray, ratio: np.ndarray, prices: np.ndarray, q: np.ndarray,
    first: np.ndarray, end: np.ndarray) -> np.ndarray:
  """Error and paid energy [prices, options] of all coefficients.

  In an option the first `q` are tents, snakes are from `first` to `end`, nothing is sent after it.
  """
  log_worth = np.log(w / prices[:, None])
  worth = w / prices[:, None]
  tents = np.interp(log_worth, _WORTH, table.tent)
  lines = np.where(worth > 1, 2 * np.sqrt(worth) - 1, worth)
  snakes = np.zeros((len(prices), len(w) + 2))
  for at in range(len(w) - 2, -1, -1):  # sums over every other one, from the end
    snakes[:, at] = snakes[:, at + 2] + np.interp(
        log_worth[:, at], _WORTH, table.snake[ratio[at]])
  tents, lines, rest = (
      np.concatenate([np.zeros((len(prices), 1)), np.cumsum(cost, 1)], 1)
      for cost in (tents, lines, worth))
  return prices[:, None] * (
      tents[:, q] + lines[:, first] - lines[:, q] + snakes[:, first] - snakes[:, end]
      + rest[:, -1:] - rest[:, end])


def _slots(
    designs: Sequence[Design]
) -> Iterator[tuple[Curve, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
  """Of each curve, all its uses [n] in the reports.

  Yields:
    curve, report [n], symbols [n, channel], gain [n, 1], coefficients [n, source] and the
    deviations of these.
  """
  line = len(_SHARES)
  curves = [*_curves()[0], Curve(lambda values: values), *_curves()[1]]
  num_sources = np.array([1] * (line + 1) + [2] * len(_STRIPS))
  num_symbols = np.array([2] * line + [1] * (1 + len(_STRIPS)))
  columns = []
  for i, plan in enumerate(designs):
    num_lines = len(plan.gains) - len(plan.tents) - len(plan.snakes)
    of_each = np.concatenate([plan.tents, np.full(num_lines, line), line + 1 + plan.snakes])
    columns.append((
        of_each, np.full(len(of_each), i), _starts(num_symbols[of_each]), plan.gains,
        _starts(num_sources[of_each])))
  of_each, report, symbol, gain, number = map(np.concatenate, zip(*columns, strict=True))
  deviations = np.zeros((len(designs), max(len(plan.deviations) for plan in designs)))
  for row, plan in zip(deviations, designs, strict=True):
    row[:len(plan.deviations)] = plan.deviations
  for kind in np.unique(of_each[gain > 0]):
    rows = np.flatnonzero((of_each == kind) & (gain > 0))
    numbers = number[rows, None] + np.arange(num_sources[kind])
    yield (
        curves[kind], report[rows], symbol[rows, None] + np.arange(num_symbols[kind]),
        gain[rows, None], numbers, deviations[report[rows, None], numbers])


def _starts(sizes: np.ndarray) -> np.ndarray:
  return np.cumsum(sizes) - sizes


def _snr(choice: np.ndarray) -> np.ndarray:
  return np.concatenate([[0], _FINE_SNR])[choice]


def _gaussian(nodes: np.ndarray) -> np.ndarray:
  density = np.exp(-nodes**2 / 2)
  return density / density.sum()


def _parts(values: np.ndarray) -> np.ndarray:
  """Real parts, then imaginary ones, of variance 1 for complex numbers of it: [2 n, ...]."""
  return np.sqrt(2) * np.concatenate([values.real, values.imag])


def _complex(parts: np.ndarray) -> np.ndarray:
  real, imag = np.split(parts, 2)
  return (real + 1j * imag) / np.sqrt(2)
