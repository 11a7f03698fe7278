import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines import cdl_op
from rca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures('quick_compilation')


def _complex(rng, *shape):
  return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def test_frequency_rows_keep_energy_and_undo_the_transforms():
  rng = np.random.default_rng(0)
  csi = _complex(rng, 3, 4, 8)
  rows = cdl_op.frequency_rows(csi)
  np.testing.assert_allclose(np.linalg.norm(rows), np.linalg.norm(csi), rtol=1e-5)
  # One path: one delay, one angle; constant modulus over frequency and antennas.
  path = np.zeros((4, 8), np.complex64)
  path[1, 3] = 1
  np.testing.assert_allclose(np.abs(cdl_op.frequency_rows(path)), 32**-0.5, rtol=1e-5)


def test_finds_the_dictionary_that_made_the_data():
  rng = np.random.default_rng(1)
  truth = np.linalg.qr(_complex(rng, 8, 8))[0]
  codes = np.zeros((4000, 8), np.complex64)
  codes[np.arange(4000), rng.integers(0, 8, 4000)] = _complex(rng, 4000)
  rows = jnp.asarray(codes @ truth.T)
  found = cdl_op.fit(rows, num_atoms=1)
  np.testing.assert_allclose(found.conj().T @ found, np.eye(8), atol=1e-5)
  # Up to order and phase of the atoms.
  np.testing.assert_allclose(np.sort(np.abs(found.conj().T @ truth), -1)[:, -1], 1, atol=1e-3)
  np.testing.assert_allclose(cdl_op.reconstruct(found, rows, 1), rows, atol=1e-3)


def test_error_never_grows_with_atoms_or_iterations():
  rows = jnp.asarray(_complex(np.random.default_rng(2), 500, 8) * np.geomspace(3, 0.1, 8))

  def error(num_atoms, num_iterations):
    dictionary = cdl_op.fit(rows, num_atoms, num_iterations)
    return float(jnp.linalg.norm(cdl_op.reconstruct(dictionary, rows, num_atoms) - rows))

  by_atoms = [error(num_atoms, 20) for num_atoms in (1, 2, 4)]
  assert by_atoms == sorted(by_atoms, reverse=True)
  by_iterations = [error(2, num_iterations) for num_iterations in (1, 5, 20)]
  assert by_iterations == sorted(by_iterations, reverse=True)
  np.testing.assert_allclose(error(8, 1), 0, atol=1e-3)


def test_codes_are_sparse_and_the_best_of_their_size():
  rng = np.random.default_rng(3)
  dictionary = jnp.asarray(np.linalg.qr(_complex(rng, 6, 6))[0])
  rows = jnp.asarray(_complex(rng, 50, 6))
  codes = cdl_op.sparse_codes(dictionary, rows, 2)
  assert (np.count_nonzero(codes, axis=-1) == 2).all()
  every = np.asarray(rows @ dictionary.conj())
  kept = np.sort(np.abs(every), -1)[:, -2:]
  np.testing.assert_allclose(
      np.linalg.norm(codes, axis=-1), np.linalg.norm(kept, axis=-1), rtol=1e-5)


@pytest.mark.parametrize('shape, num_atoms', [((4,), 1), ((9, 4), 0), ((9, 4), 5)])
def test_wrong_sizes_are_input_errors(shape, num_atoms):
  with pytest.raises(InputError, match='expected .n, N_t. and from 1 to N_t atoms'):
    cdl_op.fit(jnp.ones(shape, jnp.complex64), num_atoms)
