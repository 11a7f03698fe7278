"""results.json: one row a measurement. Of one measured twice the newer row takes the place.

A row names a file in the folder `errors/` beside it: the NMSE of every group, for paired gains.
"""

import fcntl
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rca_jax.config import parse_ratio
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import read_json


def _is_text(value: Any) -> bool:
  # Figures read what stands between two dollars as mathematics.
  return isinstance(value, str) and len(value) <= 200 and value.isprintable() and '$' not in value


def _is_ratio(value: Any) -> bool:
  try:
    return isinstance(value, str) and parse_ratio(value) > 0
  except ValueError:
    return False


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
  return lambda value: type(value) is int and low <= value <= high


def _is_number(low: float, high: float) -> Callable[[Any], bool]:
  return lambda value: type(value) in (int, float) and low <= value <= high


def _is_list(is_item: Callable[[Any], bool], *lengths: int) -> Callable[[Any], bool]:
  return lambda value: isinstance(value, list) and all(map(is_item, value)) and (
      len(value) in lengths if lengths else len(value) > 0)


MAX_DB = 1000.0
_IS_DB, _IS_SHARE, _IS_COUNT = _is_number(-MAX_DB, MAX_DB), _is_number(-1, 1), _is_whole(0, 2**53)
_IS_UES = _is_whole(1, 1000)
SHARES = 'rho', 'sgcs', 'subband_sgcs', 'beamforming_gain'  # of an estimate, besides its NMSE


def _is_errors(value: Any) -> bool:
  return isinstance(value, str) and re.fullmatch(r'[0-9a-f]{16}\.npy', value) is not None


# What a field may be, wherever it stands; fields of other names may be anything.
_FIELDS = {
    **dict.fromkeys(
        ('method', 'data', 'data_hash', 'commit', 'device', 'stage', 'channel', 'preset', 'variant',
         'cell', 'init_weights', 'site_map', 'dtype'), _is_text),
    'compression_ratio': _is_ratio, 'num_ues': _IS_UES, 'trained_ues': _is_list(_IS_UES),
    'num_groups': _IS_COUNT, 'errors': _is_errors,
    'snr_db': lambda value: value is None or _IS_DB(value), 'snr_error_db': _IS_DB,
    'snr_spread_db': _IS_DB,
    'seed': _is_whole(-2**63, 2**64), 'steps': _IS_COUNT, 'num_samples': _IS_COUNT,
    'num_looks': _IS_COUNT, 'look_snr_db': _IS_DB,
    'overhead': _IS_COUNT, 'distance_m': _is_number(0, 1e6), 'code_rate': _is_number(0, 1),
    'qam_order': _IS_COUNT, 'num_symbols': _IS_COUNT, 'num_lost': _is_whole(0, 1000),
    'of_lost': lambda value: isinstance(value, bool),
    'nmse_db': _IS_DB, 'nmse_ci95_db': _is_list(_IS_DB, 2),
    **dict.fromkeys(SHARES, _IS_SHARE),
    **dict.fromkeys((f'{name}_ci95' for name in SHARES), _is_list(_IS_SHARE, 2))}
# The fields that say what was measured: rows that agree in them are of one measurement.
_IDENTITY = (
    'cell', 'method', 'seed', 'steps', 'dtype', 'data_hash', 'num_groups', 'num_ues', 'snr_db',
    'stage', 'channel', 'distance_m', 'snr_error_db', 'snr_spread_db', 'code_rate', 'qam_order',
    'num_symbols', 'num_lost', 'of_lost')


def identity(row: dict[str, Any]) -> tuple | None:
  """What a row measured, to compare rows by; None for a row without a cell."""
  return tuple(row.get(name) for name in _IDENTITY) if 'cell' in row else None


def check_row(row: dict[str, Any], path: str | Path = 'results.json') -> None:
  """Raises InputError if a field cannot be what a measurement gives."""
  for name, value in _impossible(row):
    raise InputError(
        f'{name}={value!r:.50} cannot stand in a results row ({path}); texts have at most 200 '
        'printable characters and no "$", numbers are finite.')


def read_rows(path: str | Path) -> list[dict[str, Any]]:
  """The rows of a results.json; none if there is no such file.

  Raises:
    InputError: the file is damaged, or a field of a row cannot be what a measurement gives.
  """
  path = Path(path)
  try:
    rows = read_json(path) if path.exists() else []
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: not a readable results file ({error}).') from None
  if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
    raise InputError(f'{path}: holds no list of rows.')
  for index, row in enumerate(rows):
    for name, value in _impossible(row):
      raise InputError(f'{path}: damaged: {name} of row {index} is {value!r:.50}.')
  return rows


def append_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
  """Adds rows; one that is measured again takes the place of the older one.

  A reader sees the old file or the new, and two writers lose nothing. An array in a row's
  `errors` goes to a file of its own, and its name into the row. Of no rows it makes no file, but
  finds out whether it could.

  Raises:
    InputError: the file is damaged, a row would damage it, or its folder cannot be written.
  """
  path = Path(path)
  if not path.name or path.is_dir():
    raise InputError(f'{path}: is a folder; give the file that rows are appended to.')
  contents = [
      _npy(row['errors']) if isinstance(row.get('errors'), np.ndarray) else b'' for row in rows]
  rows = [
      row | {'errors': _errors_name(content)} if content else row
      for row, content in zip(rows, contents, strict=True)]
  for row in rows:
    check_row(row, path)
  lock_file = path.with_name(f'.{path.name}.lock')
  with writing(path), lock_file.open('a') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    before, after = read_rows(path), {}
    for place, row in enumerate([*before, *rows]):
      after[identity(row) or place] = row
    if not rows:
      return
    # Arrays come first and go last: a row on disk never names one that is not there.
    folder = path.parent / 'errors'
    for row, content in zip(rows, contents, strict=True):
      if content:
        folder.mkdir(exist_ok=True)
        write_atomically(folder / row['errors'], content)
    lines = ',\n'.join('  ' + json.dumps(row) for row in after.values())
    write_atomically(path, f'[\n{lines}\n]\n')
    for name in _errors_of(before) - _errors_of(after.values()):
      (folder / name).unlink(missing_ok=True)


def _npy(errors: np.ndarray) -> bytes:
  content = io.BytesIO()
  np.save(content, np.asarray(errors, np.float32))
  return content.getvalue()


def _errors_name(content: bytes) -> str:
  """After the content: a file is never changed, only replaced by one of another name."""
  return hashlib.sha256(content).hexdigest()[:16] + '.npy'


def _errors_of(rows: Iterable[dict[str, Any]]) -> set[str]:
  return {row['errors'] for row in rows if 'errors' in row}


def _impossible(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  """The fields that cannot be what a measurement gives."""
  for name, value in row.items():
    if name in _FIELDS and not _FIELDS[name](value):
      yield name, value


def current_commit() -> str:
  """The commit of this source tree, `-dirty` where it was changed since; else 'unknown'."""
  here = Path(__file__)

  def git(*arguments: str) -> str:
    return subprocess.run(
        ['git', *arguments], cwd=here.parent, capture_output=True, text=True, check=True,
    ).stdout.strip()

  try:
    git('ls-files', '--error-unmatch', here.name)  # or it is installed within another's tree
    return git('describe', '--always', '--dirty', '--abbrev=12', '--exclude=*')
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
