"""Tables of the launchers: every digit at any width, or a format for other programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.table
from absl import flags

FORMATS = ('text', 'csv', 'json', 'markdown')


def define_format() -> flags.FlagHolder[str]:
  """The flag --format of a launcher that prints a table."""
  flags.disclaim_key_flags()
  return flags.DEFINE_enum('format', 'text', FORMATS, 'Of the table that is printed.')


def print_table(head: Mapping[str, str], rows: Sequence[Sequence[Any]], format: str) -> None:
  """Prints rows, a value for every column.

  Args:
    head: the columns, each with the format of its numbers as text, e.g. '.2f'. Columns of '' are
      words. In csv and json numbers stand as they are.
    rows: None is a value that does not exist.
    format: one of `FORMATS`.
  """
  print(format_table(head, rows, format), end='')


def format_table(
    head: Mapping[str, str], rows: Sequence[Sequence[Any]], format: str) -> str:
  """As `print_table`, the text itself."""
  file = io.StringIO()
  if format == 'json':
    json.dump([dict(zip(head, row, strict=True)) for row in rows], file, indent=1)
    file.write('\n')
  elif format == 'csv':
    csv.writer(file, lineterminator='\n').writerows([list(head), *rows])
  elif format == 'markdown':
    lines = [list(head), [':--' if not spec else '--:' for spec in head.values()]]
    for cells in lines + [_texts(head, row) for row in rows]:
      file.write(f'| {" | ".join(cells)} |\n')
  else:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, spec in head.items():
      table.add_column(name, justify='right' if spec else 'left', no_wrap=True)
    for row in rows:
      table.add_row(*(rich.text.Text(cell) for cell in _texts(head, row)))
    # Wide enough for every table: a terminal may wrap the lines, but nothing is left out.
    rich.console.Console(file=file, width=10_000, color_system=None).print(table)
  return file.getvalue()


def _texts(head: Mapping[str, str], row: Sequence[Any]) -> list[str]:
  return [
      '-' if value is None else f"{value:{spec}}" if isinstance(value, int | float) else str(value)
      for value, spec in zip(row, head.values(), strict=True)]
