import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines import genie
from rca_jax.baselines.genie import genie_nmse, known_covariance_nmse, reverse_water_filling
from rca_jax.channel import paths, response, sample_positions, sample_site
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key

pytestmark = pytest.mark.usefixtures('quick_compilation')


def bisected(variances, bits):
  """D / sum(lambda) at the water level found by bisection on log2 theta."""
  variances = np.asarray(variances, np.float64)
  positive = variances[variances > 0]
  low, high = np.log2(positive.max()) - bits - 1, np.log2(positive.max())
  for _ in range(200):
    middle = (low + high) / 2
    rate = np.maximum(0, np.log2(positive) - middle).sum()
    low, high = (middle, high) if rate > bits else (low, middle)
  return np.minimum(variances, 2**high).sum() / variances.sum()


@pytest.mark.parametrize('size', [1, 2, 7])
@pytest.mark.parametrize('bits', [0.0, 0.3, 5.0, 40.0])
def test_equal_variances_share_the_bits(size, bits):
  np.testing.assert_allclose(
      reverse_water_filling(np.full(size, 3.0), bits), 2 ** (-bits / size), rtol=1e-9)


@pytest.mark.parametrize('bits, expected', [
    (0.0, 1.0),
    (1.0, (8 / 2 + 2) / 10),  # the weak one is left out
    (2.0, (2 + 2) / 10),  # the level just reaches it
    (4.0, (1 + 1) / 10),  # one bit more for each
    (8.0, (0.25 + 0.25) / 10)])
def test_two_variances_by_hand(bits, expected):
  for variances in ([8.0, 2.0], [2.0, 8.0], [0.0, 8.0, 2.0]):
    np.testing.assert_allclose(
        reverse_water_filling(np.array(variances), bits), expected, rtol=1e-12)


@pytest.mark.parametrize('decades', [0.1, 2, 12])
def test_agrees_with_a_bisection_and_falls_with_the_bits(decades):
  rng = np.random.default_rng(0)
  variances = np.append(10 ** rng.uniform(-decades, 0, 40), np.zeros(3))
  bits = [0, 0.01, 1, 10, 50, 200, 1000]
  found = [reverse_water_filling(variances, rate) for rate in bits]
  np.testing.assert_allclose(found, [bisected(variances, rate) for rate in bits], rtol=1e-6)
  assert np.all(np.diff(found) < 0) and found[0] == pytest.approx(1)


@pytest.mark.parametrize('num_rays', [5, 12, 30])
def test_both_ways_to_the_eigenvalues_are_those_of_the_covariance(num_rays):
  """Of 3 x 4 entries: fewer rays go by their Gram matrix, more by the covariance itself."""
  rng = np.random.default_rng(num_rays)
  rows, steer, amplitude = (
      rng.normal(size=shape) + 1j * rng.normal(size=shape)
      for shape in ((3, num_rays), (num_rays, 4), num_rays))
  amplitude = np.abs(amplitude)
  covariance = sum(
      np.outer(vector, vector.conj()) for vector in (
          amplitude[ray] * np.kron(rows[:, ray], steer[ray]) for ray in range(num_rays)))
  expected = np.linalg.eigvalsh(covariance)
  found = np.sort(genie._eigenvalues(rows, steer, amplitude))
  common = min(num_rays, 12)
  np.testing.assert_allclose(found[-common:], expected[-common:], rtol=1e-9)
  np.testing.assert_allclose(np.abs(expected[:-common]), 0, atol=1e-12 * expected[-1])
  assert len(found) == common


@pytest.fixture(scope='module')
def configs(tiny_config):
  """One site, with every delay row kept; and fresh ones, with the first rows."""
  return {
      mode: dataclasses.replace(tiny_config, csi=dataclasses.replace(
          tiny_config.csi, mode=mode, num_subcarriers=num_subcarriers))
      for mode, num_subcarriers in (('site', 4), ('fresh', 64))}


@pytest.fixture(scope='module')
def rays():
  """The genie's own view of the rays, drawn once for all tests."""
  draw = functools.cache(genie._rays)

  def rays(config, num_positions):
    return draw(ExperimentConfig(csi=config.csi, data=config.data), num_positions)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(genie, '_rays', rays)
    yield rays


@functools.partial(jax.jit, static_argnums=2)
def draw_paths(site_keys, position_key, config):
  positions = sample_positions(position_key, config, len(site_keys), 1)
  found = jax.vmap(lambda key, at: paths(sample_site(key, config), at))(site_keys, positions)
  return jax.tree.map(lambda leaf: leaf[:, 0], found)


