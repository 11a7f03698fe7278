"""The command `rca`, in the checkout and as a wheel installs it."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import rca_jax

ROOT = pathlib.Path(__file__).parents[1]


def rca(*arguments, cwd=ROOT, path=ROOT):
  return subprocess.run(
      [sys.executable, '-m', 'rca_jax', *arguments], cwd=cwd, text=True, capture_output=True,
      timeout=120, env={**os.environ, 'PYTHONPATH': str(path)})


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """A folder with rca_jax as a wheel lays it out, less its weights."""
  site = tmp_path_factory.mktemp('site')
  home = site / 'rca_jax' / 'commands'
  shutil.copytree(ROOT / 'rca_jax', site / 'rca_jax', ignore=shutil.ignore_patterns('weights'))
  for name in ('launch', 'configs'):
    shutil.copytree(ROOT / name, home / name)
  return site


@pytest.fixture
def elsewhere(tmp_path):
  """A folder of somebody whose own packages have the names of our folders."""
  for name in ('launch', 'configs'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise SystemExit("not this one")')
  return tmp_path


def test_rca_alone_lists_every_command_with_the_first_line_of_its_text():
  done = rca()
  assert done.returncode == 0 and done.stderr == ''
  sources = {path.stem: path.read_text() for path in (ROOT / 'launch').glob('*.py')}
  expected = {
      name: ast.get_docstring(ast.parse(source)).splitlines()[0]
      for name, source in sources.items() if '\n  run(main' in source}
  listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[2:])
  assert listed == expected and 'train' in listed


def test_version():
  assert rca('--version').stdout == f'rca_jax {rca_jax.__version__}\n'


@pytest.mark.parametrize('name, hint', [('trian', "did you mean 'train'?"), ('x', 'rca alone')])
def test_an_unknown_command_is_one_line(name, hint):
  done = rca(name)
  assert done.returncode == 2 and done.stdout == ''
  assert done.stderr.startswith(f"error: '{name}': no such command; ") and hint in done.stderr


@pytest.mark.parametrize(
    'config', ['rca_munet:small', 'configs/rca_munet.py:small', 'own.py:small'])
def test_configs_are_found_outside_of_a_checkout(installed, elsewhere, config):
  shutil.copy(ROOT / 'configs' / 'rca_munet.py', elsewhere / 'own.py')
  done = rca('references', f'--config={config}', '--config.seed=5', '--help_config',
             cwd=elsewhere, path=installed)
  assert done.returncode == 0, done.stderr
  assert '  --config.seed=5 ' in done.stdout and '--config.csi.scenario=uma_los ' in done.stdout


def test_a_config_that_is_nowhere_is_one_line(installed, elsewhere):
  done = rca('references', '--config=none:small', cwd=elsewhere, path=installed)
  assert done.returncode == 2 and done.stderr == (
      'error: --config=none:small: no such config file; rca_jax comes with demo, joint_bayes, '
      'rca_munet.\n')


def test_modules_of_this_folder_are_imported_before_the_command_runs(installed, elsewhere):
  (elsewhere / 'mine.py').write_text('\nraise KeyError("seen")')
  done = rca('complexity', '--import=mine', cwd=elsewhere, path=installed)
  assert done.returncode == 2 and done.stdout == ''
  assert done.stderr == f"error: --import=mine: KeyError: 'seen' ({elsewhere}/mine.py:2).\n"
