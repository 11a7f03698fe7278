import dataclasses
import json
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from configs import rca_munet
from launch.main import parse_flags
from rca_jax.config import ExperimentConfig, from_dict, stages
from rca_jax.errors import InputError
from rca_jax.evaluation.run import evaluate_run
from rca_jax.models.build import build_model
from rca_jax.training.loop import fit

pytestmark = pytest.mark.usefixtures('quick_compilation')
ROOT = pathlib.Path(__file__).parents[1]


def parse(*arguments):
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  with mock.patch.object(sys, 'argv', ['program', *arguments]):  # where config_flags looks
    parse_flags(sys.argv, values)
  return values


def get_config(variant=''):
  return from_dict(ExperimentConfig, rca_munet.get_config(variant).to_dict())


def test_the_default_config_is_the_papers():
  assert get_config() == ExperimentConfig()


@pytest.mark.parametrize('variant', [
    '', 'small', 'light', 'cr=1/16,users=4', 'small,attention=self',
    'small,attention=residual_self'])
def test_every_variant_can_be_trained(variant):
  config = get_config(variant)
  build_model(config)
  assert stages(config)
  assert config.num_ues == (4 if 'users' in variant else 2)
  assert (config.csi.num_tx_antennas == 16) == ('small' in variant)


@pytest.mark.parametrize('variant, message', [
    ('tiny', "variant 'tiny' is unknown; the keys are cr=RATIO"),
    ('small=1', "variant 'small=1' is unknown"),
    ('cr', "variant 'cr' is unknown"),
    ('users=two', 'users must be a number'),
    ('small,light', "'small,light' gives its size twice"),
    ('users=1', 'num_ues=1: multi-user feedback needs at least 2'),
    ('cr=1/7', 'k must be an even integer'),
])
def test_wrong_variants_are_told_in_one_line(variant, message):
  with pytest.raises(InputError, match=message) as error:
    parse(f'--config=configs/rca_munet.py:{variant}')
  assert '\n' not in str(error.value)


def test_fields_are_overridden_by_flags():
  values = parse(
      '--config=configs/rca_munet.py:small', '--config.training.finetune_snr_db=10,20',
      '--config.model.num_heads=2', '--config.training.pretrain.optimizer.eps=1e-3')
  config = from_dict(ExperimentConfig, values.config.to_dict())
  assert config.training.finetune_snr_db == (10.0, 20.0)
  assert config.model.num_heads == 2
  assert config.training.pretrain.optimizer.eps == 1e-3


@pytest.mark.parametrize('arguments, message', [
    (['--config=configs/rca_munet.py', '--config.nope=1'],
     "--config.nope=1: the config has no field 'nope'"),
    (['--config=configs/rca_munet.py', '--config.model.nope.deep=1'],
     "--config.model.nope.deep=1: the config has no field 'nope'"),
    (['--config=configs/rca_munet.py', '--config.training.batchsize=1'],
     "batchsize=1: the config has no field 'batchsize'; did you mean 'batch_size'?"),
    (['--config=configs/rca_munet.py', '--config.trainin.batch_size=1'],
     "--config.trainin.batch_size=1: .* no field 'trainin'; did you mean 'training'?"),
    (['--config=configs/rca_munet.py', '--config.seed=one'], 'config.seed=one: invalid literal'),
    (['--config=configs/none.py', '--config.seed=1'], 'configs/none.py: no such config file'),
    (['--nope'], "Unknown command line flag 'nope'"),
    (['word'], "unexpected argument 'word'"),
])
def test_wrong_flags_are_told_in_one_line(arguments, message):
  with pytest.raises(InputError, match=message) as error:
    parse(*arguments)
  assert '\n' not in str(error.value)


def launch(name, *arguments):
  return subprocess.run(
      [sys.executable, '-m', f'launch.{name}', *arguments], cwd=ROOT, capture_output=True,
      text=True, timeout=120)


