import dataclasses
import pathlib
import re

import pytest

from rca_jax.models.attention import ATTENTION
from rca_jax.training import loop
from rca_jax.training.writer import read_metrics

USE = (pathlib.Path(__file__).parents[1] / 'docs' / 'use.md').read_text()
SCRIPTS = re.findall(r'```python\n(.*?)```', USE, re.DOTALL)

pytestmark = pytest.mark.usefixtures('quick_compilation')


def script_with(word):
  (script,) = [script for script in SCRIPTS if word in script]
  return compile(script, 'use.md', 'exec')


def test_every_script_is_tested():
  assert len(SCRIPTS) == 3


@pytest.mark.slow
def test_generated_groups_go_through_published_weights():
  names = {}
  exec(script_with('sample_groups'), names)
  assert names['features'].shape == (16, 4, 32, 64)
  exec(script_with('load_pretrained'), names)
  assert names['features_hat'].shape == (16, 4, 32, 64)


def test_a_users_attention_trains(file_config, one_device, tmp_path, monkeypatch):
  code = script_with('half_cut')
  runs = []

  def tiny_fit(config, workdir):
    # The script's own config, at the tests' size.
    small = dataclasses.replace(
        file_config, method=config.method,
        model=dataclasses.replace(file_config.model, attention=config.model.attention),
        training=dataclasses.replace(file_config.training, finetune_snr_db=()))
    fit(small, tmp_path / workdir, one_device)
    runs.append(workdir)

  fit = loop.fit
  monkeypatch.setattr(loop, 'fit', tiny_fit)
  names = {}
  try:
    exec(code, names)
    assert ATTENTION['half_cut'].attention_fn is names['half_cut']
  finally:
    ATTENTION.pop('half_cut', None)
  assert runs == ['runs/half_cut']
  lines = read_metrics(tmp_path / 'runs' / 'half_cut')
  assert lines[-1]['step'] == 8
