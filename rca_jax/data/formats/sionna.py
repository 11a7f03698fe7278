"""Sionna's channel impulse responses: an npz with `a` and `tau`, downlink, UEs on the rx axis."""

from collections.abc import Iterator, Mapping

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig
from rca_jax.data.formats.angular_delay import angular_delay, frequency_response
from rca_jax.data.formats.arrays import Array, rows_per_block
from rca_jax.errors import InputError


def recognises(arrays: Mapping[str, Array]) -> bool:
  return {'a', 'tau'} <= set(arrays)


def read(arrays: Mapping[str, Array], config: CsiConfig) -> Iterator[CsiGroups]:
  """A group per batch entry, of all its UEs; of the time steps the first.

  h(f) = sum a e^{-j 2 pi f tau} at the config's bandwidth and subcarriers.

  Raises:
    InputError: shapes other than a [B, rx, 1, 1, tx_ant, path, time], tau [B, rx, 1, path].
  """
  shape, tau_shape = arrays['a'].shape, arrays['tau'].shape
  if len(shape) != 7 or 0 in shape or tau_shape != (*shape[:2], shape[3], shape[5]):
    raise InputError(
        f'a has shape {shape} and tau {tau_shape}; expected a [batch, rx, rx_ant, tx, tx_ant, '
        'path, time] and tau [batch, rx, tx, path].')
  if shape[2] != 1 or shape[3] != 1:
    raise InputError(
        f'a has {shape[2]} UE antennas (axis 2) and {shape[3]} base stations (axis 3); expected '
        'one of each, e.g. a[:, :, :1, :1] and tau[:, :, :1].')
  values = shape[1] * max(shape[4] * config.num_subcarriers, int(np.prod(shape[4:])))
  count = rows_per_block(values)
  for a, tau in zip(arrays['a'].blocks(count, 0), arrays['tau'].blocks(count, 0), strict=True):
    if a.dtype.kind != 'c' or tau.dtype.kind != 'f':
      raise InputError(f'a is of type {a.dtype} and tau {tau.dtype}; expected complex and real.')
    coefficient = np.swapaxes(a[:, :, 0, 0, :, :, 0], -1, -2)
    csi, kept = angular_delay(
        frequency_response(coefficient, tau[:, :, 0, :, None].astype(np.float64), config), config)
    yield CsiGroups(csi, None, None, kept)
