"""Our own: arrays `csi` and, if there, `positions`, `los`, `energy_kept` of `CsiGroups`."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.config import CsiConfig
from rca_jax.data.formats.arrays import Array, rows_per_block
from rca_jax.errors import InputError

_TYPES = CsiGroups(np.complex64, np.float32, np.bool_, np.float32)


def recognises(arrays: Mapping[str, Array]) -> bool:
  return 'csi' in arrays


def read(arrays: Mapping[str, Array], config: CsiConfig) -> Iterator[CsiGroups]:
  """Groups as they stand, [G, M, N_a, N_t].

  Raises:
    InputError: `csi` is not complex of four axes, or the others do not fit it.
  """
  del config
  shape = arrays['csi'].shape
  if len(shape) != 4 or 0 in shape:
    raise InputError(
        f'csi has shape {shape}; expected [group, ue, delay, antenna], 4 axes, none empty.')
  expected = CsiGroups(shape, (*shape[:2], 3), shape[:2], shape[:2])
  names = [name for name in CsiGroups._fields if name in arrays]
  for name in names:
    if arrays[name].shape != getattr(expected, name):
      raise InputError(
          f'{name} has shape {arrays[name].shape}; expected {getattr(expected, name)}.')
  count = rows_per_block(math.prod(shape[1:]))
  blocks = (arrays[name].blocks(count, 0) for name in names)
  for parts in zip(*blocks, strict=True):
    found = dict(zip(names, parts, strict=True))
    if found['csi'].dtype.kind != 'c':
      raise InputError(
          f'csi is of type {found["csi"].dtype}; expected complex64 or complex128.')
    yield CsiGroups(**{
        name: found[name].astype(getattr(_TYPES, name)) if name in found else None
        for name in CsiGroups._fields})
