"""python docs/overview.py: draws the picture of the README from the rows of results/ and docs/."""

import json
from pathlib import Path

from rca_jax.evaluation.results import read_rows
from rca_jax.report import figures, online
from rca_jax.report.levels import newest, sections
from rca_jax.report.panels import draw

ROOT = Path(__file__).parents[1]


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
  draw([together, learning._replace(ylabel=together.ylabel)]).savefig(
      ROOT / 'docs/overview.png', dpi=130)


if __name__ == '__main__':
  main()
