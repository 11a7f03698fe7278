"""A file in, reports and recovered CSI out."""

import contextlib
import dataclasses
import errno
import functools
import json
import subprocess
import sys

import imitations
import jax
import numpy as np
import pytest
import scipy.io
from test_launch import launch
from test_layout import ANTENNA_GAINS, CASES, CSI, TAU, A, H, two_rx

from rca_jax.channel import CsiGroups
from rca_jax.config import CsiConfig, Layout
from rca_jax.data.dataset import write_shards
from rca_jax.data.files import GUESSED, iter_chunks, stored
from rca_jax.errors import InputError
from rca_jax.evaluation import feedback
from rca_jax.evaluation.feedback import (
    Job,
    described_sender,
    examples,
    feed_back,
    joint_sender,
    network_sender,
)
from rca_jax.evaluation.metrics import layer_sgcs
from rca_jax.evaluation.precoding import Rates, sum_rates
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.results import SHARES
from rca_jax.evaluation.rows import Measurement
from rca_jax.evaluation.run import measure
from rca_jax.training.pretrained import save_pretrained
from rca_jax.training.program import abstract_params

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(
    bandwidth_hz=imitations.BANDWIDTH_HZ, num_subcarriers=imitations.NUM_CARRIERS,
    num_delay_taps=imitations.NUM_ROWS, num_tx_antennas=imitations.NUM_ANTENNAS)
SNR_DB = 10.0


def back(path, layout=GUESSED, config=CONFIG, **options):
  """The whole file as it comes back where feedback loses nothing."""
  found = stored(path, layout, config=config)
  array = np.full(found.shape, np.nan, found.dtype)
  for chunk in iter_chunks(path, layout, config=config, **options):
    place = found.place(chunk.first, chunk.first + len(chunk.scale))
    array[place] = found.restored(chunk.groups.csi * chunk.scale[..., None, None], chunk.zero)
  return found.axes, array


RESPONSE = imitations.response()  # [ue, antenna, carrier]
OF_FORMAT = {
    'own.npz': CSI.reshape(3, 2, 8, 4), 'own_compressed.npz': CSI.reshape(3, 2, 8, 4),
    'quadriga.mat': RESPONSE.transpose(1, 2, 0)[None],
    'quadriga_v7.mat': RESPONSE.transpose(1, 2, 0)[None],
    'quadriga_v73.mat': RESPONSE.transpose(1, 2, 0)[None],
    'quadriga.hdf5': RESPONSE.transpose(1, 2, 0)[None],
    'quadriga_response.mat': RESPONSE.transpose(1, 2, 0)[None],
    'sionna.npz': RESPONSE.reshape(2, 3, 1, 1, 4, 64, 1),
    'deepmimo.npz': np.insert(1e-9 * RESPONSE, 2, 0, axis=0)[:, None]}


@pytest.mark.parametrize('name', OF_FORMAT)
def test_every_format_comes_back_as_it_was(tmp_path, name):
  """Of paths their frequency responses; the numbers are those that the files were made of."""
  axes, array = back(
      imitations.FILES[name](tmp_path / name), allow_silent='deepmimo' in name)
  expected = OF_FORMAT[name]
  assert len(axes) == expected.ndim
  np.testing.assert_allclose(array, expected, atol=1e-5 * np.abs(expected).max())


def test_cost2100_comes_back_around_a_half(tmp_path):
  path = imitations.cost2100(tmp_path / 'a.mat')
  axes, array = back(path, config=CsiConfig())
  assert axes == ('ue', 're_im', 'angle', 'delay') and array.dtype == np.float32
  np.testing.assert_allclose(
      array.reshape(30, -1), scipy.io.loadmat(path)['HT'], atol=1e-6)


_TAKEN = {'rx:0': 0, 'rx:1': 1, 'rx:strongest': 1}


