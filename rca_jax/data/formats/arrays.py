"""Arrays in files: their shapes at once, their numbers a block at a time."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rca_jax.errors import InputError

MAX_DEFLATE = 1032  # no deflate stream grows by more
_BLOCK_BYTES = 2**23  # of the CSI of one block; computing it takes some ten times that


class Array(NamedTuple):
  """An array in a file, not read yet.

  `blocks(count, axis)` yields it in parts of at most `count` along `axis`, which may lie behind the
  last axis of a MATLAB array.
  """

  shape: tuple[int, ...]
  blocks: Callable[[int, int], Iterator[np.ndarray]]


@contextlib.contextmanager
def readable(kind: str) -> Iterator[None]:
  """Turns what a parser stumbles over into an InputError.

  Damaged bytes make zipfile, numpy, scipy and h5py raise nearly any exception there is.
  """
  try:
    yield
  except InputError:
    raise
  except Exception as error:
    reason = (str(error).splitlines() or [''])[0] or type(error).__name__
    raise InputError(
        f'not a readable {kind} ({reason}); it may be cut or damaged, write or copy it again.'
    ) from None


def check_promise(name: str, promised: int, there: int) -> None:
  """Raises InputError if an array promises more bytes than can be there."""
  if promised > there:
    raise InputError(
        f'its array {name!r} promises {promised} bytes, at most {there} are there; the file is cut '
        'or damaged, write or copy it again.')


def whole(array: Array, name: str) -> np.ndarray:
  """The array in one block.

  Raises:
    InputError: it is empty, or damaged.
  """
  if not array.shape or 0 in array.shape:
    raise InputError(f'its array {name!r} has shape {array.shape}; expected numbers along an axis.')
  [values] = array.blocks(array.shape[0], 0)
  return values


def rows_per_block(num_values: int) -> int:
  """How many rows of so many complex values make up a block."""
  return max(1, _BLOCK_BYTES // (16 * max(1, num_values)))


def split(values: np.ndarray, count: int, axis: int) -> Iterator[np.ndarray]:
  """Parts of at most `count` along `axis`."""
  for start in range(0, values.shape[axis], count):
    yield values[(slice(None),) * axis + (slice(start, start + count),)]


def with_axis(values: np.ndarray, axis: int) -> np.ndarray:
  """MATLAB drops trailing axes of length 1: those up to `axis` put back."""
  return values.reshape(values.shape + (1,) * (axis + 1 - values.ndim))
