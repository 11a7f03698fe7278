import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import demo
from rca_jax.bayes.site_map import load_map
from rca_jax.config import ExperimentConfig, ModelConfig, from_dict
from rca_jax.evaluation.complexity import (
    count_complexity,
    count_parameters,
    described_steps,
    joint_bayes_steps,
    matmul_macs,
    network_steps,
    site_map_steps,
)


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


def test_what_is_done_in_a_loop_counts_as_often():
  x = jnp.ones((3, 3))
  assert matmul_macs(lambda x: jax.lax.fori_loop(0, 5, lambda _, y: y @ x, x), x) == (5 * 27, 0)
  assert matmul_macs(lambda x: jax.lax.map(lambda y: x @ y, x), x) == (3 * 9, 0)


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


def test_a_complex_product_is_four_real_ones():
  x = jnp.ones((3, 4), jnp.complex64)
  assert matmul_macs(lambda x: x @ x.T, x) == (4 * 3 * 4 * 3, 0)


def test_steps_of_the_site_maps_code_are_those_of_its_products():
  """The published map of the demo: 16 x 16 entries, 144 atoms, 16 symbols."""
  config = from_dict(ExperimentConfig, demo.get_config().to_dict())
  site_map = load_map(Path(demo.__file__).parent / 'demo.map', config.csi)
  num_labels, k = len(site_map.los), site_map.profile(np.zeros(1, int)).index.shape[-1]
  steps = site_map_steps(config, site_map, 10.0)
  blocks, fine, tried, report, decided, build, synthesised, refined = (
      step.macs for step in steps)
  # Of two rounds: two layers of 8 dense layers of 32 x 32 on every atom, and of attention.
  layers = 2 * 2 * (8 * k * 32**2 + 2 * k * k * 32)
  assert layers < refined < 3 * layers
  assert blocks == num_labels * 8 * 8
  assert fine == 256 * (k * 16 * 16 + 16 * 16)
  assert report == synthesised == 4 * (k * 16 * 16 + k * 16)
  assert tried == 4 * build + 5 * report and build == 18 * k**3
  assert decided % (2 * num_labels) == 0
  assert steps[1].num_bytes == sum(leaf.nbytes for leaf in site_map)


def test_joint_bayes_costs_a_ue_an_fft_and_the_bs_the_atoms_outer_products():
  config = dataclasses.replace(
      ExperimentConfig(model=ModelConfig(compression_ratio='1/16')), num_ues=8)
  report, decoder = joint_bayes_steps(config)
  assert report.macs == 4 * 5120 and report.num_bytes == 4 * (1024 + 64)
  # Two products of all atoms with S^2 numbers in each of 8 steps are most of it.
  products = 8 * 2 * 4160 * 64 ** 2
  assert products < decoder.macs < 2 * products


def test_a_described_profile_costs_a_ue_the_search():
  few, many = (described_steps(ExperimentConfig(), count) for count in (2, 8))
  # The grid's two tables, for the energy at all places, are most of every step.
  energy = 4 * (130 * 32 * 32 + 130 * 32 * 64)
  for count, steps in ((2, few), (8, many)):
    assert count * energy < steps[0].macs < 1.6 * count * energy
  assert sum(step.macs for step in many if step.side == 'BS') < many[1].macs + 2 * many[2].macs


def test_the_networks_sides_are_the_whole_network():
  config = ExperimentConfig(model=ModelConfig(compression_ratio='1/8'))
  whole, steps = count_complexity(config), network_steps(config)
  assert sum(step.macs for step in steps) * config.num_ues == whole.macs
  assert sum(step.num_bytes for step in steps) == 4 * whole.parameters


def test_the_learned_joint_decoder_is_all_of_its_network_and_a_ue_has_an_fft():
  config = dataclasses.replace(
      ExperimentConfig(), model=ModelConfig(network='learned_joint', attention='self'))
  encoder, decoder = network_steps(config)
  assert (encoder.macs, encoder.num_bytes) == (joint_bayes_steps(config)[0].macs, 0)
  assert decoder.num_bytes == 4 * count_complexity(config).parameters
