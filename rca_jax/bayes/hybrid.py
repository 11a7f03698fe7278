"""The hybrid code of independent Gaussian coefficients: bits for the strong, analogue for the rest.

Both sides know the coefficients' variances, N_0 and the number of symbols, and compute the same
design: so many symbols carry a polar code word (bayes/polar.py) with the range-coded cells of the
strongest coefficients (bayes/scalar.py); the others carry, linearly, the largest of what is then
unknown: coefficients without bits and errors of the quantiser. No digital symbols: the linear code.

A code word that is decoded wrongly does not end the report. The decoder knows the probabilities of
its candidates; the estimate is the mean over them, and what is missing to one counts with the
coefficients' mean, zero.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammainc, gammaincc

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import polar, scalar
from rca_jax.bayes.code_words import BLOCK_ERRORS, ERROR_FLOOR, most_bits
from rca_jax.bayes.power import limiting
from rca_jax.errors import InputError

_NUM_STEPS = 64
_LEAST_VARIANCE = 1e-12  # of a coefficient, so that ratios exist
_OVERHEAD = 2.0  # bits for the step's factor and the code's end
_LEAST_COEFFICIENTS = 2.2  # that share the bits: the length of fewer varies too much
_FACTOR_BITS = 3.0  # more for a larger factor
_MISMATCH = 1.03  # of the quantiser's error to its expectation, by measurement
_SPREAD = 1.0  # bits kept free, in standard deviations of a report's bits
_DIGITAL_PART = 8  # digital symbols are a multiple of it
_LEAST_PROBABILITY = 1e-3  # of a candidate that is looked at


class Design(NamedTuple):
  """How one report is coded."""

  num_digital: int  # symbols of the code word, the first ones; 0: the code is linear
  num_bits: int  # K
  bits_per_symbol: int
  step: float  # of the quantiser
  deviations: tuple[float, ...]  # of the real parts that get bits, strongest first
  analogue: np.ndarray  # [num_symbols - num_digital] int: coefficients on the other symbols
  gain: np.ndarray  # of these
  sent: np.ndarray  # variance of each before its gain
  error: float  # expected sum of squared errors


class _Menu(NamedTuple):
  """Code words to choose from, [c] each."""

  num_digital: np.ndarray
  num_bits: np.ndarray
  bits_per_symbol: np.ndarray
  block_error: np.ndarray


def design(
    variances: np.ndarray, noise_variance: float, num_symbols: int, only_bits: bool = False
) -> Design:
  """The code of least expected error.

  Args:
    variances: w [n] of the complex coefficients, largest first.
    noise_variance: N_0, per complex symbol of unit mean power.
    only_bits: all symbols carry the code word, nothing is analogue.

  Raises:
    InputError: there are fewer variances than symbols, or so much noise that they carry no bits.
  """
  linear = linear_design(variances, noise_variance, num_symbols)
  w = np.maximum(np.asarray(variances[:4 * num_symbols], np.float64), _LEAST_VARIANCE)
  menu = _menu(float(noise_variance), num_symbols)
  if only_bits:
    menu = _Menu(*(column[menu.num_digital == num_symbols] for column in menu))
  if not menu.num_bits.size:
    if only_bits:
      raise InputError(
          f'{num_symbols} symbols beside the label, of N_0 = {noise_variance:.3g}, carry no code '
          'word; choose a higher --snr_db or --config.model.compression_ratio.')
    return linear
  steps = _steps(w, menu.num_bits)
  ratio = steps[:, None] / np.sqrt(w / 2)
  bits, spread, error = scalar.moments(ratio)
  coded = ratio < scalar.LARGEST_RATIO
  free = menu.num_bits - _OVERHEAD - 2 * (bits * coded).sum(1)
  coarser = _coarsening(2 * (spread * coded).sum(1), free - _FACTOR_BITS)
  unknown = np.minimum(np.where(coded, error * _MISMATCH * coarser[:, None], 1) * w, w)
  order = np.argsort(-unknown, axis=1, kind='stable')[:, :num_symbols]
  num_analogue = num_symbols - menu.num_digital
  sent = np.take_along_axis(unknown, order, 1)
  sent = np.where(np.arange(num_symbols) < num_analogue[:, None], sent, 0)
  power = least_error_powers(sent, noise_variance, num_analogue)
  won = (sent * power / (power + noise_variance)).sum(1)
  removed = (w - unknown).sum(1)
  expected = np.sum(variances, dtype=np.float64) - (1 - menu.block_error) * removed - won
  best = int(np.argmin(expected))
  if expected[best] >= linear.error and not only_bits:
    return linear
  analogue = slice(num_analogue[best])
  order, power, sent = (x[best, analogue] for x in (order, power, sent))
  gain = np.sqrt(power / sent)
  return Design(
      num_digital=int(menu.num_digital[best]), num_bits=int(menu.num_bits[best]),
      bits_per_symbol=int(menu.bits_per_symbol[best]), step=float(steps[best]),
      deviations=tuple(np.repeat(np.sqrt(w[coded[best]] / 2), 2).tolist()), analogue=order,
      gain=gain, sent=sent, error=float(expected[best]))


def linear_design(variances: np.ndarray, noise_variance: float, num_symbols: int) -> Design:
  """The code without bits: the best linear one. Arguments as of `design`.

  Raises:
    InputError: there are fewer variances than symbols.
  """
  if len(variances) < num_symbols:
    raise InputError(
        f'{len(variances)} variances on {num_symbols} symbols; give at least one for each symbol.')
  w = np.maximum(np.asarray(variances[:num_symbols], np.float64), _LEAST_VARIANCE)
  power = least_error_powers(w, noise_variance, num_symbols)
  gain = np.sqrt(power / w)
  lmmse = gain * w / (power + noise_variance)
  error = float(np.sum(variances, dtype=np.float64) - (lmmse * gain * w).sum())
  return Design(0, 0, 0, 1.0, (), np.arange(w.size), gain, w, error)


def encode(designs: Sequence[Design], coefficients: np.ndarray) -> np.ndarray:
  """Coefficients [n, D], one design each, as symbols [n, num_symbols] complex64."""
  num_symbols = designs[0].num_digital + designs[0].analogue.size
  symbols = np.zeros((len(designs), num_symbols), np.complex64)
  messages = []
  for i, plan in enumerate(designs):
    residual = np.array(coefficients[i])
    number = 0
    if plan.num_digital:
      k = len(plan.deviations) // 2
      number, values = scalar.encode(
          _parts(residual[:k]), plan.deviations, plan.step, plan.num_bits)
      residual[:k] -= _complex(values)
    messages.append(number)
    analogue = plan.gain * residual[plan.analogue]
    if analogue.size:
      symbols[i, plan.num_digital:] = analogue * limiting((np.abs(analogue) ** 2).mean())
  for code, of_code in _by_code(designs):
    bits = np.array([_to_bits(messages[i], code[0]) for i in of_code])
    symbols[of_code, :code[1]] = polar.encode(polar.polar_code(*code), bits)
  return symbols


def decode(
    designs: Sequence[Design], received: np.ndarray, noise_variance: np.ndarray | float,
    num_coefficients: int) -> np.ndarray:
  """The coefficients' posterior means, [n, num_coefficients] complex64.

  `noise_variance` is that of each report [n], or of all; it need not be what the design is for.
  """
  found = np.zeros((len(designs), num_coefficients), np.complex64)
  noise_variance = np.broadcast_to(noise_variance, len(designs))
  for i, plan in enumerate(designs):
    lmmse = plan.gain * plan.sent / (plan.gain**2 * plan.sent + noise_variance[i])
    found[i, plan.analogue] = lmmse * received[i, plan.num_digital:]
  for code, of_code in _by_code(designs):
    bits, probability = polar.decode(
        polar.polar_code(*code), received[of_code, :code[1]], noise_variance[of_code])
    for i, candidates, weights in zip(of_code, bits, probability, strict=True):
      plan = designs[i]
      for candidate, weight in zip(candidates, weights, strict=True):
        if weight < _LEAST_PROBABILITY:
          break
        values = scalar.decode(
            _to_number(candidate), plan.deviations, plan.step, plan.num_bits)
        found[i, :values.size // 2] += weight * _complex(values)
  return found


def hear(
    designs: Sequence[Design], received: np.ndarray, noise_variance: np.ndarray | float,
    num_coefficients: int) -> tuple[np.ndarray, np.ndarray]:
  """What the symbols of linear designs say of the coefficients, whatever these may be.

  Arguments as of `decode`. Returns the coefficients with the channel's noise [n, num_coefficients]
  complex64, and its variance, float32: inf where nothing is sent.
  """
  values = np.zeros((len(designs), num_coefficients), np.complex64)
  variance = np.full(values.shape, np.inf, np.float32)
  noise_variance = np.broadcast_to(noise_variance, len(designs))
  for i, plan in enumerate(designs):
    sent = plan.gain > 0
    number = plan.analogue[sent]
    values[i, number] = received[i, sent] / plan.gain[sent]
    variance[i, number] = noise_variance[i] / plan.gain[sent] ** 2
  return values, variance


def _steps(w: np.ndarray, num_bits: np.ndarray) -> np.ndarray:
  """For each number of bits the step that fills it but for the spread."""
  grid = np.sqrt(w[0]) * np.geomspace(2e-3, 4, _NUM_STEPS)[::-1]
  ratio = grid[:, None] / np.sqrt(w / 2)
  bits, spread, _ = scalar.moments(ratio)
  coded = ratio < scalar.LARGEST_RATIO
  needed = _OVERHEAD + 2 * (bits * coded).sum(1) + _SPREAD * np.sqrt(2 * (spread * coded).sum(1))
  needed = np.maximum.accumulate(needed) + np.arange(_NUM_STEPS) * 1e-9
  return np.exp(np.interp(num_bits, needed, np.log(grid)))


def _coarsening(variance: np.ndarray, free: np.ndarray) -> np.ndarray:
  """Expected factor of the quantiser's error because some reports need a larger step.

  The bits of k Gaussian coefficients exceed their mean by X = a (G - k), nearly, with G ~ Gamma(k)
  and a = log2(e) / BROADENING^2; a report that lacks x bits takes a step larger by 2^(x / 2k).
  The factor is E max(1, 2^((X - free) / k)).
  """
  slope = 1 / (np.log(2) * scalar.BROADENING**2)
  k = np.maximum(variance / slope**2, 1.0)
  most = np.maximum(k + free / slope, 1e-3)
  rate = slope * np.log(2) / k
  over = np.exp(-most * rate - k * np.log1p(-rate)) * gammaincc(k, most * (1 - rate))
  return np.where(k < _LEAST_COEFFICIENTS, np.inf, over + gammainc(k, most))


@functools.lru_cache(maxsize=256)
def _menu(noise_variance: float, num_symbols: int) -> _Menu:
  entries = set()
  sizes = {*range(_DIGITAL_PART, num_symbols, _DIGITAL_PART), num_symbols}
  for size, block_error in itertools.product(sorted(sizes), BLOCK_ERRORS):
    bits, m = most_bits(noise_variance, size, block_error)
    if 4 <= bits < size * m:
      entries.add((size, bits, m, block_error))
  table = np.array(sorted(entries), np.float64).reshape(-1, 4)
  num_digital, num_bits, bits_per_symbol = table[:, :3].T.astype(int)
  return _Menu(num_digital, num_bits, bits_per_symbol, table[:, 3] + ERROR_FLOOR)


def _by_code(designs: Sequence[Design]) -> list[tuple[tuple[int, int, int], list[int]]]:
  groups: dict[tuple[int, int, int], list[int]] = {}
  for i, plan in enumerate(designs):
    if plan.num_digital:
      groups.setdefault((plan.num_bits, plan.num_digital, plan.bits_per_symbol), []).append(i)
  return sorted(groups.items())


def _parts(coefficients: np.ndarray) -> np.ndarray:
  return np.stack([coefficients.real, coefficients.imag], -1).ravel()


def _complex(parts: np.ndarray) -> np.ndarray:
  return parts[::2] + 1j * parts[1::2]


def _to_bits(number: int, num_bits: int) -> np.ndarray:
  text = np.frombuffer(format(number, f'0{num_bits}b').encode(), np.uint8)
  return text - ord('0')


def _to_number(bits: np.ndarray) -> int:
  return int((bits + ord('0')).tobytes().decode(), 2)
