"""Tables beyond the paper's: on which data it may have been measured; networks with a shortcut."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rca_jax.report import paper
from rca_jax.report.levels import Row, gain_db, level, tuned_level, values
from rca_jax.report.tables import OURS, Table, compare, signed


def data_table(rows: Sequence[Row]) -> Table | None:
  """CDL-OP's and BL1's columns on each kind of data, and how far the paper's are from them."""
  rows = [row for row in rows if row['method'] in ('CDL-OP', 'BL1')]
  variants = list(dict.fromkeys(
      row.get('variant', '') for row in rows if row['method'] == 'CDL-OP'))
  if len(variants) < 2:
    return None
  ratios = sorted(paper.CDL_OP, key=Fraction, reverse=True)
  snrs_db = sorted({snr_db for _, snr_db in paper.TABLE1}, reverse=True)
  ratio = next((row['compression_ratio'] for row in rows if (
      row['method'], row.get('variant')) == ('BL1', variants[-1])), '1/16')
  body = []
  for variant in variants:
    sparse = [level(
        rows, method='CDL-OP', compression_ratio=name, snr_db=None, variant=variant)
        for name in ratios]
    found = [tuned_level(
        rows, snr_db, method='BL1', compression_ratio=ratio, num_ues=2, variant=variant)
        for snr_db in snrs_db]
    apart = [cell.nmse_db - paper.CDL_OP[name]
             for cell, name in zip(sparse, ratios, strict=True) if cell]
    body.append((
        variant or 'default',
        *(compare(cell, paper.CDL_OP[name]) for cell, name in zip(sparse, ratios, strict=True)),
        f'{np.sqrt(np.mean(np.square(apart))):.2f}' if apart else '-',
        *(compare(cell, paper.table1('BL1', ratio, snr_db))
          for cell, snr_db in zip(found, snrs_db, strict=True))))
  return Table(
      'NMSE in dB with its 95 % interval, in square brackets the paper\'s. CDL-OP has no training '
      'and no noise, so its numbers tell of the data alone; "apart" is the root mean square of its '
      'distances from the paper\'s.',
      ('data', *(f'CDL-OP {name}' for name in ratios), 'apart',
       *(f'BL1 {ratio}, {snr_db:g} dB' for snr_db in snrs_db)), body)


def shortcut_table(rows: Sequence[Row]) -> Table | None:
  """The methods with `model.shortcut` and without, fine-tuned at each SNR."""
  found = [row for row in rows if row.get('variant') == 'shortcut']
  if not found:
    return None
  ratios = sorted(values(found, 'compression_ratio'), key=Fraction, reverse=True)
  methods = sorted(values(found, 'method'), key=lambda method: (method == OURS, method))
  body = []
  for ratio, snr_db, variant in itertools.product(
      ratios, values(found, 'snr_db'), ('', 'shortcut')):
    cells = [
        tuned_level(
            rows, snr_db, method=method, compression_ratio=ratio, num_ues=2, trained_ues=[2],
            variant=variant) for method in ('BL1', *methods)]
    linear = level(rows, method='PCA/KLT', compression_ratio=ratio, snr_db=snr_db)
    body.append((
        ratio, f'{snr_db:g} dB', 'yes' if variant else 'no', compare(linear, None),
        *(compare(cell, None) for cell in cells[1:]), signed(gain_db(cells[-1], cells[0]))))
  return Table(
      'NMSE in dB, 2 UEs, with its 95 % interval; mean of the seeds that were run. '
      'The shortcut has no parameters and no multiplications.',
      ('CR', 'SNR', 'shortcut', 'PCA/KLT', *methods, f'gain of {methods[-1]} over BL1'), body)
