"""Arrays of npz and npy files, never unpickled.

What a header promises is held against the bytes that are there before anything is allocated.
"""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from rca_jax.data.formats.arrays import MAX_DEFLATE, Array, check_promise, readable, split

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_arrays(path: Path) -> dict[str, Array]:
  """The arrays of an npz by name, without those of text."""
  with readable('npz file'), zipfile.ZipFile(path) as archive:
    members = [info for info in archive.infolist() if info.filename.endswith('.npy')]
    arrays = {
        info.filename.removesuffix('.npy'): _npz_array(path, archive, info) for info in members}
  return {name: array for name, array in arrays.items() if array is not None}


def _npz_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array | None:
  name = info.filename.removesuffix('.npy')
  check_promise(name, info.compress_size, path.stat().st_size)
  growth = 1 if info.compress_type == zipfile.ZIP_STORED else MAX_DEFLATE
  check_promise(name, info.file_size, growth * info.compress_size)
  with archive.open(info) as stream:
    header = _Header.read(stream, name, info.file_size)
  if header.dtype.kind in 'SU':
    return None

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('npz file'), zipfile.ZipFile(path) as archive, archive.open(info) as stream:
      yield from header.blocks(stream, count, axis)

  return Array(header.shape, blocks)


def npy_array(path: Path) -> Array:
  """The array of an npy."""
  with readable('npy file'), path.open('rb') as stream:
    header = _Header.read(stream, path.name, path.stat().st_size)

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('npy file'):
      yield from split(np.load(path, mmap_mode='r'), count, axis)

  return Array(header.shape, blocks)


class _Header(NamedTuple):
  """What stands before the numbers of an npy stream."""

  shape: tuple[int, ...]
  fortran_order: bool
  dtype: np.dtype
  num_bytes: int  # of the header itself

  @classmethod
  def read(cls, stream: BinaryIO, name: str, stream_bytes: int) -> '_Header':
    read_header = _HEADERS[np.lib.format.read_magic(stream)]
    header = cls(*read_header(stream), stream.tell())
    promised = math.prod(header.shape) * header.dtype.itemsize
    check_promise(name, promised, stream_bytes - header.num_bytes)
    if header.dtype.kind not in 'biufcSU':
      raise ValueError(f'its array {name!r} is of type {header.dtype}, expected numbers')
    return header

  def blocks(self, stream: BinaryIO, count: int, axis: int) -> Iterator[np.ndarray]:
    """Rows in their order; a Fortran array or another axis needs the whole of it at once."""
    stream.read(self.num_bytes)
    if axis or self.fortran_order:
      order = 'F' if self.fortran_order else 'C'
      yield from split(self._numbers(stream, self.shape, order), count, axis)
    else:
      for start in range(0, self.shape[0], count):
        rows = min(count, self.shape[0] - start)
        yield self._numbers(stream, (rows, *self.shape[1:]), 'C')
    stream.read(1)  # zipfile compares checksums only at the end

  def _numbers(self, stream: BinaryIO, shape: tuple[int, ...], order: str) -> np.ndarray:
    content = stream.read(math.prod(shape) * self.dtype.itemsize)
    return np.frombuffer(content, self.dtype).reshape(shape, order=order)
