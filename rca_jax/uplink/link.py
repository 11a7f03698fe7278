"""From a UE's codeword to the BS: analogue symbols, or bits.

A link is a hashable function (key, codeword [batch, ue, k], snr_db) -> codeword_hat, same shape.
The key is one for all, or [batch, ue] keys: one for every report.
"""

import dataclasses
from collections.abc import Callable

import jax

from rca_jax.config import UplinkConfig
from rca_jax.uplink.djscc import Channel, from_symbols, resolve_channel, through, to_symbols
from rca_jax.uplink.quantiser import quantise

Link = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class AnalogueLink:
  """DJSCC, [batch, ue, k] float32: two entries a symbol, unit power, through `channel`."""

  channel: Channel

  def __call__(self, key: jax.Array, codeword: jax.Array, snr_db: jax.Array) -> jax.Array:
    return from_symbols(through(self.channel, key, to_symbols(codeword), snr_db))


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
