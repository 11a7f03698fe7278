import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import CsiConfig, ExperimentConfig, ModelConfig, UplinkConfig
from rca_jax.errors import InputError
from rca_jax.evaluation.complexity import count_parameters
from rca_jax.models.attention import (
    ATTENTION,
    dot_product,
    mean_of_other_ues,
    own_embedding,
)
from rca_jax.models.build import build_model
from rca_jax.uplink.djscc import awgn, from_symbols, rayleigh_block_fading, to_symbols
from rca_jax.uplink.link import AnalogueLink, PerfectBitLink

pytestmark = pytest.mark.usefixtures('quick_compilation')
CSI = CsiConfig(num_delay_taps=4, num_tx_antennas=8)


def _tiny(**fields) -> ExperimentConfig:
  sizes = dict(
      compression_ratio='1/4', model_dim=16, num_heads=2, mlp_dim=32, num_encoder_layers=1,
      num_decoder_layers=1, num_rca_blocks=1)
  return ExperimentConfig(csi=CSI, model=ModelConfig(**(sizes | fields)))


def _features(batch: int, num_ues: int) -> jax.Array:
  return jax.random.normal(jax.random.key(1), (batch, num_ues, 8, 8))


@pytest.fixture(scope='module')
def variables():
  return jax.jit(build_model(_tiny()).init)(
      jax.random.key(0), _features(1, 2), 10.0, jax.random.key(2))


@pytest.fixture(scope='module')
def apply():
  return jax.jit(build_model(_tiny()).apply)


def _full_size_parameters(compression_ratio: str, num_ues: int = 2, **fields) -> int:
  model = build_model(
      ExperimentConfig(model=ModelConfig(compression_ratio=compression_ratio, **fields)))
  return count_parameters(jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, num_ues, 32, 64)), 10.0, jax.random.key(0)))


@pytest.mark.parametrize(
    'compression_ratio, count',
    [('1/4', 6_598_016), ('1/8', 5_549_184), ('1/16', 5_024_768), ('1/32', 4_762_560)])
def test_parameter_counts_of_table_2(compression_ratio, count):
  assert _full_size_parameters(compression_ratio) == count


def test_parameter_count_depends_on_neither_ues_nor_attention():
  assert _full_size_parameters('1/8', num_ues=4) == 5_549_184
  assert _full_size_parameters('1/8', attention='self') == 5_549_184


def test_variants_start_alike_and_answer_differently():
  models = {
      name: build_model(_tiny(attention=name, num_encoder_layers=0, num_decoder_layers=0))
      for name in ATTENTION}
  arguments = _features(2, 2), 10.0, jax.random.key(2)
  # Together: XLA compiles once what they have in common.
  first, *others = jax.jit(lambda key: [
      model.init(key, *arguments) for model in models.values()])(jax.random.key(0))
  for variables in others:
    chex.assert_trees_all_equal(variables, first)
  found = jax.jit(lambda variables: {
      name: model.apply(variables, *arguments) for name, model in models.items()})(first)
  for one, other in itertools.combinations(ATTENTION, 2):
    assert np.abs(found[one] - found[other]).max() > 1e-2, (one, other)


def test_weights_of_two_ues_run_with_eight(variables, apply):
  out = apply(variables, _features(1, 8), 10.0, jax.random.key(0))
  assert out.shape == (1, 8, 8, 8)
  assert np.isfinite(out).all()


def test_weights_fit_any_number_of_ues(variables):
  for num_ues in range(2, 9):
    out = jax.eval_shape(
        build_model(_tiny()).apply, variables, _features(1, num_ues), 10.0, jax.random.key(0))
    assert out.shape == (1, num_ues, 8, 8)


def test_both_sides_alone_are_the_whole(variables, apply):
  model = build_model(_tiny())
  features, key, snr_db = _features(4, 2), jax.random.key(9), jnp.array([0.0, 20.0])
  params = variables['params']
  assert set(params) == {'encoder', 'decoder'}
  codeword = jax.jit(model.encoder.apply)({'params': params['encoder']}, features)
  received = from_symbols(awgn(key, to_symbols(codeword), snr_db))
  np.testing.assert_allclose(
      jax.jit(model.decoder.apply)({'params': params['decoder']}, received),
      apply(variables, features, snr_db, key), atol=1e-5)


def test_snr_is_per_ue(variables):
  model = build_model(_tiny(attention='self'))
  apply = jax.jit(model.apply)
  features, key = _features(1, 2), jax.random.key(4)
  quiet = apply(variables, features, jnp.array([20.0, 20.0]), key)
  loud = apply(variables, features, jnp.array([20.0, -20.0]), key)
  np.testing.assert_array_equal(quiet[:, 0], loud[:, 0])
  assert np.abs(quiet[:, 1] - loud[:, 1]).max() > 1e-2


def test_every_parameter_gets_a_gradient(variables):
  model = build_model(_tiny())
  def loss(params):
    out = model.apply({'params': params}, _features(4, 3), 10.0, jax.random.key(0))
    return jnp.mean(jnp.square(out - _features(4, 3)))
  for path, gradient in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables['params'])):
    # A key's bias shifts all logits of a query alike, and softmax does not see that.
    if 'key' not in jax.tree_util.keystr(path):
      assert np.abs(gradient).max() > 0, path
    assert np.isfinite(gradient).all()


