"""What ends a training before its last step, without losing one."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_SHOW_CURSOR = '\x1b[?25h'  # which a progress bar hides


class StopRequest:
  """Set while a call of the device runs; the training saves after that call and ends."""

  def __init__(self):
    self.signum: int | None = None
    self.broken_pipe: BrokenPipeError | None = None

  def __bool__(self) -> bool:
    return self.signum is not None or self.broken_pipe is not None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
  """Set by SIGTERM and by Ctrl-C (SIGINT), of which a second one ends the process at once."""
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield request  # signals reach the main thread only
    return

  def on_signal(signum: int, _) -> None:
    request.signum = signum
    if signum == signal.SIGINT:
      signal.signal(signal.SIGINT, signal.SIG_DFL)
      # Not print: the signal may have come in the middle of one.
      show = _SHOW_CURSOR if sys.stderr.isatty() else ''
      with contextlib.suppress(OSError):  # Ctrl-C ends what reads through a pipe, too
        os.write(2, f'{show}\nsaving after this call; Ctrl-C again ends at once\n'.encode())

  previous = {signum: signal.signal(signum, on_signal)
              for signum in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield request
  finally:
    for signum, handler in previous.items():
      signal.signal(signum, handler)
