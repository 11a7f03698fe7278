import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
from test_checkpoint import cut

from rca_jax.channel import CsiGroups
from rca_jax.config import stage_name, stages, to_dict
from rca_jax.data.dataset import write_shards
from rca_jax.errors import InputError, Stopped
from rca_jax.evaluation.rows import Measurement, TestData, config_hash, describe
from rca_jax.evaluation.run import load_params
from rca_jax.training import loop
from rca_jax.training.loop import fit
from rca_jax.training.pretrained import save_pretrained
from rca_jax.training.progress import Progress
from rca_jax.training.sharding import data_mesh
from rca_jax.training.workdir import claim, locked
from rca_jax.training.writer import MetricsWriter, read_metrics

pytestmark = pytest.mark.usefixtures('quick_compilation', 'shared_programs')
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def config(file_config):
  return file_config


def with_training(config, **changes):
  return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def weights(config, workdir):
  return {
      stage.name: jax.device_get(load_params(workdir, config, stage.name)[0])
      for stage in stages(config)}


def metrics(workdir):
  return {path.name: path.read_text() for path in (workdir / 'metrics').iterdir()}


_weights_of_whole = functools.cache(weights)


def assert_same_run(config, workdir, whole):
  chex.assert_trees_all_equal(weights(config, workdir), _weights_of_whole(config, whole))
  assert metrics(workdir) == metrics(whole)


def test_leaves_config_checkpoints_and_metrics(config, finished):
  # JSON has no tuples.
  assert json.loads((finished / 'config.json').read_text()) == json.loads(
      json.dumps(to_dict(config)))
  assert sorted(path.name for path in (finished / 'checkpoints').iterdir()) == [
      'finetune_10db', 'finetune_2.5db', 'pretrain']
  lines = read_metrics(finished)
  assert [(line['stage'], line['step']) for line in lines] == [
      (stage, step) for stage in ('pretrain', 'finetune_10db', 'finetune_2.5db')
      for step in (2, 4, 6, 8)]
  for line in lines:
    assert set(line) == {
        'stage', 'step', 'loss', 'nmse_db', 'gradient_norm', 'learning_rate'}
    # In a group of 2 UEs of N_a * N_t = 32 unit-power entries each, the loss is 64 NMSE.
    np.testing.assert_allclose(line['loss'], 64 * 10 ** (line['nmse_db'] / 10), rtol=1e-4)


def test_every_finetuning_starts_from_the_pretrained_weights(config, finished):
  found = weights(config, finished)
  chex.assert_trees_all_close(found['finetune_10db'], found['pretrain'], atol=0.05)
  kernels = {name: params['decoder']['expand']['kernel'] for name, params in found.items()}
  assert not np.array_equal(kernels['finetune_10db'], kernels['pretrain'])
  assert not np.array_equal(kernels['finetune_10db'], kernels['finetune_2.5db'])


def test_a_finished_run_is_left_as_it_is(config, finished, one_device):
  before = metrics(finished)
  fit(config, finished, one_device, make_progress=None)  # no stage starts
  assert metrics(finished) == before


class At:
  """Stands in for the metrics writer: calls `fault` once a line is written."""

  def __init__(self, stage, step, fault=lambda: os.kill(os.getpid(), signal.SIGTERM)):
    self._at, self._fault = (stage, step), fault

  def __call__(self, workdir, stage, step):
    writer = MetricsWriter(workdir, stage, step)
    write = writer.write

    def write_and_fail(step, metrics):
      write(step, metrics)
      if (stage, step) == self._at:
        self._fault()

    writer.write = write_and_fail
    return writer


