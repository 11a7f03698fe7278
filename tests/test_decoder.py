import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import CsiConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.models.attention import ATTENTION
from rca_jax.models.decoder import Decoder

pytestmark = pytest.mark.usefixtures('quick_compilation')
K = 16


def _decoder(attention='residual_cross', **fields) -> Decoder:
  sizes = dict(
      compression_ratio='1/4', model_dim=16, num_heads=2, mlp_dim=32, num_decoder_layers=1,
      num_rca_blocks=1)
  return Decoder(
      ModelConfig(**(sizes | fields)), CsiConfig(num_delay_taps=4, num_tx_antennas=8),
      ATTENTION[attention])


def _codewords(batch: int, num_ues: int) -> jax.Array:
  return jax.random.normal(jax.random.key(5), (batch, num_ues, K))


@pytest.fixture(scope='module')
def variables():
  return jax.jit(_decoder().init)(jax.random.key(0), _codewords(1, 2))


def _ue_coupling(name: str, variables) -> np.ndarray:
  """[batch, ue, batch, ue]: largest |d output / d input| between any two reports."""
  decoder = _decoder(name)
  # Forward mode: jaxlib 0.10.2's CPU compiler gets the jitted reverse Jacobian wrong.
  jacobian = jax.jit(jax.jacfwd(lambda x: decoder.apply(variables, x)))(_codewords(2, 3))
  return np.abs(jacobian).max(axis=(2, 3, 6))


@pytest.mark.parametrize('name', ATTENTION)
def test_who_depends_on_whom(name, variables):
  coupling = _ue_coupling(name, variables)
  same_ue = np.eye(3, dtype=bool)
  for b in range(2):
    assert (coupling[b, :, 1 - b] == 0).all()  # groups never touch each other
    assert (coupling[b, :, b][same_ue] > 0).all()
    others = coupling[b, :, b][~same_ue]
    assert (others == 0).all() if 'self' in name else (others > 0).all()


@pytest.mark.parametrize('name', ATTENTION)
def test_permuting_ues_permutes_outputs(name, variables):
  codewords = _codewords(2, 4)
  order = np.array([3, 1, 0, 2])
  apply = jax.jit(_decoder(name).apply)
  np.testing.assert_allclose(
      apply(variables, codewords[:, order]), apply(variables, codewords)[:, order], atol=1e-5)


def test_cost_is_linear_in_ues(variables):
  decoder = _decoder()

  def operations(num_ues: int) -> float:
    return jax.jit(decoder.apply).lower(variables, _codewords(3, num_ues)).cost_analysis()['flops']

  per_ue = np.array([operations(num_ues) / num_ues for num_ues in (2, 4, 8, 16)])
  np.testing.assert_allclose(per_ue, per_ue[0], rtol=0.01)


def test_only_the_last_blocks_are_swapped(variables):
  params = dict(variables['params'])
  params['layer_1'] = params.pop('rca_block_0')
  without = _decoder('cross', num_rca_blocks=0, num_decoder_layers=2)
  plain = jax.jit(without.apply)({'params': params}, _codewords(1, 2))
  np.testing.assert_allclose(
      plain, jax.jit(_decoder('self').apply)(variables, _codewords(1, 2)), atol=1e-5)


@pytest.mark.parametrize('final_norm', [False, True])
def test_final_norm_undoes_the_last_layer_s_scale(final_norm):
  decoder = _decoder(final_norm=final_norm)
  params = jax.jit(decoder.init)(jax.random.key(0), _codewords(1, 2))['params']
  assert ('final_norm' in params) == final_norm
  block = params['rca_block_0']
  scaled = params | {'rca_block_0': block | {
      'mlp_norm': jax.tree.map(lambda leaf: 3 * leaf, block['mlp_norm'])}}
  apply = jax.jit(decoder.apply)
  plain, changed = (apply({'params': p}, _codewords(1, 2)) for p in (params, scaled))
  assert (np.abs(changed - plain).max() < 1e-4) == final_norm


def test_cross_attention_needs_two_ues_and_self_does_not(variables):
  with pytest.raises(InputError, match='num_ues=1'):
    jax.eval_shape(_decoder().apply, variables, _codewords(2, 1))
  alone = jax.eval_shape(_decoder('self').apply, variables, _codewords(2, 1))
  assert alone.shape == (2, 1, 8, 8)


@pytest.mark.parametrize('shape', [(2, 2, K + 2), (2, K), (K,), (1, 2, 2, K)])
def test_wrong_shape_is_an_input_error(variables, shape):
  with pytest.raises(InputError, match=r'expected \[batch, ue, k\] with k=16'):
    _decoder().apply(variables, jnp.zeros(shape))
