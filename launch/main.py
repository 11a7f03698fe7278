"""Runs a launcher's `main` so that whatever ends it is one line on stderr and an exit code."""

import contextlib
import difflib
import importlib
import logging as standard_logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from launch.help import config_text, fields, help_text
from rca_jax.config import CsiConfig, ExperimentConfig, from_dict, to_dict, trained_symbols
from rca_jax.errors import InputError, Stopped

_EXIT_SIGINT, _EXIT_SIGPIPE = 128 + 2, 128 + 13
_CONFIGS = Path(__file__).parents[1] / 'configs'
_IMPORT = flags.DEFINE_multi_string(
    'import', [], 'A module to import first, e.g. one that puts an attention of your own into '
    'rca_jax.models.attention.ATTENTION. May be given several times.')
_HELP = {'-h', '-?', '-help', '--help', '--helpshort', '--helpfull'}


def run(
    main: Callable[..., int | None], stopped: str = 'stopped', takes_words: bool = False
) -> NoReturn:
  """Parses the flags, calls `main` and exits with what it returns (None: 0).

  Other exit codes: 1 for a training that diverged; 2 for an InputError, a wrong flag, or a file
  that cannot be read or written; 130 after Ctrl-C, 143 after SIGTERM; 141 where nobody reads the
  output any more.

  Args:
    stopped: the line after Ctrl-C: what is kept, how to go on.
    takes_words: what is no flag is given to `main`; else it is refused.
  """
  def whole() -> int:
    code = _run(main, takes_words)
    sys.stdout.flush()  # here, where a closed pipe is expected
    return code

  sys.exit(_guarded(whole, stopped))


def say(text: str) -> None:
  """One line for the person who watches: on stderr, so that stdout holds results only."""
  print(text, file=sys.stderr, flush=True)


def warn_of_length(config: ExperimentConfig, num_symbols: int) -> None:
  """Says so where a network was not trained for reports of so many symbols; 0: all."""
  least, most = trained_symbols(config)
  if num_symbols and not least <= num_symbols <= most:
    trained = f'{least} to {most}' if least < most else str(most)
    say(f'warning: --num_symbols={num_symbols}: these weights were trained for reports of '
        f'{trained} symbols.')


def count(number: int, noun: str) -> str:
  """E.g. '1 row', '1,200 rows'."""
  return f'{number:,} {noun}{"" if number == 1 else "s"}'


def devices() -> str:
  """What this process computes on, e.g. '1 cpu device'."""
  import jax
  return count(jax.device_count(), f'{jax.devices()[0].device_kind} device')


def define_config(
    flag_values: flags.FlagValues = flags.FLAGS, required: bool = True) -> flags.FlagHolder:
  """The flag --config=FILE[:WORDS] and a flag --config.FIELD for every field."""
  holder = config_flags.DEFINE_config_file(
      'config', help_string='Config file, or the name of one that comes with rca_jax, e.g. '
      'rca_munet:small,cr=1/16. Any field can be changed: --config.FIELD=VALUE.',
      flag_values=flag_values)
  parser = flag_values['config'].parser
  parse = parser.parse
  parser.parse = lambda path: parse(_config_file(path))
  if required:
    flags.mark_flag_as_required('config', flag_values)
  return holder


def define_csi() -> flags.FlagHolder:
  """A flag --csi.FIELD for every field of CsiConfig. Exits as `run` does: it is parsed here."""

  def define() -> flags.FlagHolder:
    with _one_line(sys.argv):
      return config_flags.DEFINE_config_dict(
          'csi', ConfigDict(to_dict(CsiConfig())), 'Any field of the CSI.')

  return _guarded(define, 'stopped')


def parse_flags(
    argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS, takes_words: bool = False,
) -> list[str]:
  """Parses; returns argv without the flags.

  Raises:
    InputError: a flag is unknown, wrong or missing, a config file is missing, or a config has no
      such field.
  """
  with _one_line(argv, flag_values):
    rest = flag_values(list(argv))
  if len(rest) > 1 and not takes_words:
    raise InputError(f'unexpected argument {rest[1]!r}; flags are written --name=value.')
  return rest


def experiment_config(flag: flags.FlagHolder) -> ExperimentConfig:
  """What the flag of `define_config` holds, as the dataclass.

  Raises:
    InputError: its file is missing, or a field is wrong.
  """
  if not isinstance(flag.value, ConfigDict):  # config_flags defers a missing file to its first use
    path = config_flags.get_config_filename(flags.FLAGS[flag.name])
    raise InputError(_no_config(f'--{flag.name}={path}'))
  return from_dict(ExperimentConfig, flag.value.to_dict())


