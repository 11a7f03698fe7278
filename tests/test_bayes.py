"""Grid, EM step and KLT against closed forms and plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.bayes import em, klt
from rca_jax.bayes.grid import gram_at, make_grid, project
from rca_jax.config import CsiConfig

CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4)
INDEX = jnp.array([3, 40, 77, 150, 163])
POWER = jnp.array([9.0, 0.5, 4.0, 2.0, 8.5])
NOISE = 0.3


@pytest.fixture(scope='module')
def grid():
  return make_grid(CONFIG, points_per_row=2, num_angles=16)


def atoms_at(grid, index):
  """The atoms of flat indices p Q + q: [..., K] -> [..., K, N_a, N_t]."""
  p, q = np.divmod(np.asarray(index), grid.shape[1])
  delay, angle = np.asarray(grid.delay).T[p], np.asarray(grid.angle).T[q]
  return delay[..., :, None] * angle[..., None, :]


@pytest.fixture(scope='module')
def dense(grid):
  """The atoms as columns [N_a N_t, K] and the covariance, in double precision."""
  atoms = np.asarray(atoms_at(grid, INDEX), np.complex128).reshape(len(INDEX), -1).T
  return atoms, (atoms * np.asarray(POWER)) @ atoms.conj().T


def draw(covariance, num, seed=0):
  """CSI [num, N_a, N_t] of a covariance."""
  values, vectors = np.linalg.eigh(covariance)
  white = np.random.default_rng(seed).normal(size=(2, num, len(values))) / np.sqrt(2)
  csi = (white[0] + 1j * white[1]) * np.sqrt(np.maximum(values, 0)) @ vectors.T
  return csi.reshape(num, 6, 4).astype(np.complex64)


def test_atoms_are_what_one_path_leaves(grid):
  """Of norm 1; the sine 0 in the first column, the delay of a whole row in that row."""
  index = (1 + 2 * 3) * 16 + 8  # delays from -1/2 in steps of 1/2: row 3; sines from -1: 0
  atom = np.asarray(atoms_at(grid, jnp.array(index)))
  np.testing.assert_allclose(abs(atom[3, 0]), 1, atol=1e-3)
  np.testing.assert_allclose(np.linalg.norm(np.asarray(grid.delay), axis=0), 1, rtol=1e-5)


def test_gram_and_projections_are_those_of_the_atoms(grid, dense):
  atoms, covariance = dense
  csi = draw(covariance, 3)
  np.testing.assert_allclose(gram_at(grid, INDEX), atoms.conj().T @ atoms, atol=1e-5)
  np.testing.assert_allclose(
      np.asarray(project(grid, csi)).reshape(3, -1)[:, INDEX],
      csi.reshape(3, -1) @ atoms.conj(), atol=1e-4)


def test_posterior_is_the_gaussian_one(grid, dense):
  """Mean and variance of the K x K form against the N x N form."""
  atoms, covariance = dense
  full = covariance + NOISE * np.eye(24)
  samples = draw(full, 5).reshape(5, -1).T.astype(np.complex128)
  found = em.posterior(
      POWER, gram_at(grid, INDEX), jnp.asarray(atoms.conj().T @ samples, jnp.complex64),
      jnp.float32(NOISE))
  root = np.sqrt(np.asarray(POWER))[:, None]
  solved = np.linalg.solve(full, atoms)
  np.testing.assert_allclose(found.mean, root * (solved.conj().T @ samples), atol=1e-4)
  seen = (np.asarray(POWER) * np.einsum('ij,ij->j', atoms.conj(), solved)).real
  np.testing.assert_allclose(found.variance, 1 - seen, atol=1e-5)


def test_with_the_root_of_the_factor_the_likelihood_never_falls(grid, dense):
  """The likelihood by the N x N form, in double precision."""
  atoms, covariance = dense
  samples = draw(covariance + NOISE * np.eye(24), 8).reshape(8, -1).T.astype(np.complex128)
  gram, weights = gram_at(grid, INDEX), jnp.full(8, 1 / 8)
  seen = jnp.asarray(atoms.conj().T @ samples, jnp.complex64)
  power, likelihood = jnp.full(5, 4.0), []
  for _ in range(25):
    full = (atoms * np.asarray(power)) @ atoms.conj().T + NOISE * np.eye(24)
    likelihood.append(-np.linalg.slogdet(full)[1] - np.mean(np.einsum(
        'in,in->n', samples.conj(), np.linalg.solve(full, samples)).real))
    found = em.posterior(power, gram, seen, jnp.float32(NOISE))
    power = jnp.sqrt(power * em.step(power, found, weights))
  assert (np.diff(likelihood) > -1e-5).all()
  assert likelihood[-1] > likelihood[0] + 0.1


def test_true_profile_is_a_fixed_point(grid, dense):
  """With as many samples as one likes a step from the true profile stays there."""
  atoms, covariance = dense
  samples = draw(covariance + NOISE * np.eye(24), 40_000).reshape(40_000, -1)
  found = em.posterior(
      POWER, gram_at(grid, INDEX), jnp.asarray((samples @ atoms.conj()).T), jnp.float32(NOISE))
  np.testing.assert_allclose(em.step(POWER, found, jnp.full(40_000, 1 / 40_000)), POWER, rtol=0.06)


def test_deconvolution_keeps_the_energy_and_comes_nearer_to_the_powers(grid):
  """Of two atoms: the energy that they explain is all there is, and fits better than at first."""
  delay, angle = (np.abs(np.asarray(atoms).conj().T @ np.asarray(atoms)) ** 2 for atoms in grid)
  power = np.zeros(grid.shape, np.float32)
  power[5, 3], power[12, 1] = 4, 1
  energy = delay @ power @ angle
  found = np.asarray(em.deconvolve(grid, jnp.asarray(energy)))
  np.testing.assert_allclose((found * delay.sum(0)[:, None] * angle.sum(0)).sum(), energy.sum(),
                             rtol=1e-3)
  assert found.argmax() == power.argmax()
  assert np.abs(delay @ found @ angle - energy).sum() < 0.5 * np.abs(
      delay @ (energy * power.sum() / energy.sum()) @ angle - energy).sum()


@pytest.mark.slow
def test_fit_of_few_samples_is_nearer_than_their_covariance(grid, dense):
  """Ten places, six samples each, and six of no weight from elsewhere."""
  _, covariance = dense
  here, elsewhere = draw(covariance, 60), draw(np.eye(24), 60, seed=1)
  csi = np.concatenate([x.reshape(10, 6, 6, 4) for x in (here, elsewhere)], 1)
  weights = np.repeat(np.float32([[1 / 6, 0]]), 6, 1).repeat(10, 0)
  profile = em.fit(grid, csi, weights, 0.0, 30)
  np.testing.assert_allclose(profile.power.sum(1), 24, rtol=1e-5)  # as CSI has
  atoms = np.asarray(atoms_at(grid, profile.index)).reshape(10, 30, -1)
  fitted = np.einsum('bkn,bk,bkm->bnm', atoms, profile.power, atoms.conj())
  rows = here.reshape(10, 6, -1)
  by_samples = np.einsum('bin,bim->bnm', rows, rows.conj()) / 6
  error = np.linalg.norm(fitted - covariance, axis=(1, 2)).mean()
  assert error < 0.8 * np.linalg.norm(by_samples - covariance, axis=(1, 2)).mean()


def test_klt_is_that_of_the_covariance(grid, dense):
  _, covariance = dense
  found = klt.transform(grid, em.Profile(INDEX, POWER), 4)
  scaled = covariance * 24 / np.trace(covariance).real
  values = np.linalg.eigvalsh(scaled)[::-1]
  np.testing.assert_allclose(found.variances, values[:4], rtol=1e-4)
  atoms = np.asarray(atoms_at(grid, INDEX)).reshape(len(INDEX), -1).T
  basis = atoms @ np.asarray(found.mixing)
  np.testing.assert_allclose(basis.conj().T @ basis, np.eye(4), atol=1e-4)
  np.testing.assert_allclose(basis.conj().T @ scaled @ basis, np.diag(values[:4]), atol=1e-2)
  csi = draw(covariance, 3)
  many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), found)
  coded = np.asarray(klt.coefficients(grid, many, csi))
  np.testing.assert_allclose(coded, csi.reshape(3, -1) @ basis.conj(), atol=1e-4)
  np.testing.assert_allclose(
      klt.synthesise(grid, many, coded).reshape(3, -1), coded @ basis.T, atol=1e-4)


def test_directions_outside_of_the_atoms(grid):
  """They come after those of the atoms, which stay; all are orthogonal and of norm 1."""
  of_atoms = klt.transform(grid, em.Profile(INDEX, POWER), 5)
  more = klt.transform(grid, em.Profile(INDEX, POWER), 12)
  assert (np.diff(more.variances) <= 0).all()
  np.testing.assert_allclose(more.variances[:5], of_atoms.variances, rtol=1e-4)
  units = np.eye(12, dtype=np.complex64)
  basis = np.asarray(klt.synthesise(grid, jax.tree.map(lambda leaf: leaf[None], more), units))
  basis = basis.reshape(12, -1)
  np.testing.assert_allclose(basis @ basis.conj().T, units, atol=1e-2)
  inner = np.asarray(klt.synthesise(
      grid, jax.tree.map(lambda leaf: leaf[None], of_atoms), units[:5, :5])).reshape(5, -1)
  np.testing.assert_allclose(np.abs(basis[:5] @ inner.conj().T), np.eye(5), atol=1e-2)
