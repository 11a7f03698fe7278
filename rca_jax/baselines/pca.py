"""The best linear code of a report's length: PCA/KLT, alone and through the noisy uplink.

It sends k real coefficients as k/2 complex symbols, like the network's report. What no
training beats linearly, a network should: print it beside every NMSE.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.errors import InputError
from rca_jax.uplink.djscc import awgn, from_symbols, through

_ROWS_PER_BLOCK = 8192  # of the covariance's accumulation: bounds its memory


class PcaCode(NamedTuple):
  """A linear code: what encoder and decoder both know."""

  mean: np.ndarray  # [D] float32
  components: np.ndarray  # [k, D] float32, orthonormal rows, largest variance first
  variances: np.ndarray  # [k] float32, of the coefficients


def fit(features: np.ndarray, k: int) -> PcaCode:
  """The k directions of largest variance over the D = 2 N_a N_t real dimensions.

  Args:
    features: [n, D], one flattened report of training CSI a row.
    k: real coefficients per report; even.

  Raises:
    InputError: `features` is not [n, D], k is odd or not in [2, D], or n <= k.
  """
  if features.ndim != 2:
    raise InputError(f'features have shape {list(features.shape)}; expected [n, D].')
  n, dim = features.shape
  if k % 2 or not 2 <= k <= dim:
    raise InputError(f'k={k} must be an even integer from 2 to D={dim}.')
  if n <= k:
    raise InputError(f'n={n} samples cannot fit k={k} components; give more than k samples.')
  blocks = range(0, n, _ROWS_PER_BLOCK)
  mean = features.mean(axis=0, dtype=np.float64)
  covariance = np.zeros((dim, dim))
  for start in blocks:
    block = np.asarray(features[start:start + _ROWS_PER_BLOCK], np.float64) - mean
    covariance += block.T @ block
  variances, vectors = np.linalg.eigh(covariance / n)  # ascending
  return PcaCode(
      mean=mean.astype(np.float32),
      components=np.ascontiguousarray(vectors[:, ::-1][:, :k].T, np.float32),
      variances=np.maximum(variances[::-1][:k], 0).astype(np.float32))


def reconstruct(code: PcaCode, features: jax.Array) -> jax.Array:
  """Features [..., D] from their k exact coefficients: noise-free feedback."""
  return _synthesize(code, _coefficients(code, features))


def allocate_power(variances: np.ndarray, snr_db: float) -> np.ndarray:
  """Power of each coefficient that minimises the sum of LMMSE errors.

  With noise variance N = N_0/2 per real part, coefficient i of variance lambda_i and power
  p_i is left with the error lambda_i / (1 + p_i / N). Under sum p_i = k/2 (mean |s|^2 = 1)
  the minimum is p_i = N max(0, sqrt(lambda_i) / level - 1).

  Args:
    variances: lambda [k], largest first.
    snr_db: uplink SNR in dB, one number.

  Returns:
    p [k], float64; zero for coefficients not worth sending.
  """
  variances = np.asarray(variances, np.float64)
  if variances[0] == 0:
    return np.full(variances.size, 0.5)
  return least_error_powers(variances, _real_noise_variance(snr_db), variances.size / 2)


def least_error_powers(
    variances: np.ndarray, noise_variance: float, energy: np.ndarray | float) -> np.ndarray:
  """Powers [..., S] of sum `energy` [...] that leave the least sum of LMMSE errors.

  Real coefficients with the noise of a real part, or complex ones with N_0.

  Args:
    variances: [..., S] float64, largest first; where it is 0 the power is 0.
  """
  roots = np.sqrt(variances)
  num_active = np.arange(1, roots.shape[-1] + 1)
  levels = np.cumsum(roots, -1) / (np.asarray(energy)[..., None] / noise_variance + num_active)
  # Roots descend, so the last coefficient above its own level closes the active set.
  last = np.where(roots > levels, num_active, 0).max(-1, keepdims=True) - 1
  level = np.take_along_axis(levels, last, -1)
  ratio = np.divide(roots, level, out=np.zeros_like(roots), where=level > 0)
  return noise_variance * np.maximum(0.0, ratio - 1)


def transmit(
    key: jax.Array, code: PcaCode, features: jax.Array, snr_db: float) -> jax.Array:
  """Features as recovered from noisy linear symbols: optimal powers, AWGN, LMMSE.

  Deviation: the power constraint holds on average over the data, not per sample as for
  the network's symbols (normalising each sample would not be linear). That favours this
  code: it may spend more on strong reports.

  Args:
    key: of the noise; or keys with the leading axes of `features`, one for every report.
    code: from `fit`.
    features: [..., D].
    snr_db: uplink SNR in dB, one Python number for all (static under jit).

  Returns:
    features_hat [..., D] float32.
  """
  power = allocate_power(code.variances, snr_db).astype(np.float32)
  variances = np.asarray(code.variances)
  gain = np.sqrt(np.divide(power, variances, out=np.zeros_like(power), where=variances > 0))
  coefficients = _coefficients(code, features)
  half = gain.size // 2
  sent = coefficients * _as_last_axis(gain, coefficients.ndim)
  symbols = jax.lax.complex(sent[..., :half], sent[..., half:])
  received = from_symbols(through(awgn, key, symbols, snr_db))
  lmmse = gain * variances / (power + np.float32(_real_noise_variance(snr_db)))
  return _synthesize(code, received * _as_last_axis(lmmse, received.ndim))


def _real_noise_variance(snr_db: float) -> float:
  return 10.0 ** (-snr_db / 10) / 2  # on the host: powers are decided before tracing


def _coefficients(code: PcaCode, features: jax.Array) -> jax.Array:
  features = jnp.asarray(features)
  if features.shape[-1:] != code.mean.shape:
    raise InputError(
        f'features have shape {list(features.shape)}; this code was fitted to '
        f'[..., D={code.mean.size}].')
  return (features - _as_last_axis(code.mean, features.ndim)) @ code.components.T


def _synthesize(code: PcaCode, coefficients: jax.Array) -> jax.Array:
  features = coefficients @ code.components
  return features + _as_last_axis(code.mean, features.ndim)


def _as_last_axis(vector: np.ndarray, ndim: int) -> np.ndarray:
  return vector.reshape((1,) * (ndim - 1) + (-1,))
