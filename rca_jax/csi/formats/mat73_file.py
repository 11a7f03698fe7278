"""Arrays of .mat files of version 7.3, which are HDF5."""

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from rca_jax.csi.formats.arrays import MAX_DEFLATE, Array, check_promise, readable, with_axis
from rca_jax.errors import InputError


def mat73_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 7.3; their axes stand reversed in HDF5."""
  arrays = {}
  with readable('.mat file of version 7.3'), h5py.File(path, 'r') as file:
    for name in file:
      # A link to another file is not followed.
      is_here = isinstance(file.get(name, getlink=True), h5py.HardLink)
      dataset = file[name] if is_here else None
      if isinstance(dataset, h5py.Dataset) and dataset.shape and _is_numeric(dataset.dtype):
        _check_storage(name, dataset)
        arrays[name] = _array(path, name, dataset.shape[::-1])
  return arrays


def _is_numeric(dtype: np.dtype) -> bool:
  return dtype.kind in 'iufc' or dtype.names == ('real', 'imag')


def _check_storage(name: str, dataset: h5py.Dataset) -> None:
  if dataset.external or dataset.is_virtual:
    raise InputError(f'its array {name!r} lies in another file; save it in one.')
  growth = MAX_DEFLATE if dataset.compression == 'gzip' else 1
  promised = max(dataset.size, math.prod(dataset.chunks or ())) * dataset.dtype.itemsize
  # The last chunk of every axis may be stored beyond the array's end: less is never there.
  check_promise(name, promised, growth * dataset.id.get_storage_size())


def _array(path: Path, name: str, shape: tuple[int, ...]) -> Array:

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    length = shape[axis] if axis < len(shape) else 1
    with readable('.mat file of version 7.3'), h5py.File(path, 'r') as file:
      for start in range(0, length, count):
        index = [slice(None)] * len(shape)
        if axis < len(shape):
          index[axis] = slice(start, start + count)
        values = file[name][tuple(index[::-1])].T
        if values.dtype.names:
          values = values['real'] + 1j * values['imag']
        yield with_axis(values, axis)

  return Array(shape, blocks)
