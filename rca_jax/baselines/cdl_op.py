"""CDL-OP: a common orthonormal dictionary, learned by orthogonal Procrustes, and sparse codes.

The paper's non-learned baseline, as its numbers say it is meant: every frequency row of the CSI,
a vector over the antennas, keeps its S strongest of N_t coefficients in one dictionary that all
UEs share. Compression ratio S / N_t; the feedback is free of noise and of quantisation.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rca_jax.errors import InputError


def frequency_rows(csi: ArrayLike) -> jax.Array:
  """Angular-delay CSI [..., N_a, N_t] to rows over frequency and antennas, same shape; unitary."""
  return jnp.fft.fft(jnp.fft.fft(csi, axis=-2, norm='ortho'), axis=-1, norm='ortho')


def from_frequency_rows(rows: jax.Array) -> jax.Array:
  """The inverse of `frequency_rows`; same shape."""
  return jnp.fft.ifft(jnp.fft.ifft(rows, axis=-1, norm='ortho'), axis=-2, norm='ortho')


@functools.partial(jax.jit, static_argnames=('num_atoms', 'num_iterations'))
def fit(rows: jax.Array, num_atoms: int, num_iterations: int = 50) -> jax.Array:
  """Dictionary [N_t, N_t] complex64 with orthonormal columns, for `num_atoms`-sparse codes.

  Alternates the best sparse codes of the dictionary and the best dictionary of the codes: with
  X the rows and A their codes, min ||X - A D^T|| over unitary D is U V^H of the SVD of X^T A*.

  Args:
    rows: training vectors [n, N_t] complex, see `frequency_rows`.

  Raises:
    InputError: `rows` is not [n, N_t], or num_atoms is not in [1, N_t].
  """
  if rows.ndim != 2 or not 1 <= num_atoms <= rows.shape[1]:
    raise InputError(
        f'rows have shape {list(rows.shape)} and num_atoms={num_atoms}; expected [n, N_t] and '
        'from 1 to N_t atoms.')
  # The DFT: where the strongest coefficients of a narrow cluster already are.
  size = rows.shape[1]
  first = jnp.fft.ifft(jnp.eye(size, dtype=rows.dtype), norm='ortho')

  def improve(dictionary: jax.Array, _step: None) -> tuple[jax.Array, None]:
    codes = sparse_codes(dictionary, rows, num_atoms)
    left, _, right = jnp.linalg.svd(rows.T @ codes.conj())
    return left @ right, None

  return jax.lax.scan(improve, first, length=num_iterations)[0]


def sparse_codes(dictionary: jax.Array, rows: jax.Array, num_atoms: int) -> jax.Array:
  """The best codes [..., N_t] with `num_atoms` entries: for orthonormal atoms the strongest."""
  codes = rows @ dictionary.conj()
  power = jnp.square(codes.real) + jnp.square(codes.imag)
  weakest_kept = jax.lax.top_k(power, num_atoms)[0][..., -1:]
  return jnp.where(power >= weakest_kept, codes, 0)


def reconstruct(dictionary: jax.Array, rows: jax.Array, num_atoms: int) -> jax.Array:
  """Rows [..., N_t] from their sparse codes."""
  return sparse_codes(dictionary, rows, num_atoms) @ dictionary.T
