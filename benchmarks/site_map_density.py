"""NMSE of the site map against UEs per square metre, and the time that each map takes.

  python -m benchmarks.site_map_density FOLDER

NLOS ground of 60 m, 32 antennas x 32 rows, CR 1/16, linear code, labels from the uplink, 200 test
groups of 2 UEs. Squares hold 2.5 UEs on average, or, in a second curve, are as large as those of
the densest map. Prints a table, draws FOLDER/density.png; maps that are in FOLDER are not fitted
again, and have no time.
"""

import dataclasses
import shutil
import sys
import time
from pathlib import Path

from configs import rca_munet
from rca_jax.bayes.map_fit import fit_map
from rca_jax.bayes.samples import generated
from rca_jax.bayes.site_map import save_map
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.data.source import config_site
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.keys import Stream, stream_key
from rca_jax.report.levels import Estimate
from rca_jax.report.panels import Curve, Panel, draw

_DENSITIES = (0.4, 0.8, 1.6, 3.2, 6.4)  # UEs per square metre
_NUM_UES = 2.5  # a square
_SNRS_DB = (0.0, 10.0, 20.0)


def main() -> None:
  folder = Path(sys.argv[1])
  config = from_dict(ExperimentConfig, rca_munet.get_config('cr=1/16').to_dict())
  config = dataclasses.replace(
      config, method='site map (uplink)',
      csi=dataclasses.replace(
          config.csi, scenario='uma_nlos', cell_size_m=60.0, min_bs_distance_m=10.0),
      data=dataclasses.replace(config.data, num_test_groups=200))
  print('| UEs per m2 | side, m | UEs a square | map, MB | fit, s | '
        + ' | '.join(f'{snr_db:g} dB' for snr_db in _SNRS_DB) + ' |')
  growing, fixed = {}, {}
  for density in reversed(_DENSITIES):
    growing[density] = _line(folder, config, density, (_NUM_UES / density) ** 0.5)
  for density in reversed(_DENSITIES):
    fixed[density] = _line(folder, config, density, (_NUM_UES / max(_DENSITIES)) ** 0.5)
  panels = [
      Panel([
          Curve(name, {density: values[number] for density, values in sorted(found.items())}, line,
                color)
          for name, found, line, color in (
              (f'squares of {_NUM_UES:g} UEs', growing, 'o-', 'C0'),
              ('smallest squares', fixed, 's--', 'C1'))],
          'UEs per square metre', 'NMSE (dB)', f'{snr_db:g} dB')
      for number, snr_db in enumerate(_SNRS_DB)]
  draw(panels).savefig(folder / 'density.png', dpi=120)


def _line(folder: Path, config: ExperimentConfig, density: float, side_m: float) -> list[Estimate]:
  """Fits and measures one map; its NMSE at every SNR."""
  path = folder / f'{density:g}-{side_m:.3f}.map'
  seconds = ''
  if not path.exists():
    start = time.perf_counter()
    ground = generated(
        stream_key(config.data.seed, Stream.SITE_MAP), config_site(config), side_m,
        density * side_m**2, None)
    parts = path.with_suffix('.parts')
    save_map(path, fit_map(ground, config.csi, parts, lambda *_: None), config.csi)
    shutil.rmtree(parts)
    seconds = f'{time.perf_counter() - start:.0f}'
  rows = reference_rows(
      dataclasses.replace(config, site_map=str(path)),
      [Measurement(snr_db, config.num_ues) for snr_db in _SNRS_DB])
  values = [Estimate(row['nmse_db'], *row['nmse_ci95_db']) for row in rows]
  print(f'| {density:g} | {side_m:.2f} | {density * side_m**2:.2f} | '
        f'{path.stat().st_size / 1e6:.2f} | {seconds} | '
        + ' | '.join(f'{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]' for value in values)
        + ' |', flush=True)
  return values


if __name__ == '__main__':
  main()
