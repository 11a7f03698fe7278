"""One mesh axis, `data`: parameters on every device, the batch divided among them.

Programs are written for the global batch with global keys, and JAX's threefry draws the same
numbers however they are divided (`jax_threefry_partitionable`, JAX's default), so a run does
not depend on the number of devices.
"""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rca_jax.errors import InputError


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A one-dimensional mesh over `devices`, by default all there are (of all hosts)."""
  devices = jax.devices() if devices is None else list(devices)
  return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Arrays that are the same in every process, onto every device of the mesh."""

  def put(x: Any) -> jax.Array:
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put(jax.random.key_data(x)))
    # From the host: a process cannot send its own device's array to another's devices. Not by
    # device_put, which gathers the array of every process to compare them.
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, replicated(mesh), lambda index: x[index])

  return jax.tree.map(put, tree)


def over_batch(mesh: Mesh) -> NamedSharding:
  """The first axis divided among the devices."""
  return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises InputError unless every device gets the same number of groups."""
  if batch_size % mesh.size:
    raise InputError(
        f'training.batch_size={batch_size} must be a multiple of the number of devices, '
        f'{mesh.size}.')


def any_process(flag: bool) -> bool:
  """Whether the flag is set in any process of the run; all of them must ask."""
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def check_same(what: str, tree: Any) -> None:
  """Raises InputError, in every process, unless all of them hold the same arrays."""
  if jax.process_count() == 1:
    return
  checksum = 0
  for leaf in jax.tree.leaves(tree):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    checksum = zlib.crc32(np.ascontiguousarray(leaf).data, checksum)
  found = multihost_utils.process_allgather(np.uint32(checksum))
  if (found != found[0]).any():
    raise InputError(f'{what} differs between the processes of this run; it must be the same.')


@contextlib.contextmanager
def refused_together() -> Iterator[None]:
  """Where one process of a run stops at an InputError, the others do and wait for nobody."""
  error = None
  try:
    yield
  except InputError as found:
    error = found
  if any_process(error is not None):
    raise error or InputError('another process of this run stopped; its line says why.')
