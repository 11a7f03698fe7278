"""The report of a reproduction: the paper's tables and figures, and one page of them."""

import re
from collections.abc import Sequence
from pathlib import Path

from rca_jax.config import ExperimentConfig
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.evaluation.results import SHARES
from rca_jax.report import page
from rca_jax.report.figures import FIGURES, site_map
from rca_jax.report.levels import Row, check_rows, newest, sections
from rca_jax.report.panels import Panel, draw
from rca_jax.report.tables import Table, table1, table2
from rca_jax.report.takeaways import WORDS
from rca_jax.report.variants import data_table, shortcut_table, ues_table

_TABLE_TITLES = {
    'table1': 'Table I', 'table2': 'Table II', 'ues': 'More than 2 UEs',
    'data': 'Which data is the paper\'s', 'shortcut': 'A shortcut around the layers'}
_FIGURES_CAPTION = (
    'Figures show one training of each network, with the seed of their title. Bars are 95 % '
    'intervals over the test groups; that of a gain is of the difference on the same groups, and '
    'left out where rows do not have the values by group.')
_ROW_FIELDS = (
    'method', 'variant', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db',
    'stage', 'channel', 'distance_m', 'snr_error_db', 'snr_spread_db', 'code_rate', 'qam_order',
    'num_symbols', 'num_lost', 'of_lost', 'dtype', 'data', 'data_hash', 'seed',
    'nmse_db', 'nmse_ci95_db', *SHARES, 'num_samples', 'steps', 'cell', 'commit')


def write_report(
    out: Path, rows: Sequence[Row], table2_configs: Sequence[ExperimentConfig]) -> list[Path]:
  """OUT/report.html, OUT/NAME.md of every table, OUT/NAME.png and .pdf of every figure.

  Rows of several data sets, presets or dtypes have tables and figures of their own, each NAME with
  that of the data. Table II is always there, the rest where there are rows. Returns what was
  written.

  Raises:
    InputError: there are no rows, one lacks a field, rows of one place of a table or curve differ
      in more than the seed, or OUT cannot be written.
  """
  if not rows:
    raise InputError('there are no rows to report.')
  check_rows(rows)
  rows = newest(rows)
  by_data = sections(rows)
  parts: list[tuple[str, str, dict[str, Table | list[Panel] | None]]] = [
      ('', '', {'site_map': site_map(by_data)})]
  for number, (name, part) in enumerate(by_data.items(), 1):
    # The number keeps names apart that differ in signs only.
    ending = f'-{number}-{re.sub(r"[^A-Za-z0-9_.]+", "_", name)}' if len(by_data) > 1 else ''
    parts.append((f'Data: {name}', ending, {
        'table1': table1(part), 'ues': ues_table(part), 'shortcut': shortcut_table(part)}
        | {figure: find(part) for figure, find in FIGURES.items()}))
  parts.append((
      'The networks and the data', '',
      {'table2': table2(table2_configs), 'data': data_table(rows)}))
  written, body = [], [page.caption(_FIGURES_CAPTION)]
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
    for head, ending, items in parts:
      there = {name: item for name, item in items.items() if item}
      if head and there:
        body.append(page.heading(head))
      for name, item in there.items():
        files, html = _write_item(out / f'{name}{ending}', name, item)
        written += files
        body += html
    body += [page.heading('Rows'), page.table(Table(
        'Every measured row; the numbers above come from these.', _ROW_FIELDS,
        [tuple(_text(row.get(field)) for field in _ROW_FIELDS) for row in rows]))]
    written.append(out / 'report.html')
    written[-1].write_text(page.page('RCA-MUNet, reproduced', body))
  return written


def _write_item(
    path: Path, name: str, item: Table | list[Panel]) -> tuple[list[Path], list[str]]:
  """PATH.md of a table, PATH.png and PATH.pdf of a figure, and its part of the page."""
  if isinstance(item, Table):
    file = path.with_name(f'{path.name}.md')
    file.write_text(item.markdown())
    return [file], [page.heading(_TABLE_TITLES[name], 3), page.table(item)]
  words, figure = WORDS[name], draw(item)
  return page.save(path, figure), [
      page.heading(words.title, 3), page.panels(name, figure), page.items(words.found(item)),
      page.caption(words.caption)]


def _text(value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, float):
    return f'{value:.4g}'
  if isinstance(value, list):
    return ' .. '.join(_text(item) for item in value)
  return str(value)
