"""Labels that the BS finds in the uplink: the looks, the choice, the code that uses it."""

import dataclasses

import jax
import numpy as np
import pytest

from rca_jax.bayes import klt, packing, site_code
from rca_jax.bayes.coefficient_code import FOLDED, HYBRID, LINEAR
from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.label_source import Paid
from rca_jax.bayes.site_code import SiteCode
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig, DataConfig, ExperimentConfig, ModelConfig, UplinkConfig
from rca_jax.data.test_groups import load_test_csi, load_uplink_csi
from rca_jax.errors import InputError
from rca_jax.uplink.known import Uplink

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4)
EXPERIMENT = ExperimentConfig(
    csi=dataclasses.replace(CONFIG, scenario='uma_los'), data=DataConfig(num_test_groups=30),
    model=ModelConfig(compression_ratio='1/3'))
NUM_ATOMS = 32


def make_map(*rows_of):
  """A map with one entry for each range of delay rows: atoms there, of falling power."""
  rng, num = np.random.default_rng(0), len(rows_of)
  index = []
  for first, last in rows_of:
    delays = np.arange(4 * first + 2, 4 * last + 3)  # from -1/2 in steps of 1/4
    atoms = (delays[:, None] * 64 + np.arange(64)).ravel()
    index.append(rng.choice(atoms, NUM_ATOMS, replace=False))
  profile = Profile(np.array(index), np.tile(np.geomspace(1, 0.03, NUM_ATOMS), (num, 1)))
  return SiteMap(
      np.stack([np.arange(num), np.zeros(num)], 1).astype(np.float32), np.zeros(num, bool),
      np.full(num, 5, np.uint16), *packing.pack(profile, make_grid(CONFIG).shape[0]))


def covariances(entries):
  """Of every entry, [V, 24, 24], in double precision."""
  found = klt.transform(make_grid(CONFIG), entries.profile(np.arange(len(entries.los))), 24)
  grid = make_grid(CONFIG)
  p, q = np.divmod(np.asarray(found.index), grid.shape[1])
  atoms = np.asarray(grid.delay).T[p][..., :, None] * np.asarray(grid.angle).T[q][..., None, :]
  basis = np.einsum('vkn,vks->vns', atoms.reshape(*p.shape, -1), np.asarray(found.mixing))
  return np.einsum('vns,vs,vms->vnm', basis, np.asarray(found.variances, np.float64), basis.conj())


def draw(covariance, *shape, noise=0.0, seed=0):
  """Samples [*shape, 6, 4] of a covariance, and white noise."""
  rng = np.random.default_rng(seed)
  white = rng.normal(size=(2, 2, *shape, 24)) / np.sqrt(2)
  values, vectors = np.linalg.eigh(covariance)
  csi = (white[0, 0] + 1j * white[0, 1]) * np.sqrt(np.maximum(values, 0)) @ vectors.T
  csi = csi + np.sqrt(noise) * (white[1, 0] + 1j * white[1, 1])
  return csi.reshape(*shape, 6, 4).astype(np.complex64)


def make_code(entries, coded=LINEAR):
  return SiteCode(entries, CONFIG, 16, Paid(entries), coded)


def test_looks_are_of_the_test_groups_own_paths_with_other_phases_and_noise():
  """Most power comes along the LOS path, so a UE's looks are like its CSI but for a phase."""
  csi, looks = load_test_csi(EXPERIMENT, 2), load_uplink_csi(EXPERIMENT, 2, 3, 10.0)
  assert looks.shape == (30, 2, 3, 6, 4) and looks.dtype == np.complex64
  energy = (np.abs(looks) ** 2).mean((-1, -2))  # of an entry 1 + N_0, with a spread of the noise
  assert abs(energy.mean() - 1.1) < 0.02 and 0.05 < energy.std() < 0.15
  products = np.einsum('gmdn,hmldn->ghml', csi.conj(), looks) / 24
  own, others = products[range(30), range(30)], products[range(30), np.roll(range(30), 1)]
  assert (np.abs(own) ** 2).mean() > 3 * (np.abs(others) ** 2).mean()
  assert abs(own.mean()) < 4 * np.sqrt((np.abs(own) ** 2).mean() / own.size)