@pytest.mark.parametrize('name', CASES)
def test_named_axes_come_back_as_they_were(tmp_path, name):
  """Two arrays of parts as one, of paths the response, of several places that which was taken."""
  save, layout = CASES[name]
  save(tmp_path / 'file.npz')
  axes, array = back(tmp_path / 'file.npz', layout)
  found = dict(zip(axes, array.shape, strict=True))
  if 're_im' in axes:
    array = array.take(0, axes.index('re_im')) + 1j * array.take(1, axes.index('re_im'))
    axes = tuple(name for name in axes if name != 're_im')
  column = 'antenna' if 'antenna' in axes else 'angle'
  row = 'subcarrier' if 'subcarrier' in axes else 'delay'
  assert found.get('rx', 1) == found.get('bs', 1) == found.get('time', 1) == 1
  order = [axes.index(axis) for axis in (column, row)]
  others = [axis for axis in range(array.ndim) if axis not in order]
  values = array.transpose(*others, *order).reshape(6, found[column], found[row])
  scale = ANTENNA_GAINS[_TAKEN[name]] if name in _TAKEN else 1
  expected = {
      ('antenna', 'subcarrier'): scale * H, ('angle', 'subcarrier'): np.fft.ifft(H, axis=1),
      ('angle', 'delay'): CSI.swapaxes(1, 2),
      ('antenna', 'delay'): np.fft.fft(CSI, norm='ortho').swapaxes(1, 2)}[column, row]
  if name == 'DeepMIMO v3':
    expected = 1e-9 * expected
  np.testing.assert_allclose(values, expected, atol=1e-5 * np.abs(expected).max())


def test_axes_that_run_back_and_antennas_that_are_ues_come_back(tmp_path):
  np.savez(tmp_path / 'a.npz', back=H[..., ::-1], conj=H.conj(), csi=np.roll(CSI[:, ::-1], 1, 1),
           a=two_rx(A[:, None, :, :, None], 1), tau=TAU[:, None])
  for array, axes in (('back', 'ue,antenna,-subcarrier'), ('csi', 'ue,-delay,angle')):
    found = back(tmp_path / 'a.npz', Layout(array, axes))[1]
    np.testing.assert_allclose(found, np.load(tmp_path / 'a.npz')[array], atol=1e-5)
  conj = back(tmp_path / 'a.npz', Layout('conj', 'ue,-antenna,-subcarrier'))[1]
  np.testing.assert_allclose(conj, H.conj(), atol=1e-5)
  layout = Layout('a,tau', 'ue,rx,bs,antenna,path,time', 'rx:all')
  found = back(tmp_path / 'a.npz', layout)[1]
  np.testing.assert_allclose(
      found[:, :, 0, :, :, 0], H[:, None] * ANTENNA_GAINS[:, None, None], atol=1e-5)


@pytest.mark.parametrize('axes, index', [
    ('antenna,subcarrier', 0), ('subcarrier,one,antenna', 0),
    ('group,antenna,subcarrier', slice(None))])
def test_files_without_an_axis_of_ues_come_back(tmp_path, axes, index):
  values = H[index]
  if axes.startswith('subcarrier'):
    values = values.T[:, None]
  np.savez(tmp_path / 'a.npz', H=values)
  np.testing.assert_allclose(back(tmp_path / 'a.npz', Layout('H', axes))[1], values, atol=1e-5)


def test_what_the_cut_rows_held_stays_lost(tmp_path):
  """The DFTs as sums, of the rows that are kept alone."""
  np.savez(tmp_path / 'a.npz', H=H)
  config = dataclasses.replace(CONFIG, num_delay_taps=5)
  found = back(tmp_path / 'a.npz', Layout('H', 'ue,antenna,subcarrier'), config)[1]
  carrier = np.arange(64)
  delays = H @ np.exp(2j * np.pi * np.outer(carrier, carrier) / 64) / 64
  kept = delays[..., :5] @ np.exp(-2j * np.pi * np.outer(carrier[:5], carrier) / 64)
  assert np.linalg.norm(kept - H) > 0.3 * np.linalg.norm(H)
  np.testing.assert_allclose(found, kept, atol=1e-5)


@pytest.fixture(scope='module')
def config(tiny_config):
  return dataclasses.replace(
      tiny_config, model=dataclasses.replace(
          tiny_config.model, num_encoder_layers=0, num_decoder_layers=0))


