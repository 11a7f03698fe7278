"""Profiles in few bits: where the atoms are by Elias and Fano's code, their powers in 8 levels.

K sorted atoms take 7 K bits for their places and 3 K for their powers, and P bits for the delays.
"""

from typing import NamedTuple

import numpy as np

from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import NUM_ANGLES

_ANGLE_BITS, _LEVEL_BITS = 6, 3
assert 2**_ANGLE_BITS == NUM_ANGLES


class Packed(NamedTuple):
  """V profiles of K atoms each, K a multiple of 8; bits are packed big-endian."""

  rows: np.ndarray  # [V, ceil((K + P) / 8)] uint8: a 1 for each atom, a 0 after each delay
  angles: np.ndarray  # [V, 6 K / 8] uint8, of the atoms in order of their delays
  level: np.ndarray  # [V, 3 K / 8] uint8, which of the powers each atom has
  power: np.ndarray  # [V, L] float16, falling


def pack(profile: Profile, num_delays: int) -> Packed:
  """Profiles [V, K] of atoms on P delays, strongest first. A level has the mean of its powers."""
  index, power = np.asarray(profile.index), np.asarray(profile.power)
  num_atoms = index.shape[1]
  edges = _level_edges(num_atoms)
  mean = np.add.reduceat(power, edges[:-1], axis=1) / np.diff(edges)
  order = np.argsort(index, axis=1)
  index = np.take_along_axis(index, order, 1)
  delay, angle = np.divmod(index, NUM_ANGLES)
  bits = np.zeros((len(index), num_atoms + num_delays), bool)
  np.put_along_axis(bits, delay + np.arange(num_atoms), True, 1)
  level = np.searchsorted(edges, order, 'right') - 1
  return Packed(
      np.packbits(bits, 1), _to_bytes(angle, _ANGLE_BITS), _to_bytes(level, _LEVEL_BITS),
      mean.astype(np.float16))


def unpack(packed: Packed) -> Profile:
  """Profiles [V, K] of numpy arrays, in order of delay and angle."""
  angle, level = _from_bytes(packed.angles, _ANGLE_BITS), _from_bytes(packed.level, _LEVEL_BITS)
  num_entries, num_atoms = angle.shape
  # The n-th 1, from 0, stands n places after the number of its delay.
  _, place = np.nonzero(np.unpackbits(packed.rows, axis=1))
  delay = place.reshape(num_entries, num_atoms) - np.arange(num_atoms)
  power = np.take_along_axis(packed.power.astype(np.float32), level, 1)
  return Profile((delay * NUM_ANGLES + angle).astype(np.int32), power)


def is_whole(packed: Packed, num_delays: int) -> bool:
  """Whether `unpack` finds atoms of P delays with powers that can be used."""
  num_atoms = packed.angles.shape[1] * 8 // _ANGLE_BITS
  if num_atoms % 8 or packed.level.shape[1] * 8 != _LEVEL_BITS * num_atoms or (
      packed.rows.shape[1] != -(-(num_atoms + num_delays) // 8)):
    return False
  bits = np.unpackbits(packed.rows, axis=1)
  power = packed.power.astype(np.float32)
  return bool(
      (bits.sum(1) == num_atoms).all() and not bits[:, num_atoms + num_delays:].any()
      and packed.power.shape[1] == len(_level_edges(num_atoms)) - 1
      and _from_bytes(packed.level, _LEVEL_BITS).max() < packed.power.shape[1]
      and np.isfinite(power).all() and (power >= 0).all() and (power.sum(1) > 0).all())


def _level_edges(num_atoms: int) -> np.ndarray:
  """The ranks that levels begin at, and K: close for the strong atoms."""
  edges = np.round(np.geomspace(1, num_atoms + 1, 2**_LEVEL_BITS + 1)).astype(int)
  return np.unique(edges) - 1


def _to_bytes(numbers: np.ndarray, num_bits: int) -> np.ndarray:
  bits = (numbers[..., None] >> np.arange(num_bits)[::-1]) & 1
  return np.packbits(bits.reshape(len(bits), bits.shape[1] * num_bits).astype(bool), 1)


def _from_bytes(data: np.ndarray, num_bits: int) -> np.ndarray:
  bits = np.unpackbits(data, axis=1)
  bits = bits.reshape(len(data), bits.shape[1] // num_bits, num_bits)
  return bits @ (1 << np.arange(num_bits)[::-1])
