"""The label of a report: which cell it belongs to, as spread codewords with soft decisions.

Every label has a codeword of n random complex Gaussian symbols. For short words at low SNR no
structured code is much better, and the decision is soft: the BS gets a probability of every label.
"""

import jax
import jax.numpy as jnp

_SEED = 0  # UE and BS draw the same words


def codewords(num_labels: int, num_symbols: int) -> jax.Array:
  """[V, n] complex64, mean |s|^2 = 1 in every word."""
  parts = jax.random.normal(jax.random.key(_SEED), (2, num_labels, num_symbols), jnp.float32)
  words = jax.lax.complex(*parts)
  power = jnp.mean(jnp.abs(words) ** 2, -1, keepdims=True)
  return words * jax.lax.rsqrt(power)


def log_posterior(
    words: jax.Array, received: jax.Array, noise: jax.Array, log_prior: jax.Array) -> jax.Array:
  """Log probabilities [..., V] of the labels, given received symbols [..., n].

  Args:
    noise: N_0, scalar.
    log_prior: [..., V].
  """
  # |y - x|^2 but for |y|^2, which all labels share.
  match = 2 * (received @ words.conj().T).real - (jnp.abs(words) ** 2).sum(-1)
  return jax.nn.log_softmax(match / noise + log_prior, -1)


def error_bound(num_labels: int, num_symbols: jax.Array, noise: jax.Array) -> jax.Array:
  """Union (Chernoff) bound of a wrong label over random Gaussian words, at most 1.

  Two words at a distance d are mistaken with probability at most exp(-d^2 / (4 N_0)); d^2 is a sum
  of n independent exponentials of mean 2.
  """
  return jnp.minimum(1, (num_labels - 1) * (1 + 1 / (2 * noise)) ** -jnp.float32(num_symbols))