@pytest.mark.parametrize('name, arguments, message', [
    ('train', ['--config=configs/none.py', '--workdir={tmp}'], 'configs/none.py: no such config'),
    ('train', ['--config=configs/rca_munet.py', '--workdir={tmp}', '--multihost'],
     '--multihost: no coordinator'),
    ('train', ['--config=configs/rca_munet.py', '--workdir={tmp}', '--config.data.path={tmp}/a'],
     'a: no such file'),
    ('evaluate', ['--workdir={tmp}'], 'has no config.json'),
    ('evaluate', [], 'give --workdir=FOLDER of a run or --weights=NAME, one of them'),
    ('evaluate', ['--weights=none'], 'none: no such weights'),
    ('evaluate', ['--weights=bl1_cr16', '--snr_db=inf'], 'snr_db=inf: expected a number of dB'),
    ('evaluate', ['--weights=bl1_cr16', '--out={tmp}'], 'is a folder; give the file'),
    ('generate', ['--out={tmp}', '--csi.num_tx=8'], "--csi.num_tx=8: the config has no field"),
    ('complexity', ['--num_ues=1'], 'num_ues=1'),
    ('compile_tpu', ['--config=configs/rca_munet.py', '--topology=v9:2x2'], "'v9:2x2' is unknown"),
])
def test_a_launcher_prints_one_line_and_exits_with_2(tmp_path, name, arguments, message):
  done = launch(name, *(argument.format(tmp=tmp_path) for argument in arguments))
  assert done.returncode == 2
  assert done.stdout == ''
  assert done.stderr.startswith('error: ') and message in done.stderr
  assert done.stderr.count('\n') == 1


@pytest.fixture(scope='module')
def trained(tiny_config, random_csi, one_device, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained')
  np.savez(workdir / 'groups.npz', csi=random_csi)
  path = str(workdir / 'groups.npz')
  config = dataclasses.replace(
      tiny_config, data=dataclasses.replace(tiny_config.data, path=path, test_path=path),
      model=dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0),
      training=dataclasses.replace(tiny_config.training, finetune_snr_db=(10.0,)))
  fit(config, workdir, one_device)
  return workdir


def test_evaluation_appends_rows(trained):
  done = launch('evaluate', f'--workdir={trained}', '--snr_db=0,10', '--num_ues=2,3')
  assert done.returncode == 0 and done.stderr == '', done.stderr
  rows = json.loads((trained / 'results.json').read_text())
  assert [(row['num_ues'], row['snr_db']) for row in rows] == [(2, 0), (2, 10), (3, 0), (3, 10)]
  for row in rows:
    assert set(row) == {
        'method', 'compression_ratio', 'num_ues', 'snr_db', 'data', 'seed', 'nmse_db',
        'nmse_ci95_db', 'rho', 'rho_ci95', 'sgcs', 'sgcs_ci95', 'num_samples', 'steps', 'commit',
        'device', 'trained_ues', 'overhead', 'stage'}
    assert row['overhead'] == 16 and row['trained_ues'] == [2] and row['stage'] == 'pretrain'
    assert row['data'] == 'groups.npz' and row['steps'] == 8 and row['num_samples'] == 12
    assert row['nmse_ci95_db'][0] <= row['nmse_db'] <= row['nmse_ci95_db'][1]
    assert f'{row["nmse_db"]:.2f}' in done.stdout


def test_evaluation_keeps_what_it_has_measured(trained, tmp_path):
  out = tmp_path / 'rows.json'
  arguments = (f'--workdir={trained}', '--snr_db=10', f'--out={out}')
  done = launch('evaluate', *arguments)  # as many UEs as in training
  assert done.returncode == 0, done.stderr
  done = launch('evaluate', *arguments, '--num_ues=3,9')
  assert done.returncode == 2 and 'num_ues=9 needs at least as many' in done.stderr
  assert [row['num_ues'] for row in json.loads(out.read_text())] == [2, 3]


def test_exported_weights_measure_as_their_run(trained, tmp_path):
  done = launch(
      'export', f'--workdir={trained}', '--name=tuned', f'--out={tmp_path}', '--finetuned_at_db=10')
  assert done.returncode == 0 and 'tuned.safetensors: 16 steps' in done.stdout, done.stderr
  done = launch(
      'evaluate', '--weights=tuned', f'--folder={tmp_path}', '--snr_db=10',
      f'--out={tmp_path / "rows.json"}')
  assert done.returncode == 0 and done.stderr == '', done.stderr
  of_run, = evaluate_run(trained, [10.0], [2], stage='finetune')
  assert json.loads((tmp_path / 'rows.json').read_text()) == [of_run]


def test_finetuned_weights_are_measured_at_their_snr(trained):
  row, = evaluate_run(trained, [10.0], [2], stage='finetune', num_groups=5)
  assert row['steps'] == 16 and row['num_samples'] == 5
  with pytest.raises(InputError, match='finetune_0db: holds no checkpoint .stages there: finetune'):
    list(evaluate_run(trained, [0.0], [2], stage='finetune'))


def test_one_ue_or_too_many_cannot_be_measured(trained):
  with pytest.raises(InputError, match='num_ues=1'):
    list(evaluate_run(trained, [10.0], [1]))
  with pytest.raises(InputError, match='have 3 UEs, num_ues=4'):
    list(evaluate_run(trained, [10.0], [4]))
