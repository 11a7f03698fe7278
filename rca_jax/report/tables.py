"""Tables I and II: measured numbers beside the paper's, '-' where nothing was run."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rca_jax.config import ExperimentConfig
from rca_jax.evaluation.complexity import count_complexity
from rca_jax.report import paper
from rca_jax.report.levels import (
  BAYES,
  OURS,
  REFERENCES,
  WITH_MAP,
  Estimate,
  Level,
  Row,
  best_trained,
  gain_db,
  level,
  tuned,
  values,
)

INTERVALS = (
    'In round brackets the 95 % interval over the test groups of one training, or, of several, '
    'their lowest and highest value and how many seeds they are')
_METHODS = ('BL1', 'BL2', 'BL3', 'BL4', 'BL4-textbook', 'BL5', OURS)
_BASELINES = ('BL1', 'BL3')  # of the gains


class Table(NamedTuple):
  """Cells are text; the first row of a column is its head."""

  caption: str
  head: tuple[str, ...]
  body: list[tuple[str, ...]]

  def markdown(self) -> str:
    """The table, and below it its caption."""
    lines = [self.head, ('---',) * len(self.head), *self.body]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + f'\n\n{self.caption}\n'


def cell(measured: Estimate | None, printed: float | None = None, sign: str = '') -> str:
  """A measured number with its interval, then the paper's in square brackets."""
  text = '-'
  if measured is not None:
    text = f'{measured.value:{sign}z.2f}'
    seeds = f', {measured.num_seeds} seeds' if measured.num_seeds > 1 else ''
    if measured.low is not None:
      text += f' ({measured.low:{sign}z.2f} .. {measured.high:{sign}z.2f}{seeds})'
  return text if printed is None else f'{text} [{printed:{sign}z.2f}]'


def nmse_cell(found: Level | None, printed: float | None = None) -> str:
  """`cell` of a level's NMSE."""
  return cell(found.nmse_db if found else None, printed)


def by_steps(found: dict[str, list[Row]]) -> dict[str, dict[str, Level | None]]:
  """A table's lines of one place, by training length: what was trained longer has its own line.

  Args:
    found: rows by column. References, which are not trained, stand in every line.
  """
  lengths = values((row for rows in found.values() for row in rows if row['steps']), 'steps')
  return {
      f'{steps:,}' if steps else '-': {
          name: level([row for row in rows if row['steps'] in (0, steps)])
          for name, rows in found.items()}
      for steps in lengths or [0]}


def table1(rows: Sequence[Row]) -> Table | None:
  """NMSE of methods x CR x SNR for 2 UEs, with gains over BL1 and BL3; None of other rows only."""
  rows = [row for row in rows if row['num_ues'] == 2 and row['trained_ues'] == [2]
          and not row.get('variant')]
  if not rows:
    return None
  ratios = sorted(
      {row['compression_ratio'] for row in rows if row['method'] == OURS}
      | {ratio for ratio, _ in paper.TABLE1}, key=Fraction, reverse=True)
  snrs_db = sorted(
      {snr_db for _, snr_db in paper.TABLE1} | set(values(tuned(rows), 'snr_db')), reverse=True)
  methods = [
      name for name in (*REFERENCES, *_METHODS)
      if name not in (*BAYES, *WITH_MAP) or name in values(rows, 'method')]
  return Table(
      f'NMSE in dB, lower is better; 2 UEs. {INTERVALS}; in square brackets the paper\'s number, '
      'which is of its own data and size. Networks are fine-tuned at the SNR, or of stage 1 where '
      'none was fine-tuned. Gains in dB are ours over the baseline, with the same seeds and as '
      'many training steps; their interval is that of the difference on the same test groups, and '
      'is left out where rows do not have the values by group. CDL-OP is noise-free; PCA/KLT is '
      'the best linear code through the same uplink; joint Bayes: random projections, decoded with '
      'the power profile that the BS finds in the group\'s reports (alone: in one report; genie: '
      'that it knows); site map: the label of the UE\'s cell and a linear, folded or hybrid code '
      'of its KLT, through the same uplink; the genie knows the site and the position. "-": not '
      'run.',
      ('CR', 'SNR', 'steps', *methods, *(f'gain over {name}' for name in _BASELINES)),
      [line for ratio in ratios for snr_db in snrs_db for line in _table1_lines(
          rows, methods, ratio, snr_db)])


def _table1_lines(
    rows: Sequence[Row], methods: Sequence[str], ratio: str, snr_db: float
) -> list[tuple[str, ...]]:
  at = {name: None if name == 'CDL-OP' else snr_db for name in methods}
  printed = {name: paper.table1(name, ratio, at[name]) for name in at}
  lines = []
  for steps, found in by_steps({
      name: best_trained(rows, method=name, compression_ratio=ratio, snr_db=at[name])
      for name in at}).items():
    gains = [
        cell(gain_db(found[OURS], found[name]), None if None in (printed[OURS], printed[name])
             else printed[name] - printed[OURS], '+') for name in _BASELINES]
    lines.append((ratio, f'{snr_db:g} dB', steps, *(
        nmse_cell(found[name], printed[name]) for name in found), *gains))
  return lines


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
