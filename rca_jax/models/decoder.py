"""BS side: the reports of nearby UEs to their CSI, together."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.attention import Variant
from rca_jax.models.snr_gain import SnrGain
from rca_jax.models.summation_fusion import SummationFusion
from rca_jax.models.transformer import Block, Embed


class Decoder(nn.Module):
  """Fully connected layer, embedding, L2 plain layers per UE, then L3 RCA-Blocks.

  One set of weights for any number of UEs. The functions of `variant` are what the L3 last blocks
  do; the name in `model.attention` is not looked at. `fused_ues` is BL3: after each of these
  blocks come the summation branches of so many UEs (0: none). `model.shortcut`, not in the paper:
  the output of the fully connected layer is added at the end, so that this layer alone is a linear
  decoder. `model.snr_input`, not in the paper: reports and embeddings are scaled by the SNR.
  """

  model: ModelConfig
  csi: CsiConfig
  variant: Variant
  fused_ues: int = 0

  @nn.compact
  def __call__(
      self, codeword_hat: jax.Array, active: jax.Array | None = None,
      snr_db: jax.Array | float = 0.0) -> jax.Array:
    """Estimated features of every UE of a group.

    Args:
      codeword_hat: received reports, [batch, ue, k].
      active: [batch, ue] bool, UEs whose report arrived; None for all. The other UEs change
        nothing for these, and are estimated from the reports of these.
      snr_db: with `model.snr_input`, else not used; broadcasts to [batch, ue].

    Returns:
      features_hat [batch, ue, N_t, 2 N_a] float32.

    Raises:
      InputError: the reports have another shape, or the attention needs other UEs and there are
        none.
    """
    model, dtype, k = self.model, self.model.dtype, codeword_dim(self.model, self.csi)
    if codeword_hat.ndim != 3 or codeword_hat.shape[-1] != k:
      raise InputError(
          f'codewords have shape {list(codeword_hat.shape)}; expected [batch, ue, k] with k={k}.')
    num_tx, width = self.csi.num_tx_antennas, 2 * self.csi.num_delay_taps
    if active is not None:
      codeword_hat = jnp.where(active[..., None], codeword_hat, 0)
    if model.snr_input:
      codeword_hat = SnrGain(name='report_by_snr')(codeword_hat, snr_db)
    x = nn.Dense(num_tx * width, dtype=dtype, name='expand')(codeword_hat)
    expanded = x.reshape(*x.shape[:-1], num_tx, width)
    x = Embed(model.model_dim, dtype, name='embed')(expanded)
    if model.snr_input:
      x = SnrGain(name='embed_by_snr')(x, snr_db)
    for i in range(model.num_decoder_layers):
      x = Block(model, name=f'layer_{i}')(x)
    for i in range(model.num_rca_blocks):
      x = Block(model, self.variant, name=f'rca_block_{i}')(x, active)
      if self.fused_ues:
        x = SummationFusion(self.fused_ues, model.mlp_dim, dtype, name=f'fusion_{i}')(x, active)
    if model.final_norm:
      x = nn.LayerNorm(dtype=dtype, name='final_norm')(x)
    x = nn.Dense(width, dtype=dtype, name='project')(x).astype(jnp.float32)
    return x + expanded.astype(jnp.float32) if model.shortcut else x
