import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import at_another_time, csi_at, paths, sample_positions, sample_site, uma
from rca_jax.channel.site import (
    SPEED_OF_LIGHT,
    _clusters,
    at_other_carrier,
    large_scale_parameters,
)
from rca_jax.config import CsiConfig

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_delay_taps=8, num_tx_antennas=8)
SCENARIOS = ('uma_los', 'uma_nlos', 'multipath')


@functools.cache
def _positions(num_groups=20, num_ues=3):
  draw = jax.jit(sample_positions, static_argnums=(1, 2, 3))
  return draw(jax.random.key(1), CONFIG, num_groups, num_ues)


_paths = jax.jit(paths)
_csi_at = jax.jit(csi_at)


@pytest.mark.parametrize('shares', [(0.05, 0.0), (0.0, 0.5), (0.3, 0.4)])
def test_a_site_at_another_time_has_other_clusters_where_it_changed(make_site, shares):
  """Counted over the ground of one site; the rest of it, LOS and large scale, is what it was."""
  site = make_site('uma_nlos')
  later = jax.jit(at_another_time)(jax.random.key(5), site, *shares)
  positions = _positions(400, 1)
  ours, theirs = _paths(site, positions), _paths(later, positions)
  before, after = (
      jax.vmap(functools.partial(_clusters, one, jnp.array(False)))(positions[:, 0, :2])
      for one in (site, later))
  changed = np.asarray(before.delay != after.delay)  # [G, C]
  np.testing.assert_array_equal(before.jitter[:, 2] != after.jitter[:, 2], changed)
  moved, redrawn = shares
  expected = redrawn + (1 - redrawn) * moved
  assert abs(changed.mean() - expected) < 0.06 + 0.02 * (redrawn > 0)
  assert abs(changed.all(1).mean() - redrawn) < 0.08
  same = ~changed.any(1)
  assert same.any() or shares == (0.3, 0.4)
  for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
    np.testing.assert_array_equal(np.asarray(a)[same], np.asarray(b)[same])
  assert (np.abs(ours.delay_s - theirs.delay_s).max((1, 2, 3)) > 0)[~same].all()


@pytest.mark.parametrize('scenario', SCENARIOS)
def test_power_is_one_and_delays_are_not_negative(make_site, scenario):
  found = _paths(make_site(scenario), _positions())
  power = (jnp.abs(found.gain) ** 2).sum((-1, -2)) + jnp.abs(found.los_gain) ** 2
  np.testing.assert_allclose(power, 1, rtol=1e-5)
  assert (found.delay_s >= 0).all()
  assert found.los.all() == (scenario == 'uma_los')
  assert found.los.any() == (scenario == 'uma_los')


def test_another_carrier_sees_the_same_paths_with_phases_of_its_own(make_site):
  found = _paths(make_site('uma_los'), _positions())
  other = at_other_carrier(jax.random.key(3), found)
  turns = []
  assert found.cross is other.cross is None  # of one polarisation
  for name, ours in found._asdict().items():
    theirs = getattr(other, name)
    if ours is None:
      continue
    np.testing.assert_allclose(np.abs(theirs), np.abs(ours), rtol=1e-5)
    if name in ('gain', 'los_gain'):
      there = np.abs(ours) > 0
      turns.append(np.asarray(theirs)[there] / np.asarray(ours)[there])
    else:
      np.testing.assert_array_equal(theirs, ours)
  for turn in turns:  # uniform, and no two rays or UEs turn together
    turn = turn / np.abs(turn)
    for moment in (turn, turn**2, turn[1:] * turn[:-1].conj()):
      assert abs(moment.mean()) < 4 / np.sqrt(moment.size)


def test_the_los_path_follows_geometry(make_site):
  wavelength_m = SPEED_OF_LIGHT / CONFIG.carrier_frequency_hz
  near = jnp.array([80.0, 40.0, 1.5])
  direction = (near - jnp.array([0.0, 0.0, 25.0])) / jnp.linalg.norm(near - jnp.array([0, 0, 25.0]))
  found = _paths(make_site('uma_los'), jnp.stack([near, near + wavelength_m / 4 * direction])[None])
  turn = jnp.angle(found.los_gain[0, 1] / found.los_gain[0, 0])
  assert turn == pytest.approx(-np.pi / 2, abs=0.02)
  assert found.los_azimuth[0, 0] == pytest.approx(np.arctan2(40, 80), abs=1e-5)


