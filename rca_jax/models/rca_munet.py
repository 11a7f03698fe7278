"""RCA-MUNet: encoders, uplink and joint decoder as one differentiable function."""

import flax.linen as nn
import jax

from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.models.decoder import Decoder, build_decoder
from rca_jax.models.encoder import Encoder, build_encoder
from rca_jax.uplink.djscc import awgn
from rca_jax.uplink.link import AnalogueLink, Link, build_link


class RCAMUNet(nn.Module):
  """Encoder per UE, uplink, one decoder for the group (Fig. 2).

  Parameters live at params['encoder'] and params['decoder'], so either side also runs
  alone: `model.encoder.apply({'params': params['encoder']}, features)`.
  """

  encoder: Encoder
  decoder: Decoder
  link: Link = AnalogueLink(awgn)

  def __call__(
      self, features: jax.Array, snr_db: jax.Array, key: jax.Array,
      active: jax.Array | None = None) -> jax.Array:
    """Features as the BS recovers them.

    Args:
      features: [batch, ue, N_t, 2 N_a]; any number of UEs from 2 on.
      snr_db: uplink SNR in dB, broadcasts to [batch, ue].
      key: of the uplink's noise and fading.
      active: [batch, ue] bool, UEs that are there and whose report arrives; None for all.

    Returns:
      features_hat, same shape, float32.

    Raises:
      InputError: a shape does not fit, or the attention needs more UEs.
    """
    if features.ndim != 4:
      raise InputError(
          f'features have shape {list(features.shape)}; expected [batch, ue, N_t, 2*N_a].')
    return self.decoder(self.link(key, self.encoder(features), snr_db), active)


def build_rca_munet(config: ExperimentConfig) -> RCAMUNet:
  """The network a config describes, BL1 and BL3 to BL5 among them.

  Raises:
    InputError: `model.attention` or `uplink.channel` is unknown.
  """
  return RCAMUNet(
      encoder=build_encoder(config.model, config.csi),
      decoder=build_decoder(config.model, config.csi, config.num_ues),
      link=build_link(config.uplink))
