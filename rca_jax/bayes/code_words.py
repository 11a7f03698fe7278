"""How many bits a polar code word (bayes/polar.py) carries: what designs reckon with."""

import functools

import numpy as np
from scipy.special import ndtri

from rca_jax.bayes import polar

BLOCK_ERRORS = (0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)  # that designs choose from
ERROR_FLOOR = 5e-4  # on top, by measurement: close pairs of code words on large constellations
# The polar code against the normal approximation, by measurement: loss in dB, and the factor of the
# standard deviation of its information.
_CODE_LOSS = {2: (1.0, 1.0), 4: (0.7, 1.3), 6: (0.7, 1.3), 8: (0.7, 1.3)}


def most_bits(noise_variance: float, num_symbols: int, block_error: float) -> tuple[int, int]:
  """Bits that a word of so many symbols carries, and bits of the QAM symbols that carry most.

  The first number can be too small for any code, or negative.
  """
  quantile = -ndtri(block_error)
  return max(
      (int(num_symbols * mean + np.log2(num_symbols) / 2
           - quantile * np.sqrt(num_symbols) * deviation), m)
      for m, mean, deviation in _rates(noise_variance))


def word_errors(code: polar.Polar, noise_variance: float, num_words: int) -> int:
  """How many of so many random words are decoded wrongly, over AWGN."""
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2, (num_words, code.num_bits), np.uint8)
  symbols = polar.encode(code, bits)
  noise = rng.standard_normal((2, *symbols.shape)) * np.sqrt(noise_variance / 2)
  found, _ = polar.decode(code, symbols + noise[0] + 1j * noise[1], noise_variance)
  return int((found[:, 0] != bits).any(1).sum())


@functools.lru_cache(maxsize=256)
def _rates(noise_variance: float) -> list[tuple[int, float, float]]:
  """Of each constellation its bits, and mean and deviation of what a symbol tells."""
  rates = []
  for m, (loss_db, factor) in _CODE_LOSS.items():
    mean, variance = _information(noise_variance * 10 ** (loss_db / 10), m // 2)
    rates.append((m, mean, factor * np.sqrt(variance)))
  return rates


def _information(noise_variance: float, half: int) -> tuple[float, float]:
  """Mean and variance, in bits, of the information that one Gray-labelled symbol gives."""
  amplitudes = polar.amplitudes(half)
  node, weight = np.polynomial.hermite_e.hermegauss(40)
  weight = weight / weight.sum()
  received = amplitudes[:, None] + np.sqrt(noise_variance / 2) * node
  llr = polar.demap(received + 0j, noise_variance, half)
  llr = llr.reshape(amplitudes.size, node.size, 2, half)[:, :, 0]
  label = (np.arange(amplitudes.size)[:, None] >> np.arange(half)[::-1]) & 1
  gain = (1 - np.logaddexp(0, np.where(label[:, None], llr, -llr)) / np.log(2)).sum(-1)
  mean = (gain @ weight).mean()
  variance = ((gain - mean) ** 2 @ weight).mean()
  return 2 * mean, 2 * variance
