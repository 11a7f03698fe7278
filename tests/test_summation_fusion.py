import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.models.summation_fusion import SummationFusion

pytestmark = pytest.mark.usefixtures('quick_compilation')


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, *args):
  return module.apply(params, *args)


def fusion(num_ues):
  module = SummationFusion(num_ues, mlp_dim=8)
  x = jax.random.normal(jax.random.key(0), (2, num_ues, 4, 6))
  return module, module.init(jax.random.key(1), x), x


def layer_norm(x):
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def test_agrees_with_numpy():
  module, params, x = fusion(3)
  leaves = jax.tree.map(np.asarray, params['params'])
  expected = np.asarray(x)
  for i in (1, 2):
    others = np.asarray(x)[:, [(m + i) % 3 for m in range(3)]]
    first, second = leaves[f'branch_{i}_in'], leaves[f'branch_{i}_out']
    hidden = np.maximum(others @ first['kernel'] + first['bias'], 0)
    expected = layer_norm(expected + hidden @ second['kernel'] + second['bias'])
  np.testing.assert_allclose(apply(module, params, x), expected, atol=2e-5)


def test_two_ues_share_one_branch_and_more_have_one_for_each_other():
  for num_ues in (2, 3, 4):
    _, params, _ = fusion(num_ues)
    assert len(params['params']) == 3 * (num_ues - 1)


@pytest.mark.parametrize('num_ues', [2, 3])
def test_going_round_the_group_goes_round_the_outputs(num_ues):
  module, params, x = fusion(num_ues)
  turned = apply(module, params, jnp.roll(x, 1, axis=1))
  np.testing.assert_allclose(turned, jnp.roll(apply(module, params, x), 1, axis=1), atol=1e-6)


def test_branches_are_all_that_joins_the_ues():
  module, params, x = fusion(2)

  def between(params):
    jacobian = jax.jacrev(lambda x: apply(module, params, x[None])[0])(x[0])
    return float(jnp.abs(jacobian[0, :, :, 1]).max())

  assert between(params) > 1e-3
  silent = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf * (path[1].key != 'branch_1_out'), params)
  assert between(silent) == 0


def test_other_numbers_of_ues_are_input_errors():
  module, params, _ = fusion(2)
  with pytest.raises(InputError, match='were built for 2 UEs'):
    module.apply(params, jnp.ones((1, 3, 4, 6)))
