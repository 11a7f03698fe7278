"""The report of a reproduction: tables, figures (PNG and PDF) and one page that opens offline."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from rca_jax.config import ExperimentConfig
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.report import figures
from rca_jax.report.levels import Row
from rca_jax.report.tables import Table, table1, table2
from rca_jax.report.variants import data_table, shortcut_table

_SNR_DB = 10.0  # of Fig. 3
_TITLES = {
    'table1': 'Table I', 'table2': 'Table II', 'data': 'Which data is the paper\'s',
    'shortcut': 'A shortcut around the layers',
    'fig3': 'Fig. 3: NMSE against compression ratio',
    'fig4': 'Fig. 4: DJSCC against separate source and channel coding',
    'distance': 'How near must neighbours be',
    'uplink': 'Uplinks that training did not see',
    'told_wrongly': 'SNR taken for another',
    'schedule': 'Schedules',
    'length': 'Longer training',
    'loss': 'Reports that do not arrive',
}
_ROW_FIELDS = (
    'method', 'variant', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db',
    'stage', 'channel', 'distance_m', 'snr_error_db', 'code_rate', 'qam_order',
    'num_lost', 'of_lost', 'dtype', 'data', 'seed',
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


def write_report(
    out: Path, rows: Sequence[Row], table2_configs: Sequence[ExperimentConfig]) -> list[Path]:
  """OUT/report.html, OUT/NAME.md of every table, OUT/NAME.png and .pdf of every figure.

  Tables I and II are always there, the rest where there are rows. Returns what was written.

  Raises:
    InputError: there are no rows, they are of several presets or lack a field, or OUT cannot be
      written.
  """
  for index, row in enumerate(rows):
    lacking = [name for name in _EVERY_ROW if name not in row]
    if lacking:
      raise InputError(f'row {index} has no {lacking[0]}; measure it again with this version.')
  presets = sorted({row.get('preset', '') for row in rows})
  if len(presets) != 1:
    raise InputError(
        f'the rows are of {len(presets)} presets ({", ".join(presets) or "no rows"}); a report '
        'shows one: give the results.json of one launch.reproduce --out.')
  tables = {
      'table1': table1(rows), 'table2': table2(table2_configs), 'data': data_table(rows),
      'shortcut': shortcut_table(rows)}
  tables = {name: table for name, table in tables.items() if table is not None}
  drawn = {
      'fig3': figures.fig3(rows, _SNR_DB), 'fig4': figures.fig4(rows),
      'distance': figures.distance(rows), 'uplink': figures.uplink(rows),
      'told_wrongly': figures.told_wrongly(rows), 'schedule': figures.schedule(rows),
      'length': figures.length(rows), 'loss': figures.loss(rows)}
  drawn = {name: figure for name, figure in drawn.items() if figure is not None}
  written = []
  try:
    with writing(out):
      out.mkdir(parents=True, exist_ok=True)
      for name, table in tables.items():
        written.append(out / f'{name}.md')
        written[-1].write_text(table.markdown())
      for name, figure in drawn.items():
        for suffix in ('png', 'pdf'):
          written.append(out / f'{name}.{suffix}')
          figure.savefig(written[-1], dpi=200)
      written.append(out / 'report.html')
      written[-1].write_text(_html(tables, drawn, rows))
  finally:
    for figure in drawn.values():
      plt.close(figure)
  return written


def _html(
    tables: dict[str, Table], drawn: dict[str, plt.Figure], rows: Sequence[Row]) -> str:
  parts = [
      '<!doctype html><html lang="en"><head><meta charset="utf-8">',
      f'<title>RCA-MUNet, reproduced</title><style>{_STYLE}</style></head><body>',
      '<h1>RCA-MUNet, reproduced</h1>']
  for name, table in tables.items():
    parts += [f'<h2>{html.escape(_TITLES[name])}</h2>', _html_table(table)]
  for name, figure in drawn.items():
    parts += [f'<h2>{html.escape(_TITLES[name])}</h2>', _html_image(figure, _TITLES[name])]
  everything = Table(
      'Every measured row; the numbers above come from these.', _ROW_FIELDS,
      [tuple(_text(row.get(field)) for field in _ROW_FIELDS) for row in rows])
  parts += ['<h2>Rows</h2>', _html_table(everything), '</body></html>\n']
  return '\n'.join(parts)


def _html_table(table: Table) -> str:
  def line(cells: Sequence[str], tag: str) -> str:
    return f'<tr>{"".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)}</tr>'

  body = '\n'.join(line(cells, 'td') for cells in table.body)
  return (f'<p class="caption">{html.escape(table.caption)}</p><div class="wide"><table>'
          f'{line(table.head, "th")}\n{body}</table></div>')


def _html_image(figure: plt.Figure, title: str) -> str:
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', dpi=130)
  data = base64.b64encode(buffer.getvalue()).decode()
  return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'


def _text(value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, float):
    return f'{value:.4g}'
  if isinstance(value, list):
    return ' .. '.join(_text(item) for item in value)
  return str(value)
