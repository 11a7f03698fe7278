"""Fits a site map: an entry of every square with UEs, from the UEs nearest to its middle.

Where LOS and NLOS meet in a square, each has an entry of its own. Neighbouring squares share UEs:
what a UE weighs falls with its distance from the middle.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from rca_jax.bayes import em, packing
from rca_jax.bayes.grid import Grid, check_one_polarisation, entry_atoms, make_grid
from rca_jax.bayes.samples import Ground, Ues
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError

_NUM_ATOMS = 144  # kept of every entry, a multiple of 8
_NEAREST, _MIN_SAMPLES = 8, 3  # UEs that an entry is fitted from
_MOST_SAMPLES = 2**16 - 1  # that an entry counts
_WIDTH, _REACH = 1 / 3, 1.5  # of their weights, and how far they may be, in sides of a square
_PROFILES = 1024  # mean powers computed at a time
_BLOCK, _BATCH = 11, 4  # squares by squares of a part, entries that are fitted at a time


def fit_map(
    ground: Ground, config: CsiConfig, folder: Path, progress: Callable[[int, int], None]
) -> SiteMap:
  """The map of a ground.

  Every block of squares that is finished is a file of `folder`: the same call goes on from there.
  `progress` gets how many squares this call has fitted, and how many it has to.

  Raises:
    InputError: the UEs are too far apart for any entry, or the folder cannot be written.
  """
  check_one_polarisation(config, 'site maps')
  grid = make_grid(config)
  blocks, which = np.unique(ground.squares // _BLOCK, axis=0, return_inverse=True)
  names = [f'{x},{y}' for x, y in blocks]
  sizes = np.bincount(which.ravel(), minlength=len(blocks)).tolist()
  found = fit_in_parts(
      folder, names, sizes,
      lambda number: _fit_block(
          grid, ground, blocks[number], ground.squares[which.ravel() == number]), progress)
  if not len(found.los):
    raise InputError(
        f'no {_MIN_SAMPLES} UEs within {_REACH * ground.side_m:g} m of a place: too few UEs for '
        'a map; give more, or larger squares by --side_m.')
  return with_anywhere(grid, found)


def fit_in_parts(
    folder: Path, names: Sequence[str], sizes: Sequence[int], fit_part: Callable[[int], SiteMap],
    progress: Callable[[int, int], None]) -> SiteMap:
  """The map of all parts; those that are finished are files of `folder`, and not fitted again.

  Args:
    sizes: cells of each part, of which `progress` gets those fitted and those to fit.
    fit_part: from the number of a part to its entries.

  Raises:
    InputError: the folder cannot be written.
  """
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  files = [folder / f'{name}.safetensors' for name in names]
  missing = [number for number, path in enumerate(files) if not path.exists()]
  total, done = sum(sizes[number] for number in missing), 0
  for number in missing:
    part = fit_part(number)
    with writing(folder):
      write_atomically(files[number], safetensors.numpy.save(part._asdict()))
    done += sizes[number]
    progress(done, total)
  parts = [SiteMap(**safetensors.numpy.load(path.read_bytes())) for path in files]
  return SiteMap(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def with_anywhere(grid: Grid, site_map: SiteMap) -> SiteMap:
  """One entry more, for CSI that fits no place: the mean power of all, on a grid of DFT atoms.

  Its KLT is nearly the linear code that knows no place. It counts as a tenth of the UEs.
  """
  parts = np.array_split(np.arange(len(site_map.los)), -(-len(site_map.los) // _PROFILES))
  power = sum(
      site_map.mean_powers(grid, part).sum(0) for part in parts).ravel()
  power /= len(site_map.los)
  strongest = np.argsort(-power)[:_NUM_ATOMS]
  index = np.asarray(entry_atoms(grid))[strongest]
  missing = (0, _NUM_ATOMS - len(index))  # where CSI has fewer entries
  profile = em.Profile(
      np.pad(index, missing)[None], np.pad(power[strongest], missing)[None])
  count = min(max(site_map.num_samples.sum(dtype=int) // 10, 1), _MOST_SAMPLES)
  entry = SiteMap(
      np.full((1, 2), np.nan, np.float32), np.zeros(1, bool), np.array([count], np.uint16),
      *packing.pack(profile, grid.shape[0]))
  return SiteMap(*(np.concatenate(leaves) for leaves in zip(site_map, entry, strict=True)))


def _fit_block(grid: Grid, ground: Ground, block: np.ndarray, squares: np.ndarray) -> SiteMap:
  """The entries of squares [s, 2] of a block; UEs of the squares around it count too."""
  line = np.arange(-1, _BLOCK + 1)
  around = block * _BLOCK + np.stack(np.meshgrid(line, line, indexing='ij'), -1).reshape(-1, 2)
  ues = ground.ues_in(around)
  jobs, rows, weights = _jobs(ground.side_m, squares, ues)
  profile = fit_profiles(grid, ues.csi, rows, weights, ground.noise)
  square, los, count = jobs.T
  return SiteMap(
      ((squares[square] + 0.5) * ground.side_m).astype(np.float32), los.astype(bool),
      np.minimum(count, _MOST_SAMPLES).astype(np.uint16), *packing.pack(profile, grid.shape[0]))


def fit_profiles(
    grid: Grid, csi: np.ndarray, rows: np.ndarray, weights: np.ndarray, noise: float
) -> em.Profile:
  """Profiles [e, K] of entries, each of the UEs `rows` [e, n] of csi with `weights` [e, n].

  Batches of entries go to all devices in turn. `noise` is N_0 of the CSI against its signal.
  """
  found = [em.Profile(
      np.zeros((0, _NUM_ATOMS), np.int32), np.zeros((0, _NUM_ATOMS), np.float32))]
  devices = itertools.cycle(jax.devices())
  for first in range(0, len(rows), _BATCH):
    batch = np.minimum(first + np.arange(_BATCH), len(rows) - 1)
    samples = jax.device_put((csi[rows[batch]], weights[batch]), next(devices))
    found.append(_fit(grid, *samples, jnp.float32(noise / (1 + noise))))
    if jax.default_backend() == 'cpu':  # host devices that work at once wait for each other forever
      jax.block_until_ready(found[-1])
  found = jax.device_get(found)
  return em.Profile(*(np.concatenate(leaves)[:len(rows)] for leaves in zip(*found, strict=True)))


def _jobs(
    side_m: float, squares: np.ndarray, ues: Ues) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The entries of squares, and from which UEs each is fitted.

  Returns:
    jobs [e, 3] int: number of the square, LOS, UEs of that state in it; rows of the UEs and their
    weights [e, n], of sum 1, 0 where there are fewer.
  """
  jobs, rows, weights = [], [], []
  own = np.floor(ues.place / side_m).astype(int)
  for number, square in enumerate(squares):
    inside = (own == square).all(1)
    apart = np.linalg.norm(ues.place / side_m - (square + 0.5), axis=1)
    for los in (False, True):
      count = (inside & (ues.los == los)).sum()
      apart_of_state = np.where(ues.los == los, apart, np.inf)
      nearest = np.argsort(apart_of_state, kind='stable')[:_NEAREST]
      distance = apart_of_state[nearest]
      if not count or (distance <= _REACH).sum() < _MIN_SAMPLES:
        continue
      weight = np.where(distance <= _REACH, np.exp(
          -(distance**2 - distance[0] ** 2) / (2 * _WIDTH**2)), 0)
      missing = _NEAREST - len(nearest)
      jobs.append((number, los, count))
      rows.append(np.pad(nearest, (0, missing)))
      weights.append(np.pad(weight / weight.sum(), (0, missing)))
  return (
      np.array(jobs, int).reshape(-1, 3), np.array(rows, int).reshape(-1, _NEAREST),
      np.array(weights, np.float32).reshape(-1, _NEAREST))


@jax.jit
def _fit(grid: Grid, csi: jax.Array, weights: jax.Array, noise: jax.Array) -> em.Profile:
  return em.fit(grid, csi, weights, noise, _NUM_ATOMS)
