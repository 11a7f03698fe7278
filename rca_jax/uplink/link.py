"""From a UE's codeword to the BS: analogue symbols, all of them or the first ones, or bits.

A link is a hashable function (key, codeword [batch, ue, k], snr_db) -> codeword_hat, same shape.
The key is one for all, or [batch, ue] keys: one for every report.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rca_jax.config import UplinkConfig
from rca_jax.uplink.djscc import Channel, from_symbols, resolve_channel, through, to_symbols
from rca_jax.uplink.quantiser import quantise

Link = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class AnalogueLink:
  """DJSCC, [batch, ue, k] float32: two entries a symbol, unit power, through `channel`.

  Of a report only the first `num_symbols` are sent (0: all); the BS takes the others for zero.
  """

  channel: Channel
  num_symbols: int = 0

  def __call__(self, key: jax.Array, codeword: jax.Array, snr_db: jax.Array) -> jax.Array:
    received = through(self.channel, key, self.sent(codeword), snr_db)
    missing = codeword.shape[-1] // 2 - received.shape[-1]
    return from_symbols(jnp.pad(received, [(0, 0)] * (received.ndim - 1) + [(0, missing)]))

  def sent(self, codeword: jax.Array) -> jax.Array:
    """The symbols of codewords [..., k], mean |s|^2 = 1: [..., num_symbols] complex64."""
    if self.num_symbols:
      real, imag = jnp.split(codeword, 2, -1)
      codeword = jnp.concatenate(
          [real[..., :self.num_symbols], imag[..., :self.num_symbols]], -1)
    return to_symbols(codeword)


@dataclasses.dataclass(frozen=True)
class CutLink:
  """DJSCC, [batch, ue, k] float32, in training for reports of any length: the first symbols alone.

  How many is drawn for each from `least` to all, uniform in the logarithm.
  """

  channel: Channel
  least: int

  def __call__(self, key: jax.Array, codeword: jax.Array, snr_db: jax.Array) -> jax.Array:
    most = codeword.shape[-1] // 2
    key, length_key = jax.random.split(key)
    octaves = jax.random.uniform(length_key, (*codeword.shape[:-1], 1))
    length = jnp.floor(self.least * ((most + 1) / self.least) ** octaves)
    sent = jnp.arange(most) < length
    symbols = to_symbols(codeword * jnp.concatenate([sent, sent], -1)) * jnp.sqrt(length / most)
    return from_symbols(jnp.where(sent, through(self.channel, key, symbols, snr_db), 0))


@dataclasses.dataclass(frozen=True)
class PerfectBitLink:
  """SSCC in training, [batch, ue, b]: every entry in `num_bits` bits that arrive without error."""

  num_bits: int

  def __call__(self, key: jax.Array, codeword: jax.Array, snr_db: jax.Array) -> jax.Array:
    del key, snr_db
    return quantise(codeword, self.num_bits)


def build_link(uplink: UplinkConfig) -> Link:
  """The link a config describes.

  Raises:
    InputError: `uplink.channel` is unknown.
  """
  channel = resolve_channel(uplink.channel)
  return PerfectBitLink(uplink.quantiser_bits) if uplink.quantiser_bits else AnalogueLink(channel)
