import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import ExperimentConfig, ModelConfig
from rca_jax.evaluation.complexity import count_complexity, count_parameters, matmul_macs


def test_parameters_are_scalars_in_arrays_or_shapes():
  params = {'a': {'kernel': np.zeros((3, 4)), 'bias': np.zeros(4)}, 'scale': np.zeros(())}
  assert count_parameters(params) == 17
  assert count_parameters(jax.eval_shape(lambda: params)) == 17


def test_macs_of_products_wherever_they_are():
  x, kernel = jnp.ones((2, 5, 3)), jnp.ones((3, 7))

  @jax.jit
  def function(x, kernel):
    y = jax.nn.relu(x @ kernel)  # 2 * 5 * 3 * 7
    return jnp.matmul(y, jnp.swapaxes(y, -1, -2))  # batched: 2 * 5 * 7 * 5

  assert matmul_macs(function, x, kernel) == (210, 350)


@pytest.mark.parametrize('num_ues', [2, 4])
def test_letter_count_of_table_2(num_ues):
  config = dataclasses.replace(
      ExperimentConfig(model=ModelConfig(compression_ratio='1/8')), num_ues=num_ues)
  found = count_complexity(config)
  assert found.parameters == 5_549_184
  assert found.letter_flops == num_ues * 144_913_920
  # Beside the linear layers' 144,179,200 MACs: Q K^T and A V of 10 layers, 2 * 32 * 32 * 192 each.
  assert found.macs == num_ues * (144_179_200 + 10 * 2 * 32 * 32 * 192)
