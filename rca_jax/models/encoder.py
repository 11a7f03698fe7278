"""UE side: CSI features to the codeword. Every UE runs the same weights, alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.snr_gain import SnrGain
from rca_jax.models.transformer import Block, Embed


class Encoder(nn.Module):
  """Embedding, L1 transformer layers, projection back, fully connected layer to k.

  Deviation: the paper writes widths 2N_c after the truncation to N_a rows; we read 2N_a.
  `model.shortcut`, not in the paper: the features are added before the fully connected layer, so
  that this layer alone is a linear code. `model.snr_input`, not in the paper: the entries of the
  report are scaled by what the UE knows of the SNR.
  """

  model: ModelConfig
  csi: CsiConfig

  @nn.compact
  def __call__(self, features: jax.Array, snr_db: jax.Array | float = 0.0) -> jax.Array:
    """The real report v of each UE, before power normalisation.

    Args:
      features: [..., N_t, 2 N_a]; with `model.snr_input` [batch, ue, N_t, 2 N_a].
      snr_db: with `model.snr_input`, else not used; broadcasts to [batch, ue].

    Returns:
      [..., k] float32.

    Raises:
      InputError: features have another shape.
    """
    model, dtype = self.model, self.model.dtype
    check_features_shape(features, self.csi)
    x = Embed(model.model_dim, dtype, name='embed')(features)
    for i in range(model.num_encoder_layers):
      x = Block(model, name=f'layer_{i}')(x)
    if model.final_norm:
      x = nn.LayerNorm(dtype=dtype, name='final_norm')(x)
    x = nn.Dense(2 * self.csi.num_delay_taps, dtype=dtype, name='project')(x)
    if model.shortcut:
      x = x + features.astype(x.dtype)
    x = x.reshape(*x.shape[:-2], -1)
    k = codeword_dim(model, self.csi)
    codeword = nn.Dense(k, dtype=dtype, name='compress')(x).astype(jnp.float32)
    return SnrGain(name='by_snr')(codeword, snr_db) if model.snr_input else codeword


def check_features_shape(features: jax.Array, csi: CsiConfig) -> None:
  """Raises InputError unless features are [..., N_t, 2 N_a]."""
  expected = (csi.num_tx_antennas, 2 * csi.num_delay_taps)
  if features.ndim < 2 or features.shape[-2:] != expected:
    raise InputError(
        f'features have shape {list(features.shape)}; expected [..., N_t, 2*N_a] = '
        f'[..., {expected[0]}, {expected[1]}] (rca_jax.channel.to_features makes them from CSI).')
