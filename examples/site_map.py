"""A site map instead of a network: where power comes from at every square of the ground.

  python examples/site_map.py [FOLDER [CELL_M]]

Fits the map of a small cell from UEs that were there, then measures feedback with it beside the
best linear code that does not know the site. No training. Some minutes on 2 CPU cores.
"""

import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # matrices are small: threads only wait

from rca_jax.bayes.map_fit import fit_map
from rca_jax.bayes.samples import generated
from rca_jax.bayes.site_map import save_map
from rca_jax.config import CsiConfig, DataConfig, ExperimentConfig, ModelConfig
from rca_jax.data.source import config_site
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.keys import Stream, stream_key


def main(folder: str = '.', cell_m: str = '20') -> None:
  path = Path(folder) / 'site.map'
  csi = CsiConfig(
      scenario='uma_los', num_delay_taps=16, num_tx_antennas=16, cell_size_m=float(cell_m),
      min_bs_distance_m=2.0, max_ue_distance_m=1.0)
  config = ExperimentConfig(
      num_ues=4, csi=csi, data=DataConfig(num_test_groups=1000),
      model=ModelConfig(compression_ratio='1/16'), site_map=str(path))

  ground = generated(
      stream_key(config.data.seed, Stream.SITE_MAP), config_site(config), side_m=0.85,
      num_ues=10, snr_db=None)  # 10 UEs a square, at random places
  site_map = fit_map(ground, csi, Path(folder) / 'site.map.parts', lambda done, total: None)
  save_map(path, site_map, csi)
  print(f'{len(ground.squares)} squares, {path.stat().st_size / 1e6:.1f} MB in {path}')

  measurements = [Measurement(snr_db, config.num_ues) for snr_db in (0.0, 10.0, 20.0)]
  for method in ('PCA/KLT', 'site map (joint)'):
    for row in reference_rows(dataclasses.replace(config, method=method), measurements):
      low, high = row['nmse_ci95_db']
      print(f'{method}, {row["snr_db"]:g} dB: NMSE {row["nmse_db"]:.2f} ({low:.2f} .. {high:.2f})')


if __name__ == '__main__':
  main(*sys.argv[1:])
