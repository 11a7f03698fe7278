"""What is known of a label besides the report: against sums over all centres, and by simulation."""

import numpy as np
import pytest

from rca_jax.bayes import label
from rca_jax.bayes.label_source import Joint, Paid, Tracked
from rca_jax.bayes.site_map import SiteMap
from rca_jax.bayes.squares import STRAY, Squares, circle, disc
from rca_jax.errors import InputError


def make_map(count, side_m, two_states=(), without=()):
  """Squares of a count x count ground, in no order, without some; some with LOS and NLOS."""
  x, y = np.divmod(np.arange(count**2), count)
  squares = [(i, False, 8) for i in range(count**2) if i not in without and i not in two_states]
  squares += [(i, los, 2 + 4 * los) for i in two_states for los in (False, True)]
  number, los, samples = zip(
      *(squares[i] for i in np.random.default_rng(0).permutation(len(squares))), strict=True)
  number = np.array(number)
  place = side_m * (np.stack([x[number], y[number]], -1) - count / 2 + 0.5)
  return SiteMap(
      place.astype(np.float32), np.array(los), np.array(samples, np.uint16),
      *[np.zeros((len(number), 1))] * 4)


def test_offsets_are_those_of_drawn_places():
  """Centre uniform in its square, UE uniform in the disc; then the label near the UE's square."""
  squares, rng = Squares(make_map(5, 1.5)), np.random.default_rng(1)
  points = disc(7.0)
  assert abs(np.mean(np.linalg.norm(points, axis=1) ** 2) - 3.5**2 / 2) < 0.01
  np.testing.assert_allclose(np.linalg.norm(circle(0.7), axis=1), 0.7)
  found = squares.offsets(points)
  np.testing.assert_allclose(found.sum(), 1)
  radius, turn = 3.5 * np.sqrt(rng.random(400_000)), 2 * np.pi * rng.random(400_000)
  moved = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1) / 1.5
  at = np.floor(rng.random((400_000, 2)) + moved)
  sizes = {0: 0.4, 1: 0.42, 2: 0.11, 4: 0.05, 7: 0.02}
  size = np.random.default_rng(2).choice([*sizes], 400_000, p=[*sizes.values()])[:, None]
  at += rng.integers(-size, size + 1, (400_000, 2))
  edges = np.arange(len(found) + 1) - len(found) / 2
  drawn, *_ = np.histogram2d(at[:, 0], at[:, 1], (edges, edges))
  # 2e-4: the disc is a sum over points.
  assert (np.abs(drawn / 400_000 - found) < 5 * np.sqrt(found / 400_000) + 2e-4).all()


@pytest.fixture(scope='module')
def small_map():
  return make_map(6, 1.2, two_states=(7, 8, 20), without=(14, 15, 35))


def test_joint_posterior_is_the_sum_over_centres(small_map):
  """Three UEs: over all triples of labels, with a prior that is summed over centres by hand."""
  squares = Squares(small_map)
  offsets = squares.offsets(disc(4.0))
  reach, num = len(offsets) // 2, len(small_map.los)
  column = np.rint((small_map.place - small_map.place.min(0)) / 1.2).astype(int)
  given = np.zeros((36, num))
  for centre in range(36):
    for v in range(num):
      dx, dy = column[v] - np.divmod(centre, 6)
      inside = max(abs(dx), abs(dy)) <= reach
      same = (column == column[v]).all(1)
      share = small_map.num_samples[v] / small_map.num_samples[same].sum()
      given[centre, v] = offsets[reach + dx, reach + dy] * share if inside else 0
  given = (1 - STRAY) * given / given.sum(1, keepdims=True)
  given += STRAY * small_map.num_samples / small_map.num_samples.sum()
  likelihood = np.random.default_rng(1).normal(size=(3, num)) * 3
  whole = np.einsum('ca,cb,cd,a,b,d->abd', given, given, given, *np.exp(likelihood))
  expected = np.stack([whole.sum((1, 2)), whole.sum((0, 2)), whole.sum((0, 1))])
  found = Joint(small_map, 4.0).posterior(likelihood, None)
  np.testing.assert_allclose(found, expected / whole.sum(), rtol=1e-6)


def test_a_ue_alone_is_decoded_as_ever_and_ues_may_change_places(small_map):
  joint, paid = Joint(small_map, 4.0), Paid(small_map)
  likelihood = np.random.default_rng(2).normal(size=(4, len(small_map.los)))
  np.testing.assert_array_equal(
      joint.posterior(likelihood[:1], None), paid.posterior(likelihood[:1], None))
  assert joint.error_rate(5, 0.3, 1) == paid.error_rate(5, 0.3, 1)
  order = [2, 0, 3, 1]
  np.testing.assert_allclose(
      joint.posterior(likelihood[order], None), joint.posterior(likelihood, None)[order],
      rtol=1e-9)


def test_tracked_labels_are_expected_around_the_last_one(small_map):
  tracked = Tracked(small_map, 1.0)
  last = np.array([0, 5, 17])
  expected = np.exp(tracked.expected(last))
  np.testing.assert_allclose(expected.sum(1), 1)
  distance = np.linalg.norm(small_map.place[last][:, None] - small_map.place, axis=-1)
  assert (expected[distance > 6] < STRAY / 20).all()
  assert ((expected * (distance < 2)).sum(1) > 0.75).all()
  assert tracked.error_rate(3, 0.3, 2) < Paid(small_map).error_rate(3, 0.3, 2)


@pytest.mark.parametrize(('num_ues', 'num_symbols'), [(2, 6), (4, 5)])
def test_joint_labels_are_wrong_as_seldom_as_the_formula_says(num_ues, num_symbols):
  """Groups of drawn places on 900 squares; labels too short to be paid alone."""
  site_map, noise, rng = make_map(30, 1.2), 0.5, np.random.default_rng(3)
  joint, paid = Joint(site_map, 6.0), Paid(site_map)
  words = np.asarray(label.codewords(900, num_symbols))
  label_at = np.argsort(np.ravel_multi_index(tuple(
      np.rint((site_map.place - site_map.place.min(0)) / 1.2).astype(int).T), (30, 30)))
  wrong = {joint: [], paid: []}
  for _ in range(300):
    centre = rng.uniform(3, 33, 2)
    ground = centre + disc(6.0)[rng.integers(48 * 96, size=num_ues)]
    x, y = np.clip((ground / 1.2).astype(int), 0, 29).T
    sent = label_at[x * 30 + y]
    white = rng.normal(size=(2, num_ues, num_symbols)) * (noise / 2) ** 0.5
    received = (words[sent] + white[0] + 1j * white[1]).astype(np.complex64)
    likelihood = np.asarray(label.log_likelihood(words, received, noise), np.float64)
    for source, found in wrong.items():
      found.append(source.posterior(likelihood, None).argmax(1) != sent)
  joint_rate, paid_rate = (np.mean(wrong[source]) for source in (joint, paid))
  assert joint_rate < 0.7 * paid_rate
  ratio = joint_rate / joint.error_rate(num_symbols, noise, num_ues)
  assert 0.3 < ratio < 1.3


def test_a_map_without_squares_has_no_neighbours(small_map):
  place = small_map.place + np.linspace(0, 1, len(small_map.los))[:, None].astype(np.float32)
  with pytest.raises(InputError, match='squares of one size'):
    Joint(small_map._replace(place=place), 4.0)
