"""Arrays of npz and npy files, never unpickled; nothing is allocated on a header's word."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from rca_jax.data.formats.arrays import Array, readable, split

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class _Header(NamedTuple):
  """What stands before the numbers of an npy stream."""

  shape: tuple[int, ...]
  fortran_order: bool
  dtype: np.dtype


def _header(stream: BinaryIO, name: str) -> _Header:
  header = _Header(*_READ_HEADER[np.lib.format.read_magic(stream)](stream))
  if header.dtype.kind not in 'biufcSU':
    raise ValueError(f'its array {name!r} is of type {header.dtype}, expected numbers')
  return header


def npy_array(path: Path) -> Array:
  """The array of an npy."""
  with readable('npy file'), path.open('rb') as stream:
    shape = _header(stream, path.name).shape

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('npy file'):
      values = np.load(path, mmap_mode='r')
    yield from split(values, count, axis)

  return Array(shape, blocks)


def npz_arrays(path: Path) -> dict[str, Array]:
  """The arrays of an npz by name, without those of text."""
  arrays = {}
  with readable('npz file'), zipfile.ZipFile(path) as archive:
    for member in archive.namelist():
      if member.endswith('.npy'):
        with archive.open(member) as stream:
          header = _header(stream, member.removesuffix('.npy'))
        if header.dtype.kind not in 'SU':
          arrays[member.removesuffix('.npy')] = _npz_array(path, member, header.shape)
  return arrays


def _npz_array(path: Path, member: str, shape: tuple[int, ...]) -> Array:

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('npz file'), zipfile.ZipFile(path) as archive, archive.open(member) as stream:
      yield from _blocks(stream, count, axis)

  return Array(shape, blocks)


def _blocks(stream: BinaryIO, count: int, axis: int) -> Iterator[np.ndarray]:
  """Rows in their order; a Fortran array or another axis needs the whole of it at once."""
  shape, fortran_order, dtype = _header(stream, '')

  def numbers(shape: tuple[int, ...]) -> np.ndarray:
    content = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order='F' if fortran_order else 'C')

  if axis or fortran_order:
    yield from split(numbers(shape), count, axis)
  else:
    for start in range(0, shape[0], count):
      yield numbers((min(count, shape[0] - start), *shape[1:]))
  stream.read(1)  # zipfile compares checksums only at the end
