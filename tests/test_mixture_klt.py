"""A mixture of KLTs from sample covariances."""

import jax
import numpy as np
import pytest

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import clusters, klt, mixture_klt, site_code
from rca_jax.bayes.label_source import Paid
from rca_jax.bayes.mixture_klt import MixtureKlt, fit_mixture
from rca_jax.bayes.site_code import SiteCode
from rca_jax.config import CsiConfig
from rca_jax.uplink.known import Uplink

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=3, num_tx_antennas=4)
SIZE = 8


def gaussian(num, seed):
  """CSI [num, 3, 4] of two covariances in turns, and these [2, 12, 12]."""
  rng = np.random.default_rng(0)
  factors = rng.normal(size=(2, 12, 6)) + 1j * rng.normal(size=(2, 12, 6))
  factors *= np.array([np.r_[[3] * 6, [0.1] * 6], np.r_[[0.1] * 6, [3] * 6]])[..., None]
  covariances = factors @ factors.conj().swapaxes(1, 2) + 0.01 * np.eye(12)
  covariances *= 12 / np.trace(covariances, axis1=1, axis2=2).real[:, None, None]
  roots = np.linalg.cholesky(covariances)[np.arange(num) % 2]
  rng = np.random.default_rng(seed)
  white = (rng.normal(size=(num, 12, 1)) + 1j * rng.normal(size=(num, 12, 1))) / 2**0.5
  return (roots @ white).reshape(num, 3, 4).astype(np.complex64), covariances


@pytest.fixture(scope='module')
def mixture():
  return fit_mixture(jax.random.key(0), gaussian(600, 1)[0], 2, SIZE)


def test_components_are_the_eigenvectors_of_their_shrunk_covariances(mixture):
  """By numpy, from the labels that the clusters give."""
  csi, _ = gaussian(600, 1)
  labels = clusters.find_clusters(jax.random.key(0), csi, 2)
  flat = csi.reshape(600, 12).astype(np.complex128)
  whole = np.einsum('ni,nj->ij', flat, flat.conj()) / 600
  assert mixture.num_samples.tolist() == [*np.bincount(labels), 60]
  for v in range(3):
    if v < 2:
      own = flat[labels == v]
      covariance = (np.einsum('ni,nj->ij', own, own.conj()) + 4 * whole) / (len(own) + 4)
    else:
      covariance = whole
    np.testing.assert_allclose(
        mixture.variances[v], np.linalg.eigvalsh(covariance)[::-1][:SIZE], rtol=1e-3, atol=1e-4)
    turned = covariance @ mixture.directions[v]
    np.testing.assert_allclose(turned, mixture.directions[v] * mixture.variances[v], atol=2e-3)
    gram = mixture.directions[v].conj().T @ mixture.directions[v]
    np.testing.assert_allclose(gram, np.eye(SIZE), atol=1e-4)
    np.testing.assert_allclose(
        mixture.powers[v].ravel(), covariance.diagonal().real, rtol=1e-3, atol=1e-4)


def test_clusters_are_the_two_covariances(mixture):
  _, covariances = gaussian(1, 0)
  truth = np.diagonal(covariances, axis1=1, axis2=2).real.reshape(2, 3, 4)
  apart = np.abs(mixture.powers[:2, None] - truth).mean((2, 3))
  assert apart.min(1).max() < 0.25 < apart.max(1).min()
  assert set(apart.argmin(1)) == {0, 1}


def test_a_transform_of_all_directions_gives_csi_back():
  csi, _ = gaussian(50, 2)
  whole = fit_mixture(jax.random.key(0), csi, 1, 12)
  grid = whole.grid(CONFIG)
  transform = whole.transform(grid, np.zeros(50, int), 12)
  values = klt.coefficients(grid, transform, csi)
  np.testing.assert_allclose(klt.synthesise(grid, transform, values), csi, atol=1e-4)


def test_one_component_is_the_linear_code_of_its_covariance(monkeypatch):
  """No label; the error in closed form, of the covariance that CSI really has."""
  monkeypatch.setattr(site_code, 'in_ball', lambda csi: csi)  # a Gaussian's power has no limit
  csi, covariances = gaussian(3000, 3)
  csi, truth = csi[::2], covariances[0]
  variances, directions = np.linalg.eigh(truth)
  variances, directions = variances[::-1][:SIZE], directions[:, ::-1][:, :SIZE]
  one = MixtureKlt(
      np.array([1]), truth.diagonal().real.reshape(1, 3, 4).astype(np.float32),
      variances[None].astype(np.float32), directions[None].astype(np.complex64))
  noise = 0.1
  power = least_error_powers(variances, noise, SIZE)
  expected = 12 - variances.sum() + (variances * noise / (power + noise)).sum()
  hat = SiteCode(one, CONFIG, SIZE, Paid(one), size=SIZE).estimate(
      csi[:, None], jax.random.split(jax.random.key(3), (len(csi), 1)), Uplink(10.0))
  errors = (np.abs(hat[:, 0] - csi) ** 2).sum((1, 2))
  assert abs(errors.mean() - expected) < 4 * errors.std() / len(csi) ** 0.5


def test_two_covariances_are_coded_better_than_by_one(mixture):
  """Six directions each, in eight symbols: the label is sent and decoded, and still worth it."""
  csi, _ = gaussian(400, 4)
  keys = jax.random.split(jax.random.key(1), (400, 1))
  one = MixtureKlt(*(leaf[-1:] for leaf in mixture))
  errors = [
      (np.abs(SiteCode(m, CONFIG, SIZE, Paid(m), size=SIZE).estimate(
          csi[:, None], keys, Uplink(20.0))[:, 0] - csi) ** 2).mean() for m in (mixture, one)]
  assert errors[0] < 0.7 * errors[1]


def test_shrinking_is_towards_all(monkeypatch):
  csi, _ = gaussian(100, 1)
  monkeypatch.setattr(mixture_klt, '_NUM_SHRINKING', 1e6)
  shrunk = fit_mixture(jax.random.key(0), csi, 2, SIZE)
  np.testing.assert_allclose(shrunk.variances[:2], shrunk.variances[[2, 2]], rtol=1e-2)
