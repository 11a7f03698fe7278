import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import multihost_utils

from rca_jax.channel import to_features
from rca_jax.channel.site import SPEED_OF_LIGHT
from rca_jax.config import OptimizerConfig
from rca_jax.data.source import CsiSource, generator_source
from rca_jax.errors import InputError
from rca_jax.models.build import build_model
from rca_jax.training.optimizer import make_optimizer, make_schedule
from rca_jax.training.program import training_model
from rca_jax.training.sharding import (
  check_batch_size,
  check_same,
  data_mesh,
  over_batch,
  replicated,
)
from rca_jax.training.step import (
  TrainCall,
  TrainState,
  init_params,
  init_state,
  make_train_call,
  mse_loss,
)
from rca_jax.uplink.djscc import awgn
from rca_jax.uplink.link import AnalogueLink, CutLink

pytestmark = pytest.mark.usefixtures('quick_compilation')
# eps far above round-off: a key's bias has no gradient, and Adam would divide its noise by itself.
ADAM = OptimizerConfig(schedule='cosine', learning_rate=5e-3, warmup_steps=5, b2=0.99, eps=1e-2)


def first_state(config):
  """The state before a run of 1,000 steps."""
  optimizer = make_optimizer(ADAM, config.model.model_dim, 1000)
  return jax.jit(lambda: init_state(
      init_params(build_model(config), jax.random.key(1), (1, 2, 8, 8)), optimizer))()


def make_call(config, source, mesh):
  optimizer = make_optimizer(ADAM, config.model.model_dim, 1000)
  schedule = make_schedule(ADAM, config.model.model_dim, 1000)
  return make_train_call(build_model(config), optimizer, schedule, source, mesh)


def run(state, call, source, mesh, num_calls, snr_db=(0.0, 20.0), num_steps=2):
  state = jax.device_put(jax.tree.map(jnp.copy, state), replicated(mesh))
  arguments = jax.device_put(
      (source.arrays, jax.random.key(2), np.float32(snr_db)), replicated(mesh))
  history = []
  for _ in range(num_calls):
    state, metrics = call(state, *arguments, num_steps)
    history.append(metrics)
  return state, jax.tree.map(lambda *parts: np.concatenate(parts), *history)


def test_silent_ues_count_neither_in_the_loss_nor_in_the_nmse():
  rng = np.random.default_rng(1)
  features, features_hat = rng.normal(size=(2, 3, 2, 8, 4))
  features[0, 1] = features[2] = 0
  loss, nmse = mse_loss(jnp.asarray(features_hat), jnp.asarray(features), allow_silent=True)
  error = np.sum((features_hat - features) ** 2, (-2, -1))
  heard = np.array([error[0, 0], error[1, 0], error[1, 1]])
  np.testing.assert_allclose(loss, heard.sum() / 3, rtol=1e-5)
  energy = np.sum(features**2, (-2, -1))
  np.testing.assert_allclose(nmse, np.mean(heard / energy[energy > 0]), rtol=1e-5)
  gradient = jax.grad(lambda estimate: mse_loss(estimate, features, True)[0])(features_hat)
  silent = energy == 0
  assert np.isfinite(gradient).all() and not gradient[silent].any() and gradient[~silent].any()


def test_loss_is_summed_over_ues_and_entries_and_averaged_over_the_batch():
  rng = np.random.default_rng(0)
  features, features_hat = rng.normal(size=(2, 3, 2, 8, 4))
  loss, nmse = mse_loss(jnp.asarray(features_hat), jnp.asarray(features))
  np.testing.assert_allclose(loss, np.sum((features_hat - features) ** 2) / 3, rtol=1e-5)
  ratios = [
      [np.sum((features_hat[b, m] - features[b, m]) ** 2) / np.sum(features[b, m] ** 2)
       for m in range(2)] for b in range(3)]
  np.testing.assert_allclose(nmse, np.mean(ratios), rtol=1e-5)


class Traced(NamedTuple):
  """A compiled call of two steps on one fixed batch, and every trace of it."""

  state: TrainState
  call: TrainCall
  source: CsiSource
  traces: list


@pytest.fixture(scope='module')
def traced(tiny_config, one_device, random_csi) -> Traced:
  traces = []

  def batch(csi, key, step):
    traces.append(step)
    return csi

  source = CsiSource(jnp.asarray(random_csi[:8, :2] / np.sqrt(50)), batch)
  model = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = dataclasses.replace(tiny_config, model=model)
  return Traced(first_state(config), make_call(config, source, one_device), source, traces)


