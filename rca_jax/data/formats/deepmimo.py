"""DeepMIMO version 4: `channel` [user, rx, tx, subcarrier] and, if there, `rx_pos` [user, 3] m."""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig
from rca_jax.data.formats.angular_delay import angular_delay
from rca_jax.data.formats.arrays import Array, rows_per_block
from rca_jax.errors import InputError

_POSITIONS = ('rx_pos', 'positions')


def recognises(arrays: Mapping[str, Array]) -> bool:
  return 'channel' in arrays or list(arrays) == ['']


def read(arrays: Mapping[str, Array], config: CsiConfig) -> Iterator[CsiGroups]:
  """Groups of one UE; users without a path, all zeros in DeepMIMO, are left out.

  Raises:
    InputError: `channel` is not complex [user, 1, tx, subcarrier] with at least N_a subcarriers,
      or the positions are not one per user.
  """
  channel = arrays['channel' if 'channel' in arrays else '']
  shape = channel.shape
  if len(shape) != 4 or 0 in shape or shape[1] != 1:
    raise InputError(
        f'channel has shape {shape}; expected [user, rx, tx, subcarrier] with a single rx antenna.')
  count = rows_per_block(math.prod(shape[1:]))
  name = next((name for name in _POSITIONS if name in arrays), None)
  if name and arrays[name].shape != (shape[0], 3):
    raise InputError(f'{name} has shape {arrays[name].shape}; expected {(shape[0], 3)}.')
  positions = arrays[name].blocks(count, 0) if name else itertools.repeat(None)
  for block, position in zip(channel.blocks(count, 0), positions, strict=False):
    if block.dtype.kind != 'c':
      raise InputError(f'channel is of type {block.dtype}; expected complex.')
    # Exactly zero: the power of a user with paths is 1e-17 or so.
    has_paths = block.any(axis=(1, 2, 3))
    csi, kept = angular_delay(np.swapaxes(block[has_paths, 0], -1, -2), config)
    if position is not None:
      position = position[has_paths, None].astype(np.float32)
    yield CsiGroups(csi[:, None], position, None, kept[:, None])
