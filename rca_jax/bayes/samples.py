"""UEs over the ground, square by square: what a site map is fitted from.

A square is named by its whole numbers [x, y]: its corner is at side_m * [x, y].
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel.groups import csi_at
from rca_jax.channel.response import normalise
from rca_jax.channel.site import Site
from rca_jax.config import CsiConfig, ExperimentConfig
from rca_jax.data.source import iter_groups
from rca_jax.durable import writing
from rca_jax.errors import InputError

_OFFSET = 2**15  # makes the numbers of squares positive


class Ues(NamedTuple):
  """n UEs."""

  csi: np.ndarray  # [n, N_a, N_t] complex64, mean |h|^2 = 1
  place: np.ndarray  # [n, 2] float m
  los: np.ndarray  # [n] bool


class Stored(NamedTuple):
  """n UEs of a file."""

  csi: np.ndarray  # [n, N_a, N_t] complex64, mean |h|^2 = 1; a file that is mapped to memory
  place: np.ndarray | None  # [n, 2] float m; None: nobody knows
  los: np.ndarray  # [n] bool; False where nobody knows


class Ground(NamedTuple):
  """Where UEs are, and a way to get them."""

  squares: np.ndarray  # [S, 2] int
  side_m: float
  ues_in: Callable[[np.ndarray], Ues]  # squares [s, 2] -> their UEs
  noise: float  # N_0 of the CSI against its signal; scaled to mean |h|^2 = 1 with its noise


def generated(
    key: jax.Array, site: Site, side_m: float, num_ues: float, snr_db: float | None,
    position_error_m: float = 0.0) -> Ground:
  """UEs at uniform places of a generated site, `num_ues` a square on average.

  Args:
    snr_db: of the CSI, each UE's own; None: without noise.
    position_error_m: standard deviation, along each axis, of where a UE is from where it says.

  Raises:
    InputError: there is no UE, or squares are larger than the cell.
  """
  config = site.config
  if num_ues <= 0:
    raise InputError(f'num_ues={num_ues:g} UEs a square: a map needs some.')
  if side_m > config.cell_size_m:
    raise InputError(
        f'side_m={side_m:g}: squares are larger than csi.cell_size_m={config.cell_size_m:g}.')
  squares = _squares_of_cell(config, side_m)
  there = set(map(tuple, squares.tolist()))
  noise = noise_of(snr_db)

  def ues_in(wanted: np.ndarray) -> Ues:
    csi, place, los, counts = map(
        np.asarray, _draw(key, site, wanted, side_m, int(np.ceil(num_ues)), num_ues, noise,
        position_error_m))
    counts = counts & np.array([tuple(square) in there for square in wanted.tolist()])[:, None]
    return Ues(csi[counts], place[counts], los[counts])

  return Ground(squares, side_m, ues_in, noise)


def _squares_of_cell(config: CsiConfig, side_m: float) -> np.ndarray:
  """The squares whose middle a UE can be at."""
  half = int(np.ceil(config.cell_size_m / 2 / side_m - 1e-9))
  line = np.arange(-half, half)
  squares = np.stack(np.meshgrid(line, line, indexing='ij'), -1).reshape(-1, 2)
  middle = (squares + 0.5) * side_m
  # As `sample_positions`: groups stay inside but for half their diameter.
  return squares[np.linalg.norm(middle, axis=-1) >= config.min_bs_distance_m - side_m]


@functools.partial(jax.jit, static_argnames='most')
def _draw(
    key: jax.Array, site: Site, squares: jax.Array, side_m: float, most: int, num_ues: float,
    noise: float, position_error_m: float) -> tuple[jax.Array, ...]:
  """CSI, told places, LOS states of `most` UEs in each square [s, 2], and which of them are there.

  A square has the same UEs whatever squares are beside it.
  """
  number = (squares[:, 0] + _OFFSET) * (2 * _OFFSET) + squares[:, 1] + _OFFSET
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, number.astype(jnp.uint32))
  uniform = jax.vmap(lambda k: jax.random.uniform(k, (most + 1, 2), jnp.float32))(keys)
  place = side_m * (squares[:, None] + uniform[:, :most])
  there = jnp.arange(most) < num_ues - 1 + uniform[:, most:, 0]
  error = jax.vmap(lambda k: jax.random.normal(
      jax.random.fold_in(k, 2), place.shape[1:], jnp.float32))(keys)
  positions = jnp.pad(
      place + position_error_m * error, ((0, 0), (0, 0), (0, 1)),
      constant_values=site.config.ue_height_m)
  # Every UE a group of its own: with `track` the UEs of a group share their scatterers.
  found = csi_at(site, positions.astype(jnp.float32)[:, :, None])
  csi = found.csi[:, :, 0]
  white = jax.vmap(lambda k: jax.random.normal(
      jax.random.fold_in(k, 1), csi.shape[1:], jnp.complex64))(keys)
  csi = normalise(csi + jnp.sqrt(noise) * white)
  return csi, place, found.los[:, :, 0], there


def stored(config: ExperimentConfig, folder: Path) -> Stored:
  """UEs of the config's file or data set folder; a copy of the CSI is in `folder`.

  Raises:
    InputError: as `iter_groups`; or no UE has power, or the folder cannot be written.
  """
  path, copy, places, states = config.data.path, folder / 'csi', [], []
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with copy.open('wb') as file:
      for groups in iter_groups(config, path, 'train'):
        heard = groups.csi.any((-2, -1))
        file.write(np.ascontiguousarray(groups.csi[heard], np.complex64).tobytes())
        places.append(None if groups.positions is None else groups.positions[heard][:, :2])
        states.append(np.zeros(heard.sum(), bool) if groups.los is None else groups.los[heard])
  los = np.concatenate(states)
  if not len(los):
    raise InputError(f'{path}: none of its UEs has power.')
  known = [part for part in places if part is not None]
  place = np.concatenate(known) if len(known) == len(places) else None
  csi = np.memmap(copy, np.complex64, 'r', shape=(
      len(los), config.csi.num_delay_taps, config.csi.num_tx_antennas))
  return Stored(csi, place, los)


def over_ground(
    ues: Stored, side_m: float | None, num_ues: float, snr_db: float | None) -> Ground:
  """The ground under UEs that have places.

  Args:
    side_m: None: so that a square that is not empty has `num_ues` UEs on average.
    snr_db: of their CSI; None: without noise.
  """
  csi, place, los = ues
  assert place is not None
  side_m = side_m or _side_for(place, num_ues)
  square = np.floor(place / side_m).astype(int)
  squares, which = np.unique(square, axis=0, return_inverse=True)
  order = np.argsort(which.ravel(), kind='stable')
  starts = np.searchsorted(which.ravel()[order], np.arange(len(squares) + 1))
  number = {tuple(name): i for i, name in enumerate(squares.tolist())}

  def ues_in(wanted: np.ndarray) -> Ues:
    found = [number[name] for name in map(tuple, wanted.tolist()) if name in number]
    rows = np.sort(np.concatenate([order[starts[i]:starts[i + 1]] for i in found]))
    return Ues(csi[rows], place[rows], los[rows])

  return Ground(squares, side_m, ues_in, noise_of(snr_db))


def noise_of(snr_db: float | None) -> float:
  """N_0 against the signal; None: without noise."""
  return 0.0 if snr_db is None else 10 ** (-snr_db / 10)


def _side_for(place: np.ndarray, num_ues: float) -> float:
  """The side of squares of which those that are not empty have `num_ues` UEs on average."""
  low, high = 1e-2, 1 + 2 * float(np.ptp(place, axis=0).max())
  for _ in range(40):
    side = (low * high) ** 0.5
    squares = np.unique(np.floor(place / side).astype(int), axis=0)
    low, high = (side, high) if len(place) < num_ues * len(squares) else (low, side)
  return high
