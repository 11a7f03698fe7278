"""Files that somebody else may have written, looked at before they are believed.

JSON of a sane size and depth, names that stay in their folder, and SHA-256.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rca_jax.errors import InputError

_MAX_JSON_BYTES = 2**25  # as Python objects it may be twenty times that
_PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}')


def read_json(path: Path) -> Any:
  """What the JSON file says.

  Raises:
    OSError: it cannot be read.
    ValueError: it is no JSON, no file (a pipe, a device), or far too large.
  """
  size = path.stat().st_size
  if not path.is_file():
    raise ValueError('no regular file')
  if size > _MAX_JSON_BYTES:
    raise ValueError(f'{size} bytes; expected at most {_MAX_JSON_BYTES}')
  return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
  """As `json.loads`.

  Raises:
    ValueError: the text is no JSON, or nested too deeply.
  """
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('nested too deeply') from None


def file_in(folder: Path, name: str) -> Path:
  """FOLDER/NAME, for a name that a file gave.

  Raises:
    InputError: the name is none of a file in the folder itself, or leads out of it by a link.
  """
  path = folder / name if is_plain(name) else None
  if path is None or path.is_symlink():
    raise InputError(
        f'{folder}: {name[:200]!r} is refused; expected the name of a file in this folder, of '
        'letters, digits and "_.-", and no link.')
  return path


def is_plain(name: str) -> bool:
  """Whether it can only be the name of a file, and fits into a line."""
  return _PLAIN_NAME.fullmatch(name) is not None


def sha256(path: Path) -> str:
  """Of a file's bytes, in hexadecimal.

  Raises:
    InputError: the file cannot be read.
  """
  try:
    if path.exists() and not path.is_file():  # a pipe would wait, a device never end
      raise InputError(f'{path}: no regular file; write or copy it again.')
    with path.open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    advice = '; write or copy it again' if isinstance(error, FileNotFoundError) else ''
    raise InputError(f'{path}: cannot be read ({error.strerror}){advice}.') from None
