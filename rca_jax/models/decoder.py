"""BS side: the reports of nearby UEs to their CSI, together."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.attention import Attention, resolve_attention
from rca_jax.models.summation_fusion import SummationFusion
from rca_jax.models.transformer import Block, Embed


class Decoder(nn.Module):
  """Fully connected layer, embedding, L2 plain layers per UE, then L3 RCA-Blocks.

  One weight set for any number of UEs. `attention` decides what the last L3 blocks do: a name
  of ATTENTION or a tuple of functions. `fused_ues` is BL3: each of those blocks is followed by
  the summation branches of so many UEs (0: no branches). `shortcut`, not in the paper: what the
  fully connected layer makes of a report is added at the end, so that it alone is a linear decoder.
  """

  num_delay_taps: int
  num_tx_antennas: int
  codeword_dim: int
  model_dim: int = 192
  num_heads: int = 8
  mlp_dim: int = 768
  num_layers: int = 3
  num_rca_blocks: int = 3
  attention: Attention = 'residual_cross'
  fused_ues: int = 0
  final_norm: bool = False
  shortcut: bool = False
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, codeword_hat: jax.Array, active: jax.Array | None = None) -> jax.Array:
    """Estimated features of every UE of a group.

    Args:
      codeword_hat: received reports, [batch, ue, k].
      active: [batch, ue] bool, UEs whose report arrived; None for all. The others change nothing
        for these, and are estimated from what these say.

    Returns:
      features_hat [batch, ue, N_t, 2 N_a] float32.

    Raises:
      InputError: the reports have another shape, `attention` is unknown, or it needs other
        UEs and there are none.
    """
    if codeword_hat.ndim != 3 or codeword_hat.shape[-1] != self.codeword_dim:
      raise InputError(
          f'codewords have shape {list(codeword_hat.shape)}; expected [batch, ue, k] with '
          f'k={self.codeword_dim}.')
    variant = resolve_attention(self.attention)
    width = 2 * self.num_delay_taps
    if active is not None:
      codeword_hat = jnp.where(active[..., None], codeword_hat, 0)
    x = nn.Dense(self.num_tx_antennas * width, dtype=self.dtype, name='expand')(codeword_hat)
    expanded = x.reshape(*x.shape[:-1], self.num_tx_antennas, width)
    x = Embed(self.model_dim, self.dtype, name='embed')(expanded)
    for i in range(self.num_layers):
      x = Block(self.num_heads, self.mlp_dim, dtype=self.dtype, name=f'layer_{i}')(x)
    for i in range(self.num_rca_blocks):
      x = Block(
          self.num_heads, self.mlp_dim, variant, self.dtype, name=f'rca_block_{i}')(x, active)
      if self.fused_ues:
        x = SummationFusion(self.fused_ues, self.mlp_dim, self.dtype, name=f'fusion_{i}')(
            x, active)
    if self.final_norm:
      x = nn.LayerNorm(dtype=self.dtype, name='final_norm')(x)
    x = nn.Dense(width, dtype=self.dtype, name='project')(x).astype(jnp.float32)
    return x + expanded.astype(jnp.float32) if self.shortcut else x


def build_decoder(model: ModelConfig, csi: CsiConfig, num_ues: int) -> Decoder:
  """The decoder a config describes; only BL3 depends on the number of UEs.

  Raises:
    InputError: `model.attention` is unknown.
  """
  resolve_attention(model.attention)
  return Decoder(
      num_delay_taps=csi.num_delay_taps,
      num_tx_antennas=csi.num_tx_antennas,
      codeword_dim=codeword_dim(model, csi),
      model_dim=model.model_dim,
      num_heads=model.num_heads,
      mlp_dim=model.mlp_dim,
      num_layers=model.num_decoder_layers,
      num_rca_blocks=model.num_rca_blocks,
      attention=model.attention,
      fused_ues=num_ues if model.network == 'summation_fusion' else 0,
      final_norm=model.final_norm,
      shortcut=model.shortcut,
      dtype=model.dtype)
