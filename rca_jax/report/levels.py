"""Results rows to the levels that tables and figures show: one of many, seeds joined."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rca_jax.config import stage_name

Row = dict[str, Any]

# What a row means that does not say: `evaluation.run.Measurement` and an unnamed config.
_DEFAULTS = {
    'stage': 'pretrain', 'channel': '', 'distance_m': 0.0, 'snr_error_db': 0.0, 'code_rate': 0.0,
    'qam_order': 0, 'num_lost': 0, 'of_lost': False, 'variant': ''}


class Level(NamedTuple):
  """NMSE of one cell. The interval is that of the test groups; seeds are trainings."""

  nmse_db: float
  low_db: float
  high_db: float
  seeds_db: dict[int, float]  # NMSE by seed


def pick(rows: Sequence[Row], **wanted: Any) -> list[Row]:
  """Rows whose fields are as wanted; fields that are not named here must be plain.

  Plain is what the paper's tables mean: AWGN, the run's own groups, no variant, no bits.
  """
  fields = _DEFAULTS | wanted
  return [
      row for row in rows
      if all(row.get(name, _DEFAULTS.get(name)) == value for name, value in fields.items())]


def level(rows: Sequence[Row], **wanted: Any) -> Level | None:
  """The level of the rows that fit, joined over seeds: means are linear, decibels come last.

  Of two rows with the same seed the later one counts. None if no row fits.
  """
  by_seed = {row['seed']: row for row in pick(rows, **wanted)}
  if not by_seed:
    return None
  seeds_db = {seed: row['nmse_db'] for seed, row in by_seed.items()}
  bounds = np.array([row['nmse_ci95_db'] for row in by_seed.values()]).T
  return Level(_mean_db([*seeds_db.values()]), _mean_db(bounds[0]), _mean_db(bounds[1]), seeds_db)


def gain_db(ours: Level | None, baseline: Level | None) -> float | None:
  """By how much ours is lower, over the seeds that both have; None if there are none."""
  both = ours.seeds_db.keys() & baseline.seeds_db.keys() if ours and baseline else ()
  if not both:
    return None
  single, joint = (_mean_db([cell.seeds_db[seed] for seed in both]) for cell in (baseline, ours))
  return single - joint


def tuned_level(rows: Sequence[Row], snr_db: float | None, **wanted: Any) -> Level | None:
  """`level` with the weights fine-tuned at the very SNR; of stage 1 where there are none."""
  tuned = None
  if snr_db is not None:
    tuned = level(rows, snr_db=snr_db, stage=stage_name(snr_db), **wanted)
  return tuned or level(rows, snr_db=snr_db, **wanted)


def tuned_snrs(rows: Sequence[Row]) -> list[float]:
  """SNRs at which a network was measured that was fine-tuned at that SNR."""
  return values(
      [row for row in rows
       if row['snr_db'] is not None and row.get('stage') == stage_name(row['snr_db'])], 'snr_db')


def values(rows: Sequence[Row], field: str) -> list[Any]:
  """The distinct values of a field, sorted, None left out."""
  return sorted({row[field] for row in rows if row.get(field) is not None})


def _mean_db(levels_db: Sequence[float]) -> float:
  return float(10 * np.log10(np.mean(10 ** (np.asarray(levels_db) / 10))))
