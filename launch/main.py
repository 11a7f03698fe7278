"""Runs a launcher's `main` so that a wrong input is one line on stderr and exit code 2."""

import contextlib
import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError


def run(main: Callable[[], int | None]) -> NoReturn:
  """Parses the flags, calls `main` and exits with what it returns (None: 0).

  Exit codes: 2 for an InputError (a full disk among them) or a wrong flag, 1 for a training that
  diverged.
  """

  def quiet_main(_: Sequence[str]) -> NoReturn:
    logging.set_verbosity(logging.FATAL)  # orbax tells a page for every checkpoint
    # Where a checkpoint fails, tensorstore's threads print pages beside what is raised to us.
    sys.unraisablehook = lambda _: None
    sys.exit(_guarded(main))

  app.run(quiet_main, flags_parser=functools.partial(_guarded, parse_flags))


def parse_flags(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """Parses; returns argv without the flags.

  Raises:
    InputError: a flag is unknown or wrong, a config file is missing, or a config has no such
      field.
  """
  with _told(argv):
    rest = flag_values(list(argv))
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}; flags are written --name=value.')
  return rest


def define_fields(name: str, values: dict[str, Any], help_string: str) -> flags.FlagHolder:
  """A flag --NAME.FIELD for every field. config_flags reads sys.argv here: exits as `run` does."""

  def define() -> flags.FlagHolder:
    with _told(sys.argv):
      return config_flags.DEFINE_config_dict(name, ConfigDict(values), help_string)

  return _guarded(define)


def experiment_config(flag: flags.FlagHolder) -> ExperimentConfig:
  """What a flag of `config_flags.DEFINE_config_file` holds, as the dataclass.

  Raises:
    InputError: no config was given, its file is missing, or a field is wrong.
  """
  if flag.value is None:
    raise InputError(f'--{flag.name} is missing; e.g. --{flag.name}=configs/rca_munet.py:small.')
  if not isinstance(flag.value, ConfigDict):  # config_flags defers a missing file to its first use
    path = config_flags.get_config_filename(flags.FLAGS[flag.name])
    raise InputError(f'--{flag.name}={path}: no such config file; see the configs/ folder.')
  return from_dict(ExperimentConfig, flag.value.to_dict())


@contextlib.contextmanager
def _told(argv: Sequence[str]) -> Iterator[None]:
  """Makes an InputError of what absl and config_flags raise."""
  try:
    yield
  except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    raise InputError(_reason(error, argv[1:])) from error


def _guarded(function: Callable, *args) -> object:
  try:
    return function(*args)
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
  except FloatingPointError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(1)


def _reason(error: BaseException, argv: Sequence[str]) -> str:
  """One line: config_flags wraps what a config file raises in a traceback's text."""
  cause, original = error, None
  while cause is not None:
    original = cause if isinstance(cause, InputError) else original
    cause = cause.__cause__ or cause.__context__
  if original is not None:
    return str(original)
  lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
  if isinstance(error, AttributeError | KeyError):
    field, near = re.search(r'(\w+)(?:.*Did you mean \W*(\w+))?', str(error), re.DOTALL).groups()
    given = [arg for arg in argv if re.match(rf'--\w+\.(\w+\.)*{re.escape(field)}\b', arg)]
    hint = f'; did you mean {near!r}?' if near else '.'
    return f'{given[0] if given else field}: the config has no field {field!r}{hint}'
  if isinstance(error, OSError):
    return f'{next((arg for arg in argv if ".py" in arg), "--config")}: no such config file.'
  return lines[0] if len(lines) == 1 else f'{lines[0]} {lines[-1]}'
