import jax
import numpy as np
import pytest

from rca_jax.data.order import batch_indices


@pytest.mark.parametrize('num_groups', [1, 2, 5, 16, 1000])
def test_an_epoch_visits_every_group_once_and_no_two_alike(num_groups):
  whole = jax.jit(lambda epoch: batch_indices(jax.random.key(0), epoch, num_groups, num_groups))
  epochs = np.array([whole(np.int32(epoch)) for epoch in range(8)])
  assert (np.sort(epochs, 1) == np.arange(num_groups)).all()
  if num_groups > 15:
    assert len({tuple(epoch) for epoch in epochs}) == 8


def test_the_order_looks_random():
  order = np.asarray(batch_indices(jax.random.key(1), np.int32(3), 5000, 5000))
  # Correlation of place and group, and of neighbours: 1 / sqrt(5000) = 0.014 by chance.
  assert abs(np.corrcoef(np.arange(5000), order)[0, 1]) < 0.06
  assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.06


@pytest.mark.parametrize('num_groups, batch_size', [(80_000, 256), (2**25 + 3, 256), (7, 1000)])
def test_no_step_overflows(num_groups, batch_size):
  """The batch of a late step is that part of its epochs: exact where the product is 2^39."""
  key, step = jax.random.key(0), 2**31 - 7
  if batch_size > num_groups:
    step = 2**23
  epoch, place = divmod(step * batch_size, num_groups)
  found = np.asarray(batch_indices(key, np.int32(step), batch_size, num_groups))
  # One group at a time, from a step whose product is small: epoch `epoch`, place `place`.
  if num_groups < 100_000:
    whole = np.asarray(batch_indices(key, np.int32(epoch), num_groups, num_groups))
    rest = whole[place:][:batch_size]
    np.testing.assert_array_equal(found[:len(rest)], rest)
  assert ((found >= 0) & (found < num_groups)).all()
  assert len(set(found.tolist())) == min(num_groups, batch_size)
