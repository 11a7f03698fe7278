"""Arrays of .mat files of version 5, 6 and 7 (MATLAB's "Level 5 MAT-file").

Read here and not with scipy: in scipy 1.17.1 a few flipped bits in an uncompressed file end the
interpreter with a segmentation fault, which no `except` can turn into an error.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from rca_jax.data.formats.arrays import Array, readable, split

_HEADER_BYTES = 128
_START_BYTES = 4096  # of a variable hold its class, shape and name
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {
    1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_CLASSES = {
    6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8'}
_COMPLEX = 0x800  # a flag beside the class


def mat5_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 5 to 7. Each is read as a whole.

  Raises:
    InputError: the file is damaged.
  """
  arrays: dict[str, Array] = {}
  with readable('.mat file'), path.open('rb') as file:
    order = '<' if file.read(_HEADER_BYTES).endswith(b'IM') else '>'
    size, position = path.stat().st_size, _HEADER_BYTES
    while position < size:
      file.seek(position)
      kind, num_bytes = struct.unpack(order + 'II', file.read(8))
      position += 8
      if position + num_bytes > size:
        raise ValueError(f'a variable promises {num_bytes} bytes, {size - position} are there')
      start = _inflated(file.read(min(num_bytes, _START_BYTES)), kind, order, _START_BYTES)
      arrays |= _array(start, order, _reader(path, position, num_bytes, kind, order))
      position += num_bytes
  return arrays


def _reader(
    path: Path, position: int, num_bytes: int, kind: int, order: str) -> Callable[[], bytes]:
  """What reads a whole variable."""

  def read() -> bytes:
    with path.open('rb') as file:
      file.seek(position)
      return _inflated(file.read(num_bytes), kind, order)

  return read


def _inflated(content: bytes, kind: int, order: str, max_bytes: int = 0) -> bytes:
  """The first `max_bytes` (0: all) of a variable, without its tag."""
  if kind == _MATRIX:
    return content
  if kind != _COMPRESSED:
    raise ValueError(f'element of type {kind}')
  inflated = zlib.decompressobj().decompress(content, max_bytes)
  if struct.unpack_from(order + 'I', inflated)[0] != _MATRIX:
    raise ValueError('a compressed element is no variable')
  return inflated[8:]


def _array(start: bytes, order: str, read: Callable[[], bytes]) -> dict[str, Array]:
  """The array by its name; nothing if it is not numeric."""
  kind, flags, offset = _element(start, 0, order)
  if kind != _UINT32:
    raise ValueError('a variable has no flags')
  flags = struct.unpack_from(order + 'I', flags)[0]
  if flags & 0xff not in _CLASSES:
    return {}
  shape_kind, lengths, offset = _element(start, offset, order)
  name_kind, name, offset = _element(start, offset, order)
  shape = tuple(int(length) for length in np.frombuffer(lengths, order + 'i4'))
  if (shape_kind, name_kind) != (_INT32, _INT8) or not 2 <= len(shape) <= 32 or min(shape) < 0:
    raise ValueError('a variable has no shape or name')

  def part(content: bytes, offset: int) -> tuple[np.ndarray, int]:
    kind, stored, after = _element(content, offset, order)
    values = np.frombuffer(stored, order + _STORED[kind])
    return values.astype(_CLASSES[flags & 0xff], copy=False).reshape(shape, order='F'), after

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('.mat file'):
      content = read()
      values, after = part(content, offset)
      if flags & _COMPLEX:
        real, values = values, np.empty(shape, np.result_type(values, np.complex64), order='F')
        values.real, values.imag = real, part(content, after)[0]
    yield from split(values, count, axis)

  return {bytes(name).decode('ascii'): Array(shape, blocks, is_matlab=True)}


def _element(content: bytes, offset: int, order: str) -> tuple[int, memoryview, int]:
  """Type and bytes of the element at `offset`, and where the next one starts."""
  kind, num_bytes = struct.unpack_from(order + 'II', content, offset)
  start, after = offset + 8, offset + 8 + -(-num_bytes // 8) * 8
  if kind >> 16:  # up to 4 bytes stand in the tag itself
    kind, num_bytes, start, after = kind & 0xffff, kind >> 16, offset + 4, offset + 8
  found = memoryview(content)[start:start + num_bytes]
  if len(found) != num_bytes:
    raise ValueError(f'an element promises {num_bytes} bytes, {len(found)} are there')
  return kind, found, after
