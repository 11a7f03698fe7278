"""UE side: CSI features to the codeword. Every UE runs the same weights, alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.transformer import Block, Embed


class Encoder(nn.Module):
  """Embedding, L1 transformer layers, projection back, fully connected layer to k.

  Deviation: the paper writes widths 2N_c behind the truncation to N_a rows; we read 2N_a.
  `shortcut`, not in the paper: the features are added in front of the fully connected layer, so
  that it alone is a linear code.
  """

  num_delay_taps: int
  num_tx_antennas: int
  codeword_dim: int
  model_dim: int = 192
  num_heads: int = 8
  mlp_dim: int = 768
  num_layers: int = 4
  final_norm: bool = False
  shortcut: bool = False
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """The real report v of each UE, before power normalisation.

    Args:
      features: [..., N_t, 2 N_a].

    Returns:
      [..., k] float32.

    Raises:
      InputError: features have another shape.
    """
    check_features_shape(features, self.num_tx_antennas, self.num_delay_taps)
    x = Embed(self.model_dim, self.dtype, name='embed')(features)
    for i in range(self.num_layers):
      x = Block(self.num_heads, self.mlp_dim, dtype=self.dtype, name=f'layer_{i}')(x)
    if self.final_norm:
      x = nn.LayerNorm(dtype=self.dtype, name='final_norm')(x)
    x = nn.Dense(2 * self.num_delay_taps, dtype=self.dtype, name='project')(x)
    if self.shortcut:
      x = x + features.astype(x.dtype)
    x = x.reshape(*x.shape[:-2], -1)
    return nn.Dense(self.codeword_dim, dtype=self.dtype, name='compress')(x).astype(jnp.float32)


def check_features_shape(features: jax.Array, num_tx_antennas: int, num_delay_taps: int) -> None:
  """Raises InputError unless features are [..., N_t, 2 N_a]."""
  expected = (num_tx_antennas, 2 * num_delay_taps)
  if features.ndim < 2 or features.shape[-2:] != expected:
    raise InputError(
        f'features have shape {list(features.shape)}; expected [..., N_t, 2*N_a] = '
        f'[..., {expected[0]}, {expected[1]}] (rca_jax.channel.to_features makes them from CSI).')


def build_encoder(model: ModelConfig, csi: CsiConfig) -> Encoder:
  """The encoder a config describes."""
  return Encoder(
      num_delay_taps=csi.num_delay_taps,
      num_tx_antennas=csi.num_tx_antennas,
      codeword_dim=codeword_dim(model, csi),
      model_dim=model.model_dim,
      num_heads=model.num_heads,
      mlp_dim=model.mlp_dim,
      num_layers=model.num_encoder_layers,
      final_norm=model.final_norm,
      shortcut=model.shortcut,
      dtype=model.dtype)
