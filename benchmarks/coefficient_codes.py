"""NMSE of the coefficient codes beside the bound, on true covariances of the site.

python -m benchmarks.coefficient_codes: one line for every number of symbols and SNR. All codes meet
the same coefficients and noise; a gain's interval is that of the paired difference.
"""

import time

import numpy as np

from rca_jax.baselines import genie
from rca_jax.bayes.coefficient_code import FOLDED, HYBRID, LINEAR, CoefficientCode
from rca_jax.config import ExperimentConfig

_NUM_POSITIONS, _REPORTS_PER_POSITION = 60, 50
_NUMS_SYMBOLS = (28, 44, 56, 64, 120)
_SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)
_CODES = {'linear': LINEAR, 'hybrid': HYBRID, 'folded': FOLDED}


def main() -> None:
  print('| symbols | SNR, dB | linear | hybrid over it | folded over it | bound over it | '
        'expected: hybrid, folded | power: hybrid, folded | ms a report: hybrid, folded |')
  variances = genie.site_variances(ExperimentConfig(), _NUM_POSITIONS)
  for num_symbols in _NUMS_SYMBOLS:
    for snr_db in _SNRS_DB:
      print(_line(variances, num_symbols, 10 ** (-snr_db / 10), snr_db), flush=True)


def _line(variances: np.ndarray, num_symbols: int, noise: float, snr_db: float) -> str:
  rng = np.random.default_rng(0)
  w = np.tile(variances, (_REPORTS_PER_POSITION, 1))
  coefficients = np.sqrt(w) * _gaussian(rng, w.shape)
  noises = np.sqrt(noise) * _gaussian(rng, (len(w), num_symbols))
  found = {
      name: _measured(code, variances, coefficients, noises, noise)
      for name, code in _CODES.items()}
  linear = found['linear'][0]
  bits = num_symbols * np.log2(1 + 1 / noise)
  bound = np.mean([x.sum() * genie.reverse_water_filling(x, bits) for x in variances])
  others = [found[name] for name in ('hybrid', 'folded')]
  return (
      f'| {num_symbols} | {snr_db} | {_db(linear.mean() / w.sum(1).mean()):.2f} | '
      + ' | '.join(_gain(linear, of[0]) for of in others)
      + f' | {_db(linear.mean() / bound):.2f} | '
      + ' | '.join(', '.join(f'{value:.{digits}f}' for value in values) for digits, values in (
          (2, [_db(linear.mean() / of[1]) for of in others]),
          (3, [of[2] for of in others]), (2, [of[3] for of in others]))) + ' |')


def _measured(
    code: CoefficientCode, variances: np.ndarray, coefficients: np.ndarray, noises: np.ndarray,
    noise: float) -> tuple[np.ndarray, float, float, float]:
  """Squared errors [n], their expectation, the power of symbols and ms a report."""
  start = time.perf_counter()
  plans = [code.design(x, noise, noises.shape[1]) for x in variances]
  expected = np.mean([plan.error for plan in plans])
  plans *= _REPORTS_PER_POSITION
  symbols = code.encode(plans, coefficients)
  hat = code.decode(plans, symbols + noises, noise, coefficients.shape[1])
  each_ms = (time.perf_counter() - start) / len(plans) * 1e3
  error = (np.abs(hat - coefficients) ** 2).sum(1)
  return error, float(expected), float((np.abs(symbols) ** 2).mean()), each_ms


def _gain(linear: np.ndarray, error: np.ndarray) -> str:
  ratio = error.mean() / linear.mean()
  spread = 4.34 * 1.96 * (error - ratio * linear).std() / error.mean() / np.sqrt(error.size)
  return f'{-_db(ratio):.2f} +- {spread:.2f}'


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def _db(x: float) -> float:
  return 10 * np.log10(x)


if __name__ == '__main__':
  main()
