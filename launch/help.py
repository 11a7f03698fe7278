"""What --help and --help_config print: the flags of one command, and all fields of its config."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags

_WIDTH = 100


class Field(NamedTuple):
  """One field of a config; a table of fields has no value."""

  path: str  # e.g. csi.scenario
  type: str
  value: Any
  comment: str  # that stands beside it in the source


def help_text(document: str, own: Sequence[flags.Flag], required: Sequence[str]) -> str:
  """The command's own text, line by line, then its flags."""
  parts = [document.strip(), '', 'Flags:']
  for flag in own:
    parts += _flag_lines(flag, flag.name in required)
  if any(flag.name == 'config' for flag in own):
    # Only here: the configs are not needed otherwise.
    from configs import demo, rca_munet
    for file in (rca_munet, demo):
      name = file.__name__.removeprefix('configs.')
      parts += ['', f'Words after {name}: (several with commas between them)']
      for word, meaning in file.WORDS.items():
        parts += textwrap.wrap(
            meaning, _WIDTH, initial_indent=f'  {word:<16}', subsequent_indent=' ' * 18)
  if _tables(own):
    parts += ['', 'Add --help_config to see every field of the config with its value.']
  return '\n'.join(parts)


def config_text(name: str, config: Any) -> str:
  """Every field of a config dataclass as the flag to type, with its type and comment."""
  parts = []
  for field in fields(config):
    if field.value is None:
      parts += ['', f'{field.path or name}: {field.comment}']
    else:
      value = ','.join(map(str, field.value)) if isinstance(field.value, tuple) else field.value
      line = f'  {f"--{name}.{field.path}={value}":<58}{field.type:<20}{field.comment}'
      parts.append(line.rstrip())
  return '\n'.join(parts).lstrip('\n')


def fields(config: Any, path: str = '') -> Iterator[Field]:
  """All fields of a config dataclass, nested ones after those of their table."""
  yield Field(path, '', None, (inspect.getdoc(config) or '').partition('\n')[0])
  comments = dict(re.findall(
      r'^  (\w+): [^#\n]*# (.*)$', inspect.getsource(type(config)), re.MULTILINE))
  tables = []
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), f'{path}.{field.name}'.lstrip('.')
    if dataclasses.is_dataclass(value):
      tables.append((value, name))
    else:
      kind = getattr(field.type, '__name__', '') if isinstance(field.type, type) else ''
      kind = str(field.type) if kind in ('', 'tuple') else kind
      yield Field(name, kind, value, comments.get(field.name, ''))
  for value, name in tables:
    yield from fields(value, name)


def _tables(own: Sequence[flags.Flag]) -> list[str]:
  return [flag.name for flag in own if flag.name in ('config', 'csi')]


def _flag_lines(flag: flags.Flag, required: bool) -> list[str]:
  values = getattr(flag.parser, 'enum_values', None)
  what = flag.name.upper() if values is None else '|'.join(values)
  head = f'--{flag.name}={what}'
  if flag.boolean:
    head = f'--{flag.name}'
  elif flag.name == 'config':
    head = '--config=FILE[:WORDS]'
  elif flag.name in _tables([flag]):
    head = f'--{flag.name}.FIELD=VALUE'
  note = ''
  if required:
    note = '  (required)'
  elif not flag.boolean and flag.default not in (None, '', []) and not _tables([flag]):
    default = flag.default
    note = f'  (default {",".join(default) if isinstance(default, list) else default})'
  # absl puts the values of an enum before it, and after it that a flag may be given again.
  words = re.sub(r'^<.*?>: |;\s+repeat this option.*', '', flag.help)
  lines = textwrap.wrap(words, _WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
  return [f'  {head}{note}', *lines]
