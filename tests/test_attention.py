import jax
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.models.attention import (
    ATTENTION,
    dot_product,
    mean_of_other_ues,
    own_embedding,
    residual_cut,
    resolve_attention,
)


def _heads(seed: int, shape=(3, 2, 8, 2, 4)) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _numpy_attention(query, key, value):
  """Eq. (2), one head of one UE at a time."""
  out = np.zeros_like(value)
  batch, ues, _, heads, width = query.shape
  for index in np.ndindex(batch, ues):
    for h in range(heads):
      q, k, v = (x[index][:, h].astype(np.float64) for x in (query, key, value))
      scores = np.exp(q @ k.T / np.sqrt(width))
      out[index][:, h] = scores / scores.sum(axis=1, keepdims=True) @ v
  return out


def test_dot_product_is_equation_2():
  q, k, v, x = (_heads(i) for i in range(4))
  with jax.default_matmul_precision('float32'):
    np.testing.assert_allclose(dot_product(q, k, v, x), _numpy_attention(q, k, v), atol=1e-5)


def test_large_logits_stay_finite_in_bfloat16():
  q, k, v, x = (jax.numpy.asarray(100 * _heads(i), 'bfloat16') for i in range(4))
  out = dot_product(q, k, v, x)
  assert out.dtype == v.dtype
  assert np.isfinite(np.asarray(out, np.float32)).all()


def test_residual_and_plain_sum_to_the_query_inputs():
  q, k, v, x = (_heads(i) for i in range(4))
  np.testing.assert_allclose(
      residual_cut(q, k, v, x) + dot_product(q, k, v, x), x, atol=1e-6)


def test_mean_of_other_ues():
  x = _heads(0, (2, 4, 8, 16))
  others = mean_of_other_ues(x)
  for m in range(4):
    np.testing.assert_allclose(others[:, m], np.delete(x, m, axis=1).mean(axis=1), atol=1e-6)
  np.testing.assert_allclose(mean_of_other_ues(x[:, :2]), x[:, 1::-1], atol=1e-6)
  assert own_embedding(x) is x


def test_one_ue_has_no_others():
  with pytest.raises(InputError, match='num_ues=1.*at least 2'):
    mean_of_other_ues(_heads(0, (2, 1, 8, 16)))


def test_every_name_is_another_variant():
  assert resolve_attention('residual_cross') == (mean_of_other_ues, residual_cut, own_embedding)
  assert resolve_attention('textbook_cross') == (own_embedding, dot_product, mean_of_other_ues)
  assert len(set(ATTENTION.values())) == len(ATTENTION) == 5


def test_an_unknown_name_is_an_input_error():
  with pytest.raises(InputError, match="model.attention='none' is unknown; choose one of self"):
    resolve_attention('none')
