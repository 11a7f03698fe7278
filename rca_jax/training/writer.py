"""metrics.jsonl and TensorBoard events of a run."""

import contextlib
import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from rca_jax.durable import write_atomically
from rca_jax.errors import InputError
from rca_jax.foreign import parse_json


class MetricsWriter:
  """Writes the metrics of one stage; continues the files of a run that was cut.

  A line of metrics.jsonl holds nothing that depends on the clock or the machine, and lines past
  the restored step are dropped, so a killed and resumed run leaves the file of an uninterrupted
  one, also where a stage goes back when later ones have run. The events are written anew from
  these lines: one file a stage, however often it was cut.
  """

  def __init__(self, workdir: Path, stage: str, step: int):
    """`step` is the one that `stage` continues from."""
    self._stage = stage
    self._path = workdir / 'metrics.jsonl'
    before, self._behind = _divide(read_metrics(workdir), stage, step)
    self._before = _text(before)
    write_atomically(self._path, self._before + _text(self._behind))
    # Behind lines of later stages nothing can be appended: that waits for `flush`.
    self._file = io.StringIO() if self._behind else self._path.open('a')
    events = workdir / 'tensorboard' / stage
    shutil.rmtree(events, ignore_errors=True)
    events.mkdir(parents=True)
    # Not SummaryWriter: its thread dies of a full disk, and then nobody empties its queue.
    self._events = EventsWriter(str(events / 'events'))
    for line in before:
      if line['stage'] == stage:
        self._write_events(line)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """One line: {"stage", "step", then the metrics}."""
    line = {'stage': self._stage, 'step': step, **metrics}
    self._file.write(_text([line]))
    self._write_events(line)

  def flush(self) -> None:
    """Returns once the lines are on disk: call it before saving a checkpoint."""
    if self._behind:
      write_atomically(self._path, self._before + self._file.getvalue() + _text(self._behind))
    else:
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
    return [_parse(line) for line in lines if line.endswith('\n')]
  except ValueError as error:
    raise InputError(
        f'{path}: holds a damaged line ({error}); repair the file, or remove it to go on without '
        'the lines so far.') from None


def _parse(text: str) -> dict[str, Any]:
  """Of one line; ValueError if it is none of `MetricsWriter`."""
  line = parse_json(text)
  if not isinstance(line, dict) or not isinstance(line.get('stage'), str) or not all(
      type(value) in (int, float) for name, value in line.items() if name != 'stage'):
    raise ValueError(f'{text.strip()!r:.50} holds no metrics')
  if type(line.get('step')) is not int:
    raise ValueError(f'{text.strip()!r:.50} has no step')
  return line


def _divide(
    lines: list[dict[str, Any]], stage: str, step: int) -> tuple[list[dict], list[dict]]:
  """The lines before and behind those that follow step `step` of `stage`, which are dropped."""
  mine = [index for index, line in enumerate(lines) if line['stage'] == stage]
  kept = [index for index in mine if lines[index]['step'] <= step]
  place = kept[-1] + 1 if kept else mine[0] if mine else len(lines)
  dropped = set(mine) - set(kept)
  return (
      [line for index, line in enumerate(lines[:place]) if index not in dropped],
      [line for index, line in enumerate(lines[place:], place) if index not in dropped])


def _text(lines: list[dict[str, Any]]) -> str:
  return ''.join(json.dumps(line) + '\n' for line in lines)
