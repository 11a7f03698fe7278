import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from rca_jax.data.grouping import group_by_position, split_by_region

GROUND = arrays(np.float64, st.tuples(st.integers(0, 60), st.just(3)), elements=st.floats(-99, 99))


@settings(max_examples=50, deadline=None)
@given(GROUND, st.integers(1, 4), st.floats(1, 50))
def test_a_ue_is_in_one_group_at_most_and_near_to_all_of_it(positions, num_ues, max_distance_m):
  groups = group_by_position(positions, num_ues, max_distance_m)
  assert groups.shape[1] == num_ues and len(np.unique(groups)) == groups.size
  for members in positions[groups]:
    assert cdist(members, members).max() <= max_distance_m
  np.testing.assert_array_equal(groups, group_by_position(positions, num_ues, max_distance_m))


def test_a_ue_gathers_its_nearest_neighbours():
  positions = np.array([[0, 0, 0], [9, 0, 0], [2, 0, 0], [10, 0, 0], [50, 0, 0], [3, 0, 0]], float)
  np.testing.assert_array_equal(group_by_position(positions, 2, 5), [[0, 2], [1, 3]])
  np.testing.assert_array_equal(group_by_position(positions, 3, 5), [[0, 2, 5]])


@pytest.mark.parametrize('seed', range(3))
def test_splits_do_not_touch(seed):
  rng = np.random.default_rng(seed)
  positions = np.concatenate([rng.uniform(-400, 400, (4000, 2)), np.full((4000, 1), 1.5)], -1)
  labels = split_by_region(positions, {'train': 0.6, 'val': 0.2, 'test': 0.2}, 5.0)
  assert set(labels) == {'train', 'val', 'test', ''}
  for one, other in (('train', 'val'), ('train', 'test'), ('val', 'test')):
    assert cdist(positions[labels == one], positions[labels == other]).min() > 5
  assert 0.15 < np.mean(labels == '') < 0.25
  assert 0.1 < np.mean(labels == 'test') < 0.25
  np.testing.assert_array_equal(  # each position alone decides
      labels[:7], split_by_region(positions[:7], {'train': 0.6, 'val': 0.2, 'test': 0.2}, 5.0))