@pytest.fixture(scope='module')
def params(config):
  rng = np.random.default_rng(1)
  return jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype) / 4, abstract_params(config))


@pytest.fixture(scope='module')
def responses(tmp_path_factory):
  """H [22 groups, 3 UEs, 8 antennas, 16 carriers], of any scale, and positions."""
  path = tmp_path_factory.mktemp('input') / 'H.npz'
  rng = np.random.default_rng(4)
  shape = (22, 3, 8, 16)
  h = 1e-6 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
  np.savez(path, H=h.astype(np.complex64), positions=rng.normal(size=(22, 3, 3)))
  return path


LAYOUT = Layout('H', 'group,ue,antenna,subcarrier')


def run(job, out, stop_at=None):
  """Killed after `stop_at` groups."""
  def progress(done, total):
    if done == stop_at:
      raise KeyboardInterrupt
  return feed_back(job, out, progress)


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('num_symbols', [0, 6])
def test_a_file_is_fed_back_with_the_scores_of_evaluate(
    config, params, responses, tmp_path, num_symbols):
  job = Job(network_sender(config, params, SNR_DB, num_symbols), SNR_DB, responses, LAYOUT)
  found = run(job, tmp_path)
  [row] = measure(
      config, {'pretrain': (params, 8)}, [Measurement(SNR_DB, 3, num_symbols=num_symbols)],
      num_groups=22, data=str(responses), layout=LAYOUT)
  assert row['overhead'] == found['num_symbols'] == (num_symbols or 16)
  nmse = np.load(tmp_path / 'nmse.npy')
  np.testing.assert_allclose(nmse.mean(1), row['errors'], rtol=1e-5)
  for name in ('nmse_db', 'nmse_ci95_db', *SHARES, 'num_samples'):
    np.testing.assert_allclose(found[name], row[name], rtol=1e-5)
  # Of the file's own numbers too, the rows that were cut counted as an error.
  h, csi_hat = np.load(responses)['H'], np.load(tmp_path / 'csi_hat.npy')
  error = (np.abs(h - csi_hat) ** 2).sum((-1, -2)) / (np.abs(h) ** 2).sum((-1, -2))
  kept = np.load(tmp_path / 'energy_kept.npy')
  np.testing.assert_allclose(error, 1 - kept + kept * nmse, rtol=1e-4)
  np.testing.assert_allclose(found['nmse_with_cut_db'], 10 * np.log10(error.mean()), rtol=1e-4)
  np.testing.assert_array_equal(
      np.load(tmp_path / 'positions.npy'), np.load(responses)['positions'].astype(np.float32))
  reports = np.load(tmp_path / 'reports.npy')
  assert reports.shape == (22, 3, num_symbols or 16)
  np.testing.assert_allclose((np.abs(reports) ** 2).mean(-1), 1, rtol=1e-4)


def test_examples_are_the_worst_and_typical_ues(config, params, responses, tmp_path, monkeypatch):
  monkeypatch.setattr(feedback, '_GROUPS_AT_ONCE', 4)
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, responses, LAYOUT)
  run(job, tmp_path)
  nmse = np.sort(np.load(tmp_path / 'nmse.npy').ravel())
  found = examples(job, tmp_path)
  np.testing.assert_allclose(sorted(item.nmse for item in found[3:]), nmse[-3:])
  assert all(nmse[25] < item.nmse < nmse[40] for item in found[:3])
  for item in found:
    error = np.linalg.norm(item.csi - item.csi_hat) ** 2 / np.linalg.norm(item.csi) ** 2
    np.testing.assert_allclose(error, item.nmse, rtol=1e-4)


