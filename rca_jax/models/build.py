"""The network that a config names: the only place where names become functions."""

import flax.linen as nn

from rca_jax.config import ExperimentConfig
from rca_jax.models.adjscc_csinet import AdjsccCsiNet
from rca_jax.models.attention import resolve_attention
from rca_jax.models.decoder import Decoder
from rca_jax.models.encoder import Encoder
from rca_jax.models.learned_joint import LearnedJoint
from rca_jax.models.rca_munet import RCAMUNet
from rca_jax.uplink.link import build_link


def build_model(config: ExperimentConfig) -> nn.Module:
  """A module (features [batch, ue, N_t, 2 N_a], snr_db, key) -> features_hat, same shape.

  Modules hold functions, not names: what is compiled for one is never used for another function
  that took its name later.

  Raises:
    InputError: `model.attention` or `uplink.channel` is unknown.
  """
  model, csi, link = config.model, config.csi, build_link(config.uplink)
  if model.network == 'adjscc_csinet':
    return AdjsccCsiNet(model, csi, link)
  if model.network == 'learned_joint':
    return LearnedJoint(model, csi, link, config.seed)
  fused_ues = config.num_ues if model.network == 'summation_fusion' else 0
  variant = resolve_attention(model.attention)
  return RCAMUNet(Encoder(model, csi), Decoder(model, csi, variant, fused_ues), link)
