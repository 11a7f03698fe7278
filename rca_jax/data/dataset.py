"""Writes a data set folder: npz shards and a manifest with their SHA-256.

`rca_jax.data.files.read_csi` reads it. Work that is interrupted goes on where it stopped: a
shard is in the manifest only once it is whole on disk, and until the last one is there the manifest
says that the data set is not complete.
"""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np

from rca_jax.channel.groups import CsiGroups, sample_groups
from rca_jax.channel.site import Site
from rca_jax.config import CsiConfig, to_dict
from rca_jax.data.files import SPLITS, read_manifest
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import read_json


def write_dataset(
    folder: Path, key: jax.Array, site: Site | None, description: dict, config: CsiConfig,
    sizes: dict[str, int], num_ues: int, shard_size: int, progress: Callable[[int], None]) -> None:
  """Generates `sizes[split]` groups per split, `shard_size` (the last fewer) to a shard.

  Args:
    key: of all groups; shard i of a split depends on the key, the split and i alone.
    site: the environment; None in `fresh` mode.
    description: stands in the manifest beside the config; two data sets differ in it.
    progress: called after every shard that was made, with the number of groups on disk.

  Raises:
    InputError: the folder holds another data set, or cannot be written.
  """
  header = description | {
      'config': to_dict(config), 'num_ues': num_ues, 'shard_size': shard_size, 'sizes': sizes}
  sample = jax.jit(functools.partial(
      sample_groups, config=config, num_groups=shard_size, num_ues=num_ues, site=site))

  def shard(split: str, index: int) -> CsiGroups:
    count = min(shard_size, sizes[split] - index * shard_size)
    groups = sample(jax.random.fold_in(jax.random.fold_in(key, SPLITS.index(split)), index))
    return CsiGroups(*(np.asarray(leaf[:count]) for leaf in groups))

  shards = (
      (split, functools.partial(shard, split, index))
      for split in SPLITS for index in range(-(-sizes[split] // shard_size)))
  write_shards(folder, header, shards, progress)


def write_shards(
    folder: Path, header: dict, shards: Iterable[tuple[str, Callable[[], CsiGroups]]],
    progress: Callable[[int], None]) -> None:
  """Writes the shards that the folder does not hold yet.

  Args:
    header: stands in the manifest; two data sets differ in it.
    shards: the split of each and what makes its groups; only those not on disk are made.
    progress: called after every shard that was made, with the number of groups on disk.

  Raises:
    InputError: the folder holds another data set, or cannot be written.
  """
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  manifest = _open_manifest(folder, header)

  def write_manifest(complete: bool) -> None:
    manifest['complete'] = complete
    with writing(folder):
      write_atomically(folder / 'manifest.json', json.dumps(manifest, indent=1))

  done, num_shards = 0, dict.fromkeys(SPLITS, 0)
  for split, make in shards:
    entries, index = manifest['splits'][split], num_shards[split]
    num_shards[split] += 1
    if index >= len(entries):
      groups, name = make(), f'{split}-{index:05d}.npz'
      with writing(folder):
        sha256 = _write_shard(folder / name, groups)
      entries.append({'file': name, 'num_groups': len(groups.csi), 'sha256': sha256})
      write_manifest(complete=False)
      progress(done + len(groups.csi))
    done += entries[index]['num_groups']
  write_manifest(complete=True)


def _open_manifest(folder: Path, header: dict) -> dict:
  path = folder / 'manifest.json'
  header = json.loads(json.dumps(header))  # as it reads back
  if not path.exists():
    return header | {'splits': {split: [] for split in SPLITS}}
  splits, found = read_manifest(folder, incomplete=True), read_json(path)
  different = [name for name in header if found.get(name) != header[name]]
  if different:
    raise InputError(
        f'{folder}: holds another data set (its {different[0]} is '
        f'{found.get(different[0])!r:.500}, asked for {header[different[0]]!r:.500}); choose '
        'another folder.')
  return header | {'splits': {split: splits.get(split, []) for split in SPLITS}}


def _write_shard(path: Path, groups: CsiGroups) -> str:
  buffer = io.BytesIO()
  np.savez(
      buffer, **{name: leaf for name, leaf in groups._asdict().items() if leaf is not None})
  write_atomically(path, buffer.getbuffer())
  return hashlib.sha256(buffer.getbuffer()).hexdigest()
