"""Scalar quantisation of Gaussian coefficients and their range code of a fixed number of bits.

Cell q of step s is [q - 1/2, q + 1/2) s; its value is the mean of the Gaussian in it. The cells of
a report are one number in [0, 1): each cell narrows an interval by its probability, and the K bits
name an interval inside. Integers of any length are exact: what fits is decoded without loss.
"""

import bisect
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

_PRECISION = 20  # bits of the cells' probabilities
_FACTORS = (1.0, 1.2, 1.5, 2.0, 4.0)  # of the step, when the cells need more bits than there are
_FACTOR_PROBABILITIES = (0.6, 0.16, 0.12, 0.08, 0.04)
# The range code takes the deviations for larger by this: strong reports then need fewer bits beyond
# the mean, which a fixed number of bits must hold in reserve.
BROADENING = 1.2
LARGEST_RATIO = 2.4  # of step to standard deviation: weaker coefficients get no bits
_LEAST_PROBABILITY = 1e-30  # of a cell
_TAIL = 6.0  # standard deviations beyond which cells are one
_RATIOS = np.geomspace(0.002, 20, 600)  # step over standard deviation of the tables


def _density(x: np.ndarray) -> np.ndarray:
  return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _probability(ratio: float, last: int) -> np.ndarray:
  """Of the cells -last ... last of a unit Gaussian; the outer ones have no end."""
  edges = (np.arange(-last, 1) + 0.5) * ratio
  # The upper half mirrors the lower: there differences of the distribution keep their digits.
  lower = np.diff(ndtr(edges[:-1]), prepend=0)
  middle = ndtr(ratio / 2) - ndtr(-ratio / 2)
  return np.concatenate([lower, [middle], lower[::-1]])


def _cells(ratio: float) -> tuple[np.ndarray, np.ndarray]:
  """Probability and mean of the cells -Q ... Q of a unit Gaussian."""
  last = int(np.ceil(_TAIL / ratio))
  edges = (np.arange(-last, last + 2) - 0.5) * ratio
  edges[0], edges[-1] = -np.inf, np.inf
  probability = _probability(ratio, last)
  return probability, -np.diff(_density(edges)) / probability


def _coding(ratio: float) -> np.ndarray:
  """The probabilities of these cells that the range code works with."""
  return _probability(ratio / BROADENING, int(np.ceil(_TAIL / ratio)))


def _moments(ratio: float) -> tuple[float, float, float]:
  """Expected bits, their variance, and mean square error of a unit Gaussian."""
  probability, mean = _cells(ratio)
  bits = -np.log2(_coding(ratio))
  expected = float(probability @ bits)
  error = 1 - float(probability @ mean**2)
  return expected, float(probability @ bits**2) - expected**2, error


@functools.cache
def _table() -> np.ndarray:
  return np.array([_moments(ratio) for ratio in _RATIOS]).T


def moments(ratio: np.ndarray) -> tuple[np.ndarray, ...]:
  """Expected bits, their variance, mean square error (of variance 1) at step / deviation [...]."""
  position = np.log(ratio / _RATIOS[0]) / np.log(_RATIOS[1] / _RATIOS[0])
  position = np.clip(position, 0, _RATIOS.size - 1.001)
  index = position.astype(int)
  part = position - index
  return tuple(row[index] * (1 - part) + row[index + 1] * part for row in _table())


class Cells(NamedTuple):
  """The cells of one real coefficient, as both sides know them."""

  first: int  # the index -Q of the first
  edges: list[int]  # of the cells in units of 2^-20, rising, from 0
  values: np.ndarray


