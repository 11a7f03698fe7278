"""Members of HDF5 files, checked before they are read."""

import math

import h5py

from rca_jax.data.formats.arrays import MAX_DEFLATE, check_promise
from rca_jax.errors import InputError


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
  """The group's member of that name, None if it has none. A link elsewhere is not followed."""
  is_here = isinstance(group.get(name, getlink=True), h5py.HardLink)
  return group[name] if is_here else None


def check_storage(name: str, dataset: h5py.Dataset) -> None:
  """Raises InputError if the dataset lies in another file or promises more than is there."""
  if dataset.external or dataset.is_virtual:
    raise InputError(f'its array {name!r} lies in another file; save it in one.')
  growth = MAX_DEFLATE if dataset.compression == 'gzip' else 1
  promised = max(dataset.size, math.prod(dataset.chunks or ())) * dataset.dtype.itemsize
  # The last chunk of every axis may be stored beyond the array's end: less is never there.
  check_promise(name, promised, growth * dataset.id.get_storage_size())
