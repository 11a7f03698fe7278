"""A matrix of cells: train what is not trained, measure what is not measured, keep the rows.

A cell is one network (or reference) with all that is measured on it; it is known by the hash of
its config. What is in results.json is never done again, and a run that was cut goes on.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rca_jax.config import ExperimentConfig, stage_name, stages
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.evaluation.progress import MatrixProgress
from rca_jax.evaluation.references import REFERENCES, reference_rows
from rca_jax.evaluation.results import append_rows, identity, read_rows
from rca_jax.evaluation.rows import Measurement, config_hash, describe, test_data
from rca_jax.evaluation.run import load_weights, measure
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
    """`config_hash`, as rows have it under `cell`."""
    return config_hash(self.config)

  @property
  def name(self) -> str:
    """What --cells patterns are compared with, e.g. BL1-cr16-2ues-seed0; cr3_8 is 3/8."""
    config = self.config
    ratio = config.model.compression_ratio.removeprefix('1/').replace('/', '_')
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
  merged: dict[ExperimentConfig, Cell] = {}
  for cell in cells:
    known = merged.setdefault(cell.config, cell)
    measurements = dict.fromkeys(known.measurements + cell.measurements)
    merged[cell.config] = known._replace(measurements=tuple(measurements))
  return list(merged.values())


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
  """The cells whose name or id fits one of the shell-style patterns; without patterns all.

  They come in the order of the patterns: what is named first runs first.

  Raises:
    InputError: a pattern fits no cell.
  """
  if not patterns:
    return list(cells)
  found: dict[str, Cell] = {}
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
  """The measurements of a cell that have no row yet.

  A row counts if it has the cell's config, its full training and its own test groups.

  Raises:
    InputError: a measurement could not stand in a row, or the test file cannot be read.
  """
  done, data = set(map(identity, rows)), test_data(cell.config)
  return [item for item in cell.measurements if identity(describe(
      cell.config, item, _steps(cell.config, item.stage), data)) not in done]


def run_matrix(cells: Sequence[Cell], out: Path) -> None:
  """Brings all cells to their rows in OUT/results.json; runs live under OUT/runs.

  Raises:
    Stopped: a signal ended a training; the same call goes on from there.
    InputError: as `training.loop.fit`, `missing` and `evaluation.run.measure`.
    FloatingPointError: trainings diverged; all other cells are done.
  """
  results = out / 'results.json'
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
  rows = read_rows(results)
  todo = {cell: missing(cell, rows) for cell in cells}
  if any(item.qam_order for items in todo.values() for item in items):
    load_sionna()  # an error comes before hours of training, not after them
  groups = [(cell.name, cell.num_groups if todo[cell] else 0) for cell in cells]
  diverged = []
  with MatrixProgress(groups) as progress:
    for cell in cells:
      # Read again: another process may share OUT.
      items = missing(cell, read_rows(results))
      progress.start(cell.name, skipped=not items)
      try:
        # One row at a time on disk: a kill costs what is being measured, no more.
        for row in _rows(cell, items, out, progress):
          append_rows(results, [row | {'preset': cell.preset, 'variant': cell.variant}])
      except FloatingPointError as error:
        diverged.append(f'{cell.name}: {error}')
      if items:
        jax.clear_caches()  # programs of a finished cell are not used again
  if diverged:
    raise FloatingPointError('; '.join(diverged))


def _rows(
    cell: Cell, items: Sequence[Measurement], out: Path,
    progress: MatrixProgress) -> Iterator[dict[str, Any]]:
  """Trains and measures: stage 1 is measured when it ends, not after all fine-tuning."""
  if cell.config.method in REFERENCES:
    if items:
      yield from reference_rows(cell.config, items)
    return
  workdir = out / 'runs' / f'{cell.name}-{cell.id}'
  first = [item for item in items if item.stage == stage_name()]
  tuned = [item for item in items if item.stage != stage_name()]
  for part, until in ((first, stage_name()), (tuned, '')):
    if part:
      fit(cell.config, workdir, make_progress=progress.stage, until=until)
      weights = load_weights(workdir, cell.config, {item.stage for item in part})
      yield from measure(cell.config, weights, part)


def _steps(config: ExperimentConfig, stage: str) -> int:
  """That lead to a stage's last weights, as rows count them."""
  if config.method in REFERENCES:
    return 0
  pretrain = config.training.pretrain.num_steps
  return pretrain if stage == stage_name() else pretrain + config.training.finetune.num_steps
