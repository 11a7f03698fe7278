"""What a network does with the SNR that it is told: it scales its features."""

import flax.linen as nn
import jax
import jax.numpy as jnp

_WIDTH = 32


class SnrGain(nn.Module):
  """Features times a gain each, a small function of the SNR; all gains are 1 before training.

  Not in the paper, whose networks are not told the SNR.
  """

  @nn.compact
  def __call__(self, features: jax.Array, snr_db: jax.Array | float) -> jax.Array:
    """Features [batch, ue, ..., n] to the same shape; snr_db broadcasts to [batch, ue]."""
    known = jnp.broadcast_to(jnp.asarray(snr_db, jnp.float32), features.shape[:2])
    hidden = nn.silu(nn.Dense(_WIDTH, name='hidden')(known[..., None] / 10))
    gain = 1 + nn.Dense(
        features.shape[-1], kernel_init=nn.initializers.zeros, name='gain')(hidden)
    gain = gain.reshape(*known.shape, *[1] * (features.ndim - 3), -1)
    return features * gain.astype(features.dtype)
