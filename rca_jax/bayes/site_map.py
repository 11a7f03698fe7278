"""The site map: a power profile for every square of the ground, and its file."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from rca_jax.bayes import em, klt, packing
from rca_jax.bayes.grid import Grid, check_one_polarisation, make_grid
from rca_jax.config import CsiConfig, from_dict, to_dict
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import parse_json

_HEADER = 'rca_jax site map'
_DTYPES = {
    'place': 'float32', 'los': 'bool', 'num_samples': 'uint16', 'rows': 'uint8', 'angles': 'uint8',
    'level': 'uint8', 'power': 'float16'}

_transform = jax.jit(klt.transform, static_argnums=2)
_with_fixed_phases = jax.jit(klt.with_fixed_phases)
_mean_powers = jax.jit(klt.mean_powers)


class SiteMap(NamedTuple):
  """V entries, one label each; the last is for CSI that fits no place."""

  place: np.ndarray  # [V, 2] float32 m, the middle of the square; NaN where there is none
  los: np.ndarray  # [V] bool
  num_samples: np.ndarray  # [V] uint16, UEs in the square
  rows: np.ndarray  # this and all below: the profiles, see packing.Packed
  angles: np.ndarray
  level: np.ndarray
  power: np.ndarray

  def profile(self, labels: np.ndarray) -> em.Profile:
    """Of the entries `labels`, of arrays [*labels.shape, K]."""
    packed = packing.Packed(*(leaf[labels.ravel()] for leaf in self[3:]))
    return em.Profile(*(
        jnp.asarray(leaf.reshape(*labels.shape, -1)) for leaf in packing.unpack(packed)))

  @staticmethod
  def grid(config: CsiConfig) -> Grid:
    """Of the atoms of all entries."""
    return make_grid(config)

  def transform(self, grid: Grid, labels: np.ndarray, size: int) -> klt.Klt:
    """KLTs of the `size` strongest directions, with leaves [*labels.shape, ...]."""
    return _transform(grid, self.profile(labels), size)

  def mean_powers(self, grid: Grid, labels: np.ndarray) -> np.ndarray:
    """What entries expect of |h|^2: [*labels.shape, N_a, N_t], of mean 1."""
    return np.asarray(_mean_powers(grid, self.profile(labels)))


class FixedPhases(SiteMap):
  """A map whose KLTs have the same phases wherever they are computed."""

  def transform(self, grid: Grid, labels: np.ndarray, size: int) -> klt.Klt:
    """As `SiteMap.transform`."""
    return _with_fixed_phases(super().transform(grid, labels, size))


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
    InputError: the file is missing, cut, no map, or of another array or bandwidth, or `config` has
      two polarisations.
  """
  check_one_polarisation(config, 'site maps')
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      header, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(
        f'{path}: is no whole site map ({error}); `rca map` makes one.') from None
  try:
    theirs = from_dict(CsiConfig, parse_json(header[_HEADER]), 'csi')
    is_map = _is_map(arrays, make_grid(theirs).shape[0])
  except (KeyError, TypeError, ValueError):
    is_map = False
  if not is_map:
    raise InputError(f'{path}: is no site map of today; `rca map` makes one.')
  for name in (
      'bandwidth_hz', 'num_subcarriers', 'num_delay_taps', 'num_tx_antennas', 'num_polarisations'):
    if getattr(theirs, name) != getattr(config, name):
      raise InputError(
          f'{path}: is a map for csi.{name}={getattr(theirs, name)}, not {getattr(config, name)}; '
          'make one of this array with `rca map`.')
  return SiteMap(**arrays)


def _is_map(arrays: dict[str, np.ndarray], num_delays: int) -> bool:
  """Whether a file has the arrays of a map, of one length, and numbers that can be used."""
  entries = SiteMap(**arrays)
  num = len(entries.los)
  return (
      num > 0 and {name: str(leaf.dtype) for name, leaf in arrays.items()} == _DTYPES
      and all(len(leaf) == num for leaf in entries) and entries.place.shape == (num, 2)
      and all(leaf.ndim == 2 for leaf in entries[3:])
      and packing.is_whole(packing.Packed(*entries[3:]), num_delays)
      and bool(entries.num_samples.all()) and bool(np.isnan(entries.place[-1]).all()))
