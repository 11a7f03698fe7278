"""The code that knows nothing: every UE sends the same random projections F h of its CSI.

The power constraint holds for every report, as for a network's symbols; so the scale of a report
is not told.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.bayes.grid import Grid, delays_in_rows, make_grid, project
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.djscc import from_symbols, to_symbols

# Coarser than a map's: few numbers do not see more.
_POINTS_PER_ROW, _NUM_ANGLES = 2, 64


class Projections(NamedTuple):
  """F: signs, a Fourier transform over all N_a N_t entries, and some of its outputs.

  No matrix at the UE, and (N / 2) log2 N complex multiplications. F has orthonormal rows; dense
  random ones of S x N multiplications are no better.
  """

  signs: jax.Array  # [N_a, N_t] float32
  kept: jax.Array  # outputs that are sent, [S] int32

  def __call__(self, csi: jax.Array) -> jax.Array:
    """F h: [..., N_a, N_t] to [..., S] complex64."""
    flat = (self.signs * csi).reshape(*csi.shape[:-2], -1)
    return jnp.fft.fft(flat, norm='ortho')[..., self.kept]

  def matrix(self) -> jax.Array:
    """F as [S, N_a, N_t] complex64."""
    eye = jnp.eye(self.signs.size, dtype=jnp.complex64)
    return self(eye.reshape(-1, *self.signs.shape)).T.reshape(-1, *self.signs.shape)


class RandomCode(NamedTuple):
  """What UEs and BS know."""

  projections: Projections
  grid: Grid
  seen: jax.Array  # F a of every atom, [K, S] complex64
  prior: jax.Array  # c of an unknown place for reports of mean power 1, [K] float32


def random_projections(key: jax.Array, num_symbols: int, config: CsiConfig) -> Projections:
  """Random signs and outputs.

  Raises:
    InputError: there are less than one or more than N_a N_t symbols.
  """
  size = config.num_delay_taps * config.num_tx_antennas
  if not 1 <= num_symbols <= size:
    raise InputError(
        f'{num_symbols} symbols a report; random projections are from 1 to N_a N_t = {size}.')
  sign_key, kept_key = jax.random.split(key)
  shape = config.num_delay_taps, config.num_tx_antennas
  return Projections(
      jax.random.rademacher(sign_key, shape, jnp.float32),
      jax.random.permutation(kept_key, size)[:num_symbols])


def make_code(projections: Projections, config: CsiConfig, csi: np.ndarray) -> RandomCode:
  """The code of given projections.

  Args:
    csi: of any places, [n, N_a, N_t]; its mean power by delay makes the prior, flat over angles.
  """
  grid = code_grid(config)
  seen = seen_atoms(projections, grid)
  prior = jnp.repeat(by_delay(csi, config), grid.shape[1])
  prior = prior * len(projections.kept) / (prior @ (jnp.abs(seen) ** 2).sum(-1))
  return RandomCode(projections, grid, seen, jnp.asarray(prior, jnp.float32))


def code_grid(config: CsiConfig) -> Grid:
  """The grid on which the profile of a group is found."""
  return make_grid(config, _POINTS_PER_ROW, _NUM_ANGLES)


def seen_atoms(projections: Projections, grid: Grid) -> jax.Array:
  """F a of every atom of a grid: [K, S] complex64."""
  num_symbols = len(projections.kept)
  return project(grid, projections.matrix().conj()).conj().reshape(num_symbols, -1).T


def by_delay(csi: jax.Array | np.ndarray, config: CsiConfig) -> jax.Array:
  """Mean power of CSI [n, N_a, N_t] at the delays of `code_grid`, [P]."""
  power = jnp.mean(jnp.abs(csi) ** 2, (0, 2))
  return jnp.interp(delays_in_rows(config, _POINTS_PER_ROW), jnp.arange(len(power)), power)


def encode(code: RandomCode, csi: jax.Array) -> jax.Array:
  """Reports [..., S] complex64, mean |s|^2 = 1 each, of CSI [..., N_a, N_t]."""
  return to_symbols(from_symbols(code.projections(csi)))


def pack(hermitian: jax.Array) -> jax.Array:
  """Hermitian matrices as real ones of the same shape, inner products and all.

  The real part is symmetric, the imaginary part is antisymmetric: neither sees the other.
  """
  return hermitian.real + hermitian.imag


def outer(vectors: jax.Array) -> jax.Array:
  """Packed outer products v v^H, without complex numbers: [K, S] to [K, S * S] float32."""
  real, imag = vectors.real, vectors.imag
  return (
      (real + imag)[:, :, None] * real[:, None] + (imag - real)[:, :, None] * imag[:, None]
  ).reshape(len(vectors), -1)


def invert(packed: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(C + N_0 I)^-1 of packed covariances [..., S, S], and log det of what is inverted, [...].

  Args:
    noise: N_0 > 0, broadcasts to [...].
  """
  eye = jnp.eye(packed.shape[-1], dtype=jnp.complex64)
  factor = jnp.linalg.cholesky(unpack(packed) + noise[..., None, None] * eye)
  half = jax.lax.linalg.triangular_solve(
      factor, jnp.broadcast_to(eye, factor.shape), left_side=True, lower=True)
  log_det = 2 * jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1).real).sum(-1)
  return jnp.swapaxes(half.conj(), -1, -2) @ half, log_det


def unpack(packed: jax.Array) -> jax.Array:
  """The inverse of `pack`, complex64 of the same shape."""
  turned = jnp.swapaxes(packed, -1, -2)
  return jax.lax.complex(packed + turned, packed - turned) / 2
