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
def test_paper_count_of_table_2(num_ues):
  config = dataclasses.replace(
      ExperimentConfig(model=ModelConfig(compression_ratio='1/8')), num_ues=num_ues)
  found = count_complexity(config)
  assert found.parameters == 5_549_184
  assert found.paper_flops == num_ues * 144_913_920
  # Beside the linear layers' 144,179,200 MACs: Q K^T and A V of 10 layers, 2 * 32 * 32 * 192 each.
  assert found.macs == num_ues * (144_179_200 + 10 * 2 * 32 * 32 * 192)


def test_single_user_network_has_two_more_layernorms():
  config = ExperimentConfig(model=ModelConfig(
      compression_ratio='1/8', attention='self', final_norm=True))
  found = count_complexity(config)
  assert found.parameters == 5_549_952 == 5_549_184 + 2 * 2 * 192
  assert found.paper_flops == 2 * 144_963_072


@pytest.mark.parametrize('num_ues, parameters, paper_flops', [
    (2, 6_437_952, 346_598_400),
    (4, 5_549_184 + 3 * 3 * 296_256, 4 * 144_913_920 + 3 * 12 * 9_461_760)])
def test_summation_fusion_has_a_branch_for_every_ordered_pair(num_ues, parameters, paper_flops):
  config = dataclasses.replace(ExperimentConfig(model=ModelConfig(
      compression_ratio='1/8', attention='self', network='summation_fusion')), num_ues=num_ues)
  found = count_complexity(config)
  assert (found.parameters, found.paper_flops) == (parameters, paper_flops)


def test_convolutions_are_counted_as_the_products_they_are():
  config = ExperimentConfig(model=ModelConfig(
      compression_ratio='1/8', attention='self', network='adjscc_csinet'))
  pixels, k = 32 * 32, 256
  refine_net = 49 * 2 * 8 + 25 * 8 * 16 + 9 * 16 * 2
  convolutions = 2 * 49 * 2 * 2 + 49 * 2 * 2 + 5 * refine_net + 9 * 2 * 2
  features = [2, 2, 2, 2] + 5 * [8, 16, 2]  # of the AF modules: C + 1 -> 16 -> C
  modules = sum(16 * (channels + 1) + 16 * channels for channels in features)
  assert count_complexity(config).macs == 2 * (pixels * convolutions + 2 * 2048 * k + modules)
