"""The uniform quantiser of separate source-channel coding, and its bits."""

import jax
import jax.numpy as jnp


def to_levels(codeword: jax.Array, num_bits: int) -> jax.Array:
  """Index of each entry's level, int32 in [0, 2^q): tanh bounds entries to (-1, 1), cut in 2^q."""
  levels = 2**num_bits
  index = jnp.floor((jnp.tanh(codeword.astype(jnp.float32)) + 1) / 2 * levels)
  return jnp.clip(index, 0, levels - 1).astype(jnp.int32)


def from_levels(index: jax.Array, num_bits: int) -> jax.Array:
  """The middle of each level, float32 in (-1, 1)."""
  return (2 * index.astype(jnp.float32) + 1) / 2**num_bits - 1


def quantise(codeword: jax.Array, num_bits: int) -> jax.Array:
  """Entries as they come out of error-free bits; the gradient is that of tanh (straight through).

  Args:
    codeword: [..., b] real.
    num_bits: q, bits an entry.
  """
  smooth = jnp.tanh(codeword.astype(jnp.float32))
  return smooth + jax.lax.stop_gradient(
      from_levels(to_levels(codeword, num_bits), num_bits) - smooth)


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
