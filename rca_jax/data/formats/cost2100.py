"""COST2100 sets of CsiNet and its successors: `HT` (N, 2048), single UEs of 32 x 32.

A row is (2, 32, 32): real and imaginary parts in [0, 1] with zero at 0.5, antenna before delay in
the Python sets, delay before antenna in others.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig
from rca_jax.data.formats.arrays import Array, rows_per_block, whole
from rca_jax.data.formats.container import open_arrays
from rca_jax.errors import InputError

_SIZE = 32  # delay rows, and antennas
_NUM_CARRIERS = 125


def recognises(arrays: Mapping[str, Array]) -> bool:
  return 'HT' in arrays or 'HF_all' in arrays


def read(arrays: Mapping[str, Array], config: CsiConfig) -> Iterator[CsiGroups]:
  """Groups of one UE, [N, 1, 32, 32]; which axis is delay is told by the power.

  Raises:
    InputError: `HT` has another shape, values outside [0, 1], or no axis along which the first
      rows hold the power.
  """
  del config
  if 'HT' not in arrays:
    raise InputError(
        'holds `HF_all` alone, the frequency responses that rho is taken against; its CSI is `HT` '
        'of the file without F and _all in its name (read_frequency_response reads this one).')
  shape = arrays['HT'].shape
  if len(shape) != 2 or shape[1] != 2 * _SIZE**2:
    raise InputError(f'HT has shape {shape}; expected (N, {2 * _SIZE**2}).')
  swap = None
  for block in arrays['HT'].blocks(rows_per_block(_SIZE**2), 0):
    if block.dtype.kind != 'f' or not (block.min() >= 0 and block.max() <= 1):
      raise InputError(
          f'HT is of type {block.dtype} with values from {block.min()} to {block.max()}; expected '
          'real values in [0, 1] with zero at 0.5.')
    real, imag = np.moveaxis(block.reshape(-1, 2, _SIZE, _SIZE) - 0.5, 1, 0)
    csi = real + 1j * imag
    swap = _delay_is_last(csi) if swap is None else swap
    csi = np.swapaxes(csi, -1, -2) if swap else csi
    yield CsiGroups(csi[:, None].astype(np.complex64), None, None, None)


def _delay_is_last(csi: np.ndarray) -> bool:
  """Delays are where the first quarter holds the power; over the angles it is spread."""
  power = np.sum(np.abs(csi) ** 2, axis=0)
  first, last = (
      power.sum(axis)[:_SIZE // 4].sum() / max(power.sum(), 1e-300) for axis in (1, 0))
  if max(first, last) < 0.5:
    raise InputError(
        f'the first {_SIZE // 4} entries of either axis hold {first:.0%} and {last:.0%} of the '
        'power of HT; expected one with most of it, the delay (is 0.5 its zero?).')
  return bool(last > first)


def read_frequency_response(path: str | Path) -> np.ndarray:
  """`HF_all` (N, 4000), what rho is taken against: [N, 1, 125 carriers, 32 antennas] complex64.

  Raises:
    InputError: the file is missing or damaged, or has no such array.
  """
  try:
    arrays = open_arrays(Path(path))
    shape = arrays['HF_all'].shape if 'HF_all' in arrays else None
    if shape is None or len(shape) != 2 or shape[1] != _SIZE * _NUM_CARRIERS:
      raise InputError(
          f'HF_all has shape {shape}; expected (N, {_SIZE * _NUM_CARRIERS}), as in '
          'DATA_HtestFin_all.mat.')
    response = whole(arrays['HF_all'], 'HF_all')
  except InputError as error:
    raise InputError(f'{path}: {error}') from None
  response = response.reshape(-1, 1, _SIZE, _NUM_CARRIERS)
  return np.swapaxes(response, -1, -2).astype(np.complex64)
