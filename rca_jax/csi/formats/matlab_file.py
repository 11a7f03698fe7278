"""Arrays of .mat files: versions 5 to 7 through scipy, version 7.3 (HDF5) through h5py.

MATLAB drops trailing axes of length 1, so `blocks` takes an axis behind the last and then yields
the whole with the missing axes put back.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from rca_jax.csi.formats.arrays import MAX_DEFLATE, Array, check_promise, readable, split
from rca_jax.errors import InputError

_HEADER_BYTES = 128
_NAME_BYTES = 4096  # of a variable hold its type, shape and name
_COMPRESSED, _MATRIX = 15, 14
_MAX_VARIABLE_BYTES = 2**32  # what the 32 bits of a version 5 size can say
_NUMERIC = {
    'double', 'single', 'int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64'}


def mat5_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 5, 6 or 7. Each is read as a whole."""
  arrays = {}
  with readable('.mat file'), path.open('rb') as file:
    header = file.read(_HEADER_BYTES)
    size, position = path.stat().st_size, _HEADER_BYTES
    while position < size:
      file.seek(position)
      tag = np.frombuffer(file.read(8), '<u4' if header.endswith(b'IM') else '>u4')
      kind, num_bytes = (int(value) for value in tag)
      if kind not in (_COMPRESSED, _MATRIX):
        raise ValueError(f'element of type {kind} at byte {position}')
      check_promise('', 8 + num_bytes, size - position)
      start = header + tag.tobytes() + file.read(min(num_bytes, _NAME_BYTES))
      name, shape, matlab_class = scipy.io.whosmat(io.BytesIO(start))[0]
      if matlab_class in _NUMERIC:
        # A number takes a byte at least, whatever its class: MATLAB stores small ones narrower.
        growth = MAX_DEFLATE if kind == _COMPRESSED else 1
        check_promise(name, math.prod(shape), growth * num_bytes)
        check_promise(name, 8 * math.prod(shape), _MAX_VARIABLE_BYTES)
        arrays[name] = _mat5_array(path, header, name, shape, position, 8 + num_bytes)
      position += 8 + num_bytes
  return arrays


def _mat5_array(
    path: Path, header: bytes, name: str, shape: tuple[int, ...], position: int, num_bytes: int,
) -> Array:

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('.mat file'):
      with path.open('rb') as file:
        file.seek(position)
        variable = io.BytesIO(header + file.read(num_bytes))
      values = scipy.io.loadmat(variable, variable_names=[name])[name]
    yield from split(_with_axis(values, axis), count, axis)

  return Array(tuple(shape), blocks)


def hdf5_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 7.3; their axes stand reversed in HDF5."""
  arrays = {}
  with readable('.mat file of version 7.3'), h5py.File(path, 'r') as file:
    for name in file:
      # A link to another file is not followed.
      is_here = isinstance(file.get(name, getlink=True), h5py.HardLink)
      dataset = file[name] if is_here else None
      if isinstance(dataset, h5py.Dataset) and dataset.shape and _is_numeric(dataset.dtype):
        _check_storage(name, dataset)
        arrays[name] = _hdf5_array(path, name, dataset.shape[::-1])
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


def _hdf5_array(path: Path, name: str, shape: tuple[int, ...]) -> Array:

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
        yield _with_axis(values, axis)

  return Array(shape, blocks)


def _with_axis(values: np.ndarray, axis: int) -> np.ndarray:
  return values.reshape(values.shape + (1,) * (axis + 1 - values.ndim))
