import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.evaluation import references
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.results import SHARES
from rca_jax.evaluation.rows import Measurement
from rca_jax.keys import Stream, stream_key

pytestmark = pytest.mark.usefixtures('quick_compilation')
FIELDS = {
    'method', 'compression_ratio', 'num_ues', 'snr_db', 'data', 'data_hash', 'seed', 'steps',
    'dtype', 'cell', 'trained_ues', 'overhead', 'stage', 'nmse_db', 'nmse_ci95_db', 'rho',
    'rho_ci95', 'sgcs', 'sgcs_ci95', 'num_samples', 'commit', 'device', 'errors', 'subband_sgcs',
    'subband_sgcs_ci95', 'beamforming_gain', 'beamforming_gain_ci95'}
NOISE_FREE = Measurement(None)
Groups = collections.namedtuple('Groups', 'csi')


@pytest.fixture(scope='module', autouse=True)
def small_fits():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(references, '_FIT_REPORTS_PER_DIMENSION', 6)
    patch.setattr(references, '_NUM_FIT_ROWS', 400)
    patch.setattr(references, '_FIT_CHUNK', 4)
    yield


def few_angles(num_groups, seed):
  """[G, 3, 4, 8] complex64 of which the first angles hold most of the power."""
  rng = np.random.default_rng(seed)
  shape = (num_groups, 3, 4, 8)
  csi = rng.normal(size=shape) + 1j * rng.normal(size=shape)
  return (csi * np.geomspace(3, 0.03, 8)).astype(np.complex64)


def unit_power(csi):
  return csi / np.sqrt(np.mean(np.abs(csi) ** 2, axis=(-2, -1), keepdims=True))


@pytest.fixture(scope='module')
def config(tiny_config, tmp_path_factory):
  """Trains on one file, is tested on another."""
  folder = tmp_path_factory.mktemp('data')
  for name, num_groups, seed in (('train', 40, 0), ('test', 20, 1)):
    np.savez(folder / f'{name}.npz', csi=few_angles(num_groups, seed))
  # Its axes are named: such power is not a channel's, and a guess would be refused.
  data = dataclasses.replace(
      tiny_config.data, path=str(folder / 'train.npz'), test_path=str(folder / 'test.npz'),
      array='csi', axes='group,ue,delay,angle')
  return dataclasses.replace(tiny_config, data=data)


def of(config, method, ratio='1/2'):
  model = dataclasses.replace(config.model, compression_ratio=ratio)
  return dataclasses.replace(config, method=method, model=model)


def nmse_db(csi, csi_hat):
  error, energy = (np.sum(np.abs(x) ** 2, (-1, -2)) for x in (csi - csi_hat, csi))
  return 10 * np.log10(np.mean(error / energy))


def to_real(csi):
  flat = csi.reshape(-1, csi.shape[-2] * csi.shape[-1])
  return np.concatenate([flat.real, flat.imag], -1).astype(np.float64)


def test_the_linear_code_falls_with_the_snr_to_its_noise_free_level(config):
  snrs_db = [-10.0, 0.0, 10.0, 20.0, 60.0, None]
  rows = reference_rows(of(config, 'PCA/KLT'), [Measurement(snr_db) for snr_db in snrs_db])
  assert [row['snr_db'] for row in rows] == snrs_db
  found = [row['nmse_db'] for row in rows]
  assert np.all(np.diff(found[:5]) < 0) and found[0] < 0
  assert found[3] > found[5] + 0.1
  np.testing.assert_allclose(found[4], found[5], atol=0.01)
  for name in ('rho', 'sgcs'):
    assert np.all(np.diff([row[name] for row in rows[:5]]) > 0)


@pytest.mark.parametrize('num_ues', [2, 3])
def test_the_noise_free_linear_code_is_the_klt_of_the_training_file(config, num_ues):
  config = of(dataclasses.replace(config, num_ues=num_ues), 'PCA/KLT')
  train = to_real(unit_power(few_angles(40, 0))[:, :num_ues])
  mean = train.mean(0)
  basis = np.linalg.svd(train - mean, full_matrices=False)[2][:32]
  test = unit_power(few_angles(20, 1))[:, :num_ues]
  hat = (to_real(test) - mean) @ basis.T @ basis + mean
  expected = nmse_db(test, (hat[:, :32] + 1j * hat[:, 32:]).reshape(test.shape))
  row, = reference_rows(config, [Measurement(None, num_ues)])
  np.testing.assert_allclose(row['nmse_db'], expected, atol=0.02)
  assert row['num_ues'] == num_ues


def strongest(codes, num_atoms):
  kept = np.argsort(np.abs(codes), -1)[..., -num_atoms:]
  mask = np.zeros(codes.shape)
  np.put_along_axis(mask, kept, 1, -1)
  return mask * codes


