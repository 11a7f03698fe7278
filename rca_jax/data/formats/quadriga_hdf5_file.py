"""Arrays of QuaDRiGa's own HDF5 layout (version 2, of quadriga-lib), by the names of `mat_save`.

`Order` lists the number N of the channel of every index, 0 where there is none. Its group
`channel_N` has attributes NumSnap, NumRx, NumTx, and rx_position and tx_position, [3] or, as
datasets, [snapshot, 3]. In its groups `Snap_i`, or in itself if there is one snapshot, stand
coeff_re and coeff_im [path, tx, rx] and delay, of that shape or [path, 1, 1]. A snapshot without
paths has none of them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from rca_jax.data.formats.arrays import Array, check_promise, readable, split, with_axis
from rca_jax.data.formats.hdf5_member import check_storage, member
from rca_jax.errors import InputError

_LEAVES = ('coeff_re', 'coeff_im', 'delay')


class _Channel(NamedTuple):
  """What is known of a channel before its paths are read."""

  name: str
  num_rx: int
  num_tx: int
  num_snapshots: int
  num_paths: int  # of the snapshot with most
  has_individual_delays: bool  # per antenna
  rx_position: np.ndarray  # [3, snapshot] m
  tx_position: np.ndarray


def quadriga_hdf5_arrays(path: Path) -> dict[str, Array]:
  """`channel_N_Coeffs` [rx, tx, path, snapshot], `..._Delays`, `..._rx_position`, `..._tx_...`.

  In the order of the channels' indices. Snapshots with fewer paths end in coefficients of zero.

  Raises:
    InputError: the file is damaged, has another layout, or a channel without coefficients.
  """
  with readable('HDF5 file'), h5py.File(path, 'r') as file:
    size = path.stat().st_size
    channels = [_channel(file, f'channel_{number}', size) for number in _numbers(file)]
  channels = [channel for channel in channels if channel.num_snapshots]
  _check_coefficients(channels)
  arrays = {}
  for channel in channels:
    arrays |= {
        f'{channel.name}_Coeffs': _coefficients(path, channel),
        f'{channel.name}_Delays': _delays(path, channel),
        f'{channel.name}_rx_position': _in_memory(channel.rx_position),
        f'{channel.name}_tx_position': _in_memory(channel.tx_position)}
  return arrays


def _numbers(file: h5py.File) -> list[int]:
  """Of the channels, in the order of their indices."""
  order = member(file, 'Order')
  if not isinstance(order, h5py.Dataset) or order.dtype.kind not in 'iu':
    raise InputError(
        'plain HDF5 of another layout than QuaDRiGa\'s (it has no Order of channels); save an npz, '
        'docs/data.md has its arrays.')
  check_storage('Order', order)
  numbers = [int(number) for number in order[...].ravel() if number]
  if len(set(numbers)) < len(numbers):
    raise ValueError('its Order lists a channel twice')
  return numbers


def _channel(file: h5py.File, name: str, file_bytes: int) -> _Channel:
  group = member(file, name)
  if not isinstance(group, h5py.Group):
    raise ValueError(f'it has no group {name}')
  num_rx, num_tx, num_snapshots = (
      int(_attribute(group, count, ())) for count in ('NumRx', 'NumTx', 'NumSnap'))
  check_promise(f'{name}/NumSnap', num_snapshots, file_bytes)  # a snapshot takes a byte at least
  shapes = list(filter(None, (
      _delay_shape(snapshot, (num_tx, num_rx))
      for _, snapshot in _snapshots(group, range(num_snapshots), num_snapshots))))
  return _Channel(
      name, num_rx, num_tx, num_snapshots, max((shape[0] for shape in shapes), default=0),
      any(shape[1:] != (1, 1) for shape in shapes),
      _position(group, 'rx_position', num_snapshots),
      _position(group, 'tx_position', num_snapshots))


def _attribute(group: h5py.Group, name: str, shape: tuple[int, ...]) -> np.ndarray:
  attribute = group.attrs.get_id(name)
  if attribute.shape != shape or attribute.dtype.kind not in 'iuf':
    raise ValueError(f'its attribute {name} has shape {attribute.shape}')
  return group.attrs[name]


def _snapshots(
    group: h5py.Group, indices: range, num_snapshots: int) -> Iterator[tuple[int, h5py.Group]]:
  """Those with a group of their own; the others have no paths."""
  for index in indices:
    snapshot = group if num_snapshots == 1 else member(group, f'Snap_{index}')
    if isinstance(snapshot, h5py.Group):
      yield index, snapshot


def _delay_shape(snapshot: h5py.Group, antennas: tuple[int, int]) -> tuple[int, ...] | None:
  """[path, tx, rx] or [path, 1, 1], None without paths; nothing is read yet."""
  found = [member(snapshot, leaf) for leaf in _LEAVES]
  if found[:2] == [None, None]:
    return None
  for leaf, dataset in zip(_LEAVES, found, strict=True):
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != 'f':
      raise ValueError(f'{snapshot.name}/{leaf} holds no real numbers')
    check_storage(f'{snapshot.name}/{leaf}', dataset)
  real, imag, delay = (dataset.shape for dataset in found)
  if real != imag or real[1:] != antennas or delay not in (real, (*real[:1], 1, 1)):
    raise ValueError(
        f'{snapshot.name} has coefficients of shape {real}, {imag} and delays of {delay}')
  return delay


def _position(group: h5py.Group, name: str, num_snapshots: int) -> np.ndarray:
  """[3, snapshot] m; an attribute holds for all of them."""
  dataset = member(group, name)
  if not isinstance(dataset, h5py.Dataset):
    return np.broadcast_to(_attribute(group, name, (3,))[:, None], (3, num_snapshots))
  if dataset.shape != (num_snapshots, 3) or dataset.dtype.kind != 'f':
    raise ValueError(f'its {name} has shape {dataset.shape}, expected {(num_snapshots, 3)}')
  check_storage(name, dataset)
  return dataset[...].T


def _check_coefficients(channels: list[_Channel]) -> None:
  if not any(channel.num_paths for channel in channels):
    raise InputError('has no channel with coefficients (coeff_re, coeff_im).')
  # What a channel without paths says of its antennas must be true of another one.
  antennas = {(channel.num_rx, channel.num_tx) for channel in channels if channel.num_paths}
  for channel in channels:
    if (channel.num_rx, channel.num_tx) not in antennas:
      raise InputError(
          f'{channel.name} has {channel.num_tx} tx and {channel.num_rx} rx antennas but no '
          'coefficients (coeff_re, coeff_im); compute them, or leave the channel out.')


def _coefficients(path: Path, channel: _Channel) -> Array:
  shape = (channel.num_rx, channel.num_tx, max(1, channel.num_paths), channel.num_snapshots)
  return _padded(
      path, channel, shape, np.complex64,
      lambda snapshot: snapshot['coeff_re'][...].T + 1j * snapshot['coeff_im'][...].T)


def _delays(path: Path, channel: _Channel) -> Array:
  shape = (max(1, channel.num_paths), channel.num_snapshots)
  if channel.has_individual_delays:
    return _padded(
        path, channel, (channel.num_rx, channel.num_tx, *shape), np.float32,
        lambda snapshot: snapshot['delay'][...].T)
  return _padded(
      path, channel, shape, np.float32, lambda snapshot: snapshot['delay'][:, 0, 0])


def _padded(
    path: Path, channel: _Channel, shape: tuple[int, ...], dtype: type,
    read: Callable[[h5py.Group], np.ndarray]) -> Array:
  """[..., path, snapshot] of what `read` finds in a snapshot, [..., path]; zeros behind it."""

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    step = count if axis == len(shape) - 1 else channel.num_snapshots
    for start in range(0, channel.num_snapshots, step):
      indices = range(start, min(start + step, channel.num_snapshots))
      values = np.zeros((*shape[:-1], len(indices)), dtype)
      with readable('HDF5 file'), h5py.File(path, 'r') as file:
        for index, snapshot in _snapshots(file[channel.name], indices, channel.num_snapshots):
          if 'coeff_re' in snapshot:
            found = read(snapshot)
            values[..., :found.shape[-1], index - start] = found
      yield from split(with_axis(values, axis), count, axis)

  return Array(shape, blocks)


def _in_memory(values: np.ndarray) -> Array:
  return Array(values.shape, lambda count, axis: split(with_axis(values, axis), count, axis))
