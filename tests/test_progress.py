import datetime
import io
import itertools
import math
import re

import pytest
import rich.console

from rca_jax.training import progress
from rca_jax.training.progress import MatrixProgress

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
  monkeypatch.setattr(progress, 'time', clock)
  return clock


def eta_s(line):
  found = re.search(r'ETA (\d+):(\d+):(\d+)$', line)
  return found and datetime.timedelta(**dict(zip(
      ('hours', 'minutes', 'seconds'), map(int, found.groups()), strict=True))).total_seconds()


def run_stage(matrix, clock, name, steps, groups_per_step, seconds_per_step):
  """A stage from the first of `steps` to the last, the others between its lines."""
  stage = matrix.stage(name, steps[0], steps[-1], groups_per_step)
  for before, step in itertools.pairwise(steps):
    clock.now += (step - before) * seconds_per_step
    stage.update(step, -12.345, 1e-3)
  stage.close()


def test_the_time_left_is_that_of_all_cells_and_falls(clock, capsys):
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=False)
    run_stage(matrix, clock, 'pretrain', [0, 2, 4, 6], 10, 20)
    run_stage(matrix, clock, 'finetune_10db', [0, 2, 4], 10, 20)
    clock.now += 50  # measuring
    matrix.start('reference', skipped=False)
    matrix.start('second', skipped=False)
    run_stage(matrix, clock, 'pretrain', [0, 15, 30], 10, 20)
  lines = capsys.readouterr().out.splitlines()
  assert [line.partition('  ')[0] for line in lines] == [
      'cell 1/3 first', *['first'] * 5, 'cell 2/3 reference', 'cell 3/3 second', *['second'] * 2]
  assert lines[1].startswith('first  pretrain 2/6  NMSE -12.35 dB  ETA ')
  # 2 s a group; measuring is part of the rate from then on: 250 s for 100 groups.
  assert [eta_s(line) for line in lines] == [
      None, 760, 720, 680, 640, 600, 750, 750, math.ceil(550 / 250 * 150), 0]


def test_what_is_there_already_is_no_work_and_no_speed(clock, capsys):
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=True)
    matrix.start('reference', skipped=True)
    matrix.start('second', skipped=False)
    run_stage(matrix, clock, 'pretrain', [20, 21, 25, 30], 10, 20)
  lines = capsys.readouterr().out.splitlines()
  assert lines[:3] == ['cell 1/3 first  done', 'cell 2/3 reference  done', 'cell 3/3 second']
  assert [eta_s(line) for line in lines[3:]] == [180, 100, 0]


def test_lines_are_plain_and_some_seconds_apart(clock, capsys):
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=False)
    run_stage(matrix, clock, 'pretrain', range(101), 1, 1)
  out = capsys.readouterr().out
  assert '\x1b' not in out and '\r' not in out
  assert [re.search(r'(\d+)/100', line).group(1) for line in out.splitlines()[1:]] == [
      str(step) for step in range(10, 101, 10)]


def test_a_terminal_shows_one_bar_over_all_groups(clock, monkeypatch):
  terminal = rich.console.Console(file=io.StringIO(), force_terminal=True, width=120)
  monkeypatch.setattr(progress.rich.console, 'Console', lambda: terminal)
  with MatrixProgress(CELLS) as matrix:
    matrix.start('first', skipped=True)
    matrix.start('second', skipped=False)
    done = [matrix._bar.tasks[0].completed]
    run_stage(matrix, clock, 'pretrain', [10, 20, 30], 10, 1)
    done.append(matrix._bar.tasks[0].completed)
  assert matrix._bar.tasks[0].total == 400 and done == [100, 400]
  assert 'pretrain 30/30' in terminal.file.getvalue()
