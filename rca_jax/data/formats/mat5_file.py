"""Arrays of .mat files of version 5, 6 and 7 (MATLAB's "Level 5 MAT-file").

Read here and not with scipy: in scipy 1.17.1, one flipped bit in 200 uncompressed files ends the
interpreter with a segmentation fault, which no `except` can turn into an error.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rca_jax.data.formats.arrays import MAX_DEFLATE, Array, check_promise, readable, split

_HEADER_BYTES = 128
_START_BYTES = 4096  # of a variable hold its class, shape and name
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {
    1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_CLASSES = {
    6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8'}
_COMPLEX = 0x800  # a flag beside the class


class _Variable(NamedTuple):
  """A numeric variable, its numbers not read yet."""

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  is_complex: bool
  numbers: int  # offset of the real parts from the start of the variable


def mat5_arrays(path: Path) -> dict[str, Array]:
  """The numeric variables of a .mat file of version 5 to 7. Each is read as a whole.

  Raises:
    InputError: the file is damaged, or shorter than it promises.
  """
  arrays = {}
  with readable('.mat file'), path.open('rb') as file:
    order = '<' if file.read(_HEADER_BYTES).endswith(b'IM') else '>'
    size, position = path.stat().st_size, _HEADER_BYTES
    while position < size:
      file.seek(position)
      kind, num_bytes = struct.unpack(order + 'II', file.read(8))
      position += 8
      check_promise('', num_bytes, size - position)
      variable = _parse(_inflate(kind, file.read(min(num_bytes, _START_BYTES)), order), order)
      if variable:
        # A number takes a byte at least: MATLAB stores small ones narrower than their class.
        growth = MAX_DEFLATE if kind == _COMPRESSED else 1
        check_promise(variable.name, math.prod(variable.shape), growth * num_bytes)
        arrays[variable.name] = _array(path, variable, kind, position, num_bytes, order)
      position += num_bytes
  return arrays


def _inflate(kind: int, content: bytes, order: str, max_bytes: int = _START_BYTES) -> bytes:
  """The first `max_bytes` of a variable, without its tag."""
  if kind == _MATRIX:
    return content
  if kind != _COMPRESSED:
    raise ValueError(f'element of type {kind}')
  inflated = zlib.decompressobj().decompress(content, 8 + max_bytes)
  if struct.unpack_from(order + 'I', inflated)[0] != _MATRIX:
    raise ValueError('a compressed element is no variable')
  return inflated[8:]


def _parse(content: bytes, order: str) -> _Variable | None:
  """Class, shape and name; None for what is not numeric."""
  kind, flags, offset = _element(content, 0, order)
  if kind != _UINT32:
    raise ValueError('a variable has no flags')
  flags = struct.unpack_from(order + 'I', flags)[0]
  if flags & 0xff not in _CLASSES:
    return None
  shape_kind, shape, offset = _element(content, offset, order)
  name_kind, name, offset = _element(content, offset, order)
  shape = tuple(int(length) for length in np.frombuffer(shape, order + 'i4'))
  if (shape_kind, name_kind) != (_INT32, _INT8) or not 2 <= len(shape) <= 32 or min(shape) < 0:
    raise ValueError('a variable has no shape or name')
  dtype = np.dtype(_CLASSES[flags & 0xff])
  return _Variable(bytes(name).decode('ascii'), shape, dtype, bool(flags & _COMPLEX), offset)


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


def _array(
    path: Path, variable: _Variable, kind: int, position: int, num_bytes: int, order: str) -> Array:

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    with readable('.mat file'):
      with path.open('rb') as file:
        file.seek(position)
        content = file.read(num_bytes)
      parts = 2 if variable.is_complex else 1
      max_bytes = variable.numbers + parts * (8 * math.prod(variable.shape) + 16)
      values = _numbers(variable, _inflate(kind, content, order, max_bytes), order)
    yield from split(values, count, axis)

  return Array(variable.shape, blocks, is_matlab=True)


def _numbers(variable: _Variable, content: bytes, order: str) -> np.ndarray:
  real, offset = _part(variable, content, variable.numbers, order)
  if not variable.is_complex:
    return real
  values = np.empty(variable.shape, np.result_type(variable.dtype, np.complex64), order='F')
  values.real, (values.imag, _) = real, _part(variable, content, offset, order)
  return values


def _part(
    variable: _Variable, content: bytes, offset: int, order: str) -> tuple[np.ndarray, int]:
  kind, stored, offset = _element(content, offset, order)
  values = np.frombuffer(stored, order + _STORED[kind])
  return values.astype(variable.dtype, copy=False).reshape(variable.shape, order='F'), offset