def test_killed_and_run_again_it_is_the_same_to_the_bit(
    config, params, responses, tmp_path, monkeypatch):
  monkeypatch.setattr(feedback, '_GROUPS_AT_ONCE', 4)
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, responses, LAYOUT)
  run(job, tmp_path / 'whole')
  for stop_at in (0, 4, 12):
    with pytest.raises(KeyboardInterrupt):
      run(job, tmp_path / 'cut', stop_at)
    state = json.loads((tmp_path / 'cut' / 'feedback.json').read_text()) if stop_at else {'done': 0}
    assert state['done'] == stop_at
  # A write that the kill has cut.
  half = np.lib.format.open_memmap(tmp_path / 'cut' / 'csi_hat.npy', 'r+')
  half[12:14] = 7
  del half
  run(job, tmp_path / 'cut')
  assert contents(tmp_path / 'cut') == contents(tmp_path / 'whole')
  monkeypatch.setattr(feedback, 'iter_chunks', None)  # all is done: nothing is read
  assert run(job, tmp_path / 'cut')['complete']


@pytest.mark.parametrize('stop_at', [4, None])
def test_what_an_older_version_began_is_refused_in_one_line(
    config, params, responses, tmp_path, monkeypatch, stop_at):
  """It did not write all scores, or did not say what it wrote."""
  monkeypatch.setattr(feedback, '_GROUPS_AT_ONCE', 4)
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, responses, LAYOUT)
  with contextlib.suppress(KeyboardInterrupt):
    run(job, tmp_path / 'out', stop_at)
  path = tmp_path / 'out' / 'feedback.json'
  state = json.loads(path.read_text())
  (tmp_path / 'out' / 'subband_sgcs.npy').unlink()
  for arrays in (state['arrays'], [n for n in state['arrays'] if n != 'subband_sgcs']):
    path.write_text(json.dumps(state | {'arrays': arrays}))
    with pytest.raises(InputError, match=r'out: has no subband_sgcs.npy.*: rm -r .*out$'):
      run(job, tmp_path / 'out')
  del state['arrays']
  path.write_text(json.dumps(state))
  with pytest.raises(InputError, match='its feedback.json cannot be read.; choose another folder'):
    run(job, tmp_path / 'out')


def test_a_folder_is_fed_back_by_its_split(config, params, random_csi, tmp_path):
  write_shards(
      tmp_path / 'data', {}, [
          (split, functools.partial(CsiGroups, random_csi[start:start + 3], None, None, None))
          for split, start in (('train', 0), ('test', 3), ('test', 6), ('test', 11))], print)
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, tmp_path / 'data')
  found = run(job, tmp_path / 'out')
  assert found['num_groups'] == 7 and found['axes'] == 'group,ue,delay,angle'
  csi, csi_hat = random_csi[[3, 4, 5, 6, 7, 8, 11]], np.load(tmp_path / 'out' / 'csi_hat.npy')
  error = (np.abs(csi - csi_hat) ** 2).sum((-1, -2)) / (np.abs(csi) ** 2).sum((-1, -2))
  np.testing.assert_allclose(error, np.load(tmp_path / 'out' / 'nmse.npy'), rtol=1e-4)


def test_single_ues_are_decoded_alone_and_silent_ones_left_out(config, params, tmp_path):
  path = imitations.deepmimo(tmp_path / 'a.npz')
  csi = dataclasses.replace(config.csi, num_delay_taps=8, num_tx_antennas=4)
  config = dataclasses.replace(config, csi=csi)
  rng = np.random.default_rng(1)
  params = jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype) / 4, abstract_params(config))
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, path, allow_silent=True)
  found = run(job, tmp_path / 'out')
  assert found['num_ues'] == 1 and found['num_samples'] == 6
  arrays = {name: np.load(tmp_path / 'out' / f'{name}.npy')
            for name in ('csi_hat', 'nmse', 'reports', 'positions')}
  assert arrays['csi_hat'].shape == (7, 1, 4, 64) and arrays['positions'].shape == (7, 1, 3)
  assert np.isnan(arrays['nmse'][2]) and not arrays['csi_hat'][2].any()
  assert not arrays['reports'][2].any() and np.isfinite(np.delete(arrays['nmse'], 2)).all()


