"""Arrays in files: their shapes at once, their numbers a block at a time."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rca_jax.errors import InputError

MAX_DEFLATE = 1032  # no deflate stream grows by more
_BLOCK_BYTES = 2**23  # of the CSI of one block; computing it takes some ten times that


class Array(NamedTuple):
  """An array in a file, not read yet.

  `blocks(count, axis)` yields it in parts of at most `count` along `axis`.
  """

  shape: tuple[int, ...]
  blocks: Callable[[int, int], Iterator[np.ndarray]]
  is_matlab: bool = False  # axes of length 1 at the end are not stored

  def with_axes(self, count: int) -> 'Array':
    """With the axes of length 1 that MATLAB dropped, up to `count` of them."""
    missing = (1,) * (count - len(self.shape)) if self.is_matlab else ()

    def blocks(count: int, axis: int) -> Iterator[np.ndarray]:
      found = [whole(self)] if axis >= len(self.shape) else self.blocks(count, axis)
      for values in found:
        yield values.reshape(values.shape + missing)

    return Array(self.shape + missing, blocks, self.is_matlab) if missing else self


@contextlib.contextmanager
def readable(kind: str) -> Iterator[None]:
  """Turns what a parser raises into an InputError.

  Damaged bytes make zipfile, numpy and h5py raise nearly any exception there is. What the
  operating system refuses (a permission, a failing disk, memory) is no damage.
  """
  try:
    yield
  except InputError:
    raise
  except MemoryError:
    raise InputError('does not fit into memory.') from None
  except Exception as error:
    number = getattr(error, 'errno', None)
    if number not in (None, errno.EINVAL):  # EINVAL: a damaged offset
      raise InputError(
          f'cannot be read ({errno.errorcode[number]}: {os.strerror(number)}).') from None
    reason = (str(error).splitlines() or [''])[0] or type(error).__name__
    raise InputError(
        f'not a readable {kind} ({reason}); it may be cut or damaged, write or copy it again.'
    ) from None


def check_promise(name: str, promised: int, there: int) -> None:
  """Raises InputError if an array promises more bytes than can be there."""
  if promised > there:
    raise InputError(
        f'its array {name!r} promises {promised} bytes, at most {there} can be there; the file is '
        'damaged, write or copy it again.')


def whole(array: Array) -> np.ndarray:
  """The array in one block, of its shape."""
  [values] = array.blocks(max(1, array.shape[0]), 0)
  return values


def in_memory(values: np.ndarray, is_matlab: bool = False) -> Array:
  """An array of any shape that is there already, as one that is read in blocks."""
  return Array(values.shape, lambda count, axis: split(values, count, axis), is_matlab)


def rows_per_block(num_values: int) -> int:
  """How many rows of so many complex values make up a block."""
  return max(1, _BLOCK_BYTES // (16 * max(1, num_values)))


def split(values: np.ndarray, count: int, axis: int) -> Iterator[np.ndarray]:
  """Parts of at most `count` along `axis`; the other axes keep their shape."""
  for start in range(0, values.shape[axis], count):
    yield values[(slice(None),) * axis + (slice(start, start + count),)]
