"""Readers of CSI files: npz, and data set folders of checked npz shards.

All return `CsiGroups` of numpy arrays, csi [G, M, N_a, N_t] complex64 as it stands in the file
(any scale). What a file does not hold is None. Files are never unpickled.
"""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rca_jax.csi.groups import CsiGroups
from rca_jax.errors import InputError

# What numpy, zipfile and zlib raise on a file that is cut, damaged or no npz at all.
_DAMAGED = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def read_npz(path: str | Path) -> CsiGroups:
  """An npz with a `csi` array, and `positions`, `los`, `energy_kept` if it holds them.

  Raises:
    InputError: the file is missing or damaged, has no `csi`, or its csi is not complex
      [G, M, N_a, N_t] of finite numbers with power in every UE.
  """
  path = Path(path)
  if not path.is_file():
    raise InputError(f'{path}: no such file.')
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in CsiGroups._fields if name in file.files}
      names = list(file.files)
  except (TypeError, *_DAMAGED) as error:  # TypeError: a bare .npy
    raise InputError(
        f'{path}: not a readable npz file ({_first_line(error)}); it may be cut or damaged, '
        'write or copy it again.') from None
  if 'csi' not in arrays:
    raise InputError(
        f'{path}: has no array named `csi` (its arrays: {", ".join(names) or "none"}); expected '
        'csi [group, ue, delay, antenna] complex64.')
  check_csi(arrays['csi'], str(path))
  arrays['csi'] = np.ascontiguousarray(arrays['csi'], np.complex64)
  return CsiGroups(**{name: arrays.get(name) for name in CsiGroups._fields})


def check_csi(csi: np.ndarray, source: str) -> None:
  """Raises InputError, led by `source`, unless csi is complex [G, M, N_a, N_t], finite, non-zero.

  The first offender is named by its index.
  """
  if csi.ndim != 4 or 0 in csi.shape:
    raise InputError(
        f'{source}: csi has shape {csi.shape}; expected [group, ue, delay, antenna], 4 axes, '
        'none empty.')
  if not np.iscomplexobj(csi):
    raise InputError(f'{source}: csi is of type {csi.dtype}; expected complex64 or complex128.')
  finite = np.isfinite(csi)
  if not finite.all():
    index = _first(~finite)
    raise InputError(
        f'{source}: csi{index} is {csi[tuple(index)]}; every entry must be a finite number.')
  silent = ~csi.any(axis=(-2, -1))
  if silent.any():
    raise InputError(
        f'{source}: csi{_first(silent)} is all zeros; a UE without power has no NMSE, leave its '
        'group out.')


def read_dataset(folder: str | Path, split: str) -> CsiGroups:
  """One split (`train`, `val`, `test`) of a data set folder, its shards in the manifest's order.

  Raises:
    InputError: the manifest is missing, damaged or has no such split; a shard is missing, does
      not have the manifest's SHA-256, or is no valid `read_npz` file; shards disagree in shape.
  """
  folder = Path(folder)
  shards = []
  for entry in _read_split(folder, split):
    path = folder / entry['file']
    _check_sha256(path, entry['sha256'])
    shard = read_npz(path)
    if len(shard.csi) != entry['num_groups'] or (
        shards and shard.csi.shape[1:] != shards[0].csi.shape[1:]):
      raise InputError(
          f'{path}: csi has shape {shard.csi.shape}; the manifest and the shards before it promise '
          f'{(entry["num_groups"], *(shards or [shard])[0].csi.shape[1:])}.')
    shards.append(shard)
  return CsiGroups(*(
      None if any(part is None for part in parts) else np.concatenate(parts)
      for parts in zip(*shards, strict=True)))


def _read_split(folder: Path, split: str) -> list[dict[str, Any]]:
  path = folder / 'manifest.json'
  try:
    splits = json.loads(path.read_text())['splits']
    found = {
        name: [{key: entry[key] for key in ('file', 'num_groups', 'sha256')} for entry in entries]
        for name, entries in splits.items()}
  except FileNotFoundError:
    raise InputError(
        f'{folder}: has no manifest.json; give a folder that launch.generate wrote.') from None
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    raise InputError(
        f'{path}: not a readable manifest ({type(error).__name__}: {_first_line(error)}); generate '
        'the data set again.') from None
  if not found.get(split):
    raise InputError(
        f'{folder}: has no groups in its split {split!r} (its splits: '
        f'{", ".join(name for name in found if found[name]) or "none"}).')
  return found[split]


def _check_sha256(path: Path, expected: str) -> None:
  try:
    with path.open('rb') as file:
      found = hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise InputError(
        f'{path}: shard cannot be read ({error.strerror}); generate or copy it again.') from None
  if found != expected:
    raise InputError(
        f'{path}: shard is cut or damaged, its SHA-256 is {found[:12]}..., the manifest says '
        f'{expected[:12]}...; generate or copy it again.')


def _first(mask: np.ndarray) -> list[int]:
  return [int(i) for i in np.unravel_index(np.argmax(mask), mask.shape)]


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]
