"""Measures a map that builds itself from the reports that arrive, from the first one on.

  rca online --config=rca_munet:cr=1/16 --reports=20000 --out=runs/online
  rca online --config=demo --reports=4000 --region_m=2 --out=runs/online

UEs arrive at random places of a few small squares of the site (--num_regions of --region_m); at
half time some of its clusters are drawn anew. NMSE of every report as it comes, before it is
learned from, beside joint Bayes without a map and a map fitted from clean CSI. With --nopositions
nobody knows where UEs are: each sends a random report first, by which the BS finds its cell. FOLDER
gets rows.json, online.png and the map so far. Killed and run again it goes on.
"""

import json
from pathlib import Path

from absl import flags

from launch.main import count, define_config, devices, experiment_config, run, say
from rca_jax.terminal import Bar

_CONFIG = define_config()
_REPORTS = flags.DEFINE_integer('reports', None, 'How many, in all.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of rows, figure and map.', required=True)
_SNR_DB = flags.DEFINE_float('snr_db', 10.0, 'Of all reports.')
_REGION_M = flags.DEFINE_float(
    'region_m', 4.0, 'Side of a region. All of a cell of 300 m needs millions of reports; a few '
    'small squares of it are measured.')
_NUM_REGIONS = flags.DEFINE_integer('num_regions', 9, 'How many, at random places of the site.')
_SIDE_M = flags.DEFINE_float('side_m', 1.0, 'Side of a cell of the map.')
_MOVED = flags.DEFINE_float(
    'moved_scatterers', 0.05, 'Share of the clusters that are drawn anew at half time.')

_POSITIONS = flags.DEFINE_bool('positions', True, 'Whether the BS knows where UEs are.')


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import

  from rca_jax.durable import write_atomically, writing
  from rca_jax.evaluation.online import Settings, online_rows
  from rca_jax.report.online import figure

  settings = Settings(
      num_reports=_REPORTS.value, snr_db=_SNR_DB.value, num_regions=_NUM_REGIONS.value,
      region_m=_REGION_M.value, side_m=_SIDE_M.value, moved_scatterers=_MOVED.value,
      positions=_POSITIONS.value)
  out = Path(_OUT.value)
  say(f'online: {count(settings.num_reports, "report")} of {settings.num_regions} regions of '
      f'{settings.region_m:g} m, {devices()}; to {out}')
  with Bar('online', settings.num_reports, 'reports', doing='compiling') as bar:
    rows = online_rows(
        config, settings, out, lambda done, doing: bar.update(done, doing=doing))
  with writing(out):
    write_atomically(out / 'rows.json', json.dumps(rows, indent=1))
    figure(rows).savefig(out / 'online.png', dpi=120)
  say(f'done: {count(len(rows), "row")} in {out / "rows.json"}, drawn in {out / "online.png"}')


if __name__ == '__main__':
  run(main, stopped='stopped; the map so far is kept, the same command goes on')
