import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.evaluation import evaluate as evaluation
from rca_jax.evaluation.evaluate import Scores, evaluate, summarise
from rca_jax.evaluation.rows import Measurement
from rca_jax.evaluation.run import measure
from rca_jax.models.attention import ATTENTION, Variant, dot_product, own_embedding, residual_cut
from rca_jax.training.program import abstract_params

pytestmark = pytest.mark.usefixtures('quick_compilation')
KEY = jax.random.key(0)


def shrink(gain, csi, keys, active):
  """NMSE (1 - gain)^2, cosine similarity 1."""
  return gain * csi


@jax.jit
def noisy(snr_db, csi, keys, active):
  """Adds what an SNR leaves, drawn from the key of every report."""
  draw = functools.partial(jax.random.normal, shape=csi.shape[2:], dtype=jnp.complex64)
  return csi + 10 ** (-snr_db / 20) * jax.vmap(jax.vmap(draw))(keys)


def heard(csi, keys, active):
  """Nine tenths of the CSI of UEs that were heard; nonsense for the others."""
  return jnp.where(active[..., None, None], 0.9 * csi, 7)


@pytest.fixture(scope='module')
def csi(random_csi):
  return random_csi / np.sqrt(np.mean(np.abs(random_csi) ** 2, axis=(-2, -1), keepdims=True))


@pytest.fixture(scope='module')
def network(tiny_config, csi, tmp_path_factory):
  """A config with a file of test groups, and weights: all that `measure` needs."""
  path = tmp_path_factory.mktemp('data') / 'groups.npz'
  np.savez(path, csi=csi)
  config = dataclasses.replace(
      tiny_config, data=dataclasses.replace(tiny_config.data, path=str(path), test_path=str(path)),
      model=dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype) / 4, abstract_params(config))
  return config, {'pretrain': (params, 8)}


def test_known_estimate_has_known_scores(csi):
  scores = evaluate(functools.partial(shrink, 0.9), csi, KEY)
  row = summarise(scores, 0)
  assert scores.nmse.shape == (12,) and row['num_samples'] == 12
  np.testing.assert_allclose(row['nmse_db'], -20, atol=1e-3)
  np.testing.assert_allclose([row['rho'], row['sgcs']], 1, atol=1e-5)


def test_the_snr_and_the_key_reach_the_network(csi):
  nmse = {
      (snr_db, seed): evaluate(functools.partial(noisy, snr_db), csi, jax.random.key(seed)).nmse
      for snr_db in (0.0, 20.0) for seed in (0, 1)}
  np.testing.assert_allclose(nmse[0.0, 0], 100 * nmse[20.0, 0], rtol=1e-3)
  assert not np.allclose(nmse[0.0, 0], nmse[0.0, 1])
  assert 0.8 < nmse[0.0, 0].mean() < 1.2


def test_noise_depends_on_neither_batch_nor_number_of_groups_nor_of_ues(csi, monkeypatch):
  received = {}

  def record(name, csi, keys, active):
    received.setdefault(name, []).append(np.asarray(noisy(0.0, csi, keys, active) - csi))
    return csi

  for size, num_groups, num_ues in ((12, 12, 3), (5, 12, 3), (20, 12, 3), (12, 4, 3), (12, 12, 2)):
    monkeypatch.setattr(evaluation, '_GROUPS_AT_ONCE', size)
    name = (size, num_groups, num_ues)
    evaluate(functools.partial(record, name), csi[:num_groups, :num_ues], KEY)
    received[name] = np.concatenate(received[name])
  whole = received[12, 12, 3]
  assert len(np.unique(whole)) == whole.size
  for (_, num_groups, num_ues), noise in received.items():
    np.testing.assert_allclose(
        noise[:num_groups], whole[:num_groups, :num_ues], atol=1e-6)


@pytest.mark.parametrize('size', [5, 12, 20])
def test_a_last_batch_that_is_not_full_counts_each_group_once(csi, size, monkeypatch):
  whole = evaluate(functools.partial(noisy, 0.0), csi, KEY).nmse
  monkeypatch.setattr(evaluation, '_GROUPS_AT_ONCE', size)
  np.testing.assert_allclose(
      evaluate(functools.partial(noisy, 0.0), csi, KEY).nmse, whole, rtol=1e-5)


def test_silent_ues_are_masked_and_not_scored(csi):
  csi = csi.copy()
  csi[0, 1] = csi[3, 0] = csi[5] = 0
  scores = evaluate(heard, csi, KEY)
  assert scores.nmse.shape == (11,)  # nobody is left of group 5
  np.testing.assert_allclose(scores.nmse, 0.01, rtol=1e-4)
  np.testing.assert_allclose(scores.rho, 1, rtol=1e-4)
  # The last UE's report is lost, the others are scored: in group 3 one of two.
  lost = evaluate(heard, csi, KEY, num_lost=1)
  assert lost.nmse.shape == (11,)
  np.testing.assert_allclose(lost.nmse, 0.01, rtol=1e-4)


def test_means_are_taken_before_db():
  scores = Scores(np.float32([0.1, 0.001]), np.float32([1, 0]), np.float32([0.5, 0.5]))
  row = summarise(scores, 0)
  np.testing.assert_allclose(row['nmse_db'], 10 * np.log10(0.0505), atol=1e-5)
  assert row['rho'] == 0.5 and row['sgcs_ci95'] == [0.5, 0.5]
  assert row['nmse_ci95_db'][0] <= row['nmse_db'] <= row['nmse_ci95_db'][1]


def test_the_attention_that_is_measured_is_the_one_in_the_table_now(network, monkeypatch):
  config, weights = network
  config = dataclasses.replace(
      config, model=dataclasses.replace(config.model, attention='of_a_user'))

  def measured(attention_fn):
    monkeypatch.setitem(ATTENTION, 'of_a_user', Variant(own_embedding, attention_fn))
    row, = measure(config, weights, [Measurement(10.0)])
    return row['nmse_db']

  first, second = measured(dot_product), measured(residual_cut)
  jax.clear_caches()
  assert abs(first - second) > 1e-3
  assert measured(residual_cut) == second


def test_errors_of_two_and_three_ues_are_of_the_same_groups(network):
  two, three = (
      row['errors'] for row in measure(*network, [Measurement(10.0, 2), Measurement(10.0, 3)]))
  assert two.shape == three.shape == (12,) and two.dtype == np.float32
  assert np.corrcoef(two, three)[0, 1] > 0.5  # two of three UEs, and their noise, are the same


def test_a_generator_that_is_left_leaves_the_precision_alone(network):
  config, weights = network
  config = dataclasses.replace(config, matmul_precision='highest')
  before = jax.config.jax_default_matmul_precision
  rows = measure(config, weights, [Measurement(0.0), Measurement(10.0)])
  assert len(list(itertools.islice(rows, 1))) == 1
  assert jax.config.jax_default_matmul_precision == before  # `rows` is alive
  rows.close()
