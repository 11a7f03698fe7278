"""Profiles in few bits."""

import numpy as np
import pytest

from rca_jax.bayes import packing
from rca_jax.bayes.em import Profile

NUM_DELAYS = 21


@pytest.fixture(scope='module')
def profile():
  """64 entries of 24 atoms, falling powers; one entry has all its atoms in the last places."""
  rng = np.random.default_rng(0)
  index = np.array([rng.permutation(64 * NUM_DELAYS)[:24] for _ in range(64)])
  index[0] = 64 * NUM_DELAYS - 1 - np.arange(24)
  return Profile(index, -np.sort(-rng.exponential(size=index.shape) ** 3, axis=1))


def test_places_come_back_and_powers_are_those_of_their_level(profile):
  found = packing.unpack(packing.pack(profile, NUM_DELAYS))
  order = np.argsort(profile.index, axis=1)
  np.testing.assert_array_equal(found.index, np.take_along_axis(profile.index, order, 1))
  # Ranks 0, 1, ... of 24 in eight levels of about equal steps of log(rank + 1).
  edges = np.unique(np.round(25 ** (np.arange(9) / 8)).astype(int)) - 1
  mean = np.concatenate([
      np.repeat(profile.power[:, a:b].mean(1, keepdims=True), b - a, 1)
      for a, b in zip(edges[:-1], edges[1:], strict=True)], 1)
  np.testing.assert_allclose(found.power, np.take_along_axis(mean, order, 1), rtol=1e-3)
  np.testing.assert_allclose(found.power.sum(1), profile.power.sum(1), rtol=1e-3)


def test_an_atom_takes_ten_bits(profile):
  packed = packing.pack(profile, NUM_DELAYS)
  sizes = [leaf.nbytes for leaf in packed[:3]]
  assert sum(sizes) == 64 * (-(-(24 + NUM_DELAYS) // 8) + 24 * 9 // 8)


def test_what_is_damaged_is_seen(profile):
  packed = packing.pack(profile, NUM_DELAYS)
  assert packing.is_whole(packed, NUM_DELAYS)
  assert not packing.is_whole(packed, NUM_DELAYS + 8)
  assert not packing.is_whole(packed._replace(rows=packed.rows ^ 1), NUM_DELAYS)
  for power in (np.nan, -1, 0):
    damaged = packed._replace(power=np.full_like(packed.power, power))
    assert not packing.is_whole(damaged, NUM_DELAYS)
  assert not packing.is_whole(packed._replace(power=packed.power[:, :3]), NUM_DELAYS)
  assert not packing.is_whole(packed._replace(angles=packed.angles[:, :9]), NUM_DELAYS)
