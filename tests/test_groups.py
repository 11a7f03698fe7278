import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import sample_groups, sample_pairs, sample_positions, sample_site
from rca_jax.config import CsiConfig

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_delay_taps=8, num_tx_antennas=8)
_site = jax.jit(sample_site, static_argnums=1)
_sample = jax.jit(sample_groups, static_argnums=(1, 2, 3))


def test_positions_keep_the_cell_s_rules():
  draw = jax.jit(sample_positions, static_argnums=(1, 2, 3))
  positions = np.asarray(draw(jax.random.key(0), CONFIG, 2000, 4))
  ground = positions[..., :2]
  pairs = np.linalg.norm(ground[:, :, None] - ground[:, None], axis=-1)
  assert pairs.max() < CONFIG.max_ue_distance_m
  assert pairs.max() > 0.9 * CONFIG.max_ue_distance_m
  assert np.linalg.norm(ground, axis=-1).min() >= CONFIG.min_bs_distance_m
  assert np.abs(ground).max() <= CONFIG.cell_size_m / 2 + CONFIG.max_ue_distance_m / 2
  assert (positions[..., 2] == CONFIG.ue_height_m).all()
  assert abs(ground.mean()) < 5


@pytest.mark.parametrize('distance_m', [0.5, 100.0])
def test_pairs_are_exactly_so_far_apart_and_inside_the_cell(distance_m):
  draw = jax.jit(sample_pairs, static_argnums=(1, 2))
  positions = np.asarray(draw(jax.random.key(0), CONFIG, 500, distance_m))
  assert positions.shape == (500, 2, 3) and (positions[..., 2] == CONFIG.ue_height_m).all()
  ground = positions[..., :2]
  offset = ground[:, 1] - ground[:, 0]
  np.testing.assert_allclose(np.linalg.norm(offset, axis=-1), distance_m, rtol=1e-3)
  assert np.abs(ground).max() <= CONFIG.cell_size_m / 2 + 1e-3
  assert np.linalg.norm(ground, axis=-1).min() >= CONFIG.min_bs_distance_m
  # Every direction, every quarter of the cell.
  assert np.abs(offset.mean(0)).max() < 0.15 * distance_m
  assert np.abs(ground.mean((0, 1))).max() < 20


@pytest.mark.parametrize('mode', ['site', 'fresh'])
def test_groups_are_unit_power_and_follow_the_key(mode):
  config = dataclasses.replace(CONFIG, mode=mode)
  groups = _sample(jax.random.key(0), config, 6, 3)
  assert groups.csi.shape == (6, 3, 8, 8)
  assert groups.csi.dtype == jnp.complex64
  assert groups.positions.shape == (6, 3, 3)
  assert groups.los.shape == groups.energy_kept.shape == (6, 3)
  np.testing.assert_allclose((jnp.abs(groups.csi) ** 2).mean((-1, -2)), 1, rtol=1e-5)
  assert ((groups.energy_kept > 0) & (groups.energy_kept <= 1 + 1e-5)).all()
  again = _sample(jax.random.key(0), config, 6, 3)
  jax.tree.map(np.testing.assert_array_equal, groups, again)
  other = _sample(jax.random.key(1), config, 6, 3)
  assert (np.abs(np.asarray(other.csi - groups.csi)).max((-1, -2)) > 0.1).all()


def test_all_groups_of_a_site_live_in_it():
  site = _site(jax.random.key(5), CONFIG)
  draw = jax.jit(partial(sample_groups, config=CONFIG, num_groups=4, num_ues=2))
  inside = draw(jax.random.key(0), site=site)
  elsewhere = draw(jax.random.key(0), site=_site(jax.random.key(6), CONFIG))
  np.testing.assert_array_equal(inside.positions, elsewhere.positions)
  assert np.abs(inside.csi - elsewhere.csi).max() > 0.1


def test_multipath_is_a_scenario_of_its_own():
  config = dataclasses.replace(CONFIG, scenario='multipath')
  groups = _sample(jax.random.key(0), config, 6, 2)
  assert not groups.los.any()
  assert np.isfinite(groups.csi).all()
