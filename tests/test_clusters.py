"""Cells without positions: which UEs are alike, and the map of them."""

import jax
import numpy as np
import pytest

from rca_jax.bayes import clusters
from rca_jax.bayes.label_source import Joint, Paid
from rca_jax.bayes.site_code import SiteCode
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.known import Uplink

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4)
NUM_PLACES = 5


def places(num_each, seed=0):
  """CSI of places with paths in entries of their own, phases drawn anew, and which place it is."""
  rng = np.random.default_rng(seed)
  where = np.random.default_rng(1).choice(24, (NUM_PLACES, 4))  # some are shared
  place = rng.permutation(np.repeat(np.arange(NUM_PLACES), num_each))
  csi = 0.05 * (rng.normal(size=(len(place), 24)) + 1j * rng.normal(size=(len(place), 24)))
  paths = rng.normal(size=(len(place), 4)) + 1j * rng.normal(size=(len(place), 4))
  np.put_along_axis(csi, where[place], paths, 1)
  csi = csi.reshape(-1, 6, 4)
  csi /= np.sqrt((np.abs(csi) ** 2).mean((1, 2), keepdims=True))
  return csi.astype(np.complex64), place


@pytest.fixture(scope='module')
def csi():
  return places(30)[0]


@pytest.fixture(scope='module')
def fit(csi, tmp_path_factory):
  def call(folder=None, num_ues=15.0, csi=csi):
    folder = folder or tmp_path_factory.mktemp('parts')
    done = []
    found = clusters.fit_clusters(
        jax.random.key(0), csi, CONFIG, num_ues, 0.0, folder, lambda *now: done.append(now))
    return found, done

  return call


@pytest.fixture(scope='module')
def found(fit):
  return fit()[0]


def test_ues_of_a_cluster_are_of_one_place(csi):
  _, place = places(30)
  labels = clusters.find_clusters(jax.random.key(0), csi, 2 * NUM_PLACES)
  assert labels.min() >= 0 and labels.max() < 2 * NUM_PLACES
  counts = np.zeros((2 * NUM_PLACES, NUM_PLACES), int)
  np.add.at(counts, (labels, place), 1)
  assert counts.max(1).sum() >= 0.95 * len(place)
  assert set(counts[counts.sum(1) > 0].argmax(1)) == set(range(NUM_PLACES))


def test_labels_do_not_depend_on_phases_or_on_how_csi_is_read(csi, monkeypatch):
  labels = clusters.find_clusters(jax.random.key(0), csi, 10)
  turns = np.exp(2j * np.pi * np.random.default_rng(3).random(csi.shape)).astype(np.complex64)
  turned = clusters.find_clusters(jax.random.key(0), csi * turns, 10)
  assert (turned == labels).mean() > 0.99
  monkeypatch.setattr(clusters, '_CHUNK', 16)
  assert (clusters.find_clusters(jax.random.key(0), csi, 10) == labels).mean() > 0.99


def test_the_map_has_an_entry_for_every_cluster_and_codes_csi_of_its_places(found, csi):
  assert np.isnan(found.place).all() and not found.los.any()
  assert NUM_PLACES <= len(found.los) - 1 <= 10  # and one for CSI that is like none
  assert found.num_samples[:-1].sum() > 0.9 * len(csi)
  new, _ = places(8, seed=5)
  keys = jax.random.split(jax.random.key(1), (len(new), 1))
  hat = SiteCode(found, CONFIG, 8, Paid(found)).estimate(new[:, None], keys, Uplink(20.0))[:, 0]
  errors = (np.abs(hat - new) ** 2).mean((1, 2))
  assert 10 * np.log10(errors.mean()) < -12  # four paths, noise and a label in eight symbols


def test_a_fit_that_was_cut_off_goes_on_to_the_same_map(fit, found, tmp_path, monkeypatch):
  monkeypatch.setattr(clusters, '_PART', 2)
  first, done = fit(tmp_path)
  assert [now for now, _ in done] == sorted(now for now, _ in done) and done[-1][0] == done[-1][1]
  jax.tree.map(np.testing.assert_array_equal, first, found)
  (tmp_path / 'clusters 1.safetensors').unlink()
  monkeypatch.setattr(clusters, 'find_clusters', None)  # the labels are kept
  again, done = fit(tmp_path)
  assert done == [(2, 2)]
  jax.tree.map(np.testing.assert_array_equal, again, found)


def test_what_cannot_be_done_is_one_line(fit, found, csi):
  with pytest.raises(InputError, match='5 UEs are too few for a map with 15 in a cluster'):
    fit(csi=csi[:5])
  with pytest.raises(InputError, match='no 3 of the 4 UEs are alike'):
    fit(csi=csi[:4], num_ues=1.0)
  with pytest.raises(InputError, match="measure the method 'site map'"):
    Joint(found, 5.0)
