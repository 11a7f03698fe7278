"""What kind of file it is, by its first bytes."""

from pathlib import Path

from rca_jax.data.formats import hdf5_file, mat5_file, numpy_file, quadriga_hdf5
from rca_jax.data.formats.arrays import Array, readable
from rca_jax.errors import InputError


def open_arrays(path: Path) -> dict[str, Array]:
  """The numeric arrays of an npz, npy, .mat or HDF5 file by name; an npy's one is `array`.

  Raises:
    InputError: the file is missing, damaged, of no known kind, or shorter than it promises.
  """
  with readable('file'):
    if not path.is_file():
      raise InputError('no such file.')
    with path.open('rb') as file:
      start = file.read(128)
  if start.startswith(b'PK'):
    return numpy_file.npz_arrays(path)
  if start.startswith(b'\x93NUMPY'):
    return numpy_file.npy_arrays(path)
  if start.startswith(b'MATLAB 7.3'):
    return hdf5_file.hdf5_arrays(path, is_matlab=True)
  if start[126:128] in (b'IM', b'MI'):
    return mat5_file.mat5_arrays(path)
  if start.startswith(b'\x89HDF'):
    return quadriga_hdf5.with_channels(path, hdf5_file.hdf5_arrays(path))
  raise InputError(
      'not a readable npz, npy, .mat or HDF5 file (its first bytes fit none of these); it may '
      'be cut or damaged, or a .mat file of version 4 (save it with -v7).')
