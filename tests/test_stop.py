import os
import signal
import subprocess
import sys
import threading

from rca_jax.training.stop import stop_request

SCRIPT = """
import os, signal, time
from rca_jax.training.stop import stop_request
with stop_request() as request:
  os.kill(os.getpid(), signal.SIGINT)
  assert request.signum == signal.SIGINT
  print('saving', flush=True)
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(60)
"""


def test_a_second_ctrl_c_ends_at_once():
  done = subprocess.run(
      [sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=30)
  assert done.returncode == -signal.SIGINT and done.stdout == 'saving\n'
  assert done.stderr == '\nsaving after this call; Ctrl-C again ends at once\n'


def test_ctrl_c_that_ends_the_reader_too_is_a_request_as_any_other():
  read_end, write_end = os.pipe()
  os.close(read_end)
  script = SCRIPT.partition("  print('saving'")[0]
  try:
    assert subprocess.run([sys.executable, '-c', script], stderr=write_end).returncode == 0
  finally:
    os.close(write_end)


def test_sigterm_may_come_twice():
  with stop_request() as request:
    assert not request
    for _ in range(2):
      os.kill(os.getpid(), signal.SIGTERM)
  assert request.signum == signal.SIGTERM


def test_outside_the_main_thread_there_are_no_signals():
  found = []

  def ask():
    with stop_request() as request:
      found.append(bool(request))

  thread = threading.Thread(target=ask)
  thread.start()
  thread.join()
  assert found == [False]
