"""python docs/overview.py: draws the picture of the README from the rows of results/ and docs/."""

import json
from pathlib import Path

from matplotlib.axes import Axes

from rca_jax.evaluation.results import read_rows
from rca_jax.report import figures, online
from rca_jax.report.levels import newest, sections
from rca_jax.report.panels import draw

ROOT = Path(__file__).parents[1]
_APART_DB = 1.3  # labels


def main() -> None:
  rows = [
      row for part in ('site_map', 'gpu')
      for row in read_rows(ROOT / f'results/{part}/results.json') if row['data'] == 'uma site 0']
  by_method, networks = figures.site_map(sections(newest([
      row for row in rows if row['method'] != 'site map bound'])))
  together = by_method._replace(
      curves=[*networks.curves, *by_method.curves],
      title="The paper's cell of 300 m, 2 UEs, CR 1/16")
  learning = online.panels(json.loads((ROOT / 'docs/online.json').read_text()))[0]
  learning = learning._replace(title='A base station that starts with nothing, SNR 10 dB')
  figure = draw([together, learning._replace(ylabel=together.ylabel)])
  figure.set_size_inches(11, 4.4)
  label_ends(figure.axes[0])
  figure.savefig(ROOT / 'docs/overview.png', dpi=130)


def label_ends(axis: Axes) -> None:
  """Names at the right end of the lines for a legend."""
  lines, names = axis.get_legend_handles_labels()
  axis.get_legend().remove()
  axis.set_xlim(right=30)
  y = float('inf')
  for end, name, line in sorted(
      ((line[0].get_ydata()[-1], name, line[0]) for line, name in zip(lines, names, strict=True)),
      key=lambda label: -label[0]):
    y = min(end, y - _APART_DB)
    axis.annotate(
        name, (20, end), (20.7, y), va='center', fontsize=9, color=line.get_color())


if __name__ == '__main__':
  main()
