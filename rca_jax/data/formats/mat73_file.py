"""Arrays of .mat files of version 7.3, which are HDF5."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from rca_jax.data.formats.arrays import Array, readable, with_axis
from rca_jax.data.formats.hdf5_member import check_storage, member


def mat73_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 7.3; their axes stand reversed in HDF5."""
  arrays = {}
  with readable('.mat file of version 7.3'), h5py.File(path, 'r') as file:
    for name in file:
      dataset = member(file, name)
      if isinstance(dataset, h5py.Dataset) and dataset.shape and _is_numeric(dataset.dtype):
        check_storage(name, dataset)
        arrays[name] = _array(path, name, dataset.shape[::-1])
  return arrays


def _is_numeric(dtype: np.dtype) -> bool:
  return dtype.kind in 'iufc' or dtype.names == ('real', 'imag')


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
