"""The uniform quantiser of separate source-channel coding, and its bits."""

import jax
import jax.numpy as jnp

# Added to the mean square before the root: keeps a zero codeword's gradient finite.
_POWER_EPSILON = 1e-8


def bound(codeword: jax.Array) -> jax.Array:
  """tanh of each report [..., b] at unit mean square, float32 in (-1, 1).

  The scaling, as DJSCC's power constraint, keeps entries away from where tanh is flat.
  """
  codeword = codeword.astype(jnp.float32)
  power = jnp.mean(jnp.square(codeword), axis=-1, keepdims=True)
  return jnp.tanh(codeword * jax.lax.rsqrt(power + _POWER_EPSILON))


def to_levels(codeword: jax.Array, num_bits: int) -> jax.Array:
  """Index of each bounded entry's level, int32 in [0, 2^q), same shape."""
  return _index(bound(codeword), num_bits)


def from_levels(index: jax.Array, num_bits: int) -> jax.Array:
  """The middle of each level, float32 in (-1, 1), same shape."""
  return (2 * index.astype(jnp.float32) + 1) / 2**num_bits - 1


def quantise(codeword: jax.Array, num_bits: int) -> jax.Array:
  """Entries as they come out of error-free bits; the gradient is that of `bound`.

  Args:
    codeword: [..., b] real, one report a row.
    num_bits: q, bits an entry.
  """
  bounded = bound(codeword)
  return bounded + jax.lax.stop_gradient(
      from_levels(_index(bounded, num_bits), num_bits) - bounded)


def _index(bounded: jax.Array, num_bits: int) -> jax.Array:
  levels = 2**num_bits
  index = jnp.floor((bounded + 1) / 2 * levels)
  return jnp.clip(index, 0, levels - 1).astype(jnp.int32)


def to_bits(index: jax.Array, num_bits: int) -> jax.Array:
  """Levels [..., b] to bits [..., b q] uint8; Gray-coded, most significant first.

  In a Gray code neighbouring levels differ in one bit, so a bit error costs least.
  """
  gray = index ^ (index >> 1)
  shifts = jnp.arange(num_bits - 1, -1, -1)
  bits = (gray[..., None] >> shifts) & 1
  return bits.reshape(*index.shape[:-1], -1).astype(jnp.uint8)


def from_bits(bits: jax.Array, num_bits: int) -> jax.Array:
  """The inverse of `to_bits`: [..., b q] to [..., b] int32."""
  bits = bits.reshape(*bits.shape[:-1], -1, num_bits).astype(jnp.int32)
  binary = jnp.cumsum(bits, axis=-1) % 2  # each binary digit is the parity of the Gray ones so far
  return binary @ (2 ** jnp.arange(num_bits - 1, -1, -1))
