import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import ModelConfig
from rca_jax.models.attention import ATTENTION
from rca_jax.models.transformer import (
    Block,
    Embed,
    MultiHeadAttention,
    sinusoidal_positions,
)

pytestmark = pytest.mark.usefixtures('quick_compilation')
N_T, D, MLP = 8, 16, 32


def _block(name: str, num_heads: int, dtype: str = 'float32') -> Block:
  return Block(
      ModelConfig(model_dim=D, num_heads=num_heads, mlp_dim=MLP, dtype=dtype), ATTENTION[name])


def _embeddings(num_ues: int) -> np.ndarray:
  return np.random.default_rng(num_ues).normal(size=(2, num_ues, N_T, D)).astype(np.float32)


def _random_params(block: Block, x: np.ndarray):
  """Parameters away from their initial zeros and ones, so that every one of them matters."""
  shapes = jax.eval_shape(block.init, jax.random.key(0), x)['params']
  rng = np.random.default_rng(7)
  return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 4 + 0.1, shapes)


def _numpy_layer_norm(x, params):
  centred = x - x.mean(axis=-1, keepdims=True)
  deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
  return centred / deviation * params['scale'] + params['bias']


def _numpy_block(params, x, num_heads, others_ask, others_answer, cut):
  """Eq. (2)-(9) as printed: one group, one UE, one head after the other, in float64."""
  params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
  def linear(name, p, y):
    return y @ p[name]['kernel'] + p[name]['bias']
  attention = params['attention']
  out = np.zeros(x.shape)
  for b in range(x.shape[0]):
    for m in range(x.shape[1]):
      x1 = x[b, m].astype(np.float64)
      others = np.mean([x[b, j] for j in range(x.shape[1]) if j != m], axis=0, dtype=np.float64)
      x2, x3 = others if others_ask else x1, others if others_answer else x1
      q, k, v = (  # eq. (3)
          linear('query', attention, x2), linear('key', attention, x3),
          linear('value', attention, x3))
      heads = []
      for q_i, k_i, v_i in zip(*(np.split(y, num_heads, axis=1) for y in (q, k, v)), strict=True):
        scores = np.exp(q_i @ k_i.T / np.sqrt(q_i.shape[1]))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ v_i)  # eq. (2)
      joined = np.concatenate(heads, axis=1)  # eq. (6)
      x_r = linear('out', attention, x2 - joined if cut else joined)  # eq. (7)
      z = _numpy_layer_norm(x_r + x1, params['attention_norm'])  # eq. (8)
      ffn = linear('mlp_out', params, np.maximum(linear('mlp_in', params, z), 0))
      out[b, m] = _numpy_layer_norm(z + ffn, params['mlp_norm'])  # eq. (9)
  return out


@pytest.mark.parametrize('num_heads', [1, 4])
@pytest.mark.parametrize(
    'name, others_ask, others_answer, cut', [
        ('self', False, False, False), ('residual_self', False, False, True),
        ('cross', True, False, False), ('textbook_cross', False, True, False),
        ('residual_cross', True, False, True)])
def test_block_is_equations_2_to_9(name, others_ask, others_answer, cut, num_heads):
  x = _embeddings(3)
  block = _block(name, num_heads)
  params = _random_params(block, x)
  with jax.default_matmul_precision('float32'):
    out = jax.jit(block.apply)({'params': params}, x)
  expected = _numpy_block(params, x, num_heads, others_ask, others_answer, cut)
  np.testing.assert_allclose(out, expected, atol=1e-5, rtol=1e-5)


def test_textbook_cross_of_two_ues_answers_from_the_other_one():
  x = _embeddings(2)
  block = _block('textbook_cross', 2)
  params = _random_params(block, x)
  _, state = block.apply(
      {'params': params}, x, capture_intermediates=True, mutable=['intermediates'])
  expected = MultiHeadAttention(2).apply({'params': params['attention']}, x, x[:, ::-1])
  np.testing.assert_allclose(
      state['intermediates']['attention']['__call__'][0], expected, atol=1e-5)


def test_bfloat16_stays_close_and_keeps_float32_parameters():
  x = _embeddings(2)
  block = _block('residual_cross', 2, 'bfloat16')
  variables = jax.jit(block.init)(jax.random.key(0), x)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  low = jax.jit(block.apply)(variables, x)
  full = jax.jit(_block('residual_cross', 2).apply)(variables, x)
  assert low.dtype == jnp.bfloat16
  error = np.asarray(low, np.float32) - np.asarray(full)
  assert 0 < np.mean(error**2) / np.mean(np.square(full)) < 1e-3


def test_positions_are_sines_and_cosines():
  positions = sinusoidal_positions(5, 6)
  for n in range(5):
    for i in range(3):
      angle = n / 10000 ** (2 * i / 6)
      np.testing.assert_allclose(
          positions[n, 2 * i:2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_embedding_adds_the_antennas_position():
  embed = Embed(D)
  features = jnp.ones((2, 3, N_T, 6))
  variables = embed.init(jax.random.key(0), features)
  assert set(variables['params']) == {'linear'}
  out = embed.apply(variables, features)
  np.testing.assert_allclose(
      out - out[..., :1, :],
      np.broadcast_to(
          sinusoidal_positions(N_T, D) - sinusoidal_positions(1, D), (2, 3, N_T, D)), atol=1e-5)
