"""The site map: a power profile for every cell of the ground, fitted from CSI with positions.

Cells are squares over the ground. Where LOS and NLOS meet in a square, each has an entry of its
own.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from rca_jax.bayes import em
from rca_jax.bayes.grid import Grid, make_grid
from rca_jax.channel.groups import csi_at
from rca_jax.channel.site import Site
from rca_jax.config import CsiConfig, from_dict, to_dict
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import parse_json

_NUM_ATOMS = 192  # kept of every entry
_NUM_KNOTS = 20  # powers that say the powers of all of them
_LEAST_POWER = 1e-6  # of an atom
_MIN_SAMPLES = 3  # of a cell's entry
_TILE, _BATCH = 128, 16  # cells that are drawn, entries that are fitted at a time
_HEADER = 'rca_jax site map'
_DTYPES = {'place': 'float32', 'los': 'bool', 'num_samples': 'uint16', 'index': 'uint16',
           'power': 'float16'}


class SiteMap(NamedTuple):
  """V entries, one label each."""

  place: np.ndarray  # [V, 2] float32 m, the middle of the cell
  los: np.ndarray  # [V] bool
  num_samples: np.ndarray  # [V] uint16, UEs that it was fitted from
  index: np.ndarray  # [V, K] uint16, atoms in order of their power, see em.Profile
  power: np.ndarray  # [V, k] float16, of the atoms number `knots(K)`; smooth between

  def profile(self, labels: np.ndarray) -> em.Profile:
    """Of the entries `labels`."""
    index = jnp.asarray(self.index[labels], jnp.int32)
    powers = jnp.asarray(self.power[labels], jnp.float32)
    number = jnp.arange(index.shape[-1])
    between = jnp.interp(number, knots(index.shape[-1]), jnp.arange(powers.shape[-1]))
    low = jnp.floor(between).astype(int)
    logs = jnp.log(jnp.maximum(powers, _LEAST_POWER))
    low_log, high_log = logs[..., low], logs[..., jnp.minimum(low + 1, logs.shape[-1] - 1)]
    return em.Profile(index, jnp.exp(low_log + (between - low) * (high_log - low_log)))


def knots(num_atoms: int) -> np.ndarray:
  """Whose powers are kept of so many atoms in order of power: close for the strong ones."""
  return np.unique(np.round(np.geomspace(1, num_atoms, _NUM_KNOTS)).astype(int)) - 1


def squares(config: CsiConfig, side_m: float) -> np.ndarray:
  """Corners [C, 2] m of the squares whose middle a UE can be at."""
  count = int(np.ceil(config.cell_size_m / side_m - 1e-9))
  line = (np.arange(count) - count / 2) * side_m
  corners = np.stack(np.meshgrid(line, line, indexing='ij'), -1).reshape(-1, 2)
  middle = corners + side_m / 2
  # As `sample_positions`: groups stay inside but for half their diameter.
  return corners[np.linalg.norm(middle, axis=-1) >= config.min_bs_distance_m - side_m]


def fit_map(
    key: jax.Array, site: Site, side_m: float, num_ues: int, folder: Path,
    progress: Callable[[int], None]) -> SiteMap:
  """A map of generated CSI: `num_ues` UEs at uniform places of every square of `side_m` metres.

  Every finished tile is a file of `folder`: the same call goes on from there. `progress` gets the
  number of squares that are done.

  Raises:
    InputError: fewer than 3 UEs a square, or the folder cannot be written.
  """
  if num_ues < _MIN_SAMPLES:
    raise InputError(f'num_ues={num_ues} a cell: a profile needs at least {_MIN_SAMPLES}.')
  grid, corners = make_grid(site.config), squares(site.config, side_m)
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  parts = []
  for start in range(0, len(corners), _TILE):
    path = folder / f'{start // _TILE:05d}.safetensors'
    if not path.exists():
      tile = _fit_tile(key, site, grid, corners, start, side_m, num_ues)
      with writing(folder):
        write_atomically(path, safetensors.numpy.save(tile._asdict()))
      progress(min(start + _TILE, len(corners)))  # not of tiles found: the rate is of work done
    parts.append(SiteMap(**safetensors.numpy.load(path.read_bytes())))
  return SiteMap(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _fit_tile(key, site, grid, corners, start, side_m, num_ues) -> SiteMap:
  """The entries of squares start to start + _TILE."""
  # The last tile is filled up with its own first square: one compiled program for all.
  numbers = start + np.arange(_TILE)
  numbers = np.where(numbers < len(corners), numbers, start)
  csi, los = map(np.asarray, _draw(key, site, numbers, corners[numbers], side_m, num_ues))
  jobs = [
      (cell, state) for cell in range(min(_TILE, len(corners) - start)) for state in (False, True)
      if (los[cell] == state).sum() >= _MIN_SAMPLES]
  found = []
  for first in range(0, len(jobs), _BATCH):
    batch = [jobs[min(first + i, len(jobs) - 1)] for i in range(_BATCH)]
    cells = [cell for cell, _ in batch]
    counted = np.stack([los[cell] == state for cell, state in batch]).astype(np.float32)
    profile = _fit(grid, csi[cells], counted / counted.sum(1, keepdims=True))
    found.append(jax.tree.map(np.asarray, profile))
  index, power = (np.concatenate(leaves)[:len(jobs)] for leaves in zip(*found, strict=True))
  states = np.array([state for _, state in jobs])
  cells = np.array([cell for cell, _ in jobs])
  return SiteMap(
      (corners[start + cells] + side_m / 2).astype(np.float32), states,
      (los[cells] == states[:, None]).sum(1).astype(np.uint16),
      index.astype(np.uint16), power.astype(np.float16))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _draw(key, site, numbers, corners, side_m, num_ues):
  """CSI [B, num_ues, N_a, N_t] and LOS states of UEs in squares."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
  uniform = jax.vmap(lambda k: jax.random.uniform(k, (num_ues, 2), jnp.float32))(keys)
  ground = corners[:, None] + side_m * uniform
  positions = jnp.pad(
      ground, ((0, 0), (0, 0), (0, 1)), constant_values=site.config.ue_height_m)
  # Every UE a group of its own: with `track` the UEs of a group share their scatterers.
  found = csi_at(site, positions.astype(jnp.float32)[:, :, None])
  return found.csi[:, :, 0], found.los[:, :, 0]


