"""The uplink of codes that are made for a known noise: linear codes, the site map, joint Bayes.

UEs and BS know the SNR of every UE, or believe to. A BS knows the gain of a fading channel too, so
that it gets s + z / g: noise of variance N_0 / |g|^2. It knows that there is interference, not
where: that counts as noise of its mean power.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.errors import InputError
from rca_jax.uplink.djscc import (
    awgn,
    interfered_symbols,
    narrowband_interference,
    rayleigh_block_fading_known,
    resolve_channel,
    through,
)


class Uplink(NamedTuple):
  """What the reports of a group go through, and what UEs and BS are told of it."""

  snr_db: np.ndarray | float  # of each UE, broadcasts to [M]
  error_db: float = 0.0  # added to the SNR that both sides are told, not to the uplink's
  channel: str = 'awgn'  # a name of `KNOWN`

  def noise(self, num_symbols: int) -> np.ndarray:
    """N_0 that the codes of reports so long are made for, of the shape of `snr_db`."""
    noise = 10 ** (-(np.asarray(self.snr_db, np.float64) + self.error_db) / 10)
    if self.channel == 'narrowband_interference':
      noise = noise + interfered_symbols(num_symbols) / num_symbols
    return noise

  def send(self, key: jax.Array, symbols: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Symbols [..., M, S] with noise, and its N_0 [..., M] as the BS believes.

    `key` as of `uplink.djscc.through`.
    """
    received, power = through(
        KNOWN[self.channel], key, symbols, jnp.asarray(self.snr_db, jnp.float32))
    return received, jnp.asarray(self.noise(symbols.shape[-1]), jnp.float32) / power


def check_known(channel: str) -> None:
  """Raises InputError if codes for a known noise have no meaning over a channel of this name."""
  resolve_channel(channel)
  if channel not in KNOWN:
    raise InputError(
        f'channel={channel!r}: without the phase of the gain the BS cannot read a linear code; '
        f'choose one of {", ".join(KNOWN)}.')


def _with_unit_gain(channel):

  def observe(key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> tuple[jax.Array, jax.Array]:
    return channel(key, symbols, snr_db), jnp.ones(symbols.shape[:-1], jnp.float32)

  return observe


# As `CHANNELS`, with the same draws; they return |g|^2 too.
KNOWN = {
    'awgn': _with_unit_gain(awgn),
    'narrowband_interference': _with_unit_gain(narrowband_interference),
    'rayleigh_block_fading_equalised': rayleigh_block_fading_known,
}
