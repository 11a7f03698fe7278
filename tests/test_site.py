import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import csi_at, paths, sample_positions, sample_site, uma
from rca_jax.channel.site import SPEED_OF_LIGHT, is_los, large_scale_parameters
from rca_jax.config import CsiConfig

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_delay_taps=8, num_tx_antennas=8)
SCENARIOS = ('uma_los', 'uma_nlos', 'multipath')


@functools.cache
def _sampled(correlation):
  config = dataclasses.replace(CONFIG, correlation=correlation)
  return jax.jit(sample_site, static_argnums=1)(jax.random.key(3), config)


def _site(scenario='uma', correlation='stock'):
  """One set of fields a correlation; the scenario only says how they are read."""
  config = dataclasses.replace(CONFIG, correlation=correlation, scenario=scenario)
  return _sampled(correlation).replace(config=config)


@functools.cache
def _positions(num_groups=20, num_ues=3):
  draw = jax.jit(sample_positions, static_argnums=(1, 2, 3))
  return draw(jax.random.key(1), CONFIG, num_groups, num_ues)


_paths = jax.jit(paths)
_csi_at = jax.jit(csi_at)


@pytest.mark.parametrize('scenario', SCENARIOS)
def test_power_is_one_and_delays_are_not_negative(scenario):
  found = _paths(_site(scenario), _positions())
  power = (jnp.abs(found.gain) ** 2).sum((-1, -2)) + jnp.abs(found.los_gain) ** 2
  np.testing.assert_allclose(power, 1, rtol=1e-5)
  assert (found.delay_s >= 0).all()
  assert found.los.all() == (scenario == 'uma_los')
  assert found.los.any() == (scenario == 'uma_los')


def test_the_los_path_follows_geometry():
  wavelength_m = SPEED_OF_LIGHT / CONFIG.carrier_frequency_hz
  near = jnp.array([80.0, 40.0, 1.5])
  direction = (near - jnp.array([0.0, 0.0, 25.0])) / jnp.linalg.norm(near - jnp.array([0, 0, 25.0]))
  found = _paths(_site('uma_los'), jnp.stack([near, near + wavelength_m / 4 * direction])[None])
  turn = jnp.angle(found.los_gain[0, 1] / found.los_gain[0, 0])
  assert turn == pytest.approx(-np.pi / 2, abs=0.02)
  assert found.los_azimuth[0, 0] == pytest.approx(np.arctan2(40, 80), abs=1e-5)


def test_los_fraction_is_the_tr_s_probability():

  @jax.jit
  @jax.vmap
  def fractions(key):
    site = sample_site(key, CONFIG)
    ground = sample_positions(key, CONFIG, 50, 1)[:, 0, :2]
    los = jax.vmap(functools.partial(is_los, site))(ground)
    return los.mean(), uma.los_probability(jnp.linalg.norm(ground, axis=-1), 1.5).mean()

  found, expected = fractions(jax.random.split(jax.random.key(0), 400))
  assert float(found.mean()) == pytest.approx(float(expected.mean()), abs=0.02)


def test_large_scale_parameters_have_the_table_s_moments():
  config = dataclasses.replace(CONFIG, correlation='exponential')

  @jax.jit
  @jax.vmap
  def draw(key):
    site = sample_site(key, config)
    ground = jnp.array([[100.0, 0.0], [-100.0, 50.0]])
    states = [dataclasses.replace(config, scenario=name) for name in ('uma_nlos', 'uma_los')]
    return [jax.vmap(lambda g, c=c: large_scale_parameters(site.replace(config=c), g))(ground)
            for c in states]

  tables = uma.state_tables(config.carrier_frequency_hz)
  for state, found in enumerate(draw(jax.random.split(jax.random.key(0), 1000))):
    for name in ('DS', 'ASA', 'SF', 'K'):
      values = np.log10(found[name]) if name in ('DS', 'ASA') else np.asarray(found[name])
      index = uma.LSPS.index(name)
      std = tables.lsp_std[state, index]
      assert values.mean() == pytest.approx(tables.lsp_mean[state, index], abs=0.15 * std + 1e-6)
      assert values.std() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize('correlation', ['stock', 'exponential', 'track'])
def test_ues_at_one_place_see_one_channel_and_gradients_are_finite(correlation):
  site = _site('uma_nlos', correlation)
  position = jnp.array([70.0, -50.0, 1.5])
  csi = _csi_at(site, jnp.stack([position, position])[None]).csi
  np.testing.assert_allclose(csi[0, 0], csi[0, 1], atol=1e-5)

  def first_row_power(position):
    csi = csi_at(site, jnp.stack([position, position + 1])[None]).csi
    return (jnp.abs(csi[0, 0, 0]) ** 2).sum()

  gradient = jax.jit(jax.grad(first_row_power))(position)
  assert jnp.isfinite(gradient).all()
  assert jnp.abs(gradient).max() > 0


def test_neighbours_resemble_each_other_more_than_strangers():
  for scenario in SCENARIOS:
    magnitude = np.abs(_csi_at(_site(scenario), _positions(60, 2)).csi).reshape(60, 2, -1)
    magnitude /= np.linalg.norm(magnitude, axis=-1, keepdims=True)
    neighbours = (magnitude[:, 0] * magnitude[:, 1]).sum(-1).mean()
    strangers = (magnitude[:, 0] * np.roll(magnitude[:, 1], 1, 0)).sum(-1).mean()
    assert neighbours > strangers + 0.1, scenario


@pytest.mark.parametrize('scenario', ['uma_nlos', 'uma_los', 'multipath'])
def test_track_moves_no_scatterer(scenario):
  """Paths change by no more than the way walked; departure angles not at all."""
  positions = _positions(40, 2)
  found = _paths(_site(scenario, 'track'), positions)
  walked_m = jnp.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1)
  los_m = jnp.linalg.norm(positions - jnp.array([0.0, 0.0, CONFIG.bs_height_m]), axis=-1)
  path_m = los_m[..., None, None] + SPEED_OF_LIGHT * found.delay_s
  change_m = jnp.abs(path_m[:, 0] - path_m[:, 1])
  assert (change_m <= walked_m[:, None, None] + 1e-2).all()
  assert change_m.max() > 1
  np.testing.assert_array_equal(found.azimuth[:, 0], found.azimuth[:, 1])


def test_two_strongest_clusters_are_split():
  found = _paths(_site('uma_nlos'), _positions())
  split = np.asarray(found.delay_s[..., 2] > found.delay_s[..., 0])
  assert (split.sum(-1) == 2).all()
  power = np.asarray((jnp.abs(found.gain) ** 2).sum(-1))
  strongest = np.sort(power, -1)[..., -2:]
  np.testing.assert_allclose(np.sort(power[split].reshape(*strongest.shape), -1), strongest)
