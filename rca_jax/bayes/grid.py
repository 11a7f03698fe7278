"""The delay-angle grid: where power can come from.

CSI at a place is close to complex Gaussian with covariance A diag(c) A^H. The columns of A, the
*atoms*, are what paths of one delay and one angle leave in the CSI; c is the *profile*.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel.response import delay_rows, steering, to_angles
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError

POINTS_PER_ROW, NUM_ANGLES = 4, 64
_FIRST_ROW = -0.5


class Grid(NamedTuple):
  """Atoms a(p, q) = delay[:, p] (x) angle[:, q], all of norm 1."""

  delay: jax.Array  # [N_a, P] complex64
  angle: jax.Array  # [N_t, Q] complex64

  @property
  def shape(self) -> tuple[int, int]:
    """Number of delays and of angles."""
    return self.delay.shape[1], self.angle.shape[1]


def make_grid(
    config: CsiConfig, points_per_row: int = POINTS_PER_ROW, num_angles: int = NUM_ANGLES) -> Grid:
  """Delays from half a row before the first to the last row's end, sines of angles from -1 to 1.

  Of two polarisations each has angles of its own.
  """
  rows = delays_in_rows(config, points_per_row)
  delay = delay_rows(jnp.asarray(rows / config.bandwidth_hz, jnp.float32), config)
  sine = jnp.arange(num_angles, dtype=jnp.float32) * (2 / num_angles) - 1
  num_polarisations = config.num_polarisations
  angle = to_angles(steering(sine, config.num_tx_antennas // num_polarisations), 1).T
  angle = jnp.kron(jnp.eye(num_polarisations), angle)
  return Grid(*(a / jnp.linalg.norm(a, axis=0, keepdims=True) for a in (delay, angle)))


def check_one_polarisation(config: CsiConfig, what: str) -> None:
  """Raises InputError for two: maps name an angle by 6 bits, and clusters lie on a circle."""
  if config.num_polarisations != 1:
    raise InputError(
        f'csi.num_polarisations={config.num_polarisations}: {what} are of one polarisation; joint '
        'Bayes, PCA/KLT and networks are of two.')


def delays_in_rows(config: CsiConfig, points_per_row: int) -> np.ndarray:
  """The delays of `make_grid`, [P], in units of a row."""
  return np.arange(_FIRST_ROW, config.num_delay_taps, 1 / points_per_row)


def delays_and_angles(index: np.ndarray, config: CsiConfig) -> tuple[np.ndarray, np.ndarray]:
  """Where the atoms of flat indices are: delays in s, sines of angles, of the shape of `index`."""
  p, q = np.divmod(index, NUM_ANGLES)
  return (p / POINTS_PER_ROW + _FIRST_ROW) / config.bandwidth_hz, q * (2 / NUM_ANGLES) - 1


def project(grid: Grid, csi: jax.Array) -> jax.Array:
  """A^H h on the whole grid: [..., N_a, N_t] -> [..., P, Q] complex64."""
  return jnp.einsum('dp,...da,aq->...pq', grid.delay.conj(), csi, grid.angle.conj())


def atoms_at(grid: Grid, index: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Delay [..., K, N_a] and angle [..., K, N_t] of the atoms at flat indices [..., K]."""
  p, q = jnp.divmod(index, grid.shape[1])
  return grid.delay.T[p], grid.angle.T[q]


def gram_at(grid: Grid, index: jax.Array) -> jax.Array:
  """A^H A of flat indices: [..., K] -> [..., K, K] complex64, from a delay and an angle table."""
  p, q = jnp.divmod(index, grid.shape[1])
  delay, angle = grid.delay.conj().T @ grid.delay, grid.angle.conj().T @ grid.angle
  return delay[p[..., :, None], p[..., None, :]] * angle[q[..., :, None], q[..., None, :]]


def entry_atoms(grid: Grid) -> jax.Array:
  """The atoms that are the entries of CSI: flat indices [N_a N_t]."""
  delay, angle = (jnp.abs(atoms).argmax(1) for atoms in grid)
  return (delay[:, None] * grid.shape[1] + angle).ravel()
