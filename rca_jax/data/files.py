"""Readers of CSI files and of data set folders, all to `CsiGroups` of numpy arrays.

csi [G, M, N_a, N_t] complex64 with mean |h|^2 = 1 per UE. What a file does not hold is None.
Formats: `rca_jax.data.formats`. Files are never unpickled.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig, Layout
from rca_jax.data.formats.angular_delay import first_rows
from rca_jax.data.formats.container import open_arrays
from rca_jax.data.formats.presets import unfolded
from rca_jax.data.formats.proposal import choose
from rca_jax.data.formats.reader import Block, IsWanted, blocks, lengths, num_groups, wanted
from rca_jax.data.formats.writer import Stored
from rca_jax.errors import InputError
from rca_jax.foreign import file_in, read_json, sha256

GUESSED, _OWN = Layout(), Layout(axes='own')
SPLITS = ('train', 'val', 'test')  # of a data set folder
_SHARD = {'file': str, 'num_groups': int, 'sha256': str}
_TYPES = {'positions': np.float32, 'los': np.bool_, 'energy_kept': np.float32}


def read_csi(
    path: str | Path, layout: Layout = GUESSED, *, split: str = 'train',
    config: CsiConfig | None = None, allow_silent: bool = False) -> CsiGroups:
  """All groups of a file, or of one split of a data set folder. Arguments as `iter_csi`.

  Raises:
    InputError: as `iter_csi`.
  """
  return concatenate(list(
      iter_csi(path, layout, split=split, config=config, allow_silent=allow_silent)))


def iter_csi(
    path: str | Path, layout: Layout = GUESSED, *, split: str = 'train',
    config: CsiConfig | None = None, allow_silent: bool = False) -> Iterator[CsiGroups]:
  """The groups in chunks of some megabytes.

  Args:
    layout: how a file is read; by default what its names propose, if its power agrees. Folders
      have one layout only.
    split: of a data set folder; a file has none.
    config: its bandwidth_hz and num_subcarriers are those of the responses that are computed from
      paths, its num_delay_taps the delay rows that are kept.
    allow_silent: lets UEs without power pass, as zeros; `csi.any((-2, -1))` is the networks'
      `active`.

  Raises:
    InputError: path is missing, damaged, or cannot be read; it is no CSI as far as its power shows,
      or several readings are possible; or it holds CSI that is not finite or has no power in a UE.
  """
  chunks = iter_chunks(path, layout, split=split, config=config, allow_silent=allow_silent)
  return (chunk.groups for chunk in chunks)


class Chunk(NamedTuple):
  """Some groups of a file, and what was taken from them to make CSI of them."""

  first: int  # number of its first group
  groups: CsiGroups
  scale: np.ndarray  # root of the mean |h|^2 of every UE in its delay rows, [G, M] float64
  zero: float  # what stands in the file for a part of no power


def iter_chunks(
    path: str | Path, layout: Layout = GUESSED, *, split: str = 'train',
    config: CsiConfig | None = None, allow_silent: bool = False, is_wanted: IsWanted = wanted,
) -> Iterator[Chunk]:
  """As `iter_csi`, those that `is_wanted` (see `reader.blocks`); others are only passed over."""
  config, path = config or CsiConfig(), Path(path)
  if _is_folder(path, layout):
    chunks = _iter_dataset(path, split, config, allow_silent, is_wanted)
  else:
    chunks = _iter_file(path, layout, config, allow_silent, is_wanted)
  return _same_shape(chunks, path)


def stored(
    path: str | Path, layout: Layout = GUESSED, *, split: str = 'train',
    config: CsiConfig | None = None) -> Stored:
  """How a file or a split of a folder holds its CSI, all its groups together. Errors as `iter_csi`.
  """
  config, path = config or CsiConfig(), Path(path)
  num_more = 0
  if _is_folder(path, layout):
    shards = _shards(path, split)
    num_more = sum(entry['num_groups'] for entry in shards[1:])
    path, layout = file_in(path, shards[0]['file']), _OWN
  with _of_file(path):
    arrays = unfolded(open_arrays(path))
    reading = choose(arrays, layout, config)
    together = num_more + sum(num_groups(arrays, part) for part in reading)
    return Stored(reading[0], lengths(arrays, reading[0]), together, config)


def _is_folder(path: Path, layout: Layout) -> bool:
  try:
    is_folder = path.is_dir()
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error.strerror}).') from None
  if is_folder and layout != GUESSED:
    raise InputError(f'{path}: is a data set folder; leave out {layout.flags()}.')
  return is_folder


@contextlib.contextmanager
def _of_file(path: Path) -> Iterator[None]:
  """Names the file in every InputError."""
  try:
    yield
  except InputError as error:
    raise InputError(f'{path}: {error}') from None


def _same_shape(chunks: Iterator[Chunk], path: Path) -> Iterator[Chunk]:
  shape = None
  for chunk in chunks:
    found = chunk.groups.csi.shape[1:]
    shape = shape or found
    if found != shape:
      raise InputError(
          f'{path}: has groups of shape {list(found)} after those of {list(shape)}; expected '
          '[ue, delay, antenna] to be the same everywhere.')
    yield chunk


def content_hash(path: str | Path, layout: Layout = GUESSED) -> str:
  """SHA-256 of a file, or of a data set folder's manifest (which holds those of its shards).

  A file that is read by a layout of its own is other data: the layout counts too.

  Returns:
    64 hexadecimal digits.

  Raises:
    InputError: path cannot be read.
  """
  path = Path(path)
  if path.is_dir():
    return sha256(path / 'manifest.json')
  digest = sha256(path)
  if layout == GUESSED:
    return digest
  return hashlib.sha256(f'{digest} {layout.flags()}'.encode()).hexdigest()


def concatenate(parts: list[CsiGroups]) -> CsiGroups:
  """Joins chunks; what one of them lacks is None."""
  return CsiGroups(*(
      None if any(leaf is None for leaf in leaves) else np.concatenate(leaves)
      for leaves in zip(*parts, strict=True)))


def check_csi(csi: np.ndarray, first_group: int = 0, allow_silent: bool = False) -> None:
  """Raises InputError unless csi [G, M, N_a, N_t] is finite and has power in every UE.

  The first offender is named by its index; `first_group` is that of csi[0].
  """
  finite = np.isfinite(csi)
  if not finite.all():
    index = _first(~finite)
    raise InputError(
        f'csi{_shifted(index, first_group)} is {csi[tuple(index)]}; every entry must be a finite '
        'number.')
  silent = np.asarray(~csi.any(axis=(-2, -1)))
  if silent.any() and not allow_silent:
    raise InputError(
        f'csi{_shifted(_first(silent), first_group)} is all zeros; a UE without power has no NMSE, '
        'leave its group out (`rca convert --drop_silent` does) or set data.allow_silent=True '
        '(`rca evaluate --allow_silent`).')


def _iter_file(
    path: Path, layout: Layout, config: CsiConfig, allow_silent: bool,
    is_wanted: IsWanted) -> Iterator[Chunk]:
  with _of_file(path):
    arrays, before = unfolded(open_arrays(path)), 0
    for part in choose(arrays, layout, config):
      for block in blocks(arrays, part, config, _behind(before, is_wanted)):
        chunk = _cut(block._replace(first=before + block.first), config)
        check_csi(chunk.groups.csi, chunk.first, allow_silent)
        positions = chunk.groups.positions
        if positions is not None and not np.isfinite(positions).all():
          raise InputError('positions are not all finite numbers; expected m.')
        yield chunk
      before += num_groups(arrays, part)


def _behind(before: int, is_wanted: IsWanted) -> IsWanted:
  """`is_wanted` of groups whose numbers begin behind so many others."""
  return lambda first, end: is_wanted(before + first, before + end)


def _cut(block: Block, config: CsiConfig) -> Chunk:
  """The first N_a delay rows; the power that these keep is known of files with more rows."""
  csi, kept, scale = first_rows(block.delays, config)
  beside = dict(block.beside)
  if block.delays.shape[-2] > csi.shape[-2]:
    beside['energy_kept'] = kept * beside.get('energy_kept', np.float32(1))
  groups = CsiGroups(csi, *(
      beside[name].astype(kind) if name in beside else None for name, kind in _TYPES.items()))
  return Chunk(block.first, groups, scale, block.zero)


def _iter_dataset(
    folder: Path, split: str, config: CsiConfig, allow_silent: bool,
    is_wanted: IsWanted) -> Iterator[Chunk]:
  """The shards of a split, in the manifest's order and of its SHA-256."""
  before = 0
  for entry in _shards(folder, split):
    path, end = file_in(folder, entry['file']), before + entry['num_groups']
    if is_wanted(before, end):
      _check_sha256(path, entry['sha256'])
      with _of_file(path):
        arrays = open_arrays(path)
        found = num_groups(arrays, *choose(arrays, _OWN, config))
      if found != entry['num_groups']:
        raise InputError(
            f'{path}: has {found} groups, the manifest promises {entry["num_groups"]}.')
      for chunk in _iter_file(path, _OWN, config, allow_silent, _behind(before, is_wanted)):
        yield chunk._replace(first=before + chunk.first)
    before = end


