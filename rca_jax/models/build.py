"""The network that a config names."""

import flax.linen as nn

from rca_jax.config import ExperimentConfig
from rca_jax.models.adjscc_csinet import build_adjscc_csinet
from rca_jax.models.rca_munet import build_rca_munet


def build_model(config: ExperimentConfig) -> nn.Module:
  """A module (features [batch, ue, N_t, 2 N_a], snr_db, key) -> features_hat, same shape.

  Raises:
    InputError: `model.attention` or `uplink.channel` is unknown.
  """
  if config.model.network == 'adjscc_csinet':
    return build_adjscc_csinet(config)
  return build_rca_munet(config)