def covariances(config, num_positions):
  """Of the generator's CSI where all rays have random phases: [position, N_a N_t, N_a N_t]."""
  position_key, fresh_key = jax.random.split(stream_key(config.data.seed, Stream.GENIE))
  site_keys = (
      jax.random.split(fresh_key, num_positions) if config.csi.mode == 'fresh'
      else jnp.broadcast_to(stream_key(config.data.seed, Stream.SITE), num_positions))
  found = draw_paths(
      site_keys, position_key,
      dataclasses.replace(config.csi, mode='site', num_subcarriers=64))  # compiled once

  @jax.jit
  @jax.vmap
  def csi_of_one(ray):
    chosen = jax.nn.one_hot(ray, num_rays)
    one = found._replace(
        gain=found.gain * chosen[:-1].reshape(found.gain.shape[1:]),
        los_gain=found.los_gain * chosen[-1])
    taps = response.taps(one, config.csi)
    return response.delay_angle(taps, config.csi).reshape(num_positions, -1)

  num_rays = found.gain[0].size + 1
  csi = np.asarray(csi_of_one(jnp.arange(num_rays)), np.complex128)
  return np.einsum('rpi,rpj->pij', csi, csi.conj())


@pytest.mark.parametrize('mode', ['site', 'fresh'])
def test_knows_the_covariance_of_the_generators_csi(configs, rays, mode):
  config = configs[mode]
  expected = np.linalg.eigvalsh(covariances(config, 3))
  found = np.array([genie._eigenvalues(*one) for one in zip(*rays(config, 3), strict=True)])
  np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5 * expected.max())
  bits = codeword_dim(config.model, config.csi) // 2 * np.log2(1 + 10.0)
  np.testing.assert_allclose(
      genie_nmse(config, [10.0], 3), [[bisected(values, bits) for values in expected]], rtol=5e-3)


@pytest.mark.parametrize('mode', ['site', 'fresh'])
def test_reports_decoded_with_the_true_covariance_leave_its_posterior(configs, rays, mode):
  """The N x N form, with the covariance of the generator's CSI."""
  rng = np.random.default_rng(0)
  projections = (rng.normal(size=(5, 4, 8)) + 1j * rng.normal(size=(5, 4, 8)))
  flat = projections.reshape(5, 32)
  expected = []
  for covariance in covariances(configs[mode], 3):
    scale = 5 / np.trace(flat @ covariance @ flat.conj().T).real
    seen = scale * flat @ covariance @ flat.conj().T
    gain = covariance @ flat.conj().T @ np.linalg.inv(seen + 0.1 * np.eye(5)) * scale
    expected.append(1 - np.trace(gain @ flat @ covariance).real / np.trace(covariance).real)
  found = known_covariance_nmse(configs[mode], projections, [10.0], 3)
  np.testing.assert_allclose(found, [expected], rtol=5e-3)


def test_eigenvalues_sum_to_the_energy(configs, rays):
  """All paths together have unit power at every subcarrier and antenna."""
  for one in zip(*rays(configs['site'], 3), strict=True):
    np.testing.assert_allclose(genie._eigenvalues(*one).sum(), 4 * 8, rtol=1e-5)


def test_falls_with_the_snr_and_with_the_length_of_the_report(configs, rays):

  def nmse(ratio, snrs_db):
    model = dataclasses.replace(configs['site'].model, compression_ratio=ratio)
    return genie_nmse(dataclasses.replace(configs['site'], model=model), snrs_db, 3)

  found = np.stack([nmse(ratio, [-10.0, 0.0, 10.0, 20.0]) for ratio in ('1/8', '1/4', '1/2')])
  assert found.shape == (3, 4, 3)
  assert np.all(np.diff(found, axis=0) < 0) and np.all(np.diff(found, axis=1) < 0)
  assert found.max() < 1 and found.min() > 0
  # Symbols times log2(1 + SNR) is all that counts.
  np.testing.assert_allclose(nmse('1/2', [10 * np.log10(3)]), nmse('1', [0.0]), rtol=1e-6)


@pytest.mark.parametrize('field', ['path', 'test_path'])
def test_csi_of_a_file_has_no_known_paths(tiny_config, field):
  data = dataclasses.replace(tiny_config.data, **{field: 'groups.npz'})
  with pytest.raises(InputError, match='generated CSI only'):
    genie_nmse(dataclasses.replace(tiny_config, data=data), [10.0], 1)
