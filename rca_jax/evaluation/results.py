"""results.json: one row a measured cell, appended, never edited."""

import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rca_jax.errors import InputError


def read_rows(path: str | Path) -> list[dict[str, Any]]:
  """The rows of a results.json; none if there is no such file.

  Raises:
    InputError: the file is damaged.
  """
  path = Path(path)
  try:
    rows = json.loads(path.read_text()) if path.exists() else []
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: not a readable results file ({error}).') from None
  if not isinstance(rows, list):
    raise InputError(f'{path}: holds no list of rows.')
  return rows


def append_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
  """Adds rows; a reader sees the old file or the new, and two writers lose nothing.

  Raises:
    InputError: the file is damaged, or its folder cannot be written.
  """
  path = Path(path)
  try:
    with path.with_name(f'.{path.name}.lock').open('a') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      lines = ',\n'.join('  ' + json.dumps(row) for row in [*read_rows(path), *rows])
      partial = path.with_name(path.name + '.tmp')
      partial.write_text(f'[\n{lines}\n]\n')
      os.replace(partial, path)
  except OSError as error:
    raise InputError(f'{path}: cannot be written ({error.strerror}).') from None


def current_commit() -> str:
  """The commit of this source tree, `-dirty` where it was changed since; else 'unknown'."""
  command = ['git', 'describe', '--always', '--dirty', '--abbrev=12', '--exclude=*']
  try:
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
