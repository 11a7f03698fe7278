"""Arrays of HDF5 files, among them .mat files of version 7.3."""

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from rca_jax.data.formats.arrays import MAX_DEFLATE, Array, check_promise, in_memory, readable
from rca_jax.errors import InputError

_COMPLEX_PAIRS = (('real', 'imag'), ('re', 'im'), ('r', 'i'))  # h5py reads the last as complex
_ALWAYS_FITS = 2**28  # bytes


def hdf5_arrays(path: Path, is_matlab: bool = False) -> dict[str, Array]:
  """All numeric datasets by their full name, and the numeric attributes of groups beside them.

  Links are not followed. In .mat files (`is_matlab`) the axes stand reversed.

  Raises:
    InputError: the file is damaged, or an array lies in another file.
  """
  arrays, size = {}, path.stat().st_size

  def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Group):
      arrays.update(_attributes(name, item))
    elif item.shape and not name.startswith('#') and _is_numeric(item.dtype):
      if item.external or item.is_virtual:
        raise InputError(f'its array {name!r} lies in another file; save it in one.')
      check_promise(name, math.prod(item.chunks or ()) * item.dtype.itemsize, MAX_DEFLATE * size)
      arrays[name] = _array(path, name, item, is_matlab)

  with readable('HDF5 file'), h5py.File(path, 'r') as file:
    file.visititems(visit)
  return arrays


def _attributes(group: str, item: h5py.Group) -> dict[str, Array]:
  found = {}
  for name in item.attrs:
    stored = item.attrs.get_id(name)
    if stored.dtype.kind in 'iuf' and math.prod(stored.shape) <= 3:  # counts and positions
      found[f'{group}/{name}'] = in_memory(np.atleast_1d(item.attrs[name]))
  return found


def _is_numeric(dtype: np.dtype) -> bool:
  return dtype.kind in 'biufc' or dtype.names in _COMPLEX_PAIRS


def _array(path: Path, name: str, dataset: h5py.Dataset, is_matlab: bool) -> Array:
  shape = dataset.shape[::-1] if is_matlab else dataset.shape
  row_bytes, size = math.prod(shape) * dataset.dtype.itemsize, path.stat().st_size

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    # Chunks that were never written read as zeros, so a shape alone says little of the size.
    promised = row_bytes // max(1, shape[axis]) * min(count, shape[axis])
    check_promise(name, promised, max(_ALWAYS_FITS, MAX_DEFLATE * size))
    with readable('HDF5 file'), h5py.File(path, 'r') as file:
      for start in range(0, shape[axis], count):
        index = [slice(None)] * len(shape)
        index[axis] = slice(start, start + count)
        values = file[name][tuple(index[::-1] if is_matlab else index)]
        if values.dtype.names:
          real, imag = values.dtype.names
          values = values[real] + 1j * values[imag]
        yield values.T if is_matlab else values

  return Array(shape, blocks, is_matlab)
