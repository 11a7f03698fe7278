"""The report of a reproduction: the paper's tables and figures, and one page of them."""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rca_jax.config import ExperimentConfig
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.evaluation.results import SHARES
from rca_jax.report import page
from rca_jax.report.figures import FIGURES, site_map
from rca_jax.report.levels import Row, check_rows, newest, sections
from rca_jax.report.panels import draw
from rca_jax.report.tables import Table, table1, table2
from rca_jax.report.variants import data_table, shortcut_table, ues_table

_TITLES = {
    'table1': 'Table I', 'table2': 'Table II', 'ues': 'More than 2 UEs',
    'data': 'Which data is the paper\'s',
    'shortcut': 'A shortcut around the layers',
    'site_map': 'A code that knows its site',
    'fig3': 'Fig. 3: NMSE against compression ratio',
    'fig4': 'Fig. 4: DJSCC against separate source and channel coding',
    'distance': 'How near must neighbours be',
    'joint_distance': 'How near must neighbours be, untrained',
    'uplink': 'Uplinks that training did not see',
    'wrong_snr': 'Another SNR than the true one',
    'schedule': 'Schedules',
    'length': 'Longer training',
    'loss': 'Reports that do not arrive',
}
_FIGURES_CAPTION = (
    'Figures show one training of each network, with the seed of their title. Bars are 95 % '
    'intervals over the test groups; that of a gain is of the difference on the same groups, and '
    'left out where rows do not have the values by group.')
_ROW_FIELDS = (
    'method', 'variant', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db',
    'stage', 'channel', 'distance_m', 'snr_error_db', 'snr_spread_db', 'code_rate', 'qam_order',
    'num_lost', 'of_lost', 'dtype', 'data', 'data_hash', 'seed',
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
  beside = site_map(by_data)
  parts = {'': {'table2': table2(table2_configs), 'data': data_table(rows),
                'site_map': draw(beside) if beside else None}}
  for name, part in by_data.items():
    panels = {figure: find(part) for figure, find in FIGURES.items()}
    parts[name] = {'table1': table1(part), 'ues': ues_table(part),
                   'shortcut': shortcut_table(part)} | {
        figure: draw(found) for figure, found in panels.items() if found}
  parts = {name: {title: item for title, item in items.items() if item is not None}
           for name, items in parts.items()}
  parts = {name: items for name, items in parts.items() if items}
  written, body = [], []
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
    for number, (part, items) in enumerate(parts.items()):
      if part:
        body += [page.heading(f'Data: {part}'), page.caption(_FIGURES_CAPTION)]
      # The number keeps names apart that differ in signs only.
      several = f'-{number}-{re.sub(r"[^A-Za-z0-9_.]+", "_", part)}' if len(parts) > 2 else ''
      for name, item in items.items():
        files = _write_item(out / f'{name}{several if part else ""}', item)
        body += [page.heading(_TITLES[name], 3),
                 page.table(item) if isinstance(item, Table) else page.image(files[0])]
        written += files
    body += [page.heading('Rows'), page.table(Table(
        'Every measured row; the numbers above come from these.', _ROW_FIELDS,
        [tuple(_text(row.get(field)) for field in _ROW_FIELDS) for row in rows]))]
    written.append(out / 'report.html')
    written[-1].write_text(page.page('RCA-MUNet, reproduced', body))
  return written


def _write_item(path: Path, item: Table | Figure) -> list[Path]:
  """PATH.md of a table, PATH.png and PATH.pdf of a figure."""
  if isinstance(item, Figure):
    return page.save(path, item)
  file = path.with_name(f'{path.name}.md')
  file.write_text(item.markdown())
  return [file]


def _text(value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, float):
    return f'{value:.4g}'
  if isinstance(value, list):
    return ' .. '.join(_text(item) for item in value)
  return str(value)
