"""RCA-MUNet: encoders, uplink and joint decoder as one differentiable function."""

import flax.linen as nn
import jax

from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.models.decoder import Decoder, build_decoder
from rca_jax.models.encoder import Encoder, build_encoder
from rca_jax.uplink.djscc import Channel, awgn, from_symbols, resolve_channel, to_symbols


class RCAMUNet(nn.Module):
  """Encoder per UE, DJSCC uplink, one decoder for the group (Fig. 2).

  Parameters live at params['encoder'] and params['decoder'], so either side also runs
  alone: `model.encoder.apply({'params': params['encoder']}, features)`.
  """

  encoder: Encoder
  decoder: Decoder
  channel: Channel = awgn

  def __call__(self, features: jax.Array, snr_db: jax.Array, key: jax.Array) -> jax.Array:
    """Features as the BS recovers them.

    Args:
      features: [batch, ue, N_t, 2 N_a]; any number of UEs from 2 on.
      snr_db: uplink SNR in dB, broadcasts to [batch, ue].
      key: of the uplink's noise and fading.

    Returns:
      features_hat, same shape, float32.

    Raises:
      InputError: a shape does not fit, or the attention needs more UEs.
    """
    if features.ndim != 4:
      raise InputError(
          f'features have shape {list(features.shape)}; expected [batch, ue, N_t, 2*N_a].')
    symbols = to_symbols(self.encoder(features))
    return self.decoder(from_symbols(self.channel(key, symbols, snr_db)))


def build_model(config: ExperimentConfig) -> RCAMUNet:
  """The network a config describes.

  Raises:
    InputError: `model.attention` or `uplink.channel` is unknown.
  """
  return RCAMUNet(
      encoder=build_encoder(config.model, config.csi),
      decoder=build_decoder(config.model, config.csi),
      channel=resolve_channel(config.uplink.channel))
