"""Arrays of npz and npy files, never unpickled; nothing is allocated on a header's word."""

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from rca_jax.data.formats.arrays import Array, readable, split

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npy_arrays(path: Path) -> dict[str, Array]:
  """The array of an npy, by the name `array`."""
  return _array(path, '', 'array')


def npz_arrays(path: Path) -> dict[str, Array]:
  """The arrays of an npz by name, without those of text."""
  with readable('npz file'), zipfile.ZipFile(path) as archive:
    members = [name for name in archive.namelist() if name.endswith('.npy')]
  return {key: array for member in members
          for key, array in _array(path, member, member.removesuffix('.npy')).items()}


def _array(path: Path, member: str, name: str) -> dict[str, Array]:

  @contextlib.contextmanager
  def opened() -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype]]:
    with readable('npz file' if member else 'npy file'), contextlib.ExitStack() as stack:
      if member:
        stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
      else:
        stream = stack.enter_context(path.open('rb'))
      yield stream, *_READ_HEADER[np.lib.format.read_magic(stream)](stream)

  with opened() as (_, shape, _, dtype):
    if dtype.kind in 'SU':
      return {}
    if dtype.kind not in 'biufc':
      raise ValueError(f'its array {name!r} is of type {dtype}, expected numbers')

  def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
    """Rows in their order; a Fortran array or another axis needs the whole of it at once."""
    with opened() as (stream, shape, fortran_order, dtype):

      def numbers(shape: tuple[int, ...]) -> np.ndarray:
        content = stream.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape, order='F' if fortran_order else 'C')

      if axis or fortran_order:
        yield from split(numbers(shape), count, axis)
      else:
        for start in range(0, shape[0], count):
          yield numbers((min(count, shape[0] - start), *shape[1:]))
      stream.read(1)  # zipfile compares checksums only at the end

  return {name: Array(shape, blocks)}
