"""python docs/ladder.py: draws docs/ladder.png, from the linear code to the genie."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rca_jax.evaluation.results import read_rows

ROOT = Path(__file__).parents[1]
_STEPS = (
    ('PCA/KLT', 'linear code (PCA/KLT)', 'gray'),
    ('joint Bayes', 'joint Bayes, no map', 'C1'),
    ('RCA-MUNet', "RCA-MUNet, paper's size", 'C3'),
    ('described profile (folded)', 'described profile, no map', 'C4'),
    ('site map (joint)', 'site map, linear', 'C2'),
    ('site map (folded joint)', 'and folding', 'C2'),
    ('site map (folded joint refined)', 'and the network', 'C0'),
    ('site map (folded joint refined or described)', 'and descriptions', 'C0'),
    ('site map (folded uplink refined)', 'label from the uplink', 'C0'),
    ('site map bound', 'bound given the map', 'k'),
    ('genie', 'genie', 'k'))


def main() -> None:
  rows = [
      row for part in ('gpu', 'site_map')
      for row in read_rows(ROOT / f'results/{part}/results.json')
      if row['data'] == 'uma site 0' and row['compression_ratio'] == '1/16' and row['num_ues'] == 2]
  figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout='constrained')
  for axis, snr_db in zip(axes, (0, 10, 20), strict=True):
    for place, (method, _, color) in enumerate(_STEPS):
      row = [row for row in rows if row['method'] == method and row['snr_db'] == snr_db][-1]
      value, ends = row['nmse_db'], np.array(row['nmse_ci95_db'])
      axis.barh(place, value, color=color, alpha=0.75)
      axis.plot(ends, [place, place], 'k-', linewidth=1.5)
      axis.text(value, place, f'{value:.1f} ', ha='right', va='center', fontsize=9)
    axis.set(title=f'{snr_db} dB', xlabel='NMSE (dB), lower is better')
    axis.margins(x=0.18)
    axis.set_xlim(right=0)
  axes[0].set_yticks(range(len(_STEPS)), [label for _, label, _ in _STEPS])
  axes[0].invert_yaxis()
  figure.savefig(ROOT / 'docs/ladder.png', dpi=120)


if __name__ == '__main__':
  main()