def run_traced(traced, mesh, num_calls, state=None, snr_db=(0.0, 20.0)):
  state = traced.state if state is None else state
  return run(state, traced.call, traced.source, mesh, num_calls, snr_db)


def test_overfits_one_batch_and_traces_once(traced, one_device):
  _, first = run_traced(traced, one_device, 1)
  num_traces = len(traced.traces)
  state, metrics = run_traced(traced, one_device, 250, snr_db=(20.0, 20.0))
  assert first.nmse[0] > 0.9 and metrics.nmse[-20:].mean() < 0.15
  assert len(traced.traces) == num_traces, 'the train call was traced again'
  assert int(state.step) == 500


def test_steps_do_not_depend_on_where_calls_start(traced, one_device):
  together = run_traced(traced, one_device, 4)
  state, before = run_traced(traced, one_device, 1)
  state, after = run_traced(traced, one_device, 3, state)
  metrics = jax.tree.map(lambda *parts: np.concatenate(parts), before, after)
  chex.assert_trees_all_equal(together, (state, metrics))


def test_snr_is_drawn_in_its_range(traced, one_device):
  fixed, again, spread = (
      run_traced(traced, one_device, 2, snr_db=snr_db)[1].loss
      for snr_db in ((10.0, 10.0), (10.0, 10.0), (0.0, 20.0)))
  np.testing.assert_array_equal(fixed, again)
  assert np.all(fixed != spread)


def agree_on_one_device_and_eight(config, source, one_device):
  results, start = [], first_state(config)
  with jax.default_matmul_precision('float32'):
    for mesh in (one_device, data_mesh()):
      state, metrics = run(start, make_call(config, source, mesh), source, mesh, 2)
      assert len(jax.tree.leaves(state.params)[0].devices()) == mesh.size
      results.append(jax.device_get((state.params, metrics)))
  chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-5)


def test_one_device_and_eight_agree(tiny_config, one_device):
  source = CsiSource(
      (), lambda _, key, step: jax.random.normal(key, (8, 2, 4, 8), jnp.complex64))
  model = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  agree_on_one_device_and_eight(
      dataclasses.replace(tiny_config, model=model), source, one_device)


@pytest.mark.slow
def test_one_device_and_eight_agree_on_generated_groups(tiny_config, one_device):
  """The same groups, and steps as near to each other as the groups are.

  They are two programs, so the groups differ by round-off: a path's phase is its length in
  wavelengths, and float32 rounds thousands of radians.
  """
  source, csi = generator_source(tiny_config), tiny_config.csi
  cell = (csi.cell_size_m / 2,) * 2 + (csi.bs_height_m,)
  phase = 2 * np.pi * csi.carrier_frequency_hz / SPEED_OF_LIGHT * np.linalg.norm(cell)
  tolerance = 8 * np.finfo(np.float32).eps * phase  # some operations: 0.7 %
  # Plain gradient descent: Adam would divide round-off in a small gradient by itself.
  optimizer, schedule = optax.sgd(1e-5), optax.constant_schedule(1e-5)
  network = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = dataclasses.replace(tiny_config, model=network)
  model, start = build_model(config), init_state(first_state(config).params, optimizer)
  groups, moves, losses = [], [], []
  with jax.default_matmul_precision('float32'):
    for mesh in (one_device, data_mesh()):
      draw = jax.jit(source.batch, out_shardings=over_batch(mesh))
      arrays, *keys = jax.device_put(
          (source.arrays, *jax.random.split(jax.random.key(5), 32)), replicated(mesh))
      groups.append(np.array([draw(arrays, key, 0) for key in keys]))
      call = make_train_call(model, optimizer, schedule, source, mesh)
      state, metrics = run(start, call, source, mesh, 2)
      assert len(jax.tree.leaves(state.params)[0].devices()) == mesh.size
      move = jax.tree.map(lambda after, before: np.ravel(np.asarray(after) - before),
                          jax.device_get(state.params), jax.device_get(start.params))
      moves.append(np.concatenate(jax.tree.leaves(move)))
      losses.append(metrics.loss)
  error = np.linalg.norm(groups[0] - groups[1], axis=(-2, -1))
  assert np.all(error < tolerance * np.linalg.norm(groups[0], axis=(-2, -1)))
  np.testing.assert_allclose(*losses, rtol=tolerance)
  assert np.linalg.norm(moves[0] - moves[1]) < tolerance * np.linalg.norm(moves[0])


