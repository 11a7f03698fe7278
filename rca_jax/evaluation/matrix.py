"""A matrix of cells: train what is not trained, measure what is not measured, keep the rows.

A cell is one network (or reference) with all that is measured on it; it is identified by the hash
of its config. What stands in results.json is never done again, and a run that was cut continues.
"""

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rca_jax.config import ExperimentConfig, stage_name, stages, to_dict
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.evaluation.progress import MatrixProgress
from rca_jax.evaluation.references import REFERENCES, reference_rows
from rca_jax.evaluation.results import append_rows, read_rows
from rca_jax.evaluation.run import Measurement, measure
from rca_jax.training.loop import fit
from rca_jax.uplink.sscc import load_sionna


class Cell(NamedTuple):
  """`variant` says in a word what sets a config apart from others of its method."""

  config: ExperimentConfig
  measurements: tuple[Measurement, ...]
  preset: str
  variant: str = ''

  @property
  def id(self) -> str:
    """Of the config: 12 hexadecimal digits. New fields do not change it while at their default."""
    changed = _difference(to_dict(self.config), to_dict(ExperimentConfig()))
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]

  @property
  def name(self) -> str:
    """What --cells patterns are held against, e.g. BL1-cr16-2ues-seed0."""
    config = self.config
    ratio = config.model.compression_ratio.partition('/')[2]
    parts = [config.method.replace('/', '-'), f'cr{ratio}', f'{config.num_ues}ues', self.variant,
             f'seed{config.seed}']
    return '-'.join(filter(None, parts))

  @property
  def num_groups(self) -> int:
    """Groups it trains on, over all stages; 0 for a reference."""
    if self.config.method in REFERENCES:
      return 0
    steps = sum(stage.config.num_steps for stage in stages(self.config))
    return steps * self.config.training.batch_size


def merge(cells: Sequence[Cell]) -> list[Cell]:
  """One cell a config, in the order of first appearance, with the measurements of all."""
  merged = {}
  for cell in cells:
    known = merged.setdefault(cell.config, cell)
    measurements = dict.fromkeys(known.measurements + cell.measurements)
    merged[cell.config] = known._replace(measurements=tuple(measurements))
  return list(merged.values())


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
  """The cells whose name or id fits one of the shell-style patterns; all if there are none.

  They come in the order of the patterns: what is named first runs first.

  Raises:
    InputError: a pattern fits no cell.
  """
  if not patterns:
    return list(cells)
  found = {}
  for pattern in patterns:
    fitting = [cell for cell in cells if any(
        fnmatch.fnmatchcase(text, pattern) for text in (cell.name, cell.id))]
    if not fitting:
      raise InputError(
          f'--cells: {pattern!r} fits none of {len(cells)} cells, e.g. {cells[0].name}; --list '
          'shows them all.')
    found |= {cell.id: cell for cell in fitting}
  return list(found.values())


def missing(cell: Cell, rows: Sequence[dict[str, Any]]) -> list[Measurement]:
  """The measurements of a cell that have no row yet."""
  done = {_measurement(row) for row in rows if row.get('cell') == cell.id and 'snr_db' in row}
  return [item for item in cell.measurements if item not in done]


def run_matrix(cells: Sequence[Cell], out: Path) -> None:
  """Brings all cells to their rows in OUT/results.json; runs live under OUT/runs.

  Raises:
    Stopped: a signal ended a training, which goes on with the next call.
    InputError: as `training.loop.fit` and `evaluation.run.measure`.
    FloatingPointError: trainings diverged; all other cells are done.
  """
  results = out / 'results.json'
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
  rows = read_rows(results)
  if any(item.qam_order for cell in cells for item in missing(cell, rows)):
    load_sionna()  # told before hours of training, not behind them
  groups = [(cell.name, cell.num_groups if missing(cell, rows) else 0) for cell in cells]
  diverged = []
  with MatrixProgress(groups) as progress:
    for cell in cells:
      todo = missing(cell, read_rows(results))
      progress.start(cell.name, skipped=not todo)
      try:
        # One row at a time on disk: a kill costs what is being measured, no more.
        for row in _rows(cell, todo, out, progress):
          append_rows(results, [row | {
              'preset': cell.preset, 'variant': cell.variant, 'cell': cell.id}])
      except FloatingPointError as error:
        diverged.append(f'{cell.name}: {error}')
      if todo:
        jax.clear_caches()  # programs of a finished cell are not used again
  if diverged:
    raise FloatingPointError('; '.join(diverged))


def _rows(
    cell: Cell, todo: Sequence[Measurement], out: Path,
    progress: MatrixProgress) -> Iterator[dict[str, Any]]:
  """Trains and measures: stage 1 is measured when it ends, not after all fine-tuning."""
  if cell.config.method in REFERENCES:
    if todo:
      yield from reference_rows(cell.config, todo)
    return
  workdir = out / 'runs' / f'{cell.name}-{cell.id}'
  first = [item for item in todo if item.stage == stage_name()]
  tuned = [item for item in todo if item.stage != stage_name()]
  for part, until in ((first, stage_name()), (tuned, '')):
    if part:
      fit(cell.config, workdir, make_progress=progress.stage, until=until)
      yield from measure(workdir, part)


def _difference(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
  """The values, nested, that are not the defaults."""
  return {
      name: _difference(value, defaults[name]) if isinstance(value, dict) else value
      for name, value in values.items() if value != defaults[name]}


def _measurement(row: dict[str, Any]) -> Measurement:
  names = {field.name for field in dataclasses.fields(Measurement)}
  return Measurement(**{name: value for name, value in row.items() if name in names})
