"""The folder of a run: one config, one writer at a time."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rca_jax.config import ExperimentConfig, from_dict, to_dict
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import read_json


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Holds `path` as a lock file; the system lets go of it even when the process is killed.

  Raises:
    InputError: another process holds it, or its folder cannot be written.
  """
  with writing(path, 'choose another --workdir'):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('a')
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise InputError(
          f'{path.parent}: another run is writing to this workdir; wait for it or choose another '
          '--workdir.') from None
    yield


def claim(workdir: Path, config: ExperimentConfig) -> None:
  """Writes WORKDIR/config.json, or checks that it says the same.

  Before the first checkpoint there is nothing to continue: another config takes its place.

  Raises:
    InputError: it says something else (the first differing field is named).
  """
  path = workdir / 'config.json'
  found, given = {}, flat(to_dict(config))
  if path.exists():
    found = flat(to_dict(read_config(workdir)))
  if found != given and not any(workdir.glob('checkpoints/*/[0-9]*')):
    if found and (workdir / 'metrics').exists():  # of the other config
      shutil.rmtree(workdir / 'metrics')
    write_atomically(path, json.dumps(to_dict(config), indent=2) + '\n')
    return
  for name, value in given.items():
    there = found.get(name)
    if there != value:
      raise InputError(
          f'{workdir}: workdir of another config: {name} is {there!r} there, {value!r} in this '
          'run; set it back to continue that run, or choose another --workdir.')


def read_config(workdir: str | Path) -> ExperimentConfig:
  """The config of WORKDIR/config.json.

  Raises:
    InputError: it is missing or damaged.
  """
  path = Path(workdir) / 'config.json'
  try:
    values = read_json(path)
  except FileNotFoundError:
    what = 'has no config.json' if Path(workdir).is_dir() else 'no such folder'
    raise InputError(f'{workdir}: {what}; give the --workdir of a run of `rca train`.') from None
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: not a readable config ({error}).') from None
  return from_dict(ExperimentConfig, values)


def flat(values: dict[str, Any], path: str = 'config') -> dict[str, Any]:
  """The fields of a config's dict by their dotted names."""
  found: dict[str, Any] = {}
  for name, value in values.items():
    found |= flat(value, f'{path}.{name}') if isinstance(value, dict) else {f'{path}.{name}': value}
  return found
