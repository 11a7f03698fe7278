"""Tables I and II: measured numbers beside the paper's, '-' where nothing was run."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

from rca_jax.config import ExperimentConfig
from rca_jax.evaluation.complexity import count_complexity
from rca_jax.report import paper
from rca_jax.report.levels import (
  OURS,
  REFERENCES,
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
_METHODS = ('BL1', 'BL2', 'BL3', 'BL4', 'BL4-textbook', 'BL5')
_ABOUT = {
    'CDL-OP': 'CDL-OP is noise-free. ',
    'PCA/KLT': 'PCA/KLT is the best linear code through the same uplink. ',
    'joint Bayes': 'Joint Bayes: random projections, decoded with the power profile that the BS '
                   'finds in the group\'s reports (alone: in one report; genie: that it knows). ',
    'site map': 'Site map: the label of the UE\'s cell and a linear, folded or hybrid code of its '
                'KLT, through the same uplink. ',
    'genie': 'The genie knows the site and the position. '}
_BASELINES = ('BL1', 'BL3')  # of the gains
Column = TypeVar('Column')
_PRINTED = (*paper.TABLE1_METHODS, 'CDL-OP')  # what the paper has numbers of


class Table(NamedTuple):
  """Cells are text; the first row of a column is its head."""

  caption: str
  head: tuple[str, ...]
  body: Sequence[tuple[str, ...]]

  def markdown(self) -> str:
    """The table, and below it its caption."""
    lines = [self.head, ('---',) * len(self.head), *self.body]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + f'\n\n{self.caption}\n'


def cell(measured: Estimate | None, sign: str = '') -> str:
  """A number with its interval."""
  if measured is None:
    return '-'
  text = f'{measured.value:{sign}z.2f}'
  if measured.low is None:
    return text
  seeds = f', {measured.num_seeds} seeds' if measured.num_seeds > 1 else ''
  return f'{text} ({measured.low:{sign}z.2f} .. {measured.high:{sign}z.2f}{seeds})'


def nmse_cell(found: Level | None) -> str:
  """`cell` of a level's NMSE."""
  return cell(found.nmse_db if found else None)


def paper_cell(printed: float | None, sign: str = '') -> str:
  """A number of the paper, which has no interval."""
  return cell(None if printed is None else Estimate(printed), sign)


def by_steps(found: Mapping[Column, list[Row]]) -> dict[str, dict[Column, Level | None]]:
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
  there = values(rows, 'method')
  of_paper = _PRINTED if {*there} & {*paper.TABLE1_METHODS} else ()  # else codes alone
  wanted = of_paper and [ratio for ratio, _ in paper.TABLE1]
  ratios = sorted(
      {*wanted, *values(rows, 'compression_ratio')}, key=Fraction, reverse=True)
  snrs_db = sorted(
      {snr_db for _, snr_db in paper.TABLE1} | set(values(tuned(rows), 'snr_db')), reverse=True)
  methods = [name for name in (OURS, *_METHODS, *REFERENCES) if name in (*there, *of_paper)]
  if not methods:
    return None
  lines = [line for ratio in ratios for snr_db in snrs_db
           for line in _table1_lines(rows, methods, of_paper, ratio, snr_db)]
  return Table(
      f'NMSE in dB, lower is better; 2 UEs. {INTERVALS}; beside it the paper\'s number, which '
      'is of its own data and size. Networks are fine-tuned at the SNR, or of stage 1 where '
      'none was fine-tuned. Gains in dB are ours over the baseline, with the same seeds and as '
      'many training steps; their interval is that of the difference on the same test groups, and '
      'is left out where rows do not have the values by group. '
      + ''.join(text for name, text in _ABOUT.items() if name in ' '.join(methods))
      + '"-": not run.',
      tuple(lines[0]), [tuple(line.values()) for line in lines])


def _table1_lines(
    rows: Sequence[Row], methods: Sequence[str], of_paper: Sequence[str], ratio: str,
    snr_db: float) -> list[dict[str, str]]:
  """By column; ours and its gains come first, and by each number the paper's."""
  at = {name: None if name == 'CDL-OP' else snr_db for name in methods}
  printed = {name: paper.table1(name, ratio, at[name]) for name in at}
  lines = []
  for steps, found in by_steps({
      name: best_trained(rows, method=name, compression_ratio=ratio, snr_db=at[name])
      for name in at}).items():
    line = {'CR': ratio, 'SNR': f'{snr_db:g} dB', 'steps': steps}
    for name in methods:
      line[name] = nmse_cell(found[name])
      if name in of_paper:
        line[f"paper's {name}"] = paper_cell(printed[name])
      for baseline in _BASELINES if name == OURS else ():
        line[f'gain over {baseline}'] = cell(gain_db(found[OURS], found[baseline]), '+')
        of_ours, of_baseline = printed[OURS], printed[baseline]
        line[f"paper's gain over {baseline}"] = paper_cell(
            None if of_ours is None or of_baseline is None else of_baseline - of_ours, '+')
    lines.append(line)
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