def test_bfloat16_model_is_close_and_answers_in_float32(variables, apply):
  arguments = (variables, _features(4, 2), jnp.array([0.0, 20.0]), jax.random.key(0))
  full = apply(*arguments)
  low = jax.jit(build_model(_tiny(dtype='bfloat16')).apply)(*arguments)
  assert low.dtype == jnp.float32
  assert 0 < np.mean((low - full)**2) / np.mean(full**2) < 1e-3


@pytest.mark.parametrize('network, attention', [
    ('rca_munet', 'residual_cross'), ('rca_munet', 'self'), ('summation_fusion', 'self')])
def test_shortcut_makes_the_linear_code_one_of_the_network_s(network, attention):
  model = build_model(_tiny(network=network, attention=attention, shortcut=True))
  features, key = _features(3, 2), jax.random.key(2)
  plain = build_model(_tiny(network=network, attention=attention))
  params = jax.jit(plain.init)(jax.random.key(0), features, 10.0, key)['params']
  # What the layers add is nothing: the fully connected layers alone remain.
  for side in ('encoder', 'decoder'):
    params[side]['project'] = jax.tree.map(jnp.zeros_like, params[side]['project'])
  found = jax.jit(model.apply)({'params': params}, features, 10.0, key)
  compress, expand = params['encoder']['compress'], params['decoder']['expand']
  codeword = features.reshape(3, 2, 64) @ compress['kernel'] + compress['bias']
  received = from_symbols(awgn(key, to_symbols(codeword), 10.0))
  expected = (received @ expand['kernel'] + expand['bias']).reshape(features.shape)
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize('network', ['rca_munet', 'summation_fusion'])
def test_a_network_that_is_told_the_snr(network):
  """Before training as one that is not; then a UE's report depends on its own SNR alone."""
  attention = 'residual_cross' if network == 'rca_munet' else 'self'
  told, plain = (build_model(_tiny(network=network, attention=attention, snr_input=told))
                 for told in (True, False))
  features, key = _features(3, 2), jax.random.key(2)
  params = jax.jit(told.init)(jax.random.key(0), features, 10.0, key)['params']
  bare = {side: {name: leaf for name, leaf in params[side].items() if 'by_snr' not in name}
          for side in ('encoder', 'decoder')}
  snr_db = jnp.array([0.0, 20.0])
  apply = jax.jit(told.apply, static_argnames='method')
  np.testing.assert_array_equal(
      apply({'params': params}, features, snr_db, key),
      jax.jit(plain.apply)({'params': bare}, features, snr_db, key))
  keys = iter(jax.random.split(key, 99))
  params = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape)
      if any('by_snr' in part.key for part in path) else leaf, params)
  first, other = (
      apply({'params': params}, features, jnp.array([0.0, snr]), method='encode')
      for snr in (20.0, 5.0))
  np.testing.assert_array_equal(first[:, 0], other[:, 0])
  assert np.abs(first[:, 1] - other[:, 1]).max() > 1e-3
  error = jax.jit(told.clone(snr_error_db=3.0).apply, static_argnames='method')
  np.testing.assert_allclose(
      error({'params': params}, first, snr_db, method='decode'),
      apply({'params': params}, first, snr_db + 3, method='decode'), rtol=1e-4, atol=1e-5)
  assert np.abs(
      apply({'params': params}, first, snr_db, method='decode')
      - apply({'params': params}, first, snr_db + 3, method='decode')).max() > 1e-3


def test_a_model_is_a_static_argument():
  assert build_model(_tiny()) == build_model(_tiny())
  assert hash(build_model(_tiny())) == hash(build_model(_tiny()))


def test_a_model_is_what_its_functions_are_not_what_they_are_called(monkeypatch):
  before = build_model(_tiny(attention='cross'))
  monkeypatch.setitem(ATTENTION, 'cross', ATTENTION['self'])
  after = build_model(_tiny(attention='cross'))
  assert before != after and hash(before) != hash(after)
  assert before.decoder.variant == (mean_of_other_ues, dot_product, own_embedding)


def test_config_chooses_the_channel():
  config = ExperimentConfig(csi=CSI, uplink=UplinkConfig(channel='rayleigh_block_fading'))
  assert build_model(config).link == AnalogueLink(rayleigh_block_fading)
  bits = ExperimentConfig(csi=CSI, uplink=UplinkConfig(quantiser_bits=3))
  assert build_model(bits).link == PerfectBitLink(3)


@pytest.mark.parametrize(
    'features, snr_db, message', [
        (jnp.zeros((2, 1, 8, 8)), 10.0, 'num_ues=1.*at least 2'),
        (jnp.zeros((2, 8, 8)), 10.0, r'expected \[batch, ue, N_t, 2\*N_a\]'),
        (jnp.zeros((2, 2, 4, 8)), 10.0, r'expected \[\.\.\., N_t, 2\*N_a\]'),
        (jnp.zeros((2, 2, 8, 8)), jnp.zeros(3), r'broadcasts to \[batch, ue\] = \[2, 2\]')])
def test_bad_input_is_one_clear_line(variables, features, snr_db, message):
  with pytest.raises(InputError, match=message) as error:
    jax.eval_shape(build_model(_tiny()).apply, variables, features, snr_db, jax.random.key(0))
  assert '\n' not in str(error.value)
