"""Deep joint source-channel coding: codewords as symbols, and what the uplink does to them.

A channel is a function (key, symbols [..., k/2], snr_db) -> received symbols, same shape.
SNR is 1/N_0 with N_0 the noise variance per complex symbol, given per UE; symbols of
different UEs are orthogonal and never mix.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rca_jax.errors import InputError

Channel = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

# Added to the mean power before the root: keeps a zero codeword's gradient finite.
_POWER_EPSILON = 1e-8


def to_symbols(codeword: jax.Array) -> jax.Array:
  """The transmit symbols s of each report: complex, mean |s|^2 = 1 per UE and sample.

  Args:
    codeword: v [..., k] real, k even; first half real parts, second half imaginary.

  Returns:
    [..., k/2] complex64.

  Raises:
    InputError: k is odd.
  """
  return jax.lax.complex(*jnp.split(unit_power(codeword), 2, -1))


def unit_power(codeword: jax.Array) -> jax.Array:
  """As `to_symbols`, real parts and then imaginary ones [..., k] float32. Raises InputError too."""
  k = codeword.shape[-1]
  if k % 2:
    raise InputError(f'k={k} must be even: two real entries make one complex symbol.')
  codeword = codeword.astype(jnp.float32)
  power = jnp.sum(jnp.square(codeword), axis=-1, keepdims=True) / (k // 2)
  return codeword * jax.lax.rsqrt(power + _POWER_EPSILON)


def from_symbols(symbols: jax.Array) -> jax.Array:
  """Received symbols [..., k/2] complex to the real vector [..., k]: `to_symbols`' order."""
  return jnp.concatenate([symbols.real, symbols.imag], axis=-1)


def noise_variance(snr_db: ArrayLike) -> jax.Array:
  """N_0 = 10^(-SNR/10) of any shape: the variance per complex symbol (N_0/2 per real part)."""
  return 10.0 ** (-jnp.asarray(snr_db, jnp.float32) / 10.0)


def through(
    channel: Channel, key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> jax.Array:
  """Symbols [..., k/2] as `channel` delivers them.

  `key` is one for all reports, or has their leading axes: then what happens to a report follows
  from its own key alone, whatever else is sent.
  """
  if not key.shape:
    return channel(key, symbols, snr_db)
  snr_db = jnp.broadcast_to(snr_db, key.shape)
  for _ in key.shape:
    channel = jax.vmap(channel)
  return channel(key, symbols, snr_db)


def awgn(key: jax.Array, symbols: jax.Array, snr_db: ArrayLike) -> jax.Array:
  """s + z with z ~ CN(0, N_0): the paper's uplink.

  Args:
    key: of the noise.
    symbols: [batch, ue, k/2] complex64.
    snr_db: broadcasts to [batch, ue].

  Raises:
    InputError: snr_db does not broadcast to the symbols' leading axes.
  """
  noise = jax.random.normal(key, symbols.shape, jnp.complex64)
  return symbols + jnp.sqrt(_noise_variance_like(symbols, snr_db)) * noise


def rayleigh_block_fading(key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> jax.Array:
  """g s + z with one gain g ~ CN(0, 1) per UE and report, unknown to the receiver.

  Arguments and errors as `awgn`; the SNR is the mean over the fading.
  """
  received, _ = _fade(key, symbols, snr_db)
  return received


def rayleigh_block_fading_equalised(
    key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> jax.Array:
  """As `rayleigh_block_fading`, then g* / (|g|^2 + N_0) at a receiver that knows g.

  The MMSE equaliser, not 1/g: in a deep fade it returns little, not unbounded noise.
  """
  received, gain = _fade(key, symbols, snr_db)
  power = jnp.square(gain.real) + jnp.square(gain.imag)
  return received * jnp.conj(gain) / (power + _noise_variance_like(symbols, snr_db))


def rayleigh_block_fading_known(
    key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> tuple[jax.Array, jax.Array]:
  """As `rayleigh_block_fading`, divided by g, and |g|^2 [batch, ue]: noise of N_0 / |g|^2."""
  received, gain = _fade(key, symbols, snr_db)
  power = jnp.square(gain.real) + jnp.square(gain.imag)
  return received * jnp.conj(gain) / power, power[..., 0]


def narrowband_interference(key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> jax.Array:
  """As `awgn`, and on one eighth of a report's symbols an interferer as strong as the signal.

  The symbols hit are neighbours, at a place drawn for every report; the interference is CN(0, 1).
  """
  place_key, interference_key, noise_key = jax.random.split(key, 3)
  num_symbols = symbols.shape[-1]
  width = interfered_symbols(num_symbols)
  first = jax.random.randint(
      place_key, (*symbols.shape[:-1], 1), 0, num_symbols - width + 1, jnp.int32)
  place = jnp.arange(num_symbols)
  hit = (place >= first) & (place < first + width)
  interference = jax.random.normal(interference_key, symbols.shape, jnp.complex64)
  return awgn(noise_key, symbols + jnp.where(hit, interference, 0), snr_db)


def interfered_symbols(num_symbols: int) -> int:
  """How many of a report's symbols `narrowband_interference` hits."""
  return -(-num_symbols // 8)


CHANNELS: dict[str, Channel] = {
    'awgn': awgn,
    'narrowband_interference': narrowband_interference,
    'rayleigh_block_fading': rayleigh_block_fading,
    'rayleigh_block_fading_equalised': rayleigh_block_fading_equalised,
}


def resolve_channel(name: str) -> Channel:
  """The channel of a name in `CHANNELS`.

  Raises:
    InputError: the name is unknown.
  """
  if name not in CHANNELS:
    raise InputError(f'uplink.channel={name!r} is unknown; choose one of {", ".join(CHANNELS)}.')
  return CHANNELS[name]


def _fade(
    key: jax.Array, symbols: jax.Array, snr_db: jax.Array) -> tuple[jax.Array, jax.Array]:
  gain_key, noise_key = jax.random.split(key)
  gain = jax.random.normal(gain_key, (*symbols.shape[:-1], 1), jnp.complex64)
  return awgn(noise_key, gain * symbols, snr_db), gain


def _noise_variance_like(symbols: jax.Array, snr_db: ArrayLike) -> jax.Array:
  """N_0 as [batch, ue, 1]: broadcast on the leading axes only, never against symbols."""
  leading = symbols.shape[:-1]
  snr_shape = jnp.shape(snr_db)
  try:
    fits = jnp.broadcast_shapes(snr_shape, leading) == leading
  except ValueError:
    fits = False
  if not fits:
    raise InputError(
        f'snr_db has shape {list(snr_shape)}; expected one that broadcasts to [batch, ue] = '
        f'{list(leading)}.')
  return jnp.broadcast_to(noise_variance(snr_db), leading)[..., None]
