"""QuaDRiGa: .mat files of `qd_channel.mat_save`, of one's own array behind `qd_channel.fr`; HDF5.

`channel_00001_Coeffs` [rx, tx, path, snapshot] and `..._Delays` [path, snapshot], or of the shape
of Coeffs with individual delays. Every snapshot of every channel is a UE.
"""

import itertools
import re
from collections.abc import Iterator, Mapping

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig
from rca_jax.data.formats.angular_delay import angular_delay, frequency_response
from rca_jax.data.formats.arrays import Array, rows_per_block, whole
from rca_jax.errors import InputError


def recognises(arrays: Mapping[str, Array]) -> bool:
  return bool(_channels(arrays)) or len(_responses(arrays)) == 1


def read(arrays: Mapping[str, Array], config: CsiConfig) -> Iterator[CsiGroups]:
  """Groups of one UE; positions count from the point of the ground below the base station.

  Raises:
    InputError: arrays are not as above, a UE has several antennas, or base stations differ.
  """
  channels = _channels(arrays)
  if channels:
    _check_one_base_station(arrays, channels)
    for channel in channels:
      yield from _read_paths(arrays, channel, config)
  else:
    [name] = _responses(arrays)
    yield from _read_response(arrays, name, config)


def _channels(arrays: Mapping[str, Array]) -> list[str]:
  found = (re.fullmatch(r'(channel_\d+_)Coeffs', name) for name in arrays)
  return [match.group(1) for match in found if match]


def _responses(arrays: Mapping[str, Array]) -> list[str]:
  shapes = {name: _shape(array, 4) for name, array in arrays.items() if len(array.shape) > 2}
  return [name for name, shape in shapes.items() if len(shape) == 4 and shape[0] == 1]


def _read_paths(
    arrays: Mapping[str, Array], channel: str, config: CsiConfig) -> Iterator[CsiGroups]:
  name = channel + 'Coeffs'
  shape = _shape(arrays[name], 4)
  if channel + 'Delays' not in arrays:
    raise InputError(f'has {name} but no {channel}Delays.')
  delays = arrays[channel + 'Delays']
  individual = shape == _shape(delays, 4)
  if shape[0] != 1 or 0 in shape or not (individual or _shape(delays, 2) == shape[2:]):
    raise InputError(
        f'{name} has shape {shape} and its Delays {delays.shape}; expected [rx, tx, path, '
        'snapshot] with one rx antenna, and [path, snapshot] or the same.')
  count = rows_per_block(shape[1] * max(shape[2], config.num_subcarriers))
  blocks = zip(
      arrays[name].blocks(count, 3), delays.blocks(count, 3 if individual else 1),
      _positions(arrays, channel, count, shape[3]), strict=False)
  for coefficient, delay, positions in blocks:
    if coefficient.dtype.kind != 'c' or delay.dtype.kind != 'f':
      raise InputError(
          f'{name} is of type {coefficient.dtype} and its Delays {delay.dtype}; expected complex '
          'and real.')
    delay = delay[0] if individual else delay[None]
    response = frequency_response(
        coefficient[0].transpose(2, 1, 0), delay.transpose(2, 1, 0).astype(np.float64), config)
    yield _single_ues(response, positions, config)


def _read_response(
    arrays: Mapping[str, Array], name: str, config: CsiConfig) -> Iterator[CsiGroups]:
  shape = _shape(arrays[name], 4)
  if 0 in shape:
    raise InputError(f'{name} has shape {shape}; expected [rx, tx, carrier, snapshot], none empty.')
  count = rows_per_block(shape[1] * shape[2])
  blocks = zip(
      arrays[name].blocks(count, 3), _positions(arrays, '', count, shape[3]), strict=False)
  for response, positions in blocks:
    if response.dtype.kind != 'c':
      raise InputError(f'{name} is of type {response.dtype}; expected complex.')
    yield _single_ues(response[0].transpose(2, 1, 0), positions, config)


def _single_ues(
    response: np.ndarray, positions: np.ndarray | None, config: CsiConfig) -> CsiGroups:
  csi, kept = angular_delay(response, config)
  return CsiGroups(csi[:, None], positions, None, kept[:, None])


def _positions(
    arrays: Mapping[str, Array], channel: str, count: int, num_snapshots: int,
) -> Iterator[np.ndarray | None]:
  """[snapshot, 1, 3] float32 m, block by block."""
  name = channel + 'rx_position'
  if name not in arrays:
    yield from itertools.repeat(None)
  if _shape(arrays[name], 2) != (3, num_snapshots):
    raise InputError(f'{name} has shape {arrays[name].shape}; expected {(3, num_snapshots)}.')
  origin = _base_station(arrays, channel) * [1, 1, 0]  # heights stay over the ground
  for block in arrays[name].blocks(count, 1):
    yield (block.T - origin)[:, None].astype(np.float32)


def _base_station(arrays: Mapping[str, Array], channel: str) -> np.ndarray:
  """Where it stands in the first snapshot, [3] m."""
  name = channel + 'tx_position'
  if name not in arrays:
    return np.zeros(3)
  position = whole(arrays[name], name)
  if position.shape[0] != 3:
    raise InputError(f'{name} has shape {position.shape}; expected (3, 1) or (3, snapshot).')
  return position[:, 0].astype(np.float64)


def _check_one_base_station(arrays: Mapping[str, Array], channels: list[str]) -> None:
  first = _base_station(arrays, channels[0])
  for channel in channels[1:]:
    if not np.array_equal(_base_station(arrays, channel), first):
      raise InputError(
          f'{channel}tx_position is not that of {channels[0][:-1]}; expected the channels of one '
          'base station, write one file for each.')


def _shape(array: Array, num_axes: int) -> tuple[int, ...]:
  """With the trailing axes of length 1 that MATLAB drops."""
  return tuple(array.shape) + (1,) * (num_axes - len(array.shape))