def fit_until(monkeypatch, stage, step, config, workdir, device):
  """A run that ends at a step without a word, as after SIGKILL."""

  def fault():
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(loop, 'MetricsWriter', At(stage, step, fault))
    fit(config, workdir, device)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_next_run_continues(
    config, finished, one_device, tmp_path, monkeypatch, signum):
  handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with monkeypatch.context() as patch, pytest.raises(Stopped) as stop:
    patch.setattr(loop, 'MetricsWriter', At(
        'finetune_10db', 2, lambda: os.kill(os.getpid(), signum)))
    fit(config, tmp_path, one_device)
  assert str(stop.value) == (
      'stopped at step 4 of 8 (finetune_10db); the same command goes on from there')
  assert stop.value.signum == signum
  assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
  assert len(read_metrics(tmp_path)) < len(read_metrics(finished))
  fit(config, tmp_path, one_device)
  assert_same_run(config, tmp_path, finished)


@pytest.mark.parametrize('stage', ['pretrain', 'finetune_10db'])
def test_a_stage_that_goes_back_ends_in_the_files_of_an_uninterrupted_run(
    config, finished, one_device, tmp_path, monkeypatch, stage):
  workdir = tmp_path / 'run'
  shutil.copytree(finished, workdir)
  cut(workdir / 'checkpoints' / stage / '8')
  with monkeypatch.context() as patch:
    patch.setattr(loop, 'MetricsWriter', At(stage, 6))
    fit(config, workdir, one_device, on_damaged='previous')
  fit(config, workdir, one_device, on_damaged='previous')
  assert_same_run(config, workdir, finished)
  assert (workdir / 'checkpoints' / stage / '8.damaged').exists()


class Broken(Progress):
  """Its reader goes away after step 2, as that of `launch.train | head`."""

  def update(self, *_):
    raise BrokenPipeError


def test_a_closed_pipe_saves_and_the_next_run_continues(config, finished, one_device, tmp_path):
  with pytest.raises(BrokenPipeError):
    fit(config, tmp_path, one_device, make_progress=Broken)
  assert (tmp_path / 'checkpoints' / 'pretrain' / '4').exists()
  fit(config, tmp_path, one_device)
  assert_same_run(config, tmp_path, finished)


def test_only_writes_are_reported_as_writes(config, one_device, tmp_path):

  def fails(*_):
    raise OSError(errno.EIO, 'Input/output error')

  with pytest.raises(OSError, match='^.Errno 5. Input/output error$'):
    fit(config, tmp_path, one_device, make_progress=fails)


@pytest.mark.parametrize('num_bytes, message', [
    (2000, 'pretrain: the checkpoint of step 8 cannot be written .*; the last one is of step 4'),
    (10, 'cannot be written .File too large.; checkpoints are kept')])  # metrics do not fit either
def test_a_full_disk_is_reported_and_the_next_run_continues(
    config, finished, one_device, tmp_path, monkeypatch, num_bytes, message):
  free = resource.getrlimit(resource.RLIMIT_FSIZE)
  fill = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (num_bytes, free[1]))
  try:
    with monkeypatch.context() as patch, pytest.raises(InputError, match=message) as error:
      patch.setattr(loop, 'MetricsWriter', At('pretrain', 6, fill))
      fit(config, tmp_path, one_device)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
  assert '\n' not in str(error.value)
  fit(config, tmp_path, one_device)
  assert_same_run(config, tmp_path, finished)


def flags_of(values, prefix='--config'):
  for name, value in values.items():
    if isinstance(value, dict):
      yield from flags_of(value, f'{prefix}.{name}')
    else:
      yield f'{prefix}.{name}={value}'


