"""Any CSI that `files` reads -> a data set folder, a chunk at a time."""

import collections
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig, Layout
from rca_jax.data.dataset import write_shards
from rca_jax.data.files import SPLITS, concatenate, content_hash, iter_csi, read_manifest
from rca_jax.data.grouping import group_by_position, split_by_region
from rca_jax.errors import InputError

_Parts = Iterator[tuple[str, CsiGroups]]  # chunks, each with its split


class Conversion(NamedTuple):
  """What becomes of the groups on their way."""

  num_ues: int = 0  # per group; 0: as many as the source has
  max_distance_m: float = 10.0  # of UEs within a group, and between the regions of two splits
  val_share: float = 0.0  # of the ground; folders keep their own splits
  test_share: float = 0.0
  drop_silent: bool = False  # leaves out groups in which a UE has no power
  shard_size: int = 1000


def convert(
    source: Path, folder: Path, layout: Layout, config: CsiConfig, conversion: Conversion,
    progress: Callable[[int], None]) -> collections.Counter:
  """Writes a data set folder; the same call again continues. Memory holds a few shards at most.

  Single UEs are gathered by position where `conversion.num_ues` asks for more.

  Returns:
    How many `groups` were written, and how many were left out: groups with a `silent` UE, groups
    (of single UEs: UEs) in the `guard` between splits, and `ungrouped` UEs without neighbours.

  Raises:
    InputError: as `iter_csi` and `write_shards`; or positions are needed and missing; or no group
      is left.
  """
  shares = _shares(source, conversion)
  counts: collections.Counter[str] = collections.Counter()
  parts = _parts(source, layout, config, conversion, shares, counts)
  if conversion.num_ues:
    parts = _of_size(parts, source, folder, conversion, counts)
  header = {
      'source': source.name,
      'source_sha256': content_hash(source),
      'layout': layout.flags(), 'conversion': conversion._asdict(),
      'bandwidth_hz': config.bandwidth_hz, 'num_subcarriers': config.num_subcarriers,
      'num_delay_taps': config.num_delay_taps}

  def count(done: int) -> None:
    counts['groups'] = done
    progress(done)

  write_shards(folder, header, _shards(parts, conversion.shard_size), count)
  if not counts['groups']:
    raise InputError(f'{source}: no group is left (left out: {dict(counts)}).')
  return counts


def _shares(source: Path, conversion: Conversion) -> dict[str, float]:
  val, test = conversion.val_share, conversion.test_share
  if not (0 <= val and 0 <= test and val + test <= 1):
    raise InputError(f'val_share={val:g} and test_share={test:g} must be in [0, 1], and their sum.')
  if not 0 < conversion.max_distance_m < np.inf:
    raise InputError(f'max_distance_m={conversion.max_distance_m:g} must be a positive number.')
  if source.is_dir() and val + test:
    raise InputError(f'{source}: is a folder with splits of its own; leave the shares at 0.')
  return {'train': 1 - val - test, 'val': val, 'test': test}


def _parts(
    source: Path, layout: Layout, config: CsiConfig, conversion: Conversion,
    shares: dict[str, float], counts: collections.Counter) -> _Parts:
  """All chunks of the source, without the groups that are left out."""
  splits = [name for name, shards in read_manifest(source).items() if shards] \
      if source.is_dir() else ['']
  for split in splits:
    chunks = iter_csi(
        source, layout, split=split, config=config, allow_silent=conversion.drop_silent)
    for groups in chunks:
      if conversion.drop_silent:
        active = groups.csi.any((-2, -1)).all(-1)
        counts['silent'] += int((~active).sum())
        groups = _take(groups, active)
      if split:
        yield split, groups
      else:
        yield from _by_region(groups, source, shares, conversion.max_distance_m, counts)


