"""Reports that say where their power comes from: what is said, and what may reach what."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.bayes import em, packing
from rca_jax.bayes.coefficient_code import FOLDED, LINEAR
from rca_jax.bayes.described import DescribedCode, find_clusters, profile, rank, unrank
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.label_source import Paid
from rca_jax.bayes.map_fit import with_anywhere
from rca_jax.bayes.site_code import SiteCode
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.known import Uplink

NUM_DELAYS, NUM_ANTENNAS, NUM_SYMBOLS = 8, 16, 24
CONFIG = CsiConfig(num_delay_taps=NUM_DELAYS, num_tx_antennas=NUM_ANTENNAS)
GRID = make_grid(CONFIG)


def csi_of(rng, num, num_clusters):
  """CSI [num, N_a, N_t] of clusters at random places of the grid, mean |h|^2 = 1."""
  p, q = (rng.integers(0, size, (num, num_clusters)) for size in GRID.shape)
  gains = rng.normal(size=(2, num, num_clusters)).view(float)
  gains = gains[0] + 1j * gains[1]
  csi = np.einsum(
      'nk,dnk,ank->nda', gains, np.asarray(GRID.delay)[:, p], np.asarray(GRID.angle)[:, q])
  return (csi / np.sqrt((np.abs(csi) ** 2).mean((1, 2), keepdims=True))).astype(np.complex64)


@pytest.fixture(scope='module')
def trial():
  return csi_of(np.random.default_rng(0), 64, 3)


@pytest.fixture(scope='module', params=[LINEAR, FOLDED], ids=['linear', 'folded'])
def code(request, trial):
  return DescribedCode(CONFIG, NUM_SYMBOLS, trial, request.param)


def nmse_db(found, csi):
  error = (np.abs(found - csi) ** 2).sum((-2, -1)) / (np.abs(csi) ** 2).sum((-2, -1))
  return 10 * np.log10(error.mean())


def transmit(code, csi, snr_db=20.0):
  keys = jax.random.split(jax.random.key(1), csi.shape[:2])
  return code.transmit(csi, keys, Uplink(snr_db))


def test_every_set_has_a_number_of_its_own():
  sets = list(itertools.combinations(range(9), 3))
  assert sorted(rank(places) for places in sets) == list(range(math.comb(9, 3)))
  assert all(tuple(unrank(rank(places), 3, 9)) == places for places in sets)
  assert unrank(math.comb(9, 3), 3, 9) == []
  large = [0, 17, 1023, 4000, 8319]
  assert unrank(rank(large), 5, 8320) == large


def test_the_clusters_of_a_few_paths_are_found():
  places = np.array([5 * 64 + 10, 15 * 64 + 40, 25 * 64 + 60])
  delay, angle = np.divmod(places, 64)
  csi = np.einsum(
      'k,dk,ak->da', [3, 2j, -1], np.asarray(GRID.delay)[:, delay],
      np.asarray(GRID.angle)[:, angle]).astype(np.complex64)
  assert find_clusters(GRID, jnp.asarray(csi[None]), 3)[0].tolist() == places.tolist()


def test_the_profile_is_a_set():
  places = np.random.default_rng(3).permutation(math.prod(GRID.shape))[:4]
  dense = [
      np.bincount(found.index, found.power, math.prod(GRID.shape))
      for found in (profile(GRID, jnp.asarray(order)) for order in (places, places[::-1]))]
  np.testing.assert_allclose(*dense, rtol=1e-6)
  assert dense[0].sum() == pytest.approx(4)


def test_sparse_csi_comes_back(code):
  csi = csi_of(np.random.default_rng(1), 60, 3).reshape(30, 2, NUM_DELAYS, NUM_ANTENNAS)
  _, found = transmit(code, csi, 30.0)
  assert nmse_db(found, csi) < -15


def test_reports_have_mean_power_1_and_their_word_has_it_always(code, trial):
  symbols, _ = transmit(code, trial.reshape(32, 2, *trial.shape[1:]))
  power = np.abs(symbols) ** 2
  split = code.plan(0.01).num_word_symbols
  assert 0 < split < NUM_SYMBOLS
  assert power.mean() == pytest.approx(1, abs=0.1)
  assert power[..., split:].mean() == pytest.approx(1, abs=0.02)
  assert (power[..., split:].mean(-1) < 2.001 / code._excess(0.01)).all()


def test_ues_do_not_see_each_other(code):
  csi = csi_of(np.random.default_rng(2), 8, 3).reshape(4, 2, NUM_DELAYS, NUM_ANTENNAS)
  keys = jax.random.split(jax.random.key(1), csi.shape[:2])
  symbols, found = code.transmit(csi, keys, Uplink(20.0))
  turned = code.transmit(csi[:, ::-1], keys[:, ::-1], Uplink(20.0))
  np.testing.assert_allclose(turned[0][:, ::-1], symbols, atol=1e-5)
  np.testing.assert_allclose(turned[1][:, ::-1], found, atol=1e-4)
  other = csi.copy()
  other[:, 1] = csi[::-1, 1]
  np.testing.assert_allclose(
      code.transmit(other, keys, Uplink(20.0))[1][:, 0], found[:, 0], atol=1e-4)


def test_each_ue_has_the_plan_of_its_own_snr(code):
  csi = csi_of(np.random.default_rng(4), 16, 3).reshape(8, 2, NUM_DELAYS, NUM_ANTENNAS)
  keys = jax.random.split(jax.random.key(1), csi.shape[:2])
  symbols, _ = code.transmit(csi, keys, Uplink(np.array([10.0, 30.0])))
  np.testing.assert_allclose(
      symbols[:, 1], code.transmit(csi, keys, Uplink(30.0))[0][:, 1], atol=1e-5)


def test_more_is_said_where_there_is_less_noise(code):
  counts = [code.plan(10 ** (-snr_db / 10)).num_clusters for snr_db in (5, 15, 30)]
  assert counts == sorted(counts) and counts[0] < counts[-1]


def test_a_report_that_is_noise_is_no_csi(code):
  """Where no code word is likely the estimate is the mean of CSI, zero: no cliff below it."""
  rng = np.random.default_rng(5)
  noise = (rng.normal(size=(2, 200, NUM_SYMBOLS)) / np.sqrt(2)).astype(np.float32)
  found = code.decode(noise[0] + 1j * noise[1], np.full(200, 1.0), 0.03)
  assert (np.abs(found) ** 2).mean() < 1


def test_too_much_noise_for_any_code_word(code, trial):
  with pytest.raises(InputError, match='cannot say where power comes from; choose a higher'):
    transmit(code, trial[None, :2], -30.0)


@pytest.mark.slow
def test_csi_that_a_map_does_not_know_describes_itself(trial):
  """Two places have power in one entry of the CSI each; other CSI is of neither."""
  index = np.array([[(2 + 4 * row) * 64 + 32] for row in (0, 5)])  # rows 0 and 5, sine 0
  power = np.pad(np.full((2, 1), 128.0), ((0, 0), (0, 143)))
  packed = packing.pack(
      em.Profile(np.pad(index, ((0, 0), (0, 143)), mode='edge'), power), GRID.shape[0])
  two = SiteMap(
      np.array([[1.0, 1.0], [3.0, 1.0]], np.float32), np.zeros(2, bool), np.full(2, 50, np.uint16),
      *packed)
  of_places = np.zeros((2, NUM_DELAYS, NUM_ANTENNAS), np.complex64)
  of_places[0, 0, 0] = of_places[1, 5, 0] = 128**0.5
  csi = np.concatenate([of_places, csi_of(np.random.default_rng(6), 30, 3)])[:, None]
  keys = jax.random.split(jax.random.key(0), csi.shape[:2])
  site_map = with_anywhere(GRID, two)
  plain = SiteCode(site_map, CONFIG, NUM_SYMBOLS, Paid(site_map))
  either = plain.variant(
      Paid(site_map), LINEAR, otherwise=lambda num: DescribedCode(CONFIG, num, trial))
  by_map, by_either = (code.estimate(csi, keys, Uplink(25.0)) for code in (plain, either))
  np.testing.assert_allclose(by_either[:2], by_map[:2], atol=1e-4)
  assert nmse_db(by_map[:2], csi[:2]) < -15
  assert nmse_db(by_either[2:], csi[2:]) < nmse_db(by_map[2:], csi[2:]) - 3