def test_groups_are_precoded_with_what_the_bs_recovers(
    config, params, random_csi, tmp_path, monkeypatch):
  """Of the groups as they came and as they come back; nobody hears a group without power."""
  monkeypatch.setattr(feedback, '_GROUPS_AT_ONCE', 5)
  csi = random_csi.copy()
  csi[4], csi[7, 1] = 0, 0
  np.savez(tmp_path / 'csi.npz', csi=csi)
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, tmp_path / 'csi.npz',
            Layout('csi', 'group,ue,delay,angle'), allow_silent=True, downlink_snr_db=15.0)
  found = run(job, tmp_path / 'out')
  csi_hat, power = np.load(tmp_path / 'out' / 'csi_hat.npy'), np.mean(np.abs(csi) ** 2, (2, 3))
  unit = csi / np.sqrt(np.where(power, power, 1))[..., None, None]
  expected = sum_rates(unit, csi_hat, 15.0)
  heard = np.arange(12) != 4
  for name in Rates._fields:
    rates, of_name = np.load(tmp_path / 'out' / f'{name}.npy'), np.asarray(getattr(expected, name))
    np.testing.assert_allclose(rates[heard], of_name[heard], rtol=1e-3)
    assert np.isnan(rates[4])
    np.testing.assert_allclose(found[name], rates[heard].mean(), rtol=1e-5)
    assert found[f'{name}_ci95'][0] < found[name] < found[f'{name}_ci95'][1]
  assert found['rzf_rate'] < found['rzf_rate_perfect']
  with pytest.raises(InputError, match='its downlink_snr_db is 15.0, asked for None'):
    run(job._replace(downlink_snr_db=None), tmp_path / 'out')
  with pytest.raises(InputError, match='downlink_snr_db=nan: expected a number of dB'):
    run(job._replace(downlink_snr_db=float('nan')), tmp_path / 'other')


def test_layers_of_ues_with_several_antennas(config, params, tmp_path):
  """Each antenna is fed back as a UE; the layers are of both, with the powers of the file."""
  rng = np.random.default_rng(5)
  shape = 10, 2, 2, 4, 8  # group, UE, antenna of it, delay, angle
  csi = 1e-5 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
  csi[:, :, 1] *= 3
  csi[4, 1] = 0  # not there
  np.savez(tmp_path / 'H.npz', csi=csi.astype(np.complex64))
  job = Job(network_sender(config, params, SNR_DB), SNR_DB, tmp_path / 'H.npz',
            Layout('csi', 'group,ue,rx,delay,angle', 'rx:all'), allow_silent=True)
  found = run(job, tmp_path / 'out')
  csi_hat, layers = (
      np.load(tmp_path / 'out' / f'{name}.npy') for name in ('csi_hat', 'layer_sgcs'))
  assert csi_hat.shape == shape and layers.shape == (10, 2, 2)
  expected = np.array(layer_sgcs(1e5 * csi, 1e5 * csi_hat, 2))
  expected[4, 1] = np.nan
  np.testing.assert_allclose(layers, expected, atol=1e-4)
  np.testing.assert_allclose(
      found['layer_sgcs'], np.nanmean(expected, 1).mean(0), atol=1e-4)
  assert all(low <= mean <= high for mean, (low, high) in zip(
      found['layer_sgcs'], found['layer_sgcs_ci95'], strict=True))


@pytest.mark.parametrize('method, sender', [
    ('joint Bayes', joint_sender), ('described profile (folded)', described_sender)])
def test_codes_have_the_scores_of_their_rows(method, sender, config, random_csi, tmp_path):
  np.savez(tmp_path / 'csi.npz', csi=random_csi)
  data = dataclasses.replace(
      config.data, path=str(tmp_path / 'csi.npz'), test_path=str(tmp_path / 'csi.npz'),
      array='csi', axes='group,ue,delay,angle')
  config = dataclasses.replace(config, method=method, data=data, num_ues=3)
  job = Job(sender(config, SNR_DB), SNR_DB, tmp_path / 'csi.npz', data.layout)
  run(job, tmp_path / 'out')
  [row] = reference_rows(config, [Measurement(SNR_DB, 3)])
  np.testing.assert_allclose(
      np.load(tmp_path / 'out' / 'nmse.npy').mean(1), row['errors'], rtol=1e-4)


