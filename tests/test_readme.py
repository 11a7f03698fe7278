"""The commands of the README, by copy and paste, smaller than they are."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SMALLER = {
    'train': ('--config.training.pretrain.num_steps=4', '--config.training.batch_size=4'),
    'evaluate': ('--num_groups=20',),
    'references': ('--config.data.num_test_groups=20',)}
BLOCKS = re.findall(r'```\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)


def test_the_first_commands_are_targets_of_make():
  targets = re.findall(r'^make (\w+)', BLOCKS[0], re.MULTILINE)
  assert {'demo', 'test'} <= {*targets}
  made = (ROOT / 'Makefile').read_text()
  assert all(re.search(rf'^{target}:', made, re.MULTILINE) for target in targets)


def test_files_that_are_named_are_there():
  for name in re.findall(r'\]\(([^)#]+)\)|`((?:docs|rca_jax|configs|examples)/[^`]*)`',
                         (ROOT / 'README.md').read_text()):
    assert (ROOT / ''.join(name)).exists(), name


@pytest.mark.slow
def test_daily_work_runs(tmp_path):
  """One after the other: later ones use the files of those before."""
  commands = [line for line in BLOCKS[1].splitlines() if line.startswith('rca ')]
  assert len(commands) == 9
  for line in commands:
    _, name, *words = shlex.split(line)
    done = subprocess.run(
        [sys.executable, '-m', 'rca_jax', name, *words, *SMALLER.get(name, ())], cwd=tmp_path,
        text=True, capture_output=True, timeout=900, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, f'{line}\n{done.stderr}'
  assert (tmp_path / 'comparison' / 'report.html').is_file()
  assert any((tmp_path / 'runs' / 'feedback').iterdir())
