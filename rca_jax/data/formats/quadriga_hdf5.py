"""QuaDRiGa's own HDF5 layout (version 2, of quadriga-lib): its channels under `mat_save`'s names.

`Order` lists the number N of the channel of every index, 0 where there is none. Its group
`channel_N` has NumSnap, NumRx, NumTx, and rx_position and tx_position, [3] or [snapshot, 3]. In its
groups `Snap_i`, or in itself if there is one snapshot, stand coeff_re and coeff_im [path, tx, rx]
and delay, of that shape or [path, 1, 1]. A snapshot without paths has none of them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from rca_jax.data.formats.arrays import (
    MAX_DEFLATE,
    Array,
    check_promise,
    in_memory,
    readable,
    split,
    whole,
)
from rca_jax.errors import InputError

_LEAVES = ('coeff_re', 'coeff_im', 'delay')


def with_channels(path: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
  """`channel_N_Coeffs` [rx, tx, path, snapshot], `..._Delays`, `..._rx_position`, `..._tx_...`.

  In the order of the channels' indices, instead of what stands in their groups; other files stay as
  they are. Snapshots with fewer paths end in coefficients of zero.

  Raises:
    InputError: a channel is damaged, or has antennas but no coefficients.
  """
  if 'Order' not in arrays or not any(name.startswith('channel_') for name in arrays):
    return dict(arrays)
  with readable('HDF5 file of QuaDRiGa'):
    numbers = [int(number) for number in whole(arrays['Order']).ravel() if number]
    if len(set(numbers)) < len(numbers):
      raise ValueError('its Order lists a channel twice')
    channels = [_channel(path, f'channel_{number}', arrays) for number in numbers]
  # What a channel without paths says of its antennas must be true of another one.
  with_paths = [
      found[f'{name}_Coeffs'].shape[:2] for name, has_paths, found in channels if has_paths]
  if not with_paths:
    raise InputError('has no channel with coefficients (coeff_re, coeff_im).')
  for name, _, found in channels:
    if found and found[f'{name}_Coeffs'].shape[:2] not in with_paths:
      num_rx, num_tx = found[f'{name}_Coeffs'].shape[:2]
      raise InputError(
          f'{name} has {num_tx} tx and {num_rx} rx antennas but no coefficients (coeff_re, '
          'coeff_im); compute them, or leave the channel out.')
  return {key: array for _, _, found in channels for key, array in found.items()}


def _channel(
    path: Path, name: str, arrays: Mapping[str, Array]) -> tuple[str, bool, dict[str, Array]]:
  """Name, whether a snapshot has paths, and arrays; none of a channel without snapshots."""
  num_rx, num_tx, num_snapshots = (
      int(_number(arrays, f'{name}/{count}')) for count in ('NumRx', 'NumTx', 'NumSnap'))
  check_promise(f'{name}/NumSnap', num_snapshots, path.stat().st_size)  # a byte each at least
  if not num_snapshots:
    return name, False, {}
  groups = [name] if num_snapshots == 1 else [f'{name}/Snap_{i}' for i in range(num_snapshots)]
  shapes = [_delay_shape(arrays, group, (num_tx, num_rx)) for group in groups]
  num_paths = max((shape[0] for shape in shapes if shape), default=0)
  check_promise(
      f'{name}/coeff_re', 4 * num_tx * num_rx * num_paths, MAX_DEFLATE * path.stat().st_size)
  antennas = (num_rx, num_tx)
  individual = any(shape and shape[1:] != (1, 1) for shape in shapes)
  groups = [group if shape else None for group, shape in zip(groups, shapes, strict=True)]
  shape = (max(1, num_paths), num_snapshots)
  return name, bool(num_paths), {
      f'{name}_Coeffs': _padded(path, groups, _LEAVES[:2], (*antennas, *shape)),
      f'{name}_Delays': _padded(
          path, groups, _LEAVES[2:], (*(antennas if individual else (1, 1)), *shape)),
      f'{name}_rx_position': in_memory(_position(arrays, f'{name}/rx_position', num_snapshots)),
      f'{name}_tx_position': in_memory(_position(arrays, f'{name}/tx_position', num_snapshots))}


def _number(arrays: Mapping[str, Array], name: str) -> np.number:
  if name not in arrays or arrays[name].shape != (1,):
    raise ValueError(f'it has no number {name}')
  return whole(arrays[name])[0]


def _delay_shape(
    arrays: Mapping[str, Array], group: str, antennas: tuple[int, int]) -> tuple[int, ...] | None:
  """[path, tx, rx] or [path, 1, 1], None without paths; nothing is read yet."""
  real, imag, delay = (
      arrays[f'{group}/{leaf}'].shape if f'{group}/{leaf}' in arrays else None for leaf in _LEAVES)
  if real is imag is None:
    return None
  if real != imag or real[1:] != antennas or delay not in (real, (*real[:1], 1, 1)):
    raise ValueError(f'{group} has coefficients of shape {real}, {imag} and delays of {delay}')
  return delay


def _position(arrays: Mapping[str, Array], name: str, num_snapshots: int) -> np.ndarray:
  """[3, snapshot] m; one position holds for all of them."""
  found = whole(arrays[name]) if name in arrays else np.zeros(0)
  if found.shape not in ((3,), (num_snapshots, 3)):
    raise ValueError(f'its {name} has shape {found.shape}, expected {(num_snapshots, 3)}')
  return np.broadcast_to(found, (num_snapshots, 3)).T


def _padded(
    path: Path, groups: list[str | None], leaves: tuple[str, ...], shape: tuple[int, ...]) -> Array:
  """[rx, tx, path, snapshot]: real (and imaginary) parts as stored, then zeros."""

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    step = count if axis == 3 else len(groups)
    for start in range(0, len(groups), step):
      mine = groups[start:start + step]
      values = np.zeros((*shape[:3], len(mine)), np.complex64 if len(leaves) > 1 else np.float32)
      with readable('HDF5 file'), h5py.File(path, 'r') as file:
        for index, group in enumerate(mine):
          if group is not None:
            parts = [file[f'{group}/{leaf}'][...].T for leaf in leaves]
            found = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
            values[:, :, :found.shape[-1], index] = found
      yield from split(values, count, axis)

  return Array(shape, blocks)
