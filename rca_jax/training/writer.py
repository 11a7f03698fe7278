"""metrics.jsonl and TensorBoard events of a run."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from rca_jax.errors import InputError


class MetricsWriter:
  """Writes the metrics of one stage; continues the files of a run that was cut.

  A line of metrics.jsonl holds nothing that depends on the clock or the machine, and lines past
  the restored step are dropped, so a killed and resumed run leaves the file of an uninterrupted
  one. The events are written anew from these lines: one file a stage, however often it was cut.
  """

  def __init__(self, workdir: Path, stage: str, step: int):
    """`step` is the one that `stage` continues from."""
    self._stage = stage
    path = workdir / 'metrics.jsonl'
    kept = _drop_lines_after(path, stage, step)
    self._file = path.open('a')
    events = workdir / 'tensorboard' / stage
    shutil.rmtree(events, ignore_errors=True)
    events.mkdir(parents=True)
    # Not SummaryWriter: its thread dies of a full disk, and then nobody empties its queue.
    self._events = EventsWriter(str(events / 'events'))
    for line in kept:
      self._write_events(line)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """One line: {"stage", "step", then the metrics}."""
    line = {'stage': self._stage, 'step': step, **metrics}
    self._file.write(json.dumps(line) + '\n')
    self._write_events(line)

  def flush(self) -> None:
    """Returns once the lines are on disk: call it before saving a checkpoint."""
    self._file.flush()
    os.fsync(self._file.fileno())
    self._events.flush()

  def close(self) -> None:
    with contextlib.closing(self._file), contextlib.closing(self._events):
      self.flush()

  def _write_events(self, line: dict[str, Any]) -> None:
    for name, value in line.items():
      if name not in ('stage', 'step'):
        self._events.write_event(
            Event(wall_time=time.time(), step=line['step'], summary=scalar(name, value)))


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
  """The whole lines of WORKDIR/metrics.jsonl, a half-written last one left out.

  Raises:
    InputError: the file is damaged.
  """
  path = Path(workdir) / 'metrics.jsonl'
  try:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith('\n')]
  except ValueError as error:
    raise InputError(
        f'{path}: holds a damaged line ({error}); repair the file, or remove it to go on without '
        'the lines so far.') from None


def _drop_lines_after(path: Path, stage: str, step: int) -> list[dict[str, Any]]:
  """Drops them from the file at `path`; returns what is left of the stage."""
  kept = [
      line for line in read_metrics(path.parent) if line['stage'] != stage or line['step'] <= step]
  partial = path.with_suffix('.tmp')
  partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))
  os.replace(partial, path)
  return [line for line in kept if line['stage'] == stage]
