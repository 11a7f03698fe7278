"""The scripts of examples/ run, smaller than they are, and give what they promise."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def example(name, *arguments, cwd, **environment):
  done = subprocess.run(
      [sys.executable, ROOT / 'examples' / name, *arguments], cwd=cwd, text=True,
      capture_output=True, timeout=600,
      env={**os.environ, 'PYTHONPATH': str(ROOT), **environment})
  assert done.returncode == 0, done.stderr
  return done.stdout


def levels(text):
  """NMSE in dB by method and SNR."""
  return {found[0] + found[1]: float(found[2]) for found in re.findall(
      r'^(?:(.+), )?(\d+ dB): NMSE (-?\d+\.\d+)', text, re.MULTILINE)}


def test_every_example_is_run():
  tests = ''.join(path.read_text() for path in (ROOT / 'tests').glob('test_*.py'))
  assert all(path.name in tests for path in (ROOT / 'examples').glob('*.py'))


def test_site_to_nmse(tmp_path):
  found = levels(example('site_to_nmse.py', cwd=tmp_path, STEPS='100'))
  assert found['20 dB'] < found['10 dB'] < found['0 dB'] < -1


def test_own_attention(tmp_path):
  out = example('own_attention.py', cwd=tmp_path, STEPS='20')
  assert re.search(r'^\| residual_cross \| 4 \| -?\d', out, re.MULTILINE)
  assert re.search(r'^\| half_cut \| 4 \| -?\d', out, re.MULTILINE)
  page = (tmp_path / 'own_attention' / 'report.html').read_text()
  assert 'config.model.attention' in page and page.count('data:image/png') == 4


@pytest.mark.parametrize('name, steps, said', [
    ('site_to_nmse', '100', r'20 dB: NMSE -\d'), ('own_attention', '20', r'half_cut \| 4 \| -?\d')])
def test_notebooks_that_are_made_of_them_run(tmp_path, name, steps, said):
  pytest.importorskip('jupytext')
  shutil.copy(ROOT / 'examples' / f'{name}.py', tmp_path)
  subprocess.run(
      [sys.executable, '-m', 'jupytext', '--to=ipynb', '--set-kernel=python3', '--execute',
       f'{name}.py'], cwd=tmp_path, check=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT), 'STEPS': steps})
  cells = json.loads((tmp_path / f'{name}.ipynb').read_text())['cells']
  assert cells[0]['cell_type'] == 'markdown' and len(cells) >= 3
  assert re.search(said, ''.join(
      ''.join(out.get('text', [])) for cell in cells for out in cell.get('outputs', [])))


def test_own_file(tmp_path):
  found = levels(example('own_file.py', cwd=tmp_path))
  assert found['20 dB'] < found['10 dB'] < found['0 dB'] < -1


def test_site_map(tmp_path):
  found = levels(example('site_map.py', '.', '10', cwd=tmp_path))
  assert found['site map (joint)20 dB'] < found['PCA/KLT20 dB'] - 1
  assert (tmp_path / 'site.map').is_file()


def test_onnx_halves(tmp_path):
  """With the weights that its text names, and where there is no JAX."""
  pytest.importorskip('jax2onnx')
  subprocess.run(
      [sys.executable, '-m', 'rca_jax', 'export', '--weights=rca_munet_cr16', '--format=onnx',
       '--out=halves'], cwd=tmp_path, check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
  (tmp_path / 'jax.py').write_text('raise ImportError')
  (tmp_path / 'rca_jax.py').write_text('raise ImportError')
  done = subprocess.run(
      [sys.executable, ROOT / 'examples' / 'onnx_halves.py', 'halves/rca_munet_cr16'],
      cwd=tmp_path, check=True, capture_output=True, text=True,
      env={**os.environ, 'PYTHONPATH': str(tmp_path)})
  head, *lines = done.stdout.splitlines()
  assert head == 'RCA-MUNet, 64 symbols a report, 10 dB' and 'lost' in lines[2]
  heard = [float(line.split()[3]) for line in lines if 'lost' not in line]
  assert len(heard) == 3 and max(heard) < -3