def test_processes_that_hold_other_data_are_refused(monkeypatch):
  gathered = []
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(
      multihost_utils, 'process_allgather', lambda x: gathered.append(x) or np.array(gathered[-2:]))
  groups, key = np.ones((2, 3), np.float32), jax.random.key(0)
  for _ in range(2):
    check_same('the training data', (groups, key))
  for other in ((groups + 1, key), (groups, jax.random.key(1))):
    with pytest.raises(InputError, match='the training data differs between the processes'):
      check_same('the training data', other)


def test_batch_must_be_divisible_by_the_devices():
  with pytest.raises(InputError, match='batch_size=12 must be a multiple .* 8'):
    check_batch_size(12, data_mesh())


def first_loss(config, one_device, **options):
  """Loss of the very first step on one fixed batch of 3 UEs, and all that went into it."""
  model = dataclasses.replace(config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = dataclasses.replace(config, model=model)
  csi = jax.random.normal(jax.random.key(7), (8, 3, 4, 8), jnp.complex64)
  source = CsiSource(csi, lambda csi, key, step: csi)
  optimizer = make_optimizer(ADAM, config.model.model_dim, 1000)
  schedule = make_schedule(ADAM, config.model.model_dim, 1000)
  model, state = build_model(config), first_state(config)
  call = make_train_call(model, optimizer, schedule, source, one_device, **options)
  _, metrics = run(state, call, source, one_device, 1, num_steps=1)
  _, snr_key, *keys = jax.random.split(jax.random.fold_in(jax.random.key(2), 0), 4)
  snr_db = jax.random.uniform(snr_key, (8, 3), maxval=20.0)
  return float(metrics.loss[0]), model, state.params, to_features(csi), snr_db, keys


def test_group_sizes_share_the_batch(tiny_config, one_device):
  loss, model, params, features, snr_db, (key, _) = first_loss(
      tiny_config, one_device, group_sizes=(2, 3))
  by_hand = []
  for i, size in enumerate((2, 3)):
    groups, snr = features[i::2, :size], snr_db[i::2, :size]
    hat = jax.jit(model.apply)({'params': params}, groups, snr, jax.random.fold_in(key, i))
    by_hand.append(mse_loss(hat, groups)[0])
  np.testing.assert_allclose(loss, np.mean(by_hand), rtol=1e-5)


def test_reports_are_cut_in_training_alone(tiny_config):
  shorter = dataclasses.replace(tiny_config.training, min_symbols=4)
  config = dataclasses.replace(tiny_config, training=shorter)
  assert training_model(config).link == CutLink(awgn, 4)
  assert build_model(config).link == training_model(tiny_config).link == AnalogueLink(awgn)


def test_lost_reports_count_in_the_loss(tiny_config, one_device):
  loss, model, params, features, snr_db, (key, loss_key) = first_loss(
      tiny_config, one_device, report_loss=0.5)
  loss_key = jax.random.fold_in(loss_key, 0)
  arrived = ~jax.random.bernoulli(loss_key, 0.5, (8, 3))
  assert 0 < int(arrived.sum()) < 24
  # Which are lost has nothing to do with the noise.
  noise = jax.random.normal(key, 4096, jnp.complex64)
  lost = jax.random.bernoulli(loss_key, 0.5, 4096)
  assert max(abs(np.corrcoef(part, lost)[0, 1]) for part in (noise.real, noise.imag)) < 0.1
  hat = jax.jit(model.apply)({'params': params}, features, snr_db, key, arrived)
  np.testing.assert_allclose(loss, mse_loss(hat, features)[0], rtol=1e-5)


@pytest.mark.parametrize('changes, message', [
    ({'group_sizes': (2, 4)}, 'the largest num_ues=2'), ({'group_sizes': (1, 2)}, 'from 2 UEs on'),
    ({'group_sizes': (2, 2, 2)}, 'must be a multiple of the number'),
    ({'report_loss': 1.0}, 'below 1'), ({'min_symbols': -1}, 'must not be negative'),
    ({'min_symbols': 17}, 'a report has 16 symbols here')])
def test_impossible_trainings_are_input_errors(tiny_config, changes, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(
        tiny_config, training=dataclasses.replace(tiny_config.training, **changes))
