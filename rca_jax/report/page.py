"""The report of a reproduction: tables, figures (PNG and PDF) and one page that opens offline."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rca_jax.config import ExperimentConfig
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.report.figures import FIGURES, site_map
from rca_jax.report.levels import Row, newest, sections
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
    '<p class="caption">Figures show one training of each network, with the seed of their title. '
    'Bars are 95 % intervals over the test groups; that of a gain is of the difference on '
    'the same groups, and left out where rows do not have the values by group.</p>')
_ROW_FIELDS = (
    'method', 'variant', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db',
    'stage', 'channel', 'distance_m', 'snr_error_db', 'snr_spread_db', 'code_rate', 'qam_order',
    'num_lost', 'of_lost', 'dtype', 'data', 'data_hash', 'seed',
    'nmse_db', 'nmse_ci95_db', 'rho', 'sgcs', 'num_samples', 'steps', 'cell', 'commit')
_EVERY_ROW = (
    'method', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db', 'data', 'seed',
    'nmse_db', 'nmse_ci95_db', 'steps')
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-size: 12px; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
div.wide { overflow-x: auto; } img { max-width: 100%; } caption, p.caption { color: #555; }
"""
_HEAD = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>RCA-MUNet, reproduced</title><style>{_STYLE}</style></head><body>
<h1>RCA-MUNet, reproduced</h1>"""


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
  for index, row in enumerate(rows):
    lacking = [name for name in _EVERY_ROW if name not in row]
    if lacking:
      raise InputError(f'row {index} has no {lacking[0]}; measure it again with this version.')
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
  written, page = [], []
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
    for number, (part, items) in enumerate(parts.items()):
      if part:
        page += [f'<h2>Data: {html.escape(part)}</h2>', _FIGURES_CAPTION]
      # The number keeps names apart that differ in signs only.
      several = f'-{number}-{re.sub(r"[^A-Za-z0-9_.]+", "_", part)}' if len(parts) > 2 else ''
      for name, item in items.items():
        files = _write_item(out / f'{name}{several if part else ""}', item)
        page += [f'<h3>{html.escape(_TITLES[name])}</h3>',
                 _html_table(item) if isinstance(item, Table) else _html_image(files[0])]
        written += files
    page += ['<h2>Rows</h2>', _html_table(Table(
        'Every measured row; the numbers above come from these.', _ROW_FIELDS,
        [tuple(_text(row.get(field)) for field in _ROW_FIELDS) for row in rows]))]
    written.append(out / 'report.html')
    written[-1].write_text('\n'.join([_HEAD, *page, '</body></html>\n']))
  return written


def _write_item(path: Path, item: Table | Figure) -> list[Path]:
  """PATH.md of a table, PATH.png and PATH.pdf of a figure."""
  files = [path.with_name(f'{path.name}.{kind}')
           for kind in (('md',) if isinstance(item, Table) else ('png', 'pdf'))]
  for file in files:
    if isinstance(item, Table):
      file.write_text(item.markdown())
    else:
      item.savefig(file, dpi=150)
  return files


def _html_table(table: Table) -> str:
  def line(cells: Sequence[str], tag: str) -> str:
    return f'<tr>{"".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)}</tr>'

  body = '\n'.join(line(cells, 'td') for cells in table.body)
  return (f'<p class="caption">{html.escape(table.caption)}</p><div class="wide"><table>'
          f'{line(table.head, "th")}\n{body}</table></div>')


def _html_image(png: Path) -> str:
  data = base64.b64encode(png.read_bytes()).decode()
  return f'<img alt="{png.stem}" src="data:image/png;base64,{data}">'


def _text(value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, float):
    return f'{value:.4g}'
  if isinstance(value, list):
    return ' .. '.join(_text(item) for item in value)
  return str(value)
