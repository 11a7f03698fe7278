"""NMSE of the hybrid code beside the linear code and the bound, on true covariances of the site.

python -m benchmarks.hybrid_code: one line for every number of symbols and SNR. Linear and hybrid
meet the same coefficients; the gain's interval is that of the paired difference.
"""

import time

import numpy as np

from rca_jax.baselines import genie
from rca_jax.bayes import hybrid
from rca_jax.config import ExperimentConfig

_NUM_POSITIONS = 60
_REPORTS_PER_POSITION = 50
_NUMS_SYMBOLS = (44, 56, 64)
_SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)


def main() -> None:
  print('| symbols | SNR, dB | linear | hybrid | gain | expected | bound | digital symbols | '
        'reports with bits | power | design, ms | 1,000 reports, s |')
  variances = genie.site_variances(ExperimentConfig(), _NUM_POSITIONS)
  for num_symbols in _NUMS_SYMBOLS:
    for snr_db in _SNRS_DB:
      print(_line(variances, num_symbols, snr_db), flush=True)


def _line(variances: np.ndarray, num_symbols: int, snr_db: float) -> str:
  rng = np.random.default_rng(0)

  def gaussian(shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)

  noise_variance = 10 ** (-snr_db / 10)
  start = time.perf_counter()
  each = [hybrid.design(w, noise_variance, num_symbols) for w in variances]
  design_ms = (time.perf_counter() - start) / len(each) * 1e3
  plans = each * _REPORTS_PER_POSITION
  w = np.tile(variances, (_REPORTS_PER_POSITION, 1))
  coefficients = np.sqrt(w) * gaussian(w.shape)
  noise = np.sqrt(noise_variance) * gaussian((len(w), num_symbols))
  start = time.perf_counter()
  symbols = hybrid.encode(plans, coefficients)
  found = hybrid.decode(plans, symbols + noise, noise_variance, w.shape[1])
  seconds = (time.perf_counter() - start) / len(w) * 1e3
  error = (np.abs(found - coefficients) ** 2).sum(1)
  linear_plans = [hybrid.linear_design(x, noise_variance, num_symbols) for x in variances]
  linear_plans *= _REPORTS_PER_POSITION
  received = hybrid.encode(linear_plans, coefficients) + noise
  found = hybrid.decode(linear_plans, received, noise_variance, w.shape[1])
  linear = (np.abs(found - coefficients) ** 2).sum(1)
  bits = num_symbols * np.log2(1 + 1 / noise_variance)
  bound = np.mean([genie.reverse_water_filling(x, bits) for x in variances])
  total = w.sum(1).mean()
  ratio = error.mean() / linear.mean()
  spread = 4.34 * 1.96 * (error - ratio * linear).std() / error.mean() / np.sqrt(error.size)
  digital = np.mean([plan.num_digital > 0 for plan in each])
  return (
      f'| {num_symbols} | {snr_db} | {_db(linear.mean() / total):.2f} | '
      f'{_db(error.mean() / total):.2f} | {-_db(ratio):.2f} +- {spread:.2f} | '
      f'{_db(np.mean([plan.error for plan in each]) / total):.2f} | {_db(bound):.2f} | '
      f'{np.mean([plan.num_digital for plan in each]):.0f} | {digital:.0%} | '
      f'{np.mean(np.abs(symbols) ** 2):.3f} | {design_ms:.1f} | {seconds:.1f} |')


def _db(x: float) -> float:
  return 10 * np.log10(x)


if __name__ == '__main__':
  main()
