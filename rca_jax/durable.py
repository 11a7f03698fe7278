"""Writes that are whole or not there, after a kill and after a loss of power."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rca_jax.errors import InputError


@contextlib.contextmanager
def writing(path: Path, advice: str = 'choose another folder') -> Iterator[None]:
  """Around writes below `path`, and nothing else: one line for a full disk or a read-only folder.

  Raises:
    InputError: instead of any OSError.
  """
  try:
    yield
  except OSError as error:
    raise InputError(
        f'{error.filename or path}: cannot be written ({error.strerror}); {advice}.') from error


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
  """Whoever reads `path` sees the old content or the new, whole; on return it is on disk.

  Raises:
    OSError: the disk is full, or the folder cannot be written; the old content stays.
  """
  partial = path.with_name(path.name + '.tmp')
  with partial.open('wb') as file:
    file.write(content.encode() if isinstance(content, str) else content)
    file.flush()
    os.fsync(file.fileno())  # or a rename may reach the disk before what it names
  os.replace(partial, path)
  _sync(path.parent)


def sync_tree(folder: Path) -> None:
  """Returns once a folder, all in it, and its own name are on disk.

  Raises:
    OSError: it cannot be read.
  """
  for path in [*folder.rglob('*'), folder, folder.parent]:
    _sync(path)


def _sync(path: Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
