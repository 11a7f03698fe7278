"""The label of a report: which cell it belongs to, as spread codewords with soft decisions.

Every label has a codeword of n random complex Gaussian symbols. For short words at low SNR no
structured code is much better, and the decision is soft: the BS gets a probability of every label.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betainc, gammaincinv, ndtr

_SEED = 0  # UE and BS draw the same words
# Of a mean over a normal variable.
_NODES = np.linspace(-6, 6, 61)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


def codewords(num_labels: int, num_symbols: int) -> jax.Array:
  """[V, n] complex64, mean |s|^2 = 1 in every word."""
  parts = jax.random.normal(jax.random.key(_SEED), (2, num_labels, num_symbols), jnp.float32)
  words = jax.lax.complex(*parts)
  power = jnp.mean(jnp.abs(words) ** 2, -1, keepdims=True)
  return words * jax.lax.rsqrt(power)


@jax.jit
def log_likelihood(words: jax.Array, received: jax.Array, noise: jax.Array) -> jax.Array:
  """Log p(received | label) [..., V] of [..., n] symbols, but for what all labels share.

  `noise` is N_0.
  """
  match = received.real @ words.real.T + received.imag @ words.imag.T
  return 2 * match / noise


def error_rate(num_labels: float, num_symbols: np.ndarray, noise: float) -> np.ndarray:
  """Probability that another label is more likely than the one sent: its mean over random words.

  Given t, the cosine of the angle between received and sent word in 2n real dimensions, a random
  direction is nearer with probability p(t), a beta distribution's; none of the others is with
  (1 - p)^(V - 1). The noise along the word is normal, that across it gamma distributed.

  Args:
    num_labels: V >= 1, equally likely; need not be whole.
    num_symbols: n, any shape; without symbols the label is a guess.
    noise: N_0.
  """
  n = np.maximum(num_symbols, 1)[..., None, None]
  along = np.sqrt(n) + np.sqrt(noise / 2) * _NODES[:, None]
  across = noise * gammaincinv(n - 0.5, ndtr(_NODES))
  cosine = along / np.sqrt(along**2 + across)
  tail = betainc(n - 0.5, 0.5, 1 - cosine**2) / 2
  nearer = np.where(cosine > 0, tail, 1 - tail)
  wrong = -np.expm1((num_labels - 1) * np.log1p(-np.minimum(nearer, 1 - 1e-12)))
  return np.where(np.greater(num_symbols, 0), wrong @ _WEIGHTS @ _WEIGHTS, 1 - 1 / num_labels)
