"""The order in which the groups of a file are visited, computed for one batch at a time.

Every group once an epoch, each epoch in another order. A sort of all groups in every step would
take longer than the step itself, so the order is a Feistel network: a function of (key, epoch,
place) that maps the places of an epoch one to one.
"""

import jax
import jax.numpy as jnp

_NUM_ROUNDS = 6


def batch_indices(
    key: jax.Array, step: jax.Array, batch_size: int, num_groups: int) -> jax.Array:
  """Which groups the batch of a step holds: int32 [batch_size], each in [0, num_groups).

  Args:
    key: of the order; the same one for all steps.
    step: int32, from 0. The product of step and batch_size may exceed int32.
    num_groups: less than 2^29.
  """
  epoch, place = _position(step, batch_size, num_groups)
  place = place + jnp.arange(batch_size, dtype=jnp.int32)
  num_epochs = (batch_size - 1) // num_groups + 2  # that one batch can touch
  epochs = epoch + jnp.arange(num_epochs, dtype=jnp.int32)
  round_keys = jax.vmap(lambda epoch: jax.random.bits(
      jax.random.fold_in(key, epoch), (_NUM_ROUNDS,), jnp.uint32))(epochs)
  return _permute(round_keys[place // num_groups], place % num_groups, num_groups)


def _position(step: jax.Array, batch_size: int, num_groups: int) -> tuple[jax.Array, jax.Array]:
  """Quotient and remainder of step * batch_size / num_groups; the product may exceed int32."""
  whole, part = divmod(batch_size, num_groups)

  def add_bit(i: jax.Array, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    quotient, rest = found
    rest = 2 * rest + (step >> (30 - i) & 1) * part
    return 2 * quotient + rest // num_groups, rest % num_groups

  zero = jnp.zeros((), jnp.int32)
  quotient, rest = jax.lax.fori_loop(0, 31, add_bit, (zero, zero))
  return quotient + step * whole, rest


def _permute(round_keys: jax.Array, place: jax.Array, size: int) -> jax.Array:
  """Where each place [n] of [0, size) goes, by the round keys [n, rounds] of its epoch."""
  half_bits = max(1, -(-(size - 1).bit_length() // 2))
  mask = jnp.uint32(2**half_bits - 1)

  def network(x: jax.Array) -> jax.Array:
    left, right = x >> half_bits, x & mask
    for i in range(_NUM_ROUNDS):
      left, right = right, left ^ (_mix(right ^ round_keys[:, i]) & mask)
    return left << half_bits | right

  # The network permutes the next power of four: what falls outside goes through it again.
  def again(x: jax.Array) -> jax.Array:
    return jnp.where(x < size, x, network(x))

  x = jax.lax.while_loop(
      lambda x: (x >= size).any(), again, network(place.astype(jnp.uint32)))
  return x.astype(jnp.int32)


def _mix(x: jax.Array) -> jax.Array:
  """Spreads every bit of uint32 over all others (the finaliser of MurmurHash3)."""
  x = (x ^ x >> 16) * jnp.uint32(0x85EBCA6B)
  x = (x ^ x >> 13) * jnp.uint32(0xC2B2AE35)
  return x ^ x >> 16