def start_process(config, workdir, *more):
  command = [
      sys.executable, '-m', 'launch.train', '--config=configs/rca_munet.py',
      f'--workdir={workdir}', *flags_of(to_dict(config)), *more]
  return subprocess.Popen(
      command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'})


def test_a_run_that_ends_without_saving_goes_on_from_its_last_checkpoint(
    config, finished, one_device, tmp_path, monkeypatch):
  """As after SIGKILL: half a line of metrics and half a checkpoint are left."""
  fit_until(monkeypatch, 'finetune_10db', 6, config, tmp_path, one_device)
  checkpoints = tmp_path / 'checkpoints' / 'finetune_10db'
  assert [path.name for path in checkpoints.iterdir()] == ['4']
  (checkpoints / '6.orbax-checkpoint-tmp').mkdir()
  with open(tmp_path / 'metrics' / 'finetune_10db.jsonl', 'a') as file:
    file.write('{"stage": "finetune_10db", "st')
  fit(config, tmp_path, one_device)
  assert_same_run(config, tmp_path, finished)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(config, one_device, tmp_path):
  """Killed at a random moment of its first half; test_faults does it on generated groups."""
  stage = dataclasses.replace(config.training.pretrain, num_steps=48)
  config = with_training(config, pretrain=stage, finetune_snr_db=())
  killed, whole = tmp_path / 'killed', tmp_path / 'whole'
  at = random.randrange(4, 24, 4)
  process = start_process(config, killed)
  while not (killed / 'checkpoints' / 'pretrain' / str(at)).exists():
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.002)
  time.sleep(random.uniform(0, 0.1))
  assert process.poll() is None, 'the run ended before it could be killed'
  process.kill()
  process.communicate()
  fit(config, killed, one_device)
  fit(config, whole, one_device)
  assert_same_run(config, killed, whole)


def test_divergence_stops_with_the_step_and_saves_nothing(config, one_device, tmp_path):
  # Growing weights reach infinity after some steps.
  optimizer = dataclasses.replace(config.training.pretrain.optimizer, learning_rate=1e19)
  stage = dataclasses.replace(config.training.pretrain, optimizer=optimizer)
  config = with_training(config, pretrain=stage)
  with pytest.raises(
      FloatingPointError,
      match=r'diverged at step \d+: loss .*gradient norm .*rate .*last checkpoint at step none'):
    fit(config, tmp_path, one_device)
  assert not any((tmp_path / 'checkpoints' / 'pretrain').iterdir())


def test_training_starts_from_the_weights_that_are_named(config, finished, one_device, tmp_path):
  params = weights(config, finished)['pretrain']
  save_pretrained('mine', tmp_path / 'weights', config, params, 'pretrain', 8)
  named = with_training(config, init_weights=f'{tmp_path}/weights/mine')
  # Nothing but fine-tuning: as if the first stage had been this run's.
  tuning = with_training(named, pretrain=dataclasses.replace(named.training.pretrain, num_steps=0))
  fit(tuning, tmp_path / 'tuning', one_device)
  assert not (tmp_path / 'tuning/checkpoints/pretrain').exists()
  stage = stage_name(config.training.finetune_snr_db[0])
  chex.assert_trees_all_equal(
      weights(tuning, tmp_path / 'tuning')[stage], weights(config, finished)[stage])
  fit(named, tmp_path / 'longer', one_device)
  longer = weights(named, tmp_path / 'longer')['pretrain']
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(longer, params)
  # What others get says which weights these were, not where they were.
  exported = save_pretrained('longer', tmp_path / 'exported', named, longer, 'pretrain', 8)
  assert str(tmp_path).encode() not in exported.read_bytes()
  row = describe(named, Measurement(10.0), 8, TestData('some', '0' * 12))
  assert row['init_weights'] == 'mine'
  moved = with_training(config, init_weights='elsewhere/mine')
  assert row['cell'] == config_hash(moved) != config_hash(config)
  # They are read once: a run that has begun needs them no more.
  shutil.rmtree(tmp_path / 'weights')
  fit(tuning, tmp_path / 'tuning', one_device)
  with pytest.raises(InputError, match='weights/manifest.json: cannot be read'):
    fit(tuning, tmp_path / 'anew', one_device)


