"""Layouts of the field's formats, proposed from names and shapes; none is a decision yet.

Each takes the arrays of a file and returns readings; a reading is one layout, or several whose
groups follow one another. No reading: the file is not of this format.
"""

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from rca_jax.config import FORMATS, Layout
from rca_jax.data.formats.arrays import Array, split
from rca_jax.data.formats.reader import base_station
from rca_jax.errors import InputError

Reading = list[Layout]


def proposals(arrays: Mapping[str, Array], format: str = '') -> list[Reading]:
  """Of all formats, or of one.

  Raises:
    InputError: the file is of a format, but of a part of it that holds no CSI.
  """
  return [
      reading for name in FORMATS if format in ('', name) for reading in _PRESETS[name](arrays)]


def _own(arrays: Mapping[str, Array]) -> list[Reading]:
  """`csi` [group, ue, delay, angle], with `positions`, `los`, `energy_kept`."""
  if 'csi' not in arrays:
    return []
  return [[Layout('csi', 'group,ue,delay,angle')]]


def _cost2100(arrays: Mapping[str, Array]) -> list[Reading]:
  """`HT` of CsiNet and its successors, [N, 2048] or [N, 2, 32, 32]; either order of 32 and 32."""
  if 'HT' not in arrays:
    if 'HF_all' in arrays:
      raise InputError(
          'holds `HF_all` alone, the frequency responses that rho is taken against; its CSI is '
          '`HT` of the file without F and _all in its name.')
    return []
  return [[Layout('HT', f'ue,re_im,{rest}')] for rest in ('angle,delay', 'delay,angle')]


def unfolded(arrays: Mapping[str, Array]) -> dict[str, Array]:
  """COST2100's `HT` [N, 2048] as [N, 2, 32, 32], whatever else stands there."""
  folded = arrays.get('HT')
  if folded is None or folded.shape[1:] != (2048,):
    return dict(arrays)

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    for values in folded.blocks(count if axis == 0 else folded.shape[0], 0):
      yield from split(values.reshape(-1, 2, 32, 32), count, axis)

  return {**arrays, 'HT': Array((folded.shape[0], 2, 32, 32), blocks)}


def _sionna(arrays: Mapping[str, Array]) -> list[Reading]:
  """`a` and `tau`, or `h_freq`: downlink, UEs on the rx axis; of the ray tracer without batch."""
  for name, last in (('a,tau', 'path,time'), ('h_freq', 'time,subcarrier')):
    if set(name.split(',')) <= set(arrays):
      has_batch = len(arrays[name.split(',')[0]].shape) > 6
      lead = 'group,ue' if has_batch else 'ue'
      return [[Layout(name, f'{lead},rx,bs,antenna,{last}')]]
  return []


def _deepmimo(arrays: Mapping[str, Array]) -> list[Reading]:
  """`channel` [user, rx, tx, subcarrier] of versions 3 and 4."""
  name = next((name for name in ('channel', 'channels', 'array') if name in arrays), None)
  if name is None or len(arrays[name].with_axes(4).shape) != 4:
    return []
  return [[Layout(name, 'ue,rx,antenna,subcarrier')]]


def _quadriga(arrays: Mapping[str, Array]) -> list[Reading]:
  """`channel_00001_Coeffs` [rx, tx, path, snapshot] and `..._Delays`; or one array after `fr`.

  Every snapshot of every channel is a UE. Individual delays have the shape of Coeffs.
  """
  channels = [name.removesuffix('Coeffs') for name in arrays
              if re.fullmatch(r'channel_\d+_Coeffs', name)]
  for name in channels:
    if name + 'Delays' not in arrays:
      raise InputError(f'has {name}Coeffs but no {name}Delays.')
    if not np.array_equal(base_station(arrays, name), base_station(arrays, channels[0])):
      raise InputError(
          f'{name}tx_position is not that of {channels[0][:-1]}; expected the channels of one base '
          'station, write one file for each.')
  if channels:
    return [[
        Layout(f'{name}Coeffs,{name}Delays', 'rx,antenna,path,ue') for name in channels]]
  responses = [
      name for name, array in arrays.items()
      if array.is_matlab and len(array.shape) > 2 and len(array.with_axes(4).shape) == 4
      and array.shape[0] == 1 and name not in ('channel', 'channels', 'HT')]
  return [[Layout(name, 'rx,antenna,subcarrier,ue')] for name in responses]


_PRESETS: dict[str, Callable[[Mapping[str, Array]], list[Reading]]] = {
    'own': _own, 'cost2100': _cost2100, 'sionna': _sionna, 'deepmimo': _deepmimo,
    'quadriga': _quadriga}
