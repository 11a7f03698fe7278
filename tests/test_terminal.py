import datetime
import io
import itertools
import os
import re
import subprocess
import sys
import time

import pytest
import rich.console

from rca_jax import terminal
from rca_jax.evaluation.progress import MatrixProgress
from rca_jax.terminal import Bar

CELLS = [('first', 100), ('reference', 0), ('second', 300)]


class Clock:
  """Stands in for the module `time`."""

  def __init__(self):
    self.now = 1000.0

  def monotonic(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(terminal, 'time', clock)
  return clock


def eta_s(line):
  found = re.search(r'ETA (\d+):(\d+):(\d+)', line)
  return found and datetime.timedelta(**dict(zip(
      ('hours', 'minutes', 'seconds'), map(int, found.groups()), strict=True))).total_seconds()


def test_compiling_is_no_part_of_the_rate(clock):
  bar = Bar('generate', 5000, 'groups', doing='compiling')
  clock.now += 24
  assert bar.line() == 'generate  0/5,000 groups  compiling  (0:00:24 so far)'
  for done in (1000, 2000, 3000):
    bar.update(done, doing='')
    clock.now += 2
  # 1000 groups in 2 s, not 3000 in 30 s; 2 s have passed since.
  assert bar.line() == 'generate  3,000/5,000 groups  500 groups/s  ETA 0:00:02'
  clock.now += 3
  assert bar.line() == 'generate  3,000/5,000 groups  500 groups/s  (0:00:05 so far)'


def test_the_rate_is_that_of_the_last_ten_minutes(clock):
  bar = Bar('', 10_000, 'groups')
  for done in range(0, 2000, 10):  # at one a second, then at ten
    bar.update(done)
    clock.now += 10
  for done in range(2000, 9000, 100):
    bar.update(done)
    clock.now += 10
  assert '10 groups/s' in bar.line()


def test_lines_come_without_news_too(monkeypatch, capsys):
  monkeypatch.setattr(terminal, '_SECONDS_BETWEEN_LINES', 0.02)
  with Bar('export', doing='compiling'):
    time.sleep(0.3)
  out, err = capsys.readouterr()
  lines = err.splitlines()
  assert out == '' and '\x1b' not in err and '\r' not in err
  assert 2 < len(lines) <= 15 and all(line.startswith('export  compiling  (') for line in lines)


def test_a_closed_pipe_reaches_the_one_who_works(tmp_path):
  script = (
      'import time; from rca_jax import terminal; terminal._SECONDS_BETWEEN_LINES = 0.01\n'
      'with terminal.Bar("work") as bar:\n'
      '  for step in range(1000):\n'
      '    time.sleep(0.01)\n'
      '    try: bar.update(step)\n'
      '    except BrokenPipeError: print("closed", flush=True); break\n')
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(
      [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=write, timeout=60)
  assert done.stdout == b'closed\n'


def run_stage(matrix, clock, name, steps, groups_per_step, seconds_per_step):
  """A stage from the first of `steps` to the last; returns the line after each of the others."""
  stage, lines = matrix.stage(name, steps[0], steps[-1], groups_per_step, ''), []
  for before, step in itertools.pairwise(steps):
    clock.now += (step - before) * seconds_per_step
    stage.update(step, -12.345, 1e-3, None)
    lines.append(matrix._bar.line())
  stage.close()
  return lines


def test_the_time_left_is_that_of_all_cells_and_falls(clock, capsys):
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=False)
    lines = run_stage(matrix, clock, 'pretrain', [0, 2, 4, 6], 10, 20)
    assert lines[0] == 'cell 1/3 first  20/400 groups  pretrain 2/6  NMSE -12.35 dB'
    lines += run_stage(matrix, clock, 'finetune_10db', [0, 2, 4], 10, 20)
    matrix.start('reference', skipped=False)
    matrix.start('second', skipped=False)
    lines += run_stage(matrix, clock, 'pretrain', [0, 15, 30], 10, 20)
  # 2 s a group; the first interval is compiling.
  assert [eta_s(line) for line in lines] == [None, 720, 680, 640, 600, 300, 0]
  printed = [line.split('  ') for line in capsys.readouterr().err.splitlines()]
  assert [line[0] for line in printed] == [
      'cell 1/3 first', 'cell 2/3 reference', 'cell 3/3 second']
  assert [line[2] for line in printed] == ['preparing', 'fitting and measuring', 'preparing']


def test_references_alone_count_no_groups(capsys):
  with MatrixProgress([('reference', 0)]) as matrix:
    matrix.start('reference', skipped=False)
  assert capsys.readouterr().err == 'cell 1/1 reference  fitting and measuring\n'


def test_what_is_there_already_is_no_work_and_no_speed(clock, capsys):
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=True)
    matrix.start('reference', skipped=True)
    matrix.start('second', skipped=False)
    lines = run_stage(matrix, clock, 'pretrain', [20, 21, 25, 30], 10, 20)
  assert '10/100 groups' in lines[0]
  assert [eta_s(line) for line in lines] == [None, 100, 0]
  printed = capsys.readouterr().err.splitlines()
  assert [line.endswith('  done') for line in printed] == [True, True, False]


def test_a_stage_trained_by_an_earlier_process_is_left_out(clock, capsys):
  with MatrixProgress([('first', 100), ('second', 100)]) as matrix:
    matrix.start('first', skipped=False)  # complete: no stage runs, it is only measured
    matrix.start('second', skipped=False)
    assert '0/100 groups' in matrix._bar.line()


def test_a_terminal_shows_one_bar_over_all_groups(clock, monkeypatch):
  screen = rich.console.Console(file=io.StringIO(), force_terminal=True, width=120)
  monkeypatch.setattr(terminal.rich.console, 'Console', lambda **_: screen)
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=True)
    matrix.start('second', skipped=False)
    run_stage(matrix, clock, 'pretrain', [10, 20, 30], 10, 1)
  assert 'cell 3/3 second' in screen.file.getvalue()
  assert '200/200 groups' in screen.file.getvalue()
