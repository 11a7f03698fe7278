"""A training that is killed again and again; milder faults are in test_loop, test_checkpoint."""

import dataclasses
import random
import re
import time

import pytest
from fuzz import FUZZ
from test_loop import assert_same_run, start_process, with_training

pytestmark = pytest.mark.usefixtures('quick_compilation')


def start_long(tiny_config, workdir):
  """Seconds of steps and saves, with the change of stages in the middle."""
  stage = dataclasses.replace(tiny_config.training.pretrain, num_steps=24)
  network = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = with_training(
      dataclasses.replace(tiny_config, model=network),
      pretrain=stage, finetune=stage, finetune_snr_db=(10.0,))
  return config, start_process(config, workdir)


def files(workdir):
  """Names of all, without what is random in them; orbax divides arrays into files as it likes."""
  names = sorted(str(path.relative_to(workdir)) for path in workdir.rglob('*') if path.is_file())
  arrays = {name.rpartition('/')[0] for name in names if '/d/' in name}
  others = [re.sub(r'(?<=tfevents).*', '', name) for name in names if '/d/' not in name]
  return arrays, others


def started(process, workdir):
  """Returns once the process is about to step: it then writes its stage's metrics anew."""

  def inodes():
    return {path: path.stat().st_ino for path in workdir.glob('metrics/*.jsonl')}

  before = inodes()
  while inodes() == before and process.poll() is None:
    time.sleep(0.002)


def kill(process, workdir, busy_s):
  """Kills it at a random moment; returns whether it still ran."""
  if random.random() < 0.75:
    started(process, workdir)
    time.sleep(random.uniform(0, busy_s))
  else:
    time.sleep(random.uniform(0, 10))
  running = process.poll() is None
  process.kill()
  _, errors = process.communicate()
  assert running or process.returncode == 0, errors
  return running


@pytest.mark.slow
def test_kills_change_nothing(tiny_config, tmp_path):
  whole = tmp_path / 'whole'
  config, process = start_long(tiny_config, whole)
  started(process, whole)
  began = time.monotonic()
  assert process.wait(timeout=600) == 0, process.stderr.read()
  busy_s = time.monotonic() - began
  left, runs = [], 0
  while len(left) < 6 * FUZZ:
    workdir, runs = tmp_path / f'killed_{runs}', runs + 1
    while kill(start_long(tiny_config, workdir)[1], workdir, busy_s):
      left.append(' '.join(sorted(
          f'{path.parent.name}/{path.name}' for path in workdir.glob('checkpoints/*/*'))))
    assert_same_run(config, workdir, whole)
    assert files(workdir) == files(whole)
  print(f'{len(left)} kills in {runs} runs; what they left:', *left, sep='\n')