def test_weights_to_start_from_must_fit(config, finished, one_device, tmp_path):
  named = with_training(config, init_weights=f'{tmp_path}/weights/mine')
  for changes, message in (
      ({'num_heads': 4}, 'model.num_heads is 4 there, 2 in this .*=4.'),
      ({'shortcut': True}, 'model.shortcut is True there, False in this .*; add .*=True.')):
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, **changes))
    shutil.rmtree(tmp_path / 'weights', ignore_errors=True)
    params = weights(config, finished)['pretrain']  # the same shapes
    save_pretrained('mine', tmp_path / 'weights', other, params, 'pretrain', 8)
    with pytest.raises(InputError, match=message):
      fit(named, tmp_path / 'run', one_device)
  with pytest.raises(InputError, match='rca_munet_cr16: .* model.compression_ratio is 1/16 there'):
    fit(with_training(config, init_weights='rca_munet_cr16'), tmp_path / 'run', one_device)
  stage = dataclasses.replace(config.training.pretrain, num_steps=0)
  nothing = with_training(
      config, init_weights='rca_munet_cr16', pretrain=stage, finetune_snr_db=())
  with pytest.raises(InputError, match='nothing is to be trained'):
    fit(nothing, tmp_path / 'run', one_device)
  with pytest.raises(InputError, match='weights/manifest.json|no such weights'):
    fit(with_training(config, init_weights=f'{tmp_path}/weights/'), tmp_path / 'run', one_device)


def test_a_workdir_of_another_config_is_refused(config, finished, one_device):
  other = dataclasses.replace(config, num_ues=3)
  with pytest.raises(InputError, match='config.num_ues is 2 there, 3 in this run'):
    fit(other, finished, one_device)


def test_before_the_first_checkpoint_another_config_may_take_the_workdir(
    config, finished, one_device, tmp_path, monkeypatch):
  stage = dataclasses.replace(config.training.pretrain, snr_db_max=0.0)
  fit_until(
      monkeypatch, 'pretrain', 2, with_training(config, pretrain=stage), tmp_path, one_device)
  assert read_metrics(tmp_path)[0]['loss'] != read_metrics(finished)[0]['loss']
  fit(config, tmp_path, one_device)
  assert_same_run(config, tmp_path, finished)


def test_a_workdir_in_use_is_refused(config, one_device, tmp_path):
  with locked(tmp_path / '.lock'):
    with pytest.raises(InputError, match='another run is writing'):
      fit(config, tmp_path, one_device)


