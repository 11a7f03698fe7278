"""Tables beyond the paper's: on which data it may have been measured; a shortcut; more UEs."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rca_jax.report import paper
from rca_jax.report.levels import (
  OURS,
  REFERENCES,
  SINGLE_USER,
  Level,
  Row,
  best_trained,
  gain_db,
  level,
  pick,
  value,
  values,
)
from rca_jax.report.tables import INTERVALS, Table, by_steps, cell, nmse_cell, paper_cell

_GAIN = f'its gain over {SINGLE_USER}'


def data_table(rows: Sequence[Row]) -> Table | None:
  """CDL-OP's and BL1's columns on each kind of data, and how far the paper's are from them.

  None if CDL-OP was measured on one kind only.
  """
  rows = [row for row in rows if row['method'] in ('CDL-OP', SINGLE_USER)]
  kinds = list(dict.fromkeys(_kind(row) for row in rows if row['method'] == 'CDL-OP'))
  if len(kinds) < 2:
    return None
  ratios = sorted(paper.CDL_OP, key=Fraction, reverse=True)
  snrs_db = sorted({snr_db for _, snr_db in paper.TABLE1}, reverse=True)
  ratio = next((row['compression_ratio'] for row in rows if (
      row['method'], _kind(row)) == (SINGLE_USER, kinds[-1])), '1/16')
  body = [(
      "the paper's", *(paper_cell(paper.CDL_OP[name]) for name in ratios), '0.00',
      *(paper_cell(paper.table1(SINGLE_USER, ratio, snr_db)) for snr_db in snrs_db))]
  for kind in kinds:
    here = [row for row in rows if _kind(row) == kind]
    sparse = {name: level(pick(
        here, method='CDL-OP', compression_ratio=name, snr_db=None, variant=kind[0]))
        for name in ratios}
    apart = [found.nmse_db.value - paper.CDL_OP[name] for name, found in sparse.items() if found]
    networks = {snr_db: best_trained(
        here, method=SINGLE_USER, compression_ratio=ratio, num_ues=2, snr_db=snr_db,
        variant=kind[0]) for snr_db in snrs_db}
    for found in by_steps(networks).values():
      body.append((
          ', '.join(filter(None, (kind[0] or 'default', *kind[1:]))),
          *(nmse_cell(sparse[name]) for name in ratios),
          f'{np.sqrt(np.mean(np.square(apart))):.2f}' if apart else '-',
          *(nmse_cell(found[snr_db]) for snr_db in snrs_db)))
  return Table(
      f'NMSE in dB, lower is better. {INTERVALS}. CDL-OP has no training and no noise, so its '
      'numbers depend on the data only; "apart" is the root mean square of their distances from '
      'the paper\'s.',
      ('data', *(f'CDL-OP {name}' for name in ratios), 'apart',
       *(f'{SINGLE_USER} {ratio}, {snr_db:g} dB' for snr_db in snrs_db)), body)


def shortcut_table(rows: Sequence[Row]) -> Table | None:
  """The methods with `model.shortcut` and without, fine-tuned at each SNR; None of no such rows."""
  found = [row for row in rows if value(row, 'variant') == 'shortcut']
  if not found:
    return None
  ratios = sorted(values(found, 'compression_ratio'), key=Fraction, reverse=True)
  methods = [*dict.fromkeys([OURS, SINGLE_USER, *values(found, 'method')])]
  body = []
  for ratio, snr_db, variant in itertools.product(
      ratios, values(found, 'snr_db'), ('', 'shortcut')):
    at = {'compression_ratio': ratio, 'snr_db': snr_db}
    columns = {
        name: best_trained(
            rows, method=name, num_ues=2, trained_ues=[2], variant=variant, **at)
        for name in methods} | {'PCA/KLT': pick(rows, method='PCA/KLT', **at)}
    for steps, line in by_steps(columns).items():
      body.append((
          ratio, f'{snr_db:g} dB', 'yes' if variant else 'no', steps, *_with_gain(line)))
  return Table(
      f'NMSE in dB, lower is better; 2 UEs. {INTERVALS}. '
      'The shortcut has no parameters and no multiplications.',
      ('CR', 'SNR', 'shortcut', 'steps', OURS, _GAIN, *methods[1:], 'PCA/KLT'), body)


def ues_table(rows: Sequence[Row]) -> Table | None:
  """Methods beside each other for other numbers of UEs than Table I's 2.

  None where ours stands alone: Fig. 3 shows that.
  """
  rows = [row for row in rows if row['num_ues'] != 2 and row['trained_ues'] == [row['num_ues']]
          and not value(row, 'variant')]
  there = values(rows, 'method')
  methods = [OURS, *(name for name in there if name not in (*REFERENCES, OURS)),
             *(name for name in REFERENCES if name in there)]
  if len(methods) < 2:
    return None
  ratios = sorted(values(rows, 'compression_ratio'), key=Fraction, reverse=True)
  body = []
  for num_ues, ratio, snr_db in itertools.product(
      values(rows, 'num_ues'), ratios, values(rows, 'snr_db')):
    columns = {name: best_trained(
        rows, method=name, num_ues=num_ues, compression_ratio=ratio,
        snr_db=None if name == 'CDL-OP' else snr_db) for name in methods}
    if not any(columns.values()):
      continue
    for steps, line in by_steps(columns).items():
      body.append((
          str(num_ues), ratio, f'{snr_db:g} dB', steps, *_with_gain(line)))
  return Table(
      f'NMSE in dB, lower is better. {INTERVALS}. The interval of a gain is that of the difference '
      'on the same test groups.',
      ('UEs', 'CR', 'SNR', 'steps', OURS, _GAIN, *methods[1:]), body)


def _with_gain(line: dict[str, Level | None]) -> list[str]:
  """The cells of a line, ours first, and after it the gain."""
  ours, *others = map(nmse_cell, line.values())
  return [ours, cell(gain_db(line[OURS], line.get(SINGLE_USER)), '+'), *others]


def _kind(row: Row) -> tuple[str, str, str]:
  return value(row, 'variant'), row['data'], value(row, 'data_hash')
