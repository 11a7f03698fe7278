"""What a person watching trainings sees: a bar on a terminal, plain lines elsewhere."""

import datetime
import math
import time
from collections.abc import Sequence

import rich.console
import rich.progress

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
  """Progress of one stage: step, NMSE, learning rate, groups a second, time left."""

  def __init__(self, stage: str, start: int, num_steps: int, groups_per_step: int):
    self._stage, self._start, self._num_steps = stage, start, num_steps
    self._groups_per_step = groups_per_step
    self._began = self._last_line = time.monotonic()
    console = rich.console.Console()
    self._bar = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
          rich.progress.TextColumn('{task.description}'), rich.progress.BarColumn(),
          rich.progress.MofNCompleteColumn(), rich.progress.TextColumn('{task.fields[text]}'),
          rich.progress.TimeRemainingColumn(), console=console)
      self._task = self._bar.add_task(stage, total=num_steps, completed=start, text='')
      self._bar.start()

  def update(self, step: int, nmse_db: float, learning_rate: float) -> None:
    """Shows the state after `step` steps."""
    now = time.monotonic()
    steps_per_s = (step - self._start) / max(now - self._began, 1e-9)
    text = (
        f'NMSE {nmse_db:6.2f} dB  lr {learning_rate:.2e}  '
        f'{steps_per_s * self._groups_per_step:.0f} groups/s')
    if self._bar is not None:
      self._bar.update(self._task, completed=step, text=text)
    elif now - self._last_line >= _SECONDS_BETWEEN_LINES or step == self._num_steps:
      self._last_line = now
      left_s = math.ceil((self._num_steps - step) / steps_per_s)
      print(
          f'{self._stage}  step {step}/{self._num_steps}  {text}  '
          f'ETA {datetime.timedelta(seconds=left_s)}', flush=True)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.stop()


class MatrixProgress:
  """One view of many trainings: which cell, its stage, and the time left for all of them.

  The ETA counts groups, [(cell, groups)] as given, at the rate of this process so far.
  """

  def __init__(self, cells: Sequence[tuple[str, int]]):
    self._groups = dict(cells)
    self._names = [name for name, _ in cells]
    self._left = sum(self._groups.values())  # of the cells behind the one that is running
    self._trained = 0  # in this process
    self._began = self._last_line = time.monotonic()
    console = rich.console.Console()
    self._bar = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
          rich.progress.TextColumn('{task.description}'), rich.progress.BarColumn(),
          rich.progress.TextColumn('{task.fields[text]}'), console=console)
      self._task = self._bar.add_task('', total=max(1, self._left), text='')

  def __enter__(self) -> 'MatrixProgress':
    if self._bar is not None:
      self._bar.start()
    return self

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.stop()

  def start(self, cell: str, skipped: bool) -> None:
    """The next cell begins; a skipped one has all its rows."""
    self._cell = cell
    self._left -= self._groups[cell]
    self._cell_left = 0 if skipped else self._groups[cell]
    place = f'cell {self._names.index(cell) + 1}/{len(self._names)}'
    self._show(f'{place} {cell}', 'done' if skipped else '', always=True)

  def stage(self, stage: str, start: int, num_steps: int, groups_per_step: int) -> '_CellProgress':
    """Takes the place of `Progress` for one stage of the cell."""
    self._cell_left = max(0, self._cell_left - start * groups_per_step)
    return _CellProgress(self, stage, start, num_steps, groups_per_step)

  def advance(self, groups: int, text: str) -> None:
    """So many groups were trained on since the last call."""
    self._trained += groups
    self._cell_left = max(0, self._cell_left - groups)
    self._show(self._cell, text, always=False)

  def _show(self, what: str, text: str, always: bool) -> None:
    now, left = time.monotonic(), self._left + self._cell_left
    eta = ''
    if self._trained:
      left_s = math.ceil((now - self._began) * left / self._trained)
      eta = f'ETA {datetime.timedelta(seconds=left_s)}'
    if self._bar is not None:
      self._bar.update(
          self._task, description=what, completed=self._bar.tasks[0].total - left,
          text=f'{text}  {eta}')
    elif always or now - self._last_line >= _SECONDS_BETWEEN_LINES:
      self._last_line = now
      print('  '.join(filter(None, (what, text, eta))), flush=True)


class _CellProgress:
  """`Progress` of one stage, told to the matrix."""

  def __init__(
      self, matrix: MatrixProgress, stage: str, start: int, num_steps: int, groups_per_step: int):
    self._matrix, self._stage, self._done = matrix, stage, start
    self._num_steps, self._groups_per_step = num_steps, groups_per_step

  def update(self, step: int, nmse_db: float, learning_rate: float) -> None:
    del learning_rate
    self._matrix.advance(
        (step - self._done) * self._groups_per_step,
        f'{self._stage} {step}/{self._num_steps}  NMSE {nmse_db:6.2f} dB')
    self._done = step

  def close(self) -> None:
    pass
