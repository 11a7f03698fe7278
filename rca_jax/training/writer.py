"""Metrics of a run: one JSON-lines file a stage, and TensorBoard events of the same lines."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from rca_jax.config import stages
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import parse_json
from rca_jax.training.workdir import read_config

_ADVICE = 'checkpoints are kept: make room, or the folder writable, and run again'


class MetricsWriter:
  """Writes WORKDIR/metrics/STAGE.jsonl; continues the file of a run that was stopped.

  A line holds nothing that depends on the clock or the machine, and lines after the restored step
  are dropped, so a killed and resumed run leaves the file of an uninterrupted one. The events are
  written anew from these lines: one file a stage, however often it was stopped.
  """

  def __init__(self, workdir: Path, stage: str, step: int):
    """`step` is the one that `stage` continues from.

    Raises:
      InputError: as all methods: the disk is full or the folder cannot be written; or the file is
        damaged.
    """
    self._stage, self._path = stage, _path(workdir, stage)
    kept = [line for line in _read(self._path) if line['step'] <= step]
    events = workdir / 'tensorboard' / stage
    with writing(self._path, _ADVICE):
      self._path.parent.mkdir(parents=True, exist_ok=True)
      write_atomically(self._path, ''.join(map(_text, kept)))
      self._file = self._path.open('a')
      shutil.rmtree(events, ignore_errors=True)
      events.mkdir(parents=True)
      # Not SummaryWriter: its thread dies of a full disk, and then nobody empties its queue.
      self._events = EventsWriter(str(events / 'events'))
      for line in kept:
        self._write_events(line)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """One line: {"stage", "step", then the metrics}."""
    line = {'stage': self._stage, 'step': step, **metrics}
    with writing(self._path, _ADVICE):
      self._file.write(_text(line))
      self._write_events(line)

  def flush(self) -> None:
    """Returns once the lines are on disk: call it before saving a checkpoint."""
    with writing(self._path, _ADVICE):
      self._file.flush()
      os.fsync(self._file.fileno())
      self._events.flush()

  def close(self) -> None:
    """Writes what is left and closes both files."""
    with writing(self._path, _ADVICE), self._file:
      self._events.close()

  def _write_events(self, line: dict[str, Any]) -> None:
    for name, value in line.items():
      if name not in ('stage', 'step'):
        self._events.write_event(
            Event(wall_time=time.time(), step=line['step'], summary=scalar(name, value)))


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
  """The lines of all stages in their order; none where nothing was trained yet.

  A last line that is only half there, as a kill leaves it, is left out.

  Raises:
    InputError: a file is damaged or cannot be read.
  """
  if not (Path(workdir) / 'metrics').exists():
    return []
  return [
      line for stage in stages(read_config(workdir)) for line in _read(_path(workdir, stage.name))]


def _path(workdir: str | Path, stage: str) -> Path:
  return Path(workdir) / 'metrics' / f'{stage}.jsonl'


def _read(path: Path) -> list[dict[str, Any]]:
  try:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [_parse(line) for line in lines if line.endswith('\n')]
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error.strerror}).') from None
  except ValueError as error:
    raise InputError(
        f'{path}: holds a damaged line ({error}); repair the file, or move it away to go on '
        'without the lines so far.') from None


def _parse(text: str) -> dict[str, Any]:
  """Of one line; ValueError if `MetricsWriter` did not write it."""
  line = parse_json(text)
  if not isinstance(line, dict) or not isinstance(line.get('stage'), str) or not all(
      type(value) in (int, float) for name, value in line.items() if name != 'stage'):
    raise ValueError(f'{text.strip()!r:.50} holds no metrics')
  if type(line.get('step')) is not int:
    raise ValueError(f'{text.strip()!r:.50} has no step')
  return line


def _text(line: dict[str, Any]) -> str:
  return json.dumps(line) + '\n'