@pytest.fixture(scope='module')
def many_sites():
  """500 environments with the TR's own correlation law."""
  config = dataclasses.replace(CONFIG, correlation='exponential')
  return jax.jit(jax.vmap(functools.partial(sample_site, config=config)))(
      jax.random.split(jax.random.key(0), 500))


def _large_scale(sites, ground, scenario):
  """`large_scale_parameters` at ground [sites, n, 2] m."""
  read = jax.vmap(jax.vmap(large_scale_parameters, (None, 0)))
  sites = sites.replace(config=dataclasses.replace(sites.config, scenario=scenario))
  return jax.jit(read)(sites, ground)


def test_los_fraction_is_the_tr_s_probability(many_sites):
  ground = np.random.default_rng(0).uniform(-150, 150, (500, 12, 2)).astype(np.float32)
  los, _ = _large_scale(many_sites, ground, 'uma')
  expected = uma.los_probability(np.linalg.norm(ground, axis=-1), 1.5).mean()
  assert float(los.mean()) == pytest.approx(float(expected), abs=0.02)


@pytest.mark.parametrize('state', [0, 1])
def test_large_scale_parameters_have_the_table_s_moments(many_sites, state):
  ground = jnp.broadcast_to(
      jnp.array([[100.0, 0.0], [-100.0, 50.0], [0.0, -900.0], [9000.0, 0.0]]), (500, 4, 2))
  los, found = _large_scale(many_sites, ground, ('uma_nlos', 'uma_los')[state])
  assert (los == state).all()
  tables = uma.state_tables(CONFIG.carrier_frequency_hz)
  for name in ('DS', 'ASA', 'SF', 'K'):
    values = np.log10(found[name]) if name in ('DS', 'ASA') else np.asarray(found[name])
    index = uma.LSPS.index(name)
    std = float(tables.lsp_std[state, index])
    assert values.mean() == pytest.approx(tables.lsp_mean[state, index], abs=0.15 * std + 1e-6)
    assert values.std() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize('correlation', ['stock', 'track'])
def test_ues_at_one_place_see_one_channel_and_gradients_are_finite(make_site, correlation):
  site = make_site('uma_nlos', correlation)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def first_row_power(position):
    csi = csi_at(site, jnp.stack([position, position, position + 1])[None]).csi
    return (jnp.abs(csi[0, 1:, 0]) ** 2).sum(), csi

  (_, csi), gradient = first_row_power(jnp.array([70.0, -50.0, 1.5]))
  np.testing.assert_allclose(csi[0, 0], csi[0, 1], atol=1e-5)
  assert jnp.isfinite(gradient).all()
  assert jnp.abs(gradient).max() > 0


def test_neighbours_resemble_each_other_more_than_strangers(make_site):
  for scenario in SCENARIOS:
    magnitude = np.abs(_csi_at(make_site(scenario), _positions(60, 2)).csi).reshape(60, 2, -1)
    magnitude /= np.linalg.norm(magnitude, axis=-1, keepdims=True)
    neighbours = (magnitude[:, 0] * magnitude[:, 1]).sum(-1).mean()
    strangers = (magnitude[:, 0] * np.roll(magnitude[:, 1], 1, 0)).sum(-1).mean()
    assert neighbours > strangers + 0.1, scenario


@pytest.mark.parametrize('scenario', ['uma_nlos', 'uma_los', 'multipath'])
def test_track_moves_no_scatterer(make_site, scenario):
  """Paths change by no more than the way walked; departure angles not at all."""
  positions = _positions(40, 2)
  found = _paths(make_site(scenario, 'track'), positions)
  walked_m = jnp.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1)
  los_m = jnp.linalg.norm(positions - jnp.array([0.0, 0.0, CONFIG.bs_height_m]), axis=-1)
  path_m = los_m[..., None, None] + SPEED_OF_LIGHT * found.delay_s
  change_m = jnp.abs(path_m[:, 0] - path_m[:, 1])
  assert (change_m <= walked_m[:, None, None] + 1e-2).all()
  assert change_m.max() > 1
  np.testing.assert_array_equal(found.azimuth[:, 0], found.azimuth[:, 1])


def test_two_strongest_clusters_are_split(make_site):
  found = _paths(make_site('uma_nlos'), _positions())
  split = np.asarray(found.delay_s[..., 2] > found.delay_s[..., 0])
  assert (split.sum(-1) == 2).all()
  power = np.asarray((jnp.abs(found.gain) ** 2).sum(-1))
  strongest = np.sort(power, -1)[..., -2:]
  np.testing.assert_allclose(np.sort(power[split].reshape(*strongest.shape), -1), strongest)
