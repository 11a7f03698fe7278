"""The transformer layer, of which the paper's RCA-Block is one setting.

Shapes: embeddings [..., ue, N_t, d]; antennas are the tokens. Parameters, softmax and
LayerNorm statistics are float32, everything else runs in `dtype`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.config import ModelConfig
from rca_jax.models.attention import ATTENTION, AttentionFn, Variant, dot_product


def sinusoidal_positions(num_positions: int, model_dim: int) -> np.ndarray:
  """The positional encoding of [13] as [num_positions, model_dim] float32; no parameters.

  Entry (n, 2i) is sin(n / 10000^(2i/d)), entry (n, 2i+1) the cosine; d must be even.
  """
  frequencies = 10000.0 ** (-np.arange(0, model_dim, 2) / model_dim)
  angles = np.arange(num_positions)[:, None] * frequencies
  return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(
      num_positions, model_dim).astype(np.float32)


class FlatDense(nn.Dense):
  """`nn.Dense` of [..., width] that sees all leading axes as one.

  Its weight gradient is then a plain matrix product; a sum over several axes is transposed first
  by XLA on CPUs, and took twice as long. For the MLP alone: around attention, where heads are cut,
  it made XLA for TPUs access 40 % more bytes (`rca compile_tpu` counts them).
  """

  def __call__(self, inputs: jax.Array) -> jax.Array:
    outputs = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
    return outputs.reshape(*inputs.shape[:-1], self.features)


class Embed(nn.Module):
  """[..., N_t, 2 N_a] to [..., N_t, d]: each antenna's entries, and which antenna it is."""

  model_dim: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    embeddings = nn.Dense(self.model_dim, dtype=self.dtype, name='linear')(features)
    positions = sinusoidal_positions(features.shape[-2], self.model_dim)
    shape = (1,) * (features.ndim - 2) + positions.shape
    return embeddings + jnp.asarray(positions, embeddings.dtype).reshape(shape)


class MultiHeadAttention(nn.Module):
  """Eq. (3), an attention function on every head, then eq. (5)-(7)'s W^o.

  All four kernels are d x d matrices; heads are cut from the projected width by a reshape.
  """

  num_heads: int
  attention_fn: AttentionFn = dot_product
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, inputs_q: jax.Array, inputs_kv: jax.Array) -> jax.Array:
    """[..., N_t, d], twice, to [..., N_t, d]."""
    width = inputs_q.shape[-1]

    def to_heads(x: jax.Array) -> jax.Array:
      return x.reshape(*x.shape[:-1], self.num_heads, width // self.num_heads)

    query = to_heads(nn.Dense(width, dtype=self.dtype, name='query')(inputs_q))
    key = to_heads(nn.Dense(width, dtype=self.dtype, name='key')(inputs_kv))
    value = to_heads(nn.Dense(width, dtype=self.dtype, name='value')(inputs_kv))
    heads = self.attention_fn(query, key, value, to_heads(inputs_q))
    return nn.Dense(width, dtype=self.dtype, name='out')(heads.reshape(inputs_q.shape))


class Block(nn.Module):
  """Post-LayerNorm transformer layer, eq. (8)-(9): plain, BL4, BL5 and the RCA-Block.

  Which one it is, `variant` decides; the parameter tree is always the same. Of `model` it takes
  the number of heads, the width of the MLP and the dtype.
  """

  model: ModelConfig
  variant: Variant = ATTENTION['self']

  @nn.compact
  def __call__(self, embeddings: jax.Array, active: jax.Array | None = None) -> jax.Array:
    """X_1 [..., ue, N_t, d] to Z_o, same shape; other UEs count where `active` [..., ue] says."""
    query_source, attention_fn, key_value_source = self.variant
    dtype = self.model.dtype
    attended = MultiHeadAttention(self.model.num_heads, attention_fn, dtype, name='attention')(
        query_source(embeddings, active), key_value_source(embeddings, active))
    z = nn.LayerNorm(dtype=dtype, name='attention_norm')(attended + embeddings)
    hidden = nn.relu(FlatDense(self.model.mlp_dim, dtype=dtype, name='mlp_in')(z))
    mlp = FlatDense(z.shape[-1], dtype=dtype, name='mlp_out')(hidden)
    return nn.LayerNorm(dtype=dtype, name='mlp_norm')(z + mlp)
