"""Results rows to the numbers that tables and figures show.

Only rows that differ in the seed alone are joined. Rows of other data, training lengths or settings
stand side by side (`sections`, `apart`), or are refused with the flag that chooses.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rca_jax.config import stage_name
from rca_jax.errors import InputError
from rca_jax.evaluation.results import SHARES
from rca_jax.foreign import file_in

Row = dict[str, Any]
OURS, SINGLE_USER = 'RCA-MUNet', 'BL1'
WITH_MAP = (
    'site map', 'site map (joint)', 'site map (tracked)', 'site map (uplink)', 'site map (hybrid)',
    'site map (hybrid joint)', 'site map (hybrid tracked)', 'site map (hybrid uplink)',
    'site map (folded)', 'site map (folded joint)', 'site map (folded tracked)',
    'site map (folded uplink)', 'site map (joint placed)', 'site map (folded joint placed)',
    'site map (joint without reserve)', 'site map (joint or described)',
    'site map (folded joint or described)', 'site map (joint refined)',
    'site map (folded joint refined)', 'site map (folded joint refined or described)',
    'site map (folded uplink refined)', 'site map (bits)', 'site map bound (paid)',
    'site map bound')
BAYES = (
    'mixture KLT', 'joint Bayes (alone)', 'joint Bayes', 'joint Bayes (genie)', 'described profile',
    'described profile (folded)')
REFERENCES = ('CDL-OP', 'PCA/KLT', *BAYES, *WITH_MAP, 'genie')  # no networks
ANY = object()  # every value of a field

# The value of a field that a row does not have. The first ones are plain in `pick`.
_PLAIN = {
    'stage': stage_name(), 'channel': '', 'distance_m': 0.0, 'snr_error_db': 0.0,
    'snr_spread_db': 0.0, 'code_rate': 0.0, 'qam_order': 0, 'num_symbols': 0, 'num_lost': 0,
    'of_lost': False, 'variant': ''}
_ABSENT = _PLAIN | {
    'dtype': 'float32', 'data_hash': '', 'preset': '', 'init_weights': '', 'site_map': ''}
# What a measurement finds, and where; all other fields say what was measured.
_FOUND = {
    'nmse_db', 'nmse_ci95_db', 'errors', 'num_samples', 'commit', 'device',
    *SHARES, *(f'{name}_ci95' for name in SHARES)}

_EVERY_ROW = (
    'method', 'compression_ratio', 'overhead', 'num_ues', 'trained_ues', 'snr_db', 'data', 'seed',
    'nmse_db', 'nmse_ci95_db', 'steps')


class Estimate(NamedTuple):
  """A number and its interval.

  Of one seed: the 95 % interval over the test groups, None if unknown. Of several: their lowest
  and highest value.
  """

  value: float
  low: float | None = None
  high: float | None = None
  num_seeds: int = 1

  @property
  def interval(self) -> tuple[float, float] | None:
    """Low and high, if they are known."""
    return None if self.low is None or self.high is None else (self.low, self.high)


class Level(NamedTuple):
  """The rows of one place of a table or curve, one a seed."""

  by_seed: dict[int, Row]

  @property
  def nmse_db(self) -> Estimate:
    """Mean over seeds, taken of linear values."""
    rows = [*self.by_seed.values()]
    if len(rows) == 1:
      return Estimate(rows[0]['nmse_db'], *rows[0]['nmse_ci95_db'])
    return _over_seeds(_mean_db(rows), [row['nmse_db'] for row in rows])


def check_rows(rows: Sequence[Row]) -> None:
  """Raises InputError if a row lacks a field that every report shows."""
  for index, row in enumerate(rows):
    lacking = [name for name in _EVERY_ROW if name not in row]
    if lacking:
      raise InputError(f'row {index} has no {lacking[0]}; measure it again with this version.')


def newest(rows: Sequence[Row]) -> list[Row]:
  """Of rows that say that the same was measured, the one on most test groups; of equals the last.

  A row has `num_groups` only where fewer groups than the config names were asked for.
  """
  found: dict[str, Row] = {}
  for row in rows:
    name = _measured(row)
    if name not in found or _num_groups(row) >= _num_groups(found[name]):
      found[name] = row
  return list(found.values())


def choose(
    rows: Sequence[Row], data: Sequence[str] = (), steps: Sequence[int] = (),
    dtype: Sequence[str] = (), without_cells: Sequence[str] = ()) -> list[Row]:
  """The rows that some flags choose; every row where a flag is empty.

  Args:
    data: names or hashes of data sets.
    steps: training lengths; references, which have none, stay.
    dtype: what networks compute in; references stay.
    without_cells: ids of cells to leave out.

  Raises:
    InputError: a flag fits no row.
  """
  kept = list(rows)
  for flag, wanted, fields in (
      ('data', data, ('data', 'data_hash')), ('steps', steps, ('steps',)),
      ('dtype', dtype, ('dtype',))):
    if not wanted:
      continue
    known = {value(row, name) for row in kept for name in fields} - {'', 0}
    if not known & set(wanted):
      raise InputError(
          f'--{flag}={",".join(map(str, wanted))} fits no row; the rows have '
          f'{", ".join(map(str, sorted(known)))}.')
    kept = [row for row in kept if any(value(row, name) in wanted for name in fields)
            or (flag != 'data' and row['method'] in REFERENCES)]
  unknown = {*without_cells} - {row.get('cell') for row in rows}
  if unknown:
    raise InputError(f'--without_cells={",".join(sorted(unknown))}: no row is of such a cell.')
  return [row for row in kept if row.get('cell') not in without_cells]


def sections(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """Rows by what no table or curve may mix: data, preset and the networks' dtype, named.

  References stand beside the networks of every dtype.
  """
  def key(row: Row) -> tuple[str, ...]:
    dtype = '' if row['method'] in REFERENCES else value(row, 'dtype')
    return row['data'], value(row, 'data_hash'), value(row, 'preset'), dtype

  every = dict.fromkeys(map(key, rows))
  networks = {found[:3] for found in every if found[3]}
  keys = [found for found in every if found[3] or found[:3] not in networks]

  def name(found: tuple[str, ...]) -> str:
    """The data, and of the rest what tells it apart."""
    return ', '.join(text for i, text in enumerate(found) if text and (i == 0 or any(
        other[:i] == found[:i] and other[i] != found[i] for other in keys)))

  return {name(found): [row for row in rows if key(row) in (found, (*found[:3], ''))]
          for found in keys}


def pick(rows: Iterable[Row], **wanted: Any) -> list[Row]:
  """Rows whose fields are as wanted; fields that are not named here must be plain.

  Plain is what the paper's tables mean: AWGN, the run's own groups, no variant, no bits.
  """
  fields = _PLAIN | wanted
  return [row for row in rows if all(
      expected is ANY or value(row, name) == expected for name, expected in fields.items())]


def tuned(rows: Iterable[Row]) -> list[Row]:
  """Rows of networks that were fine-tuned at the very SNR of the row."""
  return [row for row in rows if row['snr_db'] is not None
          and value(row, 'stage') == stage_name(row['snr_db'])]


def best_trained(rows: Iterable[Row], **wanted: Any) -> list[Row]:
  """`pick` of fine-tuned networks, or of stage 1 where none was fine-tuned."""
  found = pick(rows, **wanted | {'stage': ANY})
  return tuned(found) or pick(found, **wanted)


def apart(rows: Sequence[Row], along: Sequence[str] = ()) -> dict[str, list[Row]]:
  """Rows by all in which they differ, besides seeds and the fields `along` a curve.

  The keys say it, e.g. '2,000 steps': '' if they do not differ, or of what goes without saying.
  """
  differing = _differing(rows, along)
  parts: dict[str, list[Row]] = {}
  for row in sorted(rows, key=lambda row: row['steps']):
    name = ', '.join(
        _words(name, value(row, name)) for name in differing
        if value(row, name) != _ABSENT.get(name, ANY))
    parts.setdefault(name, []).append(row)
  return parts


def level(rows: Sequence[Row]) -> Level | None:
  """The rows of one place, one a seed; None of no rows.

  Raises:
    InputError: they differ in more than the seed.
  """
  if not rows:
    return None
  by_seed: dict[int, Row] = {}
  for row in rows:
    other = by_seed.setdefault(row['seed'], row)
    differing = _differing([rows[0], row])
    if differing or other is not row:
      pair = (rows[0] if differing else other, row)
      name = differing[0] if differing else 'cell'
      first, second = (_with(name, value(found, name)) for found in pair)
      raise InputError(
          f'{row["method"]}, CR {row["compression_ratio"]}, {row["snr_db"]} dB was measured '
          f'{first} and {second}; choose with {_flag(name, *pair)}.')
  return Level(by_seed)


def gain_db(ours: Level | None, baseline: Level | None) -> Estimate | None:
  """By how much the NMSE of ours is lower, over the seeds that both have.

  None if there are none, or if one was trained longer. The interval of one seed is that of the
  difference on the same test groups; it is unknown where rows have no values by group.
  """
  if not ours or not baseline:
    return None
  seeds = sorted(ours.by_seed.keys() & baseline.by_seed.keys())
  pairs = [(ours.by_seed[seed], baseline.by_seed[seed]) for seed in seeds]
  if not pairs or any(a['steps'] != b['steps'] for a, b in pairs):
    return None
  gain = _mean_db([b for _, b in pairs]) - _mean_db([a for a, _ in pairs])
  if len(pairs) > 1:
    return _over_seeds(gain, [b['nmse_db'] - a['nmse_db'] for a, b in pairs])
  of_ours, of_baseline = (row.get('errors') for row in pairs[0])
  if of_ours is None or of_baseline is None or len(of_ours) != len(of_baseline):
    return Estimate(gain)
  from rca_jax.evaluation.metrics import paired_gain  # slow to import
  return Estimate(gain, *paired_gain(of_ours, of_baseline, seed=0)[1])


def with_errors(rows: Sequence[Row], folder: Path) -> list[Row]:
  """The rows, with `errors` read from its file in FOLDER/errors: float [num_samples].

  Where the file is not there, the row has no `errors`.

  Raises:
    InputError: a file is damaged, or its name leads out of the folder.
  """
  found = []
  for row in rows:
    path = file_in(folder / 'errors', row['errors']) if 'errors' in row else None
    row = {name: item for name, item in row.items() if name != 'errors'}
    if path and path.is_file():
      try:
        row['errors'] = np.load(path, allow_pickle=False)
      except (OSError, ValueError, EOFError) as error:
        raise InputError(f'{path}: not a readable array ({error}).') from None
      if row['errors'].shape != (row['num_samples'],):
        raise InputError(
            f'{path}: has shape {list(row["errors"].shape)}; its row in results.json says '
            f'[{row["num_samples"]}].')
    found.append(row)
  return found


def value(row: Row, name: str) -> Any:
  """A field of a row, or what it means that the row does not have it."""
  return row.get(name, _ABSENT.get(name))


def values(rows: Iterable[Row], name: str) -> list[Any]:
  """The distinct values of a field, sorted, None left out."""
  return sorted({value(row, name) for row in rows} - {None})


def _differing(rows: Sequence[Row], along: Sequence[str] = ()) -> list[str]:
  names = {name for row in rows for name in row} - _FOUND - {'seed', 'cell', *along}
  return [name for name in sorted(names) if len({repr(value(row, name)) for row in rows}) > 1]


def _measured(row: Row) -> str:
  left_out = _FOUND | {'num_groups'}
  return repr(sorted(
      (name, item) for name, item in (_ABSENT | row).items() if name not in left_out))


def _num_groups(row: Row) -> float:
  return row.get('num_groups', np.inf)


def _words(name: str, item: Any) -> str:
  if name == 'steps':
    return f'{item:,} steps'
  if name == 'trained_ues':
    return f'trained with {", ".join(map(str, item))} UEs'
  return item if name == 'variant' else f'{name} {item}'


def _with(name: str, item: Any) -> str:
  return f'without {name}' if item is None else f'with {name} {item}'


def _flag(name: str, *rows: Row) -> str:
  flag = {'data': 'data', 'data_hash': 'data', 'steps': 'steps', 'dtype': 'dtype'}.get(name)
  if flag:
    return f'--{flag}={value(rows[-1], name)}'
  cells = [row.get('cell') for row in rows]
  if None in cells or len({*cells}) < len(cells):  # no flag takes them apart
    return 'results.json: report one of them from a file of its own'
  return ' or '.join(f'--without_cells={cell}' for cell in cells)


def _over_seeds(mean: float, of_seeds: Sequence[float]) -> Estimate:
  return Estimate(mean, min(of_seeds), max(of_seeds), len(of_seeds))


def _mean_db(rows: Sequence[Row]) -> float:
  return float(10 * np.log10(np.mean([10 ** (row['nmse_db'] / 10) for row in rows])))
