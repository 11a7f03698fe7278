"""metrics.jsonl and TensorBoard events of a run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorboardX


class MetricsWriter:
  """Writes the metrics of one stage; continues the files of a run that was cut.

  A line of metrics.jsonl holds nothing that depends on the clock or the machine, and lines past
  the restored step are dropped, so a killed and resumed run leaves the file of an uninterrupted
  one.
  """

  def __init__(self, workdir: Path, stages: Sequence[str], stage: str, step: int):
    """`stages` in their order; `step` is the one that `stage` continues from."""
    self._stage = stage
    path = workdir / 'metrics.jsonl'
    _drop_lines_after(path, list(stages), stage, step)
    self._file = path.open('a')
    # purge_step makes TensorBoard hide what a cut run wrote past its last checkpoint.
    self._events = tensorboardX.SummaryWriter(
        str(workdir / 'tensorboard' / stage), purge_step=step + 1)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """One line: {"stage", "step", then the metrics}."""
    self._file.write(json.dumps({'stage': self._stage, 'step': step, **metrics}) + '\n')
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step)

  def flush(self) -> None:
    """Returns once the lines are on disk: call it before saving a checkpoint."""
    self._file.flush()
    os.fsync(self._file.fileno())
    self._events.flush()

  def close(self) -> None:
    self.flush()
    self._file.close()
    self._events.close()


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
  """The whole lines of WORKDIR/metrics.jsonl, a half-written last one left out."""
  path = Path(workdir) / 'metrics.jsonl'
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [json.loads(line) for line in lines if line.endswith('\n')]


def _drop_lines_after(path: Path, stages: list[str], stage: str, step: int) -> None:
  last = (stages.index(stage), step)
  kept = [
      line for line in read_metrics(path.parent)
      if (stages.index(line['stage']), line['step']) <= last]
  partial = path.with_suffix('.tmp')
  partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))
  os.replace(partial, path)
