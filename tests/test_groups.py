import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import sample_groups, sample_pairs, sample_positions, sample_site
from rca_jax.config import CsiConfig
from rca_jax.uplink.djscc import CHANNELS

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_delay_taps=8, num_tx_antennas=8)
_sample = jax.jit(sample_groups, static_argnums=(1, 2, 3))
_positions = jax.jit(sample_positions, static_argnums=(1, 2, 3))
_pairs = jax.jit(sample_pairs, static_argnums=(1, 2))


@pytest.mark.parametrize('min_bs_distance_m', [0.0, 35.0, 144.9])
def test_positions_keep_the_cell_s_rules(min_bs_distance_m):
  config = dataclasses.replace(CONFIG, min_bs_distance_m=min_bs_distance_m)
  positions = np.asarray(_positions(jax.random.key(0), config, 20_000, 4))
  ground = positions[..., :2]
  pairs = np.linalg.norm(ground[:, :, None] - ground[:, None], axis=-1)
  assert pairs.max() < CONFIG.max_ue_distance_m
  assert pairs.max() > 0.9 * CONFIG.max_ue_distance_m
  assert np.linalg.norm(ground, axis=-1).min() >= min_bs_distance_m - 1e-4
  assert np.abs(ground).max() <= CONFIG.cell_size_m / 2 + CONFIG.max_ue_distance_m / 2
  assert (positions[..., 2] == CONFIG.ue_height_m).all()
  assert np.abs(ground.mean((0, 1))).max() < 5


def test_centres_are_uniform_where_they_are_allowed():
  centre = np.asarray(_positions(jax.random.key(0), CONFIG, 40_000, 1))[:, 0, :2]
  near_m, half = CONFIG.min_bs_distance_m + CONFIG.max_ue_distance_m / 2, CONFIG.cell_size_m / 2
  for radius_m in (60.0, 100.0, 150.0):
    share = np.pi * (radius_m**2 - near_m**2) / (4 * half**2 - np.pi * near_m**2)
    assert (np.linalg.norm(centre, axis=-1) < radius_m).mean() == pytest.approx(share, abs=0.01)


def test_fewer_ues_are_the_first_of_more():
  eight = _positions(jax.random.key(0), CONFIG, 50, 8)
  for num_ues in (1, 2, 3, 4, 6):
    np.testing.assert_array_equal(
        _positions(jax.random.key(0), CONFIG, 50, num_ues), eight[:, :num_ues])


@pytest.mark.parametrize('distance_m', [0.5, 100.0, 225.0])
def test_pairs_are_exactly_so_far_apart_and_inside_the_cell(distance_m):
  positions = np.asarray(_pairs(jax.random.key(0), CONFIG, 20_000, distance_m))
  assert positions.shape == (20_000, 2, 3) and (positions[..., 2] == CONFIG.ue_height_m).all()
  ground = positions[..., :2]
  offset = ground[:, 1] - ground[:, 0]
  np.testing.assert_allclose(np.linalg.norm(offset, axis=-1), distance_m, rtol=1e-3)
  assert np.abs(ground).max() <= CONFIG.cell_size_m / 2 + 1e-3
  assert np.linalg.norm(ground, axis=-1).min() >= CONFIG.min_bs_distance_m
  # Every direction, every quarter of the cell.
  assert np.abs(offset.mean(0)).max() < 0.15 * distance_m
  assert np.abs(ground.mean((0, 1))).max() < 20


def test_pairs_that_do_not_fit_into_the_cell_are_nan():
  positions = _pairs(jax.random.key(0), CONFIG, 100, 1.42 * CONFIG.cell_size_m)
  assert np.isnan(positions[..., :2]).all()


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


def test_all_groups_of_a_site_live_in_it(make_site):
  draw = jax.jit(functools.partial(sample_groups, config=CONFIG, num_groups=4, num_ues=2))
  site = make_site()
  inside = draw(jax.random.key(0), site=site)
  turned = site.replace(ray_phase=site.ray_phase[..., ::-1])
  elsewhere = draw(jax.random.key(0), site=turned)
  np.testing.assert_array_equal(inside.positions, elsewhere.positions)
  assert np.abs(inside.csi - elsewhere.csi).max() > 0.1


def test_multipath_is_a_scenario_of_its_own(make_site):
  config = dataclasses.replace(CONFIG, scenario='multipath')
  groups = _sample(jax.random.key(0), config, 6, 2, make_site('multipath'))
  assert not groups.los.any()
  assert np.isfinite(groups.csi).all()


def test_nothing_depends_on_the_environments_float64():
  """With JAX_ENABLE_X64 the same key draws the same site, groups, pairs and noise, as float32."""

  def draw():
    key, symbols = jax.random.key(3), np.ones((2, 3, 16), np.complex64)
    site = jax.jit(sample_site, static_argnums=1)(key, CONFIG)
    groups = jax.jit(sample_groups, static_argnums=(1, 2, 3))(key, CONFIG, 4, 2, site)
    pairs = jax.jit(sample_pairs, static_argnums=(1, 2))(key, CONFIG, 4, 3.0)
    received = [jax.jit(channel)(key, symbols, np.float32(10)) for channel in CHANNELS.values()]
    return jax.tree.map(np.asarray, (site, groups, pairs, received))

  expected = draw()
  with jax.enable_x64(True):
    found = draw()
  for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
    assert other.dtype == one.dtype and one.dtype.itemsize <= 8
    if one is not expected[1].csi and one is not expected[1].energy_kept:
      np.testing.assert_array_equal(other, one)  # drawn: to the last bit
  # Computed: another program of the same numbers, whose phases of 20,000 rad are rounded.
  np.testing.assert_allclose(found[1].csi, expected[1].csi, atol=5e-3)
