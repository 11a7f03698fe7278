import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import CsiConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.models.encoder import Encoder

pytestmark = pytest.mark.usefixtures('quick_compilation')
MODEL = ModelConfig(
    compression_ratio='1/4', model_dim=16, num_heads=2, mlp_dim=32, num_encoder_layers=1)
CSI = CsiConfig(num_delay_taps=4, num_tx_antennas=8)
ENCODER = Encoder(MODEL, CSI)


def _features(*leading: int) -> jax.Array:
  return jax.random.normal(jax.random.key(1), (*leading, 8, 8))


@pytest.fixture(scope='module')
def variables():
  return jax.jit(ENCODER.init)(jax.random.key(0), _features(1))


def test_a_ue_encodes_alone_as_in_a_batch(variables):
  apply = jax.jit(ENCODER.apply)
  features = _features(3, 2)
  codeword = apply(variables, features)
  assert codeword.shape == (3, 2, 16) and codeword.dtype == jnp.float32
  np.testing.assert_allclose(apply(variables, features[2, 1]), codeword[2, 1], atol=1e-5)


def test_no_ue_sees_another(variables):
  jacobian = jax.jit(jax.jacfwd(lambda x: ENCODER.apply(variables, x)))(_features(3))
  for out_ue in range(3):
    for in_ue in range(3):
      assert np.any(jacobian[out_ue, :, in_ue]) == (out_ue == in_ue)


def test_it_knows_which_antenna_is_which(variables):
  # `compress` always tells antennas apart; what comes before it, only by their positions.
  apply = jax.jit(functools.partial(
      ENCODER.apply, capture_intermediates=True, mutable=['intermediates']))
  _, state = apply(variables, jnp.ones((8, 8)))
  tokens = state['intermediates']['project']['__call__'][0]
  assert np.std(np.asarray(tokens), axis=0).max() > 1e-3


@pytest.mark.parametrize('final_norm', [False, True])
def test_final_norm_undoes_the_last_layer_s_scale(final_norm):
  encoder = Encoder(dataclasses.replace(MODEL, final_norm=final_norm), CSI)
  params = jax.jit(encoder.init)(jax.random.key(0), _features(1))['params']
  assert ('final_norm' in params) == final_norm
  layer = params['layer_0']
  scaled = params | {'layer_0': layer | {
      'mlp_norm': jax.tree.map(lambda leaf: 3 * leaf, layer['mlp_norm'])}}
  apply = jax.jit(encoder.apply)
  plain, changed = (apply({'params': p}, _features(2)) for p in (params, scaled))
  assert (np.abs(changed - plain).max() < 1e-4) == final_norm


@pytest.mark.parametrize('shape', [(2, 8, 4), (2, 4, 8), (64,), (2, 9, 8)])
def test_wrong_shape_is_an_input_error(variables, shape):
  with pytest.raises(InputError, match=r'expected \[\.\.\., N_t, 2\*N_a\] = \[\.\.\., 8, 8\]'):
    ENCODER.apply(variables, jnp.zeros(shape))