def chosen_way(
    ways: dict[str, Any], with_config: Sequence[str], config: flags.FlagHolder) -> str:
  """The one of these flags that is given: not None, False or empty.

  Raises:
    InputError: none is, or several are, or `config` is not given with one of `with_config` alone.
  """
  given = [name for name, value in ways.items() if value]
  if len(given) != 1:
    raise InputError(f'give one of {", ".join(ways)}; given: {", ".join(given) or "none"}.')
  if (given[0] in with_config) != (config.value is not None):
    raise InputError(
        f'{given[0]}: give --config too, it says the array and the length of a report.'
        if config.value is None else f'{given[0]} knows its config; leave out --config.')
  return given[0]


def only_with(flag: flags.FlagHolder, fits: bool, what: str) -> None:
  """Refuses a flag that is typed, is not its default, and does not fit what else is typed.

  Raises:
    InputError: so it is; `what` says what the flag is of.
  """
  if flag.value != flag.default and not fits:
    raise InputError(f'leave out {flags.FLAGS[flag.name].serialize()}: it is of {what}.')


def _run(main: Callable[..., int | None], takes_words: bool) -> int:
  asked = set(sys.argv[1:])
  if asked & _HELP:
    print(help_text(sys.modules['__main__'].__doc__, _own_flags(), _required()))
    return 0
  if '--help_config' in asked:
    print(_help_config())
    return 0
  words = parse_flags(sys.argv, takes_words=takes_words)[1:]
  for name in _IMPORT.value:
    _import(name)
  logging.set_verbosity(logging.FATAL)  # orbax reports a page for every checkpoint
  # Where a checkpoint fails, tensorstore's threads print pages beside what is raised to us, and
  # asyncio those errors that came after it.
  standard_logging.getLogger('asyncio').setLevel(standard_logging.CRITICAL)
  sys.unraisablehook = lambda _: None
  return main(*words) or 0


def _guarded(function: Callable[[], Any], stopped: str) -> Any:
  try:
    return _in_one_line(function, stopped)
  except BrokenPipeError:  # also where an error was to be printed
    nowhere = os.open(os.devnull, os.O_WRONLY)  # Python flushes once more at its end
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    sys.exit(_EXIT_SIGPIPE)


def _in_one_line(function: Callable[[], Any], stopped: str) -> Any:
  try:
    return function()
  except InputError as error:
    return _fail(_name_flags(str(error)), 2)
  except FloatingPointError as error:
    return _fail(_name_flags(str(error)), 1)
  except Stopped as stop:
    say(str(stop))
    sys.exit(128 + stop.signum)
  except KeyboardInterrupt:
    say(f'\n{stopped}' if sys.stderr.isatty() else stopped)  # after the terminal's ^C
    sys.exit(_EXIT_SIGINT)
  except BrokenPipeError:
    raise
  except OSError as error:
    return _fail(f'{error.filename or "a file"}: {error.strerror or error}.', 2)


def _fail(message: str, code: int) -> NoReturn:
  say(f'error: {message}')
  sys.exit(code)


def _help_config() -> str:
  """Without the other flags, which may be missing."""
  values = flags.FlagValues()
  if 'csi' in flags.FLAGS:
    config_flags.DEFINE_config_dict('csi', ConfigDict(to_dict(CsiConfig())), flag_values=values)
    name, config_class = 'csi', CsiConfig
  elif 'config' in flags.FLAGS:
    define_config(values, required=False)
    name, config_class = 'config', ExperimentConfig
  else:
    raise InputError('--help_config: this command has no config; --help shows its flags.')
  with _one_line(sys.argv, values):
    values(sys.argv, known_only=True)
    given = values[name].value
    config = config_class() if given is None else from_dict(config_class, given.to_dict())
  return config_text(name, config)


def _own_flags() -> list[flags.Flag]:
  """Those of the launcher, not those of libraries."""
  by_module = flags.FLAGS.flags_by_module_dict()
  found = [
      flag for module in (sys.argv[0], '__main__', __name__, 'launch.table')
      for flag in by_module.get(module, ())]
  required = _required()
  return sorted(
      (flag for flag in found if '.' not in flag.name), key=lambda flag: flag.name not in required)


def _required() -> set[str]:
  return {
      flag.name for group in flags.FLAGS.flags_by_module_dict().values() for flag in group
      if any('other than None' in validator.message for validator in flag.validators)}


