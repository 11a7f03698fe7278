"""How far a command is: a bar on a terminal, plain lines elsewhere; on stderr, never silent."""

import datetime
import sys
import threading
import time

import rich.console
import rich.progress

_SECONDS_BETWEEN_LINES = 5.0
_RATE_OVER_S = 600.0  # compiling, before the first update, is never part of the rate


class Bar:
  """One task of `total` units (None: nobody knows how many); a context, or `start` and `stop`.

  Where stderr is no terminal, a thread prints a plain line every 5 s, whether there is news or not.
  """

  def __init__(
      self, what: str, total: int | None = None, unit: str = '', doing: str = '',
      rate: bool = True):
    """One task.

    Args:
      doing: what goes on until the first `update`, e.g. compiling.
      rate: show units a second; not where something else is done between the units.
    """
    console = rich.console.Console(stderr=True)
    self._terminal = console.is_terminal
    self._progress = rich.progress.Progress(
        rich.progress.TextColumn('{task.description}'), rich.progress.BarColumn(),
        rich.progress.TextColumn('{task.fields[text]}'), rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(), console=console, disable=not self._terminal,
        get_time=time.monotonic, speed_estimate_period=_RATE_OVER_S)
    self._id = self._progress.add_task(what, total=total, text=doing)
    self._task = self._progress.tasks[0]
    self._unit, self._doing, self._rate = unit, doing, rate
    self._printed = self._since = time.monotonic()
    self._stopped = threading.Event()
    self._error: BrokenPipeError | None = None
    self._thread = threading.Thread(target=self._print_lines, daemon=True)

  def __enter__(self) -> 'Bar':
    self.start()
    return self

  def __exit__(self, *_) -> None:
    self.stop()

  def start(self) -> None:
    """Shows it: a bar in a terminal, lines elsewhere."""
    self._progress.start()
    if not self._terminal:
      self._thread.start()

  def stop(self) -> None:
    """Ends it; what it showed last stays."""
    self._stopped.set()
    self._progress.stop()
    if self._thread.ident is not None:
      self._thread.join()

  def update(
      self, completed: float | None = None, *, what: str | None = None, doing: str | None = None,
      total: float | None = None) -> None:
    """What has changed.

    Raises:
      BrokenPipeError: nobody reads the lines any more.
    """
    if self._error is not None:
      raise self._error
    self._since = time.monotonic()
    self._doing = self._doing if doing is None else doing
    self._progress.update(self._id, completed=completed, description=what, total=total)
    self._progress.update(self._id, text='  '.join(filter(None, self._texts())))

  def say(self, text: str) -> None:
    """One line of its own, now."""
    print(text, file=sys.stderr, flush=True)  # rich puts it above its bar
    self._printed = time.monotonic()

  def line(self) -> str:
    """The state in words: what, how much of it is done, the rate, the time left."""
    waiting_s, left_s = time.monotonic() - self._since, self._task.time_remaining
    time_text = f'({_clock(waiting_s)} so far)' if waiting_s >= _SECONDS_BETWEEN_LINES else ''
    if left_s is not None and left_s >= waiting_s:  # else what runs now takes longer than usual
      time_text = f'ETA {_clock(left_s - waiting_s)}'
    return '  '.join(filter(None, (self._task.description, *self._texts(), time_text)))

  def _texts(self) -> tuple[str, str, str]:
    done, speed = self._task.completed, self._task.speed
    of = f'/{self._task.total:,.0f}' if self._task.total else ''
    count = f'{done:,.0f}{of} {self._unit}'.rstrip() if done or of else ''
    return count, self._doing, f'{speed:,.0f} {self._unit}/s' if self._rate and speed else ''

  def _print_lines(self) -> None:
    while not self._stopped.wait(_SECONDS_BETWEEN_LINES / 5):
      if time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
        try:
          self.say(self.line())
        except BrokenPipeError as error:
          self._error = error
          return


def _clock(seconds: float) -> str:
  return str(datetime.timedelta(seconds=round(seconds)))
