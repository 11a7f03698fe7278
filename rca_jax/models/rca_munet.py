"""RCA-MUNet: encoders, uplink and joint decoder as one differentiable function."""

import flax.linen as nn
import jax

from rca_jax.errors import InputError
from rca_jax.models.decoder import Decoder
from rca_jax.models.encoder import Encoder
from rca_jax.uplink.link import Link


class RCAMUNet(nn.Module):
  """Encoder per UE, uplink, one decoder for the group (Fig. 2).

  Parameters live at params['encoder'] and params['decoder'], so either side also runs
  alone: `model.encoder.apply({'params': params['encoder']}, features)`. `snr_error_db` is added to
  the SNR that the network is told, never to the uplink's own.
  """

  encoder: Encoder
  decoder: Decoder
  link: Link
  snr_error_db: float = 0.0

  def __call__(
      self, features: jax.Array, snr_db: jax.Array, key: jax.Array,
      active: jax.Array | None = None) -> jax.Array:
    """Features as the BS recovers them.

    Args:
      features: [batch, ue, N_t, 2 N_a]; any number of UEs from 2 on.
      snr_db: uplink SNR in dB, broadcasts to [batch, ue].
      key: of the uplink's noise and fading; or [batch, ue] keys, one for every report.
      active: [batch, ue] bool, UEs that are there and whose report arrives; None for all.

    Returns:
      features_hat, same shape, float32.

    Raises:
      InputError: a shape does not fit, or the attention needs more UEs.
    """
    if features.ndim != 4:
      raise InputError(
          f'features have shape {list(features.shape)}; expected [batch, ue, N_t, 2*N_a].')
    codeword_hat = self.link(key, self.encode(features, snr_db), snr_db)
    return self.decode(codeword_hat, snr_db, active)

  def encode(self, features: jax.Array, snr_db: jax.Array) -> jax.Array:
    """The UEs' side: codewords [batch, ue, k], of any power. All networks have it, and `decode`."""
    return self.encoder(features, snr_db + self.snr_error_db)

  def decode(
      self, codeword_hat: jax.Array, snr_db: jax.Array, active: jax.Array | None = None,
  ) -> jax.Array:
    """The BS's side: features_hat of the reports [batch, ue, k] that `link` delivered."""
    return self.decoder(codeword_hat, active, snr_db + self.snr_error_db)