def test_looks_need_generated_groups_of_one_site():
  for config in (
      dataclasses.replace(EXPERIMENT, data=DataConfig(test_path='a.npz')),
      dataclasses.replace(EXPERIMENT, csi=dataclasses.replace(CONFIG, mode='fresh'))):
    with pytest.raises(InputError, match='generated groups of one site only'):
      load_uplink_csi(config, 2, 1, 0.0)
  with pytest.raises(InputError, match=r'uplink\.num_looks=0 must be from 1'):
    UplinkConfig(num_looks=0)
  with pytest.raises(InputError, match=r'uplink\.look_snr_db=101'):
    UplinkConfig(look_snr_db=101.0)


def test_entries_of_disjoint_support_are_always_told_apart():
  entries = make_map((0, 1), (4, 5))
  looks = np.stack([draw(covariance, 50, 1, noise=0.1) for covariance in covariances(entries)], 1)
  labels = make_code(entries).uplink_labels(looks, 10.0, Uplink(10.0))
  np.testing.assert_array_equal(labels, np.tile([0, 1], (50, 1)))


@pytest.fixture(scope='module')
def alike():
  """Six entries that share most of their support."""
  return make_map((0, 2), (0, 3), (1, 3), (1, 4), (2, 4), (2, 5))


def test_likeliest_label_is_that_of_the_dense_gaussians(alike, monkeypatch):
  monkeypatch.setattr(site_code, '_NUM_COMPARED', 1)
  noise, found = 0.5, covariances(alike)
  looks = np.stack([draw(covariance, 25, 4, noise=noise) for covariance in found], 1)
  flat = looks.reshape(-1, 4, 24)
  likelihood = []
  for covariance in found:
    full = covariance + (noise + 0.01) * np.eye(24)  # what a map cannot say counts as noise
    form = np.einsum('uln,nm,ulm->u', flat.conj(), np.linalg.inv(full), flat).real
    likelihood.append(-form - 4 * np.linalg.slogdet(full)[1])
  labels = make_code(alike).uplink_labels(looks, -10 * np.log10(noise), Uplink(10.0))
  np.testing.assert_array_equal(labels.ravel(), np.argmax(likelihood, 0))


def test_more_looks_find_a_better_label(alike):
  code, found = make_code(alike), covariances(alike)
  csi = np.stack([draw(covariance, 100, seed=1) for covariance in found], 1)
  looks = np.stack([draw(covariance, 100, 4, noise=1.0, seed=2) for covariance in found], 1)
  keys = jax.random.split(jax.random.key(0), csi.shape[:2])
  right, error = [], []
  for num_looks in (1, 4):
    labels = code.uplink_labels(looks[:, :, :num_looks], 0.0, Uplink(20.0))
    hat = code.estimate_agreed(csi, keys, Uplink(20.0), labels)
    right.append((labels == np.arange(6)).mean())
    error.append((np.abs(hat - csi) ** 2).mean())
  assert right[1] > right[0] + 0.1
  assert error[0] > 1.02 * error[1]


@pytest.mark.parametrize('coded', [LINEAR, HYBRID, FOLDED])
def test_agreed_labels_are_coded_as_those_of_a_map_without_choice(alike, coded):
  """With one entry a label has no symbols and is never wrong: the same code."""
  one = SiteMap(*(leaf[2:3] for leaf in alike))
  csi = draw(covariances(one)[0], 10, 2)
  keys = jax.random.split(jax.random.key(0), (10, 2))
  hat = make_code(alike, coded).estimate_agreed(csi, keys, Uplink(10.0), np.full((10, 2), 2))
  np.testing.assert_allclose(
      hat, make_code(one, coded).estimate(csi, keys, Uplink(10.0)), atol=1e-5)