def _name_flags(message: str) -> str:
  """The message with config fields and values as the flags to type.

  csi.num_delay_taps becomes --config.csi.num_delay_taps, num_ues=1 becomes --num_ues=1 where the
  launcher has that flag, and a path or name that was given is preceded by its flag.
  """
  for arg in sys.argv[1:]:
    flag, _, value = arg.partition('=')
    if value and flag.startswith('--') and message.startswith(f'{value}:'):
      message = f'{flag}={message}'
      break
  own = {flag.name for flag in _own_flags()}
  paths = [field.path for field in fields(ExperimentConfig()) if field.path]

  def to_flag(match: re.Match) -> str:
    path, leaf = match[1], match[1].rpartition('.')[2]
    fitting = [known for known in paths if known == path or known.endswith(f'.{path}')]
    # A word of one part is a field where it is set, not in a sentence.
    if not fitting or '.' not in path and not message.startswith('=', match.end()):
      return match[0]
    if leaf in own:
      return f'--{leaf}'
    if 'csi' in own and fitting[0].startswith('csi.'):
      return f'--{fitting[0]}'
    if 'config' in own and ('.' in path or not match.start()):
      given = [known for known in fitting if any(f'--config.{known}' in arg for arg in sys.argv)]
      return f'--config.{(given or fitting)[0]}'
    return match[0]

  return re.sub(
      r'(?<![\w./-])(?:config\.)?([a-z]\w*(?:\.[a-z]\w*)*)(?![\w/]|\.\w)', to_flag, message)


def _config_file(given: str) -> str:
  """FILE[:WORDS], also where FILE is a config of this package: demo, or configs/demo.py."""
  file, colon, words = given.partition(':')
  name = file.removeprefix('configs/').removesuffix('.py')
  if Path(file).is_file() or name not in _config_names():
    return given
  return f'{_CONFIGS / name}.py{colon}{words}'


def _config_names() -> list[str]:
  return sorted(
      path.stem for path in _CONFIGS.glob('*.py') if 'def get_config(' in path.read_text())


def _no_config(given: str) -> str:
  return f'{given}: no such config file; rca_jax comes with {", ".join(_config_names())}.'


def _import(name: str) -> None:
  try:
    importlib.import_module(name)
  except Exception as error:  # whatever a module of somebody else raises
    if isinstance(error, ModuleNotFoundError) and error.name == name:
      raise InputError(
          f'--import={name}: no such module in this folder or the environment.') from None
    where = traceback.extract_tb(error.__traceback__)[-1]
    raise InputError(
        f'--import={name}: {type(error).__name__}: {error} ({where.filename}:{where.lineno}).'
    ) from error


@contextlib.contextmanager
def _one_line(
    argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> Iterator[None]:
  """Makes an InputError of what absl and config_flags raise."""
  try:
    yield
  except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    raise InputError(_reason(error, argv[1:], flag_values)) from error


def _reason(error: BaseException, argv: Sequence[str], flag_values: flags.FlagValues) -> str:
  """One line: config_flags wraps what a config file raises in a traceback's text."""
  cause, original = error, None
  while cause is not None:
    original = cause if isinstance(cause, InputError) else original
    cause = cause.__cause__ or cause.__context__
  if original is not None:
    return str(original)
  if isinstance(error, flags.UnrecognizedFlagError):
    near = difflib.get_close_matches(error.flagname, list(flag_values), 1)
    hint = f'did you mean --{near[0]}?' if near else '--help shows the flags.'
    return f'--{error.flagname}: unknown flag; {hint}'
  if missing := re.match(r'flag --(\w+)=None: Flag .* other than None', str(error)):
    return f'--{missing[1]} is missing: {flag_values[missing[1]].help}'
  lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
  if isinstance(error, AttributeError | KeyError):
    field, near = re.search(r'(\w+)(?:.*Did you mean \W*(\w+))?', str(error), re.DOTALL).groups()
    given = [arg for arg in argv if re.match(rf'--\w+\.(\w+\.)*{re.escape(field)}\b', arg)]
    hint = f'; did you mean {near!r}?' if near else '; --help_config shows the fields.'
    return f'{given[0] if given else field}: the config has no field {field!r}{hint}'
  if isinstance(error, OSError):
    return _no_config(next((arg for arg in argv if arg.startswith('--config=')), '--config'))
  return lines[0] if len(lines) == 1 else f'{lines[0]} {lines[-1]}'