def test_what_does_not_fit_is_refused(config, params, responses, tmp_path, monkeypatch):
  sender = network_sender(config, params, SNR_DB)
  run(Job(sender, SNR_DB, responses, LAYOUT), tmp_path / 'out')
  with pytest.raises(InputError, match="holds feedback of another job .its snr_db is 10.0"):
    run(Job(sender, 11.0, responses, LAYOUT), tmp_path / 'out')
  np.savez(tmp_path / 'other.npz', csi=np.ones((4, 2, 4, 6), np.complex64))
  layout = Layout('csi', 'group,ue,delay,angle')
  with pytest.raises(InputError, match='has 4 delay rows and 6 antennas; RCA-MUNet here is of 4 '
                                       'and 8'):
    run(Job(sender, SNR_DB, tmp_path / 'other.npz', layout), tmp_path / 'other')
  csi = np.ones((4, 2, 4, 8), np.complex64)
  csi[3, 1, 2, 1] = np.nan
  np.savez(tmp_path / 'nan.npz', csi=csi)
  with pytest.raises(InputError, match=r'csi\[3, 1.* is .*nan.*; every entry must be a finite'):
    run(Job(sender, SNR_DB, tmp_path / 'nan.npz', layout), tmp_path / 'nan')
  with pytest.raises(InputError, match='none.npz: no such file'):
    run(Job(sender, SNR_DB, tmp_path / 'none.npz'), tmp_path / 'none')
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(feedback.os, 'posix_fallocate', full)
  with pytest.raises(InputError, match='full.* cannot be written .No space left on device'):
    run(Job(sender, SNR_DB, responses, LAYOUT), tmp_path / 'full')
  bits = dataclasses.replace(config, uplink=dataclasses.replace(config.uplink, quantiser_bits=4))
  with pytest.raises(InputError, match='uplink.quantiser_bits=4: this network sends bits'):
    network_sender(bits, params, SNR_DB)
  with pytest.raises(InputError, match='num_symbols=17: a report of this network has 1 to 16'):
    network_sender(config, params, SNR_DB, 17)


def test_the_command(config, params, responses, tmp_path):
  save_pretrained('tiny', tmp_path / 'weights', config, params, 'pretrain', 8)
  arguments = [
      '--weights=tiny', f'--folder={tmp_path / "weights"}', f'--input={responses}', '--array=H',
      '--axes=group,ue,antenna,subcarrier', f'--out={tmp_path / "out"}', '--snr_db=25',
      '--downlink_snr_db=10', '--num_symbols=12']
  result = launch('feedback', *arguments)
  assert result.returncode == 0, result.stderr
  assert 'warning: --snr_db=25: these weights were trained for 0 to 20 dB.' in result.stderr
  assert 'warning: --num_symbols=12: these weights were trained for reports of 16 symbols.' in (
      result.stderr)
  assert 'csi_hat.npy [group,ue,antenna,subcarrier]' in result.stderr
  assert (tmp_path / 'out' / 'feedback.png').stat().st_size > 10_000
  [head, _, line] = result.stdout.splitlines()
  assert head.split()[:2] == ['UEs', 'symbols'] and line.split()[:3] == ['3', '12', '25']
  said = json.loads((tmp_path / 'out' / 'feedback.json').read_text())
  assert line.split()[-4:] == [f'{said[name]:.2f}' for name in Rates._fields]


@pytest.mark.parametrize('arguments, message', [
    ([], 'give one of --workdir, --weights, --map, --joint, --described; given: none.'),
    (['--weights=a', '--joint'], 'given: --weights, --joint.'),
    (['--joint'], '--joint: give --config too'),
    (['--weights=rca_munet_cr16', '--config=configs/demo.py'], 'leave out --config'),
    (['--joint', '--config=configs/demo.py', '--num_symbols=4'],
     '--num_symbols=4: it is of a network'),
])
def test_a_wrong_command_is_one_line(tmp_path, arguments, message):
  result = subprocess.run(
      [sys.executable, '-m', 'launch.feedback', '--input=none.npz', f'--out={tmp_path}',
       '--snr_db=10', *arguments], capture_output=True, text=True, timeout=60)
  error = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
  assert result.returncode == 2 and len(error) == 1 and message in error[0]
  assert 'Traceback' not in result.stderr