def _by_region(
    groups: CsiGroups, source: Path, shares: dict[str, float], max_distance_m: float,
    counts: collections.Counter) -> _Parts:
  for split, share in shares.items():
    if share == 1:
      yield split, groups
      return
  if groups.positions is None:
    raise InputError(
        f'{source}: has no positions, and neighbours of training UEs must not be tested on; give '
        'shares of 0 or 1 only, and test on another file.')
  labels = split_by_region(groups.positions, shares, max_distance_m)
  together = (labels == labels[:, :1]).all(-1)
  labels = np.where(together, labels[:, 0], '')
  counts['guard'] += int((labels == '').sum())
  for split in shares:
    yield split, _take(groups, labels == split)


def _of_size(
    parts: _Parts, source: Path, folder: Path, conversion: Conversion,
    counts: collections.Counter) -> _Parts:
  """Groups of `num_ues` UEs: the first of larger groups, single UEs gathered by position."""
  num_ues, first = conversion.num_ues, next(parts, None)
  if first is None:
    return
  parts = itertools.chain([first], parts)
  num_found = first[1].csi.shape[1]
  if num_found >= num_ues:
    for split, groups in parts:
      yield split, _take(groups, (slice(None), slice(num_ues)))
  elif num_found > 1:
    raise InputError(f'{source}: its groups have {num_found} UEs; num_ues={num_ues} needs more.')
  elif first[1].positions is None:
    raise InputError(
        f'{source}: has no positions, so its single UEs cannot be gathered into groups of '
        f'{num_ues}; give num_ues=1.')
  else:
    with tempfile.TemporaryFile(dir=folder) as file:
      yield from _gathered(parts, file, conversion, counts)


def _gathered(
    parts: _Parts, file: BinaryIO, conversion: Conversion, counts: collections.Counter) -> _Parts:
  """CSI waits in `file` until all positions are known."""
  names, chunks = [], []
  for split, ues in parts:
    file.write(np.ascontiguousarray(ues.csi).data)
    shape = ues.csi.shape[2:]
    names.append(np.full(len(ues.csi), split))
    chunks.append(ues._replace(csi=None))
  labels, single = np.concatenate(names), concatenate(chunks)
  for split in SPLITS:
    mine = np.flatnonzero(labels == split)
    members = mine[group_by_position(
        single.positions[mine, 0], conversion.num_ues, conversion.max_distance_m)]
    counts['ungrouped'] += mine.size - members.size
    for start in range(0, len(members), conversion.shard_size):
      part = members[start:start + conversion.shard_size]
      groups = CsiGroups(*(None if leaf is None else leaf[part, 0] for leaf in single))
      yield split, groups._replace(csi=_rows(file, shape, part))


def _rows(file: BinaryIO, shape: tuple[int, ...], indices: np.ndarray) -> np.ndarray:
  rows = np.empty((*indices.shape, *shape), np.complex64)
  for place, index in np.ndenumerate(indices):
    file.seek(index * rows[place].nbytes)
    rows[place] = np.frombuffer(file.read(rows[place].nbytes), np.complex64).reshape(shape)
  return rows


def _shards(
    parts: _Parts, shard_size: int) -> Iterator[tuple[str, Callable[[], CsiGroups]]]:
  """Chunks joined or cut to `shard_size` groups, the last of every split to fewer."""
  waiting: dict[str, list[CsiGroups]] = {split: [] for split in SPLITS}
  for split, groups in parts:
    waiting[split].append(groups)
    while sum(len(part.csi) for part in waiting[split]) >= shard_size:
      joined = concatenate(waiting[split])
      yield split, functools.partial(_take, joined, slice(shard_size))
      waiting[split] = [_take(joined, slice(shard_size, None))]
  for split, rest in waiting.items():
    if any(len(part.csi) for part in rest):
      yield split, functools.partial(concatenate, rest)


def _take(groups: CsiGroups, index: Any) -> CsiGroups:
  return CsiGroups(*(None if leaf is None else leaf[index] for leaf in groups))
