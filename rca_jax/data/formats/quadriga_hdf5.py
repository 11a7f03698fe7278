"""QuaDRiGa's own HDF5 layout (version 2, of quadriga-lib): its channels under `mat_save`'s names.

`Order` lists the number N of the channel of every index, 0 for no channel. Its group
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


def with_channels(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
  """`channel_N_Coeffs` [rx, tx, path, snapshot], `..._Delays`, `..._rx_position`, `..._tx_...`.

  In the order of the channels' indices, instead of what stands in their groups; other files stay as
  they are. Snapshots with fewer paths end in coefficients of zero.

  Raises:
    InputError: a channel is damaged.
  """
  if 'Order' not in arrays or not any(name.startswith('channel_') for name in arrays):
    return arrays
  found: dict[str, Array] = {}
  with readable('HDF5 file of QuaDRiGa'):
    for number in filter(None, whole(arrays['Order']).ravel()):
      name = f'channel_{number}'
      if f'{name}_Coeffs' in found:
        raise ValueError(f'its Order lists {name} twice')
      found |= _channel(path, name, arrays)
  return found


def _channel(path: Path, name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
  """Nothing of a channel without snapshots."""
  num_rx, num_tx, num_snapshots = (
      int(whole(arrays[f'{name}/{count}'])[0]) for count in ('NumRx', 'NumTx', 'NumSnap'))
  if not num_snapshots:
    return {}
  size = path.stat().st_size
  check_promise(f'{name}/NumSnap', num_snapshots, size)  # a byte each at least
  groups = [name] if num_snapshots == 1 else [f'{name}/Snap_{i}' for i in range(num_snapshots)]
  stored = [group if f'{group}/coeff_re' in arrays else None for group in groups]
  shapes = [_delay_shape(arrays, group, (num_tx, num_rx)) for group in stored if group]
  shape = (max((shape[0] for shape in shapes), default=1), num_snapshots)
  antennas = (num_rx, num_tx)
  check_promise(f'{name}/coeff_re', 4 * num_tx * num_rx * shape[0], MAX_DEFLATE * size)
  of_delays = antennas if any(shape[1:] != (1, 1) for shape in shapes) else (1, 1)
  return {
      f'{name}_Coeffs': _padded(path, stored, ('coeff_re', 'coeff_im'), (*antennas, *shape)),
      f'{name}_Delays': _padded(path, stored, ('delay',), (*of_delays, *shape)),
      f'{name}_rx_position': _position(arrays[f'{name}/rx_position'], num_snapshots),
      f'{name}_tx_position': _position(arrays[f'{name}/tx_position'], num_snapshots)}


def _delay_shape(
    arrays: Mapping[str, Array], group: str, antennas: tuple[int, int]) -> tuple[int, ...]:
  real, imag, delay = (
      arrays[f'{group}/{leaf}'].shape for leaf in ('coeff_re', 'coeff_im', 'delay'))
  if real != imag or real[1:] != antennas or delay not in (real, (*real[:1], 1, 1)):
    raise ValueError(f'{group} has coefficients of shape {real}, {imag} and delays of {delay}')
  return delay


def _position(array: Array, num_snapshots: int) -> Array:
  """[3, snapshot] m; one position holds for all of them."""
  return in_memory(np.broadcast_to(whole(array), (num_snapshots, 3)).T)


def _padded(
    path: Path, groups: list[str | None], leaves: tuple[str, ...], shape: tuple[int, ...]) -> Array:
  """[rx, tx, path, snapshot]: real (and imaginary) parts as stored, then zeros."""

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    step = count if axis == 3 else len(groups)
    for start in range(0, len(groups), step):
      mine = groups[start:start + step]
      values = np.zeros((*shape[:3], len(mine)), np.complex64 if len(leaves) > 1 else np.float32)
      with readable('HDF5 file of QuaDRiGa'), h5py.File(path, 'r') as file:
        for index, group in enumerate(mine):
          if group is not None:
            parts = [file[f'{group}/{leaf}'][...].T for leaf in leaves]
            found = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
            values[:, :, :found.shape[-1], index] = found
      yield from split(values, count, axis)

  return Array(shape, blocks)
