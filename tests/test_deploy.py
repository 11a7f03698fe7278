"""The commands of docs/deploy.md, as they stand there; the training has fewer steps."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import imitations
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / 'docs' / 'deploy.md').read_text()
PARTS = re.findall(r'```(python)?\n(.*?)```', TEXT, re.DOTALL)
INSTALL = 'pip install'
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


def test_every_part_is_run():
  assert [kind for kind, _ in PARTS].count('python') == 2 and len(PARTS) == 8
  assert [text for _, text in PARTS if INSTALL in text] == [
      "pip install -e '.[export]' -c constraints.txt\n"]


def test_the_page_runs_from_top_to_bottom(tmp_path):
  """Without the extra down to where it is installed."""
  h = imitations.propagation(8, 64, 32).reshape(4, 2, 32, 64)
  np.savez(tmp_path / 'h.npz', H=1e-5 * h.astype(np.complex64))
  for name in ('configs', 'examples'):
    (tmp_path / name).symlink_to(ROOT / name)
  for name, what in (('rca', '-m rca_jax'), ('python', '')):
    (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} {what} "$@"\n')
    (tmp_path / name).chmod(0o755)
  environment = os.environ | {
      'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PYTHONPATH': str(ROOT)}
  for kind, text in PARTS:
    if INSTALL in text:
      if importlib.util.find_spec('jax2onnx') is None:
        break
      continue
    text = text.replace('num_steps=2000', 'num_steps=2')
    command = [sys.executable, '-c', text] if kind else [shutil.which('bash'), '-ec', text]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, text + done.stderr
  assert np.load(tmp_path / 'fed_back' / 'csi_hat.npy').shape == h.shape
  assert (tmp_path / 'fed_back_groups' / 'feedback.png').exists()
  for path in tmp_path.glob('halves/*'):  # others may read them: no folder of this computer
    assert not any(str(home).encode() in path.read_bytes() for home in (ROOT, tmp_path))
