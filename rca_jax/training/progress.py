"""What a person watching trainings sees: a bar on a terminal, plain lines elsewhere."""

import datetime
import math
import time

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