@jax.jit
def _fit(grid: Grid, csi: jax.Array, weights: jax.Array) -> em.Profile:
  """Profiles with the powers at their knots."""
  index, power = em.fit(grid, csi, weights)
  power, kept = jax.lax.top_k(power, min(_NUM_ATOMS, power.shape[-1]))
  return em.Profile(jnp.take_along_axis(index, kept, -1), power[:, knots(power.shape[-1])])


def entry_powers(grid: Grid, site_map: SiteMap) -> jax.Array:
  """What every entry of the map expects of |h|^2: [V, N_a N_t] float32, of mean 1."""

  @jax.jit
  def part(profile: em.Profile) -> jax.Array:
    rows = jnp.arange(len(profile.index))[:, None]
    whole = jnp.zeros((len(rows), math.prod(grid.shape))).at[rows, profile.index].add(profile.power)
    energies = [jnp.abs(atoms) ** 2 for atoms in grid]
    power = jnp.einsum('dp,vpq,aq->vda', energies[0], whole.reshape(-1, *grid.shape), energies[1])
    return (power / power.mean((1, 2), keepdims=True)).reshape(len(power), -1)

  return jnp.concatenate([part(site_map.profile(rows)) for rows in _blocks(site_map)])


def _blocks(site_map: SiteMap) -> Iterator[np.ndarray]:
  return np.split(np.arange(len(site_map.los)), range(_TILE, len(site_map.los), _TILE))


def save_map(path: Path, site_map: SiteMap, config: CsiConfig) -> None:
  """One safetensors file, with the config of the CSI that it is of.

  Raises:
    InputError: it cannot be written.
  """
  header = {_HEADER: json.dumps(to_dict(config))}
  with writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.numpy.save(site_map._asdict(), header))


def load_map(path: Path, config: CsiConfig) -> SiteMap:
  """The map of a file, for CSI of `config`.

  Raises:
    InputError: the file is missing, cut, no map, or of another array or bandwidth.
  """
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      header, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(
        f'{path}: is no whole site map ({error}); python -m launch.map makes one.') from None
  if not _is_map(header, arrays):
    raise InputError(f'{path}: is no site map; python -m launch.map makes one.')
  theirs = from_dict(CsiConfig, parse_json(header[_HEADER]), 'csi')
  if arrays['index'].max() >= math.prod(make_grid(theirs).shape):
    raise InputError(f'{path}: names places that the grid has not; fit the map again.')
  for name in ('bandwidth_hz', 'num_subcarriers', 'num_delay_taps', 'num_tx_antennas'):
    if getattr(theirs, name) != getattr(config, name):
      raise InputError(
          f'{path}: is a map for csi.{name}={getattr(theirs, name)}, not {getattr(config, name)}; '
          'make one of this array with python -m launch.map.')
  return SiteMap(**arrays)


def _is_map(header: dict[str, str], arrays: dict[str, np.ndarray]) -> bool:
  """Whether a file has the arrays of a map, of one length, and numbers that can be used."""
  try:
    parse_json(header[_HEADER])
    entries = SiteMap(**arrays)
  except (KeyError, TypeError, ValueError):
    return False
  num, atoms = len(entries.los), entries.index.shape[-1]
  shapes = ((num, 2), (num,), (num,), (num, atoms), (num, len(knots(atoms))))
  return (
      num > 0 and tuple(leaf.shape for leaf in entries) == shapes
      and {name: str(leaf.dtype) for name, leaf in arrays.items()} == _DTYPES
      and bool((entries.power.astype(np.float32).sum(1) > 0).all())
      and bool(np.isfinite(entries.power).all()) and bool((entries.power >= 0).all())
      and bool(entries.num_samples.all()))
