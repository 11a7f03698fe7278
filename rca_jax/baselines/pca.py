"""The best linear code of a report's length: PCA/KLT, alone and through the noisy uplink.

It sends k real coefficients as k/2 complex symbols, like the network's report. What no
training beats linearly, a network should: print it beside every NMSE.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.errors import InputError
from rca_jax.uplink.djscc import from_symbols
from rca_jax.uplink.known import Uplink

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


def least_error_powers(
    variances: Any, noise_variance: np.ndarray | float, energy: np.ndarray | float) -> Any:
  """Powers [..., S] of sum `energy` [...] that leave the least sum of LMMSE errors.

  With noise variance N a coefficient of variance lambda and power p is left with the error
  lambda / (1 + p / N). The minimum is p_i = N max(0, sqrt(lambda_i) / level - 1).

  Args:
    variances: lambda [..., S], largest first, of numpy (float64) or JAX; where it is 0 the power
      is 0.
    noise_variance: N, that of a real part (N_0 / 2) for real coefficients, broadcasts to [..., S].
  """
  xp = variances.__array_namespace__()
  roots = xp.sqrt(variances)
  num_active = np.arange(1, roots.shape[-1] + 1)
  levels = xp.cumsum(roots, -1) / (np.asarray(energy)[..., None] / noise_variance + num_active)
  # Roots descend, so the last coefficient above its own level closes the active set.
  last = xp.where(roots > levels, num_active, 0).max(-1, keepdims=True) - 1
  level = xp.take_along_axis(levels, last, -1)
  ratio = roots / xp.where(level > 0, level, np.inf)
  return noise_variance * xp.maximum(0.0, ratio - 1)


def transmit(
    key: jax.Array, code: PcaCode, features: jax.Array, uplink: Uplink) -> jax.Array:
  """Features as recovered from noisy linear symbols: optimal powers, noise, LMMSE.

  Deviation: the power constraint holds on average over the data, not per sample as for
  the network's symbols (normalising each sample would not be linear). That favours this
  code: it may spend more on strong reports.

  Args:
    key: of the noise; or keys with the leading axes of `features`, one for every report.
    code: from `fit`.
    features: [..., D], or [..., M, D] where each UE has its own SNR.
    uplink: static under jit.

  Returns:
    features_hat [..., D] float32.
  """
  half = len(code.variances) // 2
  noise = uplink.noise(half)[..., None] / 2
  variances = np.broadcast_to(code.variances, (*noise.shape[:-1], 2 * half))
  power = least_error_powers(variances.astype(np.float64), noise, half).astype(np.float32)
  gain = np.sqrt(np.divide(power, variances, out=np.zeros_like(power), where=variances > 0))
  coefficients = _coefficients(code, features)
  gain, variances, power = (
      x.reshape((1,) * (coefficients.ndim - x.ndim) + x.shape) for x in (gain, variances, power))
  sent = coefficients * gain
  symbols = jax.lax.complex(sent[..., :half], sent[..., half:])
  received, heard = uplink.send(key, symbols)
  lmmse = gain * variances / (power + heard[..., None] / 2)
  return _synthesize(code, from_symbols(received) * lmmse)


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