def _shards(folder: Path, split: str) -> list[dict[str, Any]]:
  """Of a split that has some."""
  splits = read_manifest(folder)
  if not splits.get(split):
    raise InputError(
        f'{folder}: has no groups in its split {split!r} (its splits: '
        f'{", ".join(name for name in splits if splits[name]) or "none"}).')
  return splits[split]


def read_manifest(folder: Path, incomplete: bool = False) -> dict[str, list[dict[str, Any]]]:
  """Of every split its shards: `file`, `num_groups`, `sha256`.

  Raises:
    InputError: the manifest is missing or damaged, or, unless `incomplete` is allowed, its writing
      was cut.
  """
  path = folder / 'manifest.json'
  try:
    manifest = read_json(path)
    splits, complete = manifest['splits'], manifest.get('complete', True)
    if not set(splits) <= set(SPLITS):
      raise ValueError(f'its splits are not of {", ".join(SPLITS)}')
    splits = {name: [_shard(entry) for entry in entries] for name, entries in splits.items()}
  except FileNotFoundError:
    raise InputError(
        f'{folder}: has no manifest.json; give a folder that `rca generate` or `rca convert` '
        'wrote.') from None
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error.strerror}).') from None
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    reason = (str(error).splitlines() or [''])[0]
    raise InputError(
        f'{path}: not a readable manifest ({type(error).__name__}: {reason}); write the data set '
        'again.') from None
  if not (complete or incomplete):
    raise InputError(
        f'{folder}: is not complete, its writing was cut; run the command that writes it again, it '
        'goes on where it stopped.')
  return splits


def _shard(entry: dict[str, Any]) -> dict[str, Any]:
  shard = {name: entry[name] for name in _SHARD}
  for name, kind in _SHARD.items():
    if type(shard[name]) is not kind:
      raise TypeError(f'{name} is {shard[name]!r:.50}')
  return shard


def _check_sha256(path: Path, expected: str) -> None:
  found = sha256(path)
  if found != expected:
    raise InputError(
        f'{path}: shard is cut or damaged, its SHA-256 is {found[:12]}..., the manifest says '
        f'{expected[:12]!r}...; write or copy it again.')


def _first(mask: np.ndarray) -> list[int]:
  return [int(i) for i in np.unravel_index(np.argmax(mask), mask.shape)]


def _shifted(index: list[int], first_group: int) -> list[int]:
  return [first_group + index[0], *index[1:]]
