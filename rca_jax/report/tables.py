"""Tables I and II: measured numbers beside the paper's, '-' where nothing was run."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rca_jax.config import ExperimentConfig
from rca_jax.evaluation.complexity import count_complexity
from rca_jax.report import paper
from rca_jax.report.levels import Level, Row, gain_db, tuned_level, tuned_snrs

OURS = 'RCA-MUNet'
_REFERENCES = ('CDL-OP', 'PCA/KLT', 'genie')
_METHODS = ('BL1', 'BL2', 'BL3', 'BL4', 'BL4-textbook', 'BL5', OURS)


class Table(NamedTuple):
  """Cells are text; the first row of a column is its head."""

  caption: str
  head: tuple[str, ...]
  body: list[tuple[str, ...]]

  def markdown(self) -> str:
    lines = [self.head, ('---',) * len(self.head), *self.body]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + f'\n\n{self.caption}\n'


def compare(ours: Level | None, printed: float | None) -> str:
  """A cell: measured level with its interval, then the paper's in brackets."""
  measured = '-' if ours is None else (
      f'{ours.nmse_db:.2f} ({ours.low_db:.2f} .. {ours.high_db:.2f})')
  return measured if printed is None else f'{measured} [{printed:.2f}]'


def signed(gain: float | None) -> str:
  """A cell: decibels won."""
  return '-' if gain is None else f'{gain:+.2f}'


def table1(rows: Sequence[Row]) -> Table:
  """NMSE of methods x CR x SNR for 2 UEs, with gains over BL1 and BL3."""
  rows = [row for row in rows if row['num_ues'] == 2 and row['trained_ues'] == [2]
          and not row.get('variant')]
  ratios = sorted(
      {row['compression_ratio'] for row in rows if row['method'] == OURS}
      | {ratio for ratio, _ in paper.TABLE1}, key=Fraction, reverse=True)
  snrs_db = sorted({snr_db for _, snr_db in paper.TABLE1} | set(tuned_snrs(rows)), reverse=True)
  body = []
  for ratio in ratios:
    for snr_db in snrs_db:
      body.append(_table1_row(rows, ratio, snr_db))
  seeds = max((len(cell.seeds_db) for ratio in ratios for snr_db in snrs_db if (
      cell := tuned_level(rows, snr_db, method=OURS, compression_ratio=ratio))), default=0)
  return Table(
      f'NMSE in dB, 2 UEs, data {_data(rows)}: measured, with its 95 % interval over the test '
      f'groups, mean of up to {seeds} seeds; in square brackets the paper\'s number, which is of '
      'its own data and size. Gains in dB are ours over the baseline\'s, with the same seeds. '
      'CDL-OP is noise-free; PCA/KLT is the best linear code through the same uplink; the genie '
      f'knows the site and the position. "-": not run. Training steps: {_steps(rows)}.',
      ('CR', 'SNR', *_REFERENCES, *_METHODS, 'gain over BL1', 'gain over BL3'), body)


def _table1_row(rows: Sequence[Row], ratio: str, snr_db: float) -> tuple[str, ...]:
  found, printed = {}, {}
  for method in (*_REFERENCES, *_METHODS):
    at = None if method == 'CDL-OP' else snr_db
    found[method] = tuned_level(rows, at, method=method, compression_ratio=ratio)
    printed[method] = paper.table1(method, ratio, at)

  def gain(baseline: str) -> str:
    ours = signed(gain_db(found[OURS], found[baseline]))
    if printed[OURS] is None or printed[baseline] is None:
      return ours
    return f'{ours} [{printed[baseline] - printed[OURS]:+.2f}]'

  return (ratio, f'{snr_db:g} dB', *(compare(found[name], printed[name]) for name in found),
          gain('BL1'), gain('BL3'))


def table2(configs: Sequence[ExperimentConfig]) -> Table:
  """Parameters and operations: counted in our networks, and as the paper prints them."""
  printed = {(method, num_ues): cells for method, num_ues, *cells in paper.TABLE2}
  body = []
  for config in configs:
    found = count_complexity(config)
    # The paper states a single-user network's operations for one UE.
    single = (config.method, 1) in printed
    num_ues = 1 if single else config.num_ues
    share = config.num_ues if single else 1
    flops, parameters = printed.get((config.method, num_ues), ('-', '-'))
    body.append((
        config.method, config.model.compression_ratio, str(num_ues), f'{found.parameters:,}',
        parameters, f'{found.paper_flops // share:,}', flops, f'{found.macs // share:,}'))
  return Table(
      'Counted from the traced networks. "FLOPs" follow the rule that meets the paper: '
      'multiply-accumulates of linear layers, LayerNorm and softmax, without QK^T and AV; "MACs" '
      'are all multiply-accumulates. No rule was found that gives the paper\'s BL2.',
      ('method', 'CR', 'UEs', 'parameters', 'paper', 'FLOPs', 'paper', 'MACs'), body)


def _steps(rows: Sequence[Row]) -> str:
  """Of every network in the table; methods that were trained longer than others stand out."""
  longest = {}
  for row in rows:
    if row['method'] in _METHODS:
      longest[row['method']] = max(longest.get(row['method'], 0), row['steps'])
  return ', '.join(f'{method} {steps:,}' for method, steps in longest.items()) or '-'


def _data(rows: Sequence[Row]) -> str:
  presets = ', '.join(dict.fromkeys(
      f'`{row["data"]}` (preset {row.get("preset", "none")})' for row in rows))
  return presets or '-'