@pytest.mark.parametrize('ratio, num_atoms', [('1/8', 1), ('1/2', 4), ('1', 8)])
def test_the_sparse_code_is_that_of_a_dictionary_of_the_training_file(config, ratio, num_atoms):
  train, test = (
      np.fft.fft2(unit_power(few_angles(*arguments))[:, :2], norm='ortho')
      for arguments in ((40, 0), (20, 1)))
  flat = train.reshape(-1, 8)
  dictionary = np.fft.ifft(np.eye(8), norm='ortho')
  for _ in range(50):
    left, _, right = np.linalg.svd(flat.T @ strongest(flat @ dictionary.conj(), num_atoms).conj())
    dictionary = left @ right
  hat = strongest(test @ dictionary.conj(), num_atoms) @ dictionary.T
  row, = reference_rows(of(config, 'CDL-OP', ratio), [NOISE_FREE])
  if num_atoms == 8:
    assert row['nmse_db'] < -100
  else:  # unitary transforms keep the NMSE
    np.testing.assert_allclose(row['nmse_db'], nmse_db(test, hat), atol=0.02)


def test_no_key_of_training_is_used_to_fit(tiny_config, monkeypatch):
  used = []

  def sample_groups(key, csi, num_groups, num_ues, site):
    jax.debug.callback(lambda data: used.append(tuple(np.ravel(data))), jax.random.key_data(key))
    return Groups(jnp.ones((num_groups, num_ues, 4, 8), jnp.complex64))

  monkeypatch.setattr(references, 'config_site', lambda config: None)
  monkeypatch.setattr(references, 'sample_groups', sample_groups)
  assert len(references._training_csi(tiny_config, 30)) == 32
  training = stream_key(tiny_config.seed, Stream.TRAINING)
  keys = [jax.random.fold_in(training, i) for i in range(50)] + list(jax.random.split(training, 50))
  assert len(set(used)) == 4
  assert not set(used) & {tuple(np.ravel(jax.random.key_data(key))) for key in keys}


@pytest.mark.parametrize('method, measurement', [
    ('PCA/KLT', NOISE_FREE), ('CDL-OP', NOISE_FREE), ('joint Bayes', Measurement(20.0)),
    ('mixture KLT', Measurement(20.0)),
    ('joint Bayes (alone)', Measurement(20.0))])
def test_rows_say_what_was_measured(config, method, measurement):
  row, = reference_rows(of(config, method), [measurement])
  assert set(row) == FIELDS and row['nmse_db'] < 0
  assert row | {
      'method': method, 'compression_ratio': '1/2', 'num_ues': 2, 'snr_db': measurement.snr_db,
      'seed': 0, 'data': 'test.npz', 'num_samples': 20, 'steps': 0, 'overhead': 16} == row


def test_the_genie_has_an_nmse_and_no_estimate(tiny_config, monkeypatch):

  def genie_nmse(config, snrs_db, num_positions):
    return np.float32([np.full(num_positions, 10 ** (-snr_db / 10)) for snr_db in snrs_db])

  monkeypatch.setattr(references, 'genie_nmse', genie_nmse)
  monkeypatch.setattr(references, '_NUM_GENIE_POSITIONS', 7)
  rows = reference_rows(of(tiny_config, 'genie'), [Measurement(0.0), Measurement(10.0)])
  for row, snr_db in zip(rows, (0, 10), strict=True):
    assert set(row) == FIELDS - {'errors', *SHARES, *(f'{name}_ci95' for name in SHARES)}
    assert row['snr_db'] == snr_db and row['num_samples'] == 7
    np.testing.assert_allclose([row['nmse_db'], *row['nmse_ci95_db']], -snr_db, atol=1e-5)


@pytest.mark.parametrize('method, ratio, measurement, message', [
    ('RCA-MUNet', '1/2', NOISE_FREE, "'RCA-MUNet' is not trained, and none of PCA/KLT, CDL-OP"),
    ('CDL-OP', '1/16', NOISE_FREE, '1/16 of 8 atoms is 1/2; .* whole number'),
    ('CDL-OP', '1/2', Measurement(10.0), 'without noise .snr_db=None., not at 10.0 dB'),
    ('genie', '1/2', NOISE_FREE, 'genie needs .* snr_db=None'),
    ('joint Bayes', '1/2', NOISE_FREE, 'joint Bayes needs an uplink with noise; give --snr_db'),
    ('mixture KLT', '1/2', NOISE_FREE, 'mixture KLT needs an uplink with noise; give --snr_db'),
    ('joint Bayes (genie)', '1/2', Measurement(10.0), 'generated CSI only'),
    ('PCA/KLT', '1/2', Measurement(10.0, channel='rayleigh_block_fading'), 'phase of the gain'),
    ('PCA/KLT', '1/2', Measurement(10.0, channel='wire'), "'wire' is unknown; choose one of awgn"),
    ('PCA/KLT', '1/2', Measurement(None, channel='narrowband_interference'), 'over AWGN only'),
    ('genie', '1/2', Measurement(10.0, snr_error_db=3.0), 'over AWGN only.*snr_error_db=3'),
    ('joint Bayes (genie)', '1/2', Measurement(10.0, snr_spread_db=3.0), 'over AWGN only'),
    ('PCA/KLT', '1/2', Measurement(10.0, distance_m=1.0), 'only generated test groups have'),
    ('genie', '1/2', Measurement(10.0, distance_m=1.0), 'distance_m=1: only .* mixture KLT'),
    ('PCA/KLT', '1/2', Measurement(10.0, stage='finetune_10db'), 'only snr_db'),
])
def test_what_a_reference_does_not_have_is_refused(config, method, ratio, measurement, message):
  with pytest.raises(InputError, match=message):
    reference_rows(of(config, method, ratio), [measurement])