def test_an_unwritable_workdir_is_refused(config, one_device, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be written .*; choose another --workdir'):
    fit(config, tmp_path / 'file' / 'run', one_device)


def test_a_damaged_config_json_is_refused(config, one_device, tmp_path):
  (tmp_path / 'config.json').write_text('{"method": ')
  with pytest.raises(InputError, match='not a readable config'):
    fit(config, tmp_path, one_device)


def shorter(config, num_steps, warmup_steps):
  """Pretraining alone."""
  stage = config.training.pretrain
  optimizer = dataclasses.replace(stage.optimizer, warmup_steps=warmup_steps)
  return with_training(
      config, finetune_snr_db=(),
      pretrain=dataclasses.replace(stage, num_steps=num_steps, optimizer=optimizer))


def test_any_number_of_steps_will_do_and_the_start_line_says_what_was_shortened(
    config, one_device, tmp_path, capsys):
  short = shorter(config, num_steps=7, warmup_steps=50)
  config = with_training(short, checkpoint_every_steps=3, num_checkpoints_kept=9)
  fit(config, tmp_path, one_device)
  assert [line['step'] for line in read_metrics(tmp_path)] == [2, 4, 6, 7]
  saved = sorted(path.name for path in (tmp_path / 'checkpoints' / 'pretrain').iterdir())
  assert saved == ['4', '6', '7']  # the ends of the calls that reach 3, 6 and the end
  assert capsys.readouterr().err.splitlines()[0] == (
      f'pretrain: starts, 7 steps of 8 groups; 12 groups of {config.data.path}, 4.667 epochs; '
      'warm-up shortened to 3 steps')


@pytest.mark.parametrize('num_steps, expected', [(1, 1), (20, 10), (50, 25), (51, 50), (80, 50)])
def test_a_warm_up_longer_than_its_stage_is_shortened(config, num_steps, expected):
  stage, = stages(shorter(config, num_steps, warmup_steps=50))
  assert stage.config.optimizer.warmup_steps == expected


@pytest.fixture(scope='module')
def with_val(file_config, random_csi, tmp_path_factory):
  """`file_config` on a data set folder with a val split."""
  folder = tmp_path_factory.mktemp('data_set')
  shape = random_csi.shape[:2]
  groups = CsiGroups(
      random_csi, np.zeros((*shape, 3), np.float32), np.ones(shape, bool),
      np.ones(shape, np.float32))
  write_shards(
      folder, {}, [('train', lambda: groups), ('val', lambda: groups)], progress=lambda _: None)
  return dataclasses.replace(
      shorter(file_config, num_steps=8, warmup_steps=2),
      data=dataclasses.replace(file_config.data, path=str(folder), test_path=''))


def test_the_val_split_is_scored_at_every_checkpoint(
    with_val, config, one_device, tmp_path, capsys):
  fit(with_val, tmp_path / 'val', one_device)
  assert '; 12 groups of its val split scored at every checkpoint' in capsys.readouterr().err
  found = {line['step']: line.get('val_nmse_db') for line in read_metrics(tmp_path / 'val')}
  assert found[2] is None and found[6] is None and found[8] < found[4]
  # They are the training's own groups, which the last steps saw under other noise.
  np.testing.assert_allclose(found[8], read_metrics(tmp_path / 'val')[-1]['nmse_db'], atol=0.5)
  # Looking at it changes nothing.
  fit(shorter(config, num_steps=8, warmup_steps=2), tmp_path / 'without', one_device)
  for with_it, without in zip(
      *map(read_metrics, (tmp_path / 'val', tmp_path / 'without')), strict=True):
    assert without == {name: with_it[name] for name in without}


def test_no_key_is_used_twice_and_steps_move_nothing_by_themselves(
    with_val, one_device, tmp_path, monkeypatch):

  def make_guarded(*arguments, of=loop.make_program):
    program = of(*arguments)
    return program._replace(
        call=jax.transfer_guard('disallow')(program.call),
        validate=jax.transfer_guard('disallow')(program.validate))

  monkeypatch.setattr(loop, 'make_program', make_guarded)
  with jax.debug_key_reuse(True):
    fit(with_val, tmp_path, one_device)
  assert read_metrics(tmp_path)[-1]['step'] == 8


def run_two_processes(config, workdir, *more, expected=0):
  """Returns what each said on stderr."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  processes = [
      start_process(
          config, workdir, '--multihost', f'--coordinator_address={address}',
          '--num_processes=2', f'--process_id={index}', *more)
      for index in range(2)]
  try:
    errors = [process.communicate(timeout=300)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [expected] * 2, errors
  return errors


@pytest.fixture(scope='module')
def insensitive(file_config):
  """eps far above round-off, or Adam divides the noise of vanishing gradients by itself."""
  stage = file_config.training.pretrain
  optimizer = dataclasses.replace(stage.optimizer, eps=1e-2)
  return with_training(
      file_config, pretrain=dataclasses.replace(stage, optimizer=optimizer), finetune_snr_db=())


def assert_same_curve(config, *workdirs):
  first, *others = [[line['loss'] for line in read_metrics(workdir)] for workdir in workdirs]
  for losses in others:
    np.testing.assert_allclose(losses, first, rtol=1e-5)
  first, *others = [weights(config, workdir) for workdir in workdirs]
  for params in others:
    chex.assert_trees_all_close(params, first, atol=1e-5)


@contextlib.contextmanager
def full_compilation():
  """XLA's optimizations on: without them one CPU device rounds otherwise than several do."""
  with pytest.MonkeyPatch.context() as patch:
    patch.delenv('JAX_DISABLE_MOST_OPTIMIZATIONS')
    jax.config.update('jax_disable_most_optimizations', False)
    try:
      yield
    finally:
      jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture(scope='module')
def two_processes(insensitive, tmp_path_factory):
  """The folder of an uninterrupted run; to be read only."""
  workdir = tmp_path_factory.mktemp('two_processes')
  with full_compilation():
    run_two_processes(insensitive, workdir)
  return workdir


def slow_in_two_processes(test):
  """Its tests go to one worker, which has `two_processes`."""
  return pytest.mark.slow(pytest.mark.xdist_group('two_processes')(full_compilation()(test)))


@slow_in_two_processes
def test_two_processes_agree_with_one_device(insensitive, two_processes, one_device, tmp_path):
  fit(insensitive, tmp_path, one_device)
  assert_same_curve(insensitive, tmp_path, two_processes)


@slow_in_two_processes
def test_a_checkpoint_of_eight_devices_goes_on_with_one_and_with_two_processes(
    insensitive, one_device, tmp_path, monkeypatch):
  whole, to_one, to_two = (tmp_path / name for name in ('whole', 'to_one', 'to_two'))
  fit(insensitive, whole, data_mesh())
  with monkeypatch.context() as patch, pytest.raises(Stopped):
    patch.setattr(loop, 'MetricsWriter', At('pretrain', 2))
    fit(insensitive, to_one, data_mesh())
  assert len(read_metrics(to_one)) < len(read_metrics(whole))
  shutil.copytree(to_one, to_two)
  fit(insensitive, to_one, one_device)
  run_two_processes(insensitive, to_two)
  assert_same_curve(insensitive, whole, to_one, to_two)


@slow_in_two_processes
def test_two_processes_are_refused_together(insensitive, tmp_path):
  claim(tmp_path, dataclasses.replace(insensitive, seed=5))  # which process 0 alone sees
  (tmp_path / 'checkpoints' / 'pretrain' / '4').mkdir(parents=True)
  first, second = run_two_processes(insensitive, tmp_path, expected=2)
  assert re.fullmatch('error: .*config.seed is 5 there, 0 in this run.*', first.splitlines()[-1])
  assert second == 'error: another process of this run stopped; its line says why.\n'


@slow_in_two_processes
def test_two_processes_stop_at_a_damaged_checkpoint_or_go_back_together(
    insensitive, two_processes, tmp_path):
  damaged = tmp_path / 'damaged'
  shutil.copytree(two_processes, damaged)
  cut(damaged / 'checkpoints' / 'pretrain' / '8')
  for error in run_two_processes(insensitive, damaged, expected=2):
    assert re.fullmatch(
        r'error: .*/8: .* damaged .*step 4 is whole.*=previous.*', error.splitlines()[-1]), error
  first, second = run_two_processes(insensitive, damaged, '--on_damaged_checkpoint=previous')
  assert first.count('warning: ') == 1 and second == ''
  assert_same_run(insensitive, damaged, two_processes)
  assert sorted(path.name for path in (damaged / 'checkpoints' / 'pretrain').iterdir()) == [
      '4', '8', '8.damaged']


@pytest.mark.slow
@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_with_its_code_after_a_checkpoint(config, tmp_path, signum):
  stage = dataclasses.replace(config.training.pretrain, num_steps=10_000)
  process = start_process(with_training(config, pretrain=stage), tmp_path)
  while not list((tmp_path / 'checkpoints').glob('pretrain/*')):
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.01)
  process.send_signal(signum)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 128 + signum
  step = max(int(path.name) for path in (tmp_path / 'checkpoints' / 'pretrain').iterdir())
  assert error.splitlines()[-1] == (
      f'stopped at step {step} of 10000 (pretrain); the same command goes on from there')
