"""Arrays with two polarisations, and sector antennas: generator, grid, genie and files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines import genie
from rca_jax.bayes import joint, random_code
from rca_jax.bayes.described import DescribedCode
from rca_jax.channel import paths, response, sample_site, uma
from rca_jax.channel.groups import csi_at
from rca_jax.channel.site import at_other_carrier
from rca_jax.config import CsiConfig, ExperimentConfig, Layout, ModelConfig
from rca_jax.data.files import read_csi, stored
from rca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures('quick_compilation')
ONE = CsiConfig(
    num_subcarriers=64, num_delay_taps=8, num_tx_antennas=4, cell_size_m=200, min_bs_distance_m=10)
TWO = dataclasses.replace(ONE, num_tx_antennas=8, num_polarisations=2)


@pytest.fixture(scope='module')
def positions():
  ground = np.random.default_rng(0).uniform(-90, 90, (60, 2)).astype(np.float32)
  return jnp.pad(ground, ((0, 0), (0, 1)), constant_values=1.5)[:, None]


@pytest.fixture(scope='module')
def found(positions):
  """Paths of one site for one polarisation and for two."""
  return {config: jax.jit(lambda config=config: paths(
      sample_site(jax.random.key(1), config), positions))() for config in (ONE, TWO)}


def test_what_both_slants_have_in_common_is_the_vertical_antenna(found):
  """(h_45 + h_-45) / sqrt(2) is the channel of vertical antennas; the LOS path is in that alone."""
  one, two = (jax.jit(response.taps, static_argnums=1)(found[config], config).coefficient
              for config in (ONE, TWO))
  slants = two[..., :4], two[..., 4:]
  np.testing.assert_allclose((slants[0] + slants[1]) / np.sqrt(2), one, atol=1e-5)
  assert np.abs(slants[0] - slants[1])[..., :-1, :].max() > 0.01
  np.testing.assert_array_equal(slants[0][..., -1, :], slants[1][..., -1, :])
  # Each polarisation has its own angles.
  csi = jax.jit(response.delay_angle, static_argnums=1)
  taps = response.Taps(response.taps(found[TWO], TWO).delay_s, slants[1])
  np.testing.assert_allclose(
      csi(taps._replace(coefficient=two), TWO)[..., 4:], csi(taps, ONE), atol=1e-5)


@pytest.mark.parametrize('los, mean_db, std_db', [(False, 7, 3), (True, 8, 4)])
def test_cross_polarisation_ratios_are_those_of_the_table(found, los, mean_db, std_db):
  """Table 7.5-6, one draw a ray of a site: 400 rays; phases are uniform."""
  of_state = np.asarray(found[TWO].cross)[np.asarray(found[TWO].los) == los][0]
  xpr_db = -20 * np.log10(np.abs(of_state))
  assert xpr_db.mean() == pytest.approx(mean_db, abs=4 * std_db / 20)
  assert xpr_db.std() == pytest.approx(std_db, rel=0.15)
  assert abs(np.mean(of_state / np.abs(of_state))) < 4 / 20


def test_the_genie_knows_the_covariance_of_both_polarisations():
  config = ExperimentConfig(csi=dataclasses.replace(TWO, num_delay_taps=4, num_tx_antennas=4))
  rows, steer, amplitude = (leaf[0] for leaf in genie._rays(config, 2))
  seen = amplitude * np.einsum(
      'dl,la->dal', rows, response.to_angles(jnp.asarray(steer), 2)).reshape(16, -1)
  position_key, _ = jax.random.split(genie.stream_key(0, genie.Stream.GENIE))
  at = genie.sample_positions(position_key, config.csi, 2, 1)[:1]
  one = jax.jit(lambda: paths(
      sample_site(genie.stream_key(0, genie.Stream.SITE), config.csi), at))()

  @jax.jit
  @jax.vmap
  def draw(key):
    return response.delay_angle(
        response.taps(at_other_carrier(key, one), config.csi), config.csi).ravel()

  drawn = np.asarray(draw(jax.random.split(jax.random.key(3), 20_000)))
  np.testing.assert_allclose(
      drawn.T @ drawn.conj() / len(drawn), seen @ seen.conj().T, atol=0.03 * (seen ** 2).sum().real)
  assert abs(seen @ seen.conj().T)[:2, 2:].max() > 1e-3  # the slants are coherent


def test_joint_bayes_has_atoms_of_each_polarisation(found, positions):
  site = sample_site(jax.random.key(1), TWO)
  csi = np.asarray(jax.jit(csi_at)(site, positions).csi)
  grid = random_code.code_grid(TWO)
  assert grid.shape[1] == 2 * random_code.code_grid(ONE).shape[1]
  first, second = jnp.split(grid.angle, 2, -1)
  assert not first[4:].any() and not second[:4].any()
  np.testing.assert_allclose(jnp.linalg.norm(grid.angle, axis=0), 1, rtol=1e-5)
  code = random_code.make_code(
      random_code.random_projections(jax.random.key(0), 16, TWO), TWO, csi[:, 0])
  csi_hat, _ = joint.decode(code, random_code.encode(code, csi), jnp.float32(1e-3))
  assert np.mean(np.abs(csi_hat - csi) ** 2) < 0.4  # 16 of 64 numbers tell 0.25 of the power


def test_sector_antennas_have_the_pattern_of_the_table(positions):
  """Table 7.3-1: 3 dB at half of 65 degrees, 30 dB behind; applied to every path."""
  degrees = np.array([0, 32.5, -32.5, 180, 400])
  gain_db = uma.sector_gain_db(np.deg2rad(degrees), np.full(5, np.pi / 2))
  np.testing.assert_allclose(gain_db, [0, -3, -3, -30, -12 * (40 / 65) ** 2], atol=1e-3)
  assert uma.sector_gain_db(0.0, np.deg2rad(90 + 32.5)) == pytest.approx(-3, abs=1e-3)
  plain, sector = (
      jax.jit(lambda config: paths(sample_site(jax.random.key(1), config), positions[:8]),
              static_argnums=0)(dataclasses.replace(ONE, antenna_element=element))
      for element in ('isotropic', 'sector'))
  expected_db = uma.sector_gain_db(plain.azimuth, plain.zenith)
  np.testing.assert_allclose(
      np.abs(sector.gain), np.abs(plain.gain) * 10 ** (expected_db / 20), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('axes, shape', [
    ('ue,polarisation,antenna,subcarrier', (6, 2, 4, 64)), ('ue,antenna,subcarrier', (6, 8, 64)),
    ('subcarrier,antenna,polarisation,ue', (64, 4, 2, 6))])
def test_files_with_two_polarisations(tmp_path, axes, shape):
  """First all antennas of one slant, or an axis of slants anywhere; and back as they were."""
  rng = np.random.default_rng(0)
  values = (rng.normal(size=(2, 6, 2, 4, 64)).T @ [1, 1j]).T  # in the order of `names`
  expected = np.fft.ifftn(values, axes=(2, 3), norm='ortho')[..., :8]
  expected = expected.transpose(0, 3, 1, 2).reshape(6, 8, 8)
  names = ('ue', 'polarisation', 'antenna', 'subcarrier')
  stored_values = values.reshape(6, 8, 64) if len(shape) == 3 else values.transpose(
      [names.index(name) for name in axes.split(',')])
  assert stored_values.shape == shape
  np.savez(tmp_path / 'h.npz', h=stored_values.astype(np.complex64))
  layout = Layout('h', axes)
  csi = read_csi(tmp_path / 'h.npz', layout, config=TWO).csi[:, 0]
  scale = np.sqrt(np.mean(np.abs(expected) ** 2, (1, 2), keepdims=True))
  np.testing.assert_allclose(csi, expected / scale, atol=1e-5)
  file = stored(tmp_path / 'h.npz', layout, config=dataclasses.replace(TWO, num_delay_taps=64))
  whole = np.fft.ifftn(values, axes=(2, 3), norm='ortho').transpose(0, 3, 1, 2).reshape(6, 64, 8)
  np.testing.assert_allclose(file.restored(whole[:, None], 0.0), stored_values, atol=1e-5)


def test_a_file_of_slanted_antennas_is_told_from_a_linear_array(tmp_path):
  """Its power speaks against one polarisation, and for two."""
  config = dataclasses.replace(TWO, num_tx_antennas=16, num_delay_taps=32)
  site = sample_site(jax.random.key(2), config)
  ground = np.random.default_rng(1).uniform(20, 90, (40, 2)).astype(np.float32)
  at = jnp.pad(ground, ((0, 0), (0, 1)), constant_values=1.5)[:, None]
  csi = np.asarray(jax.jit(csi_at)(site, at).csi)
  np.savez(tmp_path / 'own.npz', csi=csi)
  own = read_csi(tmp_path / 'own.npz', config=config).csi
  np.testing.assert_allclose(own, csi, atol=1e-4)
  h = np.fft.fftn(csi[:, 0].reshape(40, 32, 2, 8), axes=(1, 3)).reshape(40, 32, 16)
  np.savez(tmp_path / 'h.npz', channel=h.transpose(0, 2, 1)[:, None])  # as DeepMIMO has it
  found = read_csi(tmp_path / 'h.npz', config=config).csi
  np.testing.assert_allclose(found, csi, atol=1e-4)
  with pytest.raises(InputError, match='a panel, or two polarisations: csi.num_polarisations=2'):
    read_csi(tmp_path / 'h.npz', config=dataclasses.replace(config, num_polarisations=1))


def test_what_does_not_fit_is_one_line(tmp_path):
  for changes, message in (
      ({'num_polarisations': 3}, 'must be 1, or 2 of an even'),
      ({'num_tx_antennas': 7}, 'must be 1, or 2 of an even'),
      ({'scenario': 'multipath'}, 'of one polarisation and isotropic'),
      ({'antenna_element': 'horn'}, 'antenna_element')):
    with pytest.raises(InputError, match=message):
      dataclasses.replace(TWO, **changes)
  with pytest.raises(InputError, match="network='learned_joint' takes angles for a circle"):
    ExperimentConfig(csi=TWO, model=ModelConfig(network='learned_joint', attention='self'))
  with pytest.raises(InputError, match='described profiles are of one polarisation'):
    DescribedCode(TWO, 16, np.zeros((1, 8, 8)))
  np.savez(tmp_path / 'h.npz', h=np.ones((6, 2, 4, 64), np.complex64))
  with pytest.raises(InputError, match='h has 2 of polarisation, csi.num_polarisations is 1'):
    read_csi(tmp_path / 'h.npz', Layout('h', 'ue,polarisation,antenna,subcarrier'), config=ONE)
  np.savez(tmp_path / 'odd.npz', h=np.ones((6, 7, 64), np.complex64))
  with pytest.raises(InputError, match='has 7 antennas; csi.num_polarisations=2 needs an even'):
    read_csi(tmp_path / 'odd.npz', Layout('h', 'ue,antenna,subcarrier'), config=TWO)