def _real_cells(deviation: float, step: float) -> Cells:
  """For a real Gaussian of this standard deviation."""
  _, mean = _cells(step / deviation)
  return _integer_cells(-(mean.size // 2), _coding(step / deviation), mean * deviation)


def _integer_cells(first: int, probability: np.ndarray, values: np.ndarray) -> Cells:
  count = probability.size
  edges = np.floor(np.cumsum(probability) * (2**_PRECISION - count)).astype(int)
  edges = np.concatenate([[0], edges + np.arange(1, count + 1)])
  edges[-1] = 2**_PRECISION
  return Cells(first, edges.tolist(), values)


_FACTOR_CELLS = _integer_cells(0, np.array(_FACTOR_PROBABILITIES), np.array(_FACTORS))


@functools.lru_cache(maxsize=1024)
def _alphabet(deviations: tuple[float, ...], step: float) -> list[Cells]:
  return [_real_cells(deviation, step) for deviation in deviations]


def quantise(
    coefficients: np.ndarray, deviations: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
  """Values and ideal lengths in bits, -log2 of the cell's probability, of real coefficients.

  Arrays of one shape. Coefficients of a deviation below step / LARGEST_RATIO get none: they are 0.
  """
  ratio = step / deviations
  cell = np.rint(coefficients / step)
  # Of the mirrored cell where it is positive: differences of small numbers keep their digits.
  low, high = (-np.abs(cell) - 0.5) * ratio, (-np.abs(cell) + 0.5) * ratio
  probability = np.maximum(ndtr(high) - ndtr(low), _LEAST_PROBABILITY)
  mean = (_density(low) - _density(high)) / probability
  # Cells that a Gaussian never reaches: their middle.
  mean = np.where(probability > _LEAST_PROBABILITY, mean, -np.abs(cell) * ratio)
  is_coded = ratio < LARGEST_RATIO
  return (np.where(is_coded, -np.sign(cell) * mean * deviations, 0),
          np.where(is_coded, -np.log2(probability), 0))


def encode(
    coefficients: np.ndarray, deviations: tuple[float, ...], step: float, num_bits: int
) -> tuple[int, np.ndarray]:
  """The cells of real coefficients [n] as a number of K bits, most important coefficient first.

  The number begins with the step's factor: the least that lets all cells fit. With the largest
  factor a cell that does not fit in the bits left becomes the nearest to it, towards zero, that
  fits; when zero does not fit either, that coefficient and all after it are not sent: they are 0.

  Returns:
    the number in [0, 2^K), and the values [n] that the decoder will find.
  """
  for i, factor in enumerate(_FACTORS):
    low, width = _narrowed(1 << (num_bits + _PRECISION), _FACTOR_CELLS, i)
    wanted = np.rint(coefficients / (factor * step)).astype(int).tolist()
    number, values, is_whole = _encode_cells(
        wanted, _alphabet(deviations, factor * step), low, width - low)
    if is_whole:
      break
  return number, values


def _encode_cells(
    wanted: list[int], alphabet: Sequence[Cells], low: int, width: int
) -> tuple[int, np.ndarray, bool]:
  values = np.zeros(len(alphabet))
  is_whole = True
  for i, (cell, found) in enumerate(zip(wanted, alphabet, strict=True)):
    if not _goes_on(width, found):
      is_whole = False
      break
    index = min(max(cell - found.first, 0), len(found.values) - 1)
    while True:
      lower, upper = _narrowed(width, found, index)
      if _fits(upper - lower):
        break
      is_whole = False
      index += 1 if index < -found.first else -1
    low, width = low + lower, upper - lower
    values[i] = found.values[index]
  return -(-low >> _PRECISION), values, is_whole


def decode(
    number: int, deviations: tuple[float, ...], step: float, num_bits: int) -> np.ndarray:
  """The values [n] that `encode` returned with the number; any number has some."""
  values = np.zeros(len(deviations))
  rest, width = number << _PRECISION, 1 << (num_bits + _PRECISION)
  factor, rest, width = _next(rest, width, _FACTOR_CELLS)
  for i, found in enumerate(_alphabet(deviations, float(factor) * step)):
    if not _goes_on(width, found):
      break
    values[i], rest, width = _next(rest, width, found)
  return values


def _next(rest: int, width: int, found: Cells) -> tuple[float, int, int]:
  """The value of the cell that `rest` is in, and rest and width within that cell."""
  # The last edge at or below the rest, but for the rounding of `_narrowed`.
  index = bisect.bisect_right(found.edges, (rest << _PRECISION) // width) - 1
  index = min(index, len(found.values) - 1)
  lower, upper = _narrowed(width, found, index)
  if rest >= upper:
    index += 1
    lower, upper = _narrowed(width, found, index)
  return found.values[index], rest - lower, upper - lower


def _narrowed(width: int, found: Cells, index: int) -> tuple[int, int]:
  edges = found.edges
  return width * edges[index] >> _PRECISION, width * edges[index + 1] >> _PRECISION


def _fits(width: int) -> bool:
  """Holds a whole interval of K bits wherever it begins."""
  return width >= 2 << _PRECISION


def _goes_on(width: int, found: Cells) -> bool:
  lower, upper = _narrowed(width, found, -found.first)
  return _fits(upper - lower)
