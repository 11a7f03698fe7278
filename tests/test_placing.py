"""Cells of UEs whose places nobody knows: evidence against numpy, what comes together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.bayes import online, placing, random_code
from rca_jax.config import CsiConfig

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=8, num_tx_antennas=8)
NUM_SYMBOLS, NOISE = 16, 0.1


@pytest.fixture(scope='module')
def codes():
  falling = np.geomspace(1, 0.05, 8)[None, :, None] * np.ones((3, 1, 8))
  return online.make_codes(jax.random.key(0), NUM_SYMBOLS, CONFIG, falling)


@pytest.fixture(scope='module')
def places(codes):
  """Profiles [2, K] of two places: each six atoms on a little of the prior."""
  rng = np.random.default_rng(1)
  profiles = np.zeros((2, codes.prior.size), np.float32)
  for profile in profiles:
    profile[rng.choice(8 * 64, 6)] = codes.prior.sum() / 6
  return profiles + 0.01 * np.asarray(codes.prior)


@pytest.fixture(scope='module')
def reports(codes, places):
  """Noisy reports [32, S], their codes [32], and the places that they come from [32]."""
  rng = np.random.default_rng(2)
  which, place = np.arange(32) % len(codes.seen), rng.integers(2, size=32)
  received = np.stack([draw(rng, codes, f, places[v], 1)[0] for f, v in zip(
      which, place, strict=True)])
  return jnp.asarray(received), which, place


def draw(rng, codes, which, profile, num):
  """Reports [num, S] of CSI of a profile; UEs scale theirs to power 1."""
  atoms = np.einsum('dp,aq->dapq', codes.grid.delay, codes.grid.angle)
  atoms = atoms.reshape(8, 8, -1)
  gains = np.sqrt(profile / 2) * (rng.normal(size=(2, num, len(profile))).T @ [1, 1j]).T.conj()
  csi = np.einsum('dak,nk->nda', atoms, gains).astype(np.complex64)
  noise = rng.normal(size=(num, NUM_SYMBOLS, 2)) @ [1, 1j] * np.sqrt(NOISE / 2)
  return (random_code.encode(codes.code(int(which)), csi) + noise).astype(np.complex64)


def covariance(codes, which, profile):
  seen = np.asarray(codes.seen[which], np.complex128)
  return (seen.T * np.asarray(profile, np.float64)) @ seen.conj() + NOISE * np.eye(NUM_SYMBOLS)


def test_evidence_and_its_mean_are_those_of_gaussians(codes, places, reports):
  received, which, _ = reports
  gain, divergence = placing.evidence(codes, jnp.asarray(places), NOISE, received, which)
  expected = np.zeros_like(gain)
  for i, (y, f) in enumerate(zip(np.asarray(received, np.complex128), which, strict=True)):
    of_prior, *of_places = (
        -np.linalg.slogdet(one)[1] - (y.conj() @ np.linalg.solve(one, y)).real
        for one in (covariance(codes, f, profile) for profile in (codes.prior, *places)))
    expected[i] = np.subtract(of_places, of_prior)
  np.testing.assert_allclose(gain, expected, rtol=1e-3, atol=1e-2)
  for v, profile in enumerate(places):
    of_codes = []
    for f in range(len(codes.seen)):
      one, prior = covariance(codes, f, profile), covariance(codes, f, codes.prior)
      of_codes.append(
          np.trace(np.linalg.solve(prior, one)).real - NUM_SYMBOLS
          + np.linalg.slogdet(prior)[1] - np.linalg.slogdet(one)[1])
    assert divergence[v] == pytest.approx(np.mean(of_codes), rel=1e-3)


def found(codes, reports, weight, power=None):
  received, which, _ = reports
  if power is None:
    power = jnp.broadcast_to(codes.prior, (len(weight), codes.prior.size))
  return placing.place(codes, power, np.asarray(weight, float), NOISE, received, which)


def test_reports_of_two_places_are_never_of_one_cell(codes, reports):
  """From nothing known at all: the first report of a place begins its cell."""
  cells = found(codes, reports, np.zeros(16))
  place = reports[2]
  assert not set(cells[place == 0]) & set(cells[place == 1])
  assert cells[0] == 0 and len(set(cells)) < 32 / 3
  assert set(cells) == set(range(len(set(cells))))


def test_a_report_is_of_the_cell_that_explains_it_best(codes, places, reports):
  """Of one of its own place, where that has one; of any, where no other can begin."""
  place = reports[2]
  np.testing.assert_array_equal(found(codes, reports, [50, 50], jnp.asarray(places)), place)
  power = jnp.asarray(np.stack([places[0], *[codes.prior] * 7]))
  cells = found(codes, reports, [50, *[0] * 7], power)
  assert (cells[place == 1] > 0).all() and (cells[place == 0] == 0).mean() > 0.8
  assert (found(codes, reports, [50], power[:1]) == 0).all()


@pytest.mark.parametrize('wrong', [np.nan, 30.0])
def test_a_broken_report_begins_no_cell(codes, reports, wrong):
  received, which, place = reports
  broken = received.at[0].multiply(wrong), which, place
  without = received[1:], which[1:], place[1:]
  np.testing.assert_array_equal(
      found(codes, broken, np.zeros(8))[1:], found(codes, without, np.zeros(8)))


def test_a_split_cell_passes_on_what_it_knows(codes, places):
  rng = np.random.default_rng(3)
  many = online.Statistics(
      jnp.asarray(rng.normal(size=(4, 2, 3, 3)), jnp.float32),
      jnp.asarray([[50, 30], [10, 10], [0, 0], [0, 0]], jnp.float32))
  power = jnp.asarray(np.stack([*places, codes.prior, codes.prior]))
  cells = np.array([1, 0, 0, 1, 3])  # 3 is about to begin
  split, powers, moved = placing.split(many, power, cells)
  assert moved.tolist() == [1, 0, 2, 1, 3]
  for leaf, before in zip(split, many, strict=True):
    np.testing.assert_allclose(leaf[0], before[0] / 2, rtol=1e-6)
    np.testing.assert_allclose(leaf[2], before[0] * 16 / 80, rtol=1e-6)
    np.testing.assert_array_equal(leaf[1::2], before[1::2])
  np.testing.assert_array_equal(powers, np.stack([*places, places[0], codes.prior]))
  # No cell without weight: nothing changes.
  full = jax.tree.map(lambda leaf: leaf[:2], many)
  split, powers, moved = placing.split(full, power[:2], cells[:4])
  jax.tree.map(np.testing.assert_array_equal, split, full)
  assert moved.tolist() == [1, 0, 0, 1]
