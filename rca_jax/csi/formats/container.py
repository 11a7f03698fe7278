"""What kind of file it is, by its first bytes."""

from pathlib import Path

from rca_jax.csi.formats import mat5_file, mat73_file, numpy_file
from rca_jax.csi.formats.arrays import Array, readable
from rca_jax.errors import InputError


def open_arrays(path: Path) -> dict[str, Array]:
  """The numeric arrays of an npz, npy or .mat file by name; the one of an npy is named ''.

  Raises:
    InputError: the file is missing, damaged, of no known kind, or shorter than it promises.
  """
  if not path.is_file():
    raise InputError('no such file.')
  with readable('file'), path.open('rb') as file:
    start = file.read(128)
  if start.startswith(b'PK'):
    return numpy_file.npz_arrays(path)
  if start.startswith(b'\x93NUMPY'):
    return {'': numpy_file.npy_array(path)}
  if start.startswith(b'MATLAB 7.3'):
    return mat73_file.mat73_arrays(path)
  if start[126:128] in (b'IM', b'MI'):
    return mat5_file.mat5_arrays(path)
  if start.startswith(b'\x89HDF'):
    raise InputError(
        'plain HDF5, QuaDRiGa\'s own too, is not read; save a .mat file with qd_channel.mat_save '
        'or, from Python, an npz.')
  raise InputError(
      'not a readable npz, npy or .mat file (its first bytes are those of none of them); it may be '
      'cut or damaged, or a .mat file of version 4 (save it with -v7).')
