import errno
import io
import pathlib
import zipfile

import h5py
import imitations
import numpy as np
import pytest
import scipy.io

from rca_jax.config import CsiConfig, Layout
from rca_jax.data.files import iter_csi, read_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import cosine_similarity_to_response, nmse, to_db

CONFIG = CsiConfig(
    bandwidth_hz=imitations.BANDWIDTH_HZ, num_subcarriers=imitations.NUM_CARRIERS,
    num_delay_taps=imitations.NUM_ROWS, num_tx_antennas=imitations.NUM_ANTENNAS)
EXCERPT = pathlib.Path(__file__).parent / 'data' / 'quadriga_excerpt.npz'


@pytest.mark.parametrize('name', [name for name in imitations.FILES if name != 'cost2100.mat'])
def test_known_paths_are_found_in_every_format(tmp_path, name):
  groups = read_csi(
      imitations.FILES[name](tmp_path / name), config=CONFIG, allow_silent='deepmimo' in name)
  if 'deepmimo' in name:
    groups = type(groups)(*(leaf if leaf is None else leaf[[0, 1, 3, 4, 5, 6]] for leaf in groups))
  np.testing.assert_allclose(
      groups.csi.reshape(6, imitations.NUM_ROWS, imitations.NUM_ANTENNAS),
      imitations.expected_csi(), atol=1e-5)
  assert groups.csi.dtype == np.complex64
  if groups.energy_kept is not None:
    np.testing.assert_allclose(groups.energy_kept, 1, atol=1e-6)
  if groups.positions is not None:
    np.testing.assert_allclose(groups.positions.reshape(6, 3), imitations.positions(), atol=1e-5)


def test_the_paths_of_a_quadriga_run_give_its_published_csi(tmp_path):
  """Two groups of 4 UEs, drawn by the simulator itself; CSI computed from its paths elsewhere."""
  excerpt = np.load(EXCERPT)
  variables = {}
  for ue in range(8):
    name = f'channel_{ue + 1:05d}_'
    delay = excerpt['delay_mean'][ue][:, None] + excerpt['delay_dev'][ue]  # [path, antenna]
    variables |= {
        name + 'Coeffs': excerpt['coeff'][ue].T[None], name + 'Delays': delay.T[None],
        name + 'IndividualDelays': np.uint8(1),
        name + 'rx_position': excerpt['positions'].reshape(8, 3)[ue][:, None],
        name + 'tx_position': np.array([[0], [0], [25]])}
  scipy.io.savemat(tmp_path / 'uma.mat', variables)
  groups = read_csi(tmp_path / 'uma.mat')
  published = 32 * excerpt['csi'].reshape(8, 1, 32, 32)
  np.testing.assert_allclose(groups.csi, published, atol=1e-5)
  np.testing.assert_allclose(groups.energy_kept.ravel(), excerpt['energy_kept'].ravel(), atol=1e-6)
  np.testing.assert_array_equal(groups.positions, excerpt['positions'].reshape(8, 1, 3))


@pytest.mark.parametrize('swapped', [False, True])
def test_cost2100_axes_follow_from_the_power(tmp_path, swapped):
  path = imitations.cost2100(tmp_path / 'a.mat')
  if swapped:
    table = scipy.io.loadmat(path)['HT'].reshape(-1, 2, 32, 32).swapaxes(2, 3)
    scipy.io.savemat(path, {'HT': table.reshape(-1, 2048)})
  expected = imitations.cost2100_csi().swapaxes(1, 2)[:, None]
  expected /= np.sqrt(np.mean(np.abs(expected)**2, (-2, -1), keepdims=True))
  np.testing.assert_allclose(read_csi(path).csi, expected, atol=1e-5)


def test_published_cost2100_metrics_follow_their_definition(tmp_path):
  """NMSE and rho as the CsiNet family computes them, on the tables as they lie in the files."""
  rng = np.random.default_rng(2)
  truth = scipy.io.loadmat(imitations.cost2100(tmp_path / 'a.mat'))['HT'].reshape(-1, 2, 32, 32)
  estimate = truth + 0.02 * rng.normal(size=truth.shape)
  complete = rng.normal(size=(30, 8000)).view(complex)  # HF_all, an original with all its delays
  complete += 9 * np.fft.fft(
      _complex(truth), 257, axis=2)[:, :, :125].reshape(30, 4000)
  scipy.io.savemat(tmp_path / 'f.mat', {'HF_all': complete})

  error = np.sum(np.abs(_complex(truth) - _complex(estimate))**2, (1, 2))
  field_nmse = 10 * np.log10(np.mean(error / np.sum(np.abs(_complex(truth))**2, (1, 2))))
  h = complete.reshape(30, 32, 125)
  h_hat = np.fft.fft(
      np.concatenate([_complex(estimate), np.zeros((30, 32, 257 - 32))], 2), axis=2)[:, :, :125]
  inner = np.abs(np.sum(np.conj(h_hat) * h, 1))
  field_rho = np.mean(inner / np.linalg.norm(h, axis=1) / np.linalg.norm(h_hat, axis=1))

  ours = [_complex(x).swapaxes(1, 2)[:, None].astype(np.complex64) for x in (truth, estimate)]
  np.testing.assert_allclose(to_db(nmse(*ours).mean()), field_nmse, rtol=1e-6)
  # As docs/data.md has it.
  response = scipy.io.loadmat(tmp_path / 'f.mat')['HF_all'].reshape(-1, 1, 32, 125).swapaxes(2, 3)
  np.testing.assert_allclose(
      cosine_similarity_to_response(response, ours[1]).mean(), field_rho, rtol=1e-6)
  with pytest.raises(InputError, match='holds `HF_all` alone'):
    read_csi(tmp_path / 'f.mat')


def _complex(table):
  return table[:, 0] - 0.5 + 1j * (table[:, 1] - 0.5)


def _savez(**arrays):
  return lambda path: np.savez(path, **arrays)


def _mat(**variables):
  return lambda path: scipy.io.savemat(path, variables, appendmat=False)


RESPONSE = imitations.response()
CHANNEL = RESPONSE[:, None]
A, TAU = np.ones((2, 3, 1, 1, 4, 3, 1), complex), np.zeros((2, 3, 1, 3))
COEFFS, DELAYS = np.ones((1, 4, 3, 2), complex), np.zeros((3, 2))


@pytest.mark.parametrize('save, message', [
    (_savez(channel=CHANNEL[..., :1]), 'single subcarrier'),
    (_savez(channel=CHANNEL[..., :7]), 'has 7 subcarriers; 8 delay rows'),
    (_savez(channel=CHANNEL.conj()), r'its delays holds \d+% of the power, the last \d+%: its'),
    (_savez(channel=CHANNEL * np.exp(-1j * np.pi / 2 * np.arange(64))), 'keep 0% of the power'),
    (_savez(channel=CHANNEL.real), 'type float64; expected complex'),
    (_savez(channel=CHANNEL[0]), r'its arrays: channel \(1, 4, 64\)'),
    (_savez(channel=CHANNEL.repeat(2, 1)), 'has 2 UE antennas'),
    (_savez(channel=0 * CHANNEL), r'csi\[0, 0\] is all zeros'),
    (_savez(channel=CHANNEL, rx_pos=np.ones((5, 3))), 'rx_pos has shape .5, 3.; expected .6, 3'),
    (_savez(channel=CHANNEL * [np.nan]), 'csi.0, 0, 0, 0. is .nan'),
    (_savez(channel=CHANNEL, rx_pos=np.full((6, 3), np.inf)), 'positions are not all finite'),
    (_savez(a=A.repeat(2, 2), tau=TAU), 'a,tau has 2 UE antennas'),
    (_savez(a=A.repeat(2, 3), tau=TAU.repeat(2, 2)), 'a,tau has 2 base stations .* --select=bs:0'),
    (_savez(a=A, tau=TAU[0]), r'delays \(3, 1, 3\); expected'),
    (_savez(a=A, tau=TAU.astype(int)), 'delays are of type int64; expected real'),
    (_savez(a=0 * A, tau=TAU), r'csi\[0, 0\] is all zeros'),
    (_savez(csi=np.ones((3, 4, 8))), r'csi has shape \(3, 4, 8\); expected \[group,ue,delay,angle'),
    (_mat(HT=np.full((3, 2048), 1.5)), 'values from 1.5 to 1.5'),
    (_mat(HT=np.full((3, 1024), 0.5)), r'HT has shape \(3, 1024, 1, 1\)'),
    (_mat(channel_00001_Coeffs=COEFFS), 'no channel_00001_Delays'),
    (_mat(channel_00001_Coeffs=COEFFS, channel_00001_Delays=DELAYS.T), r'delays \(2, 3\)'),
    (_mat(channel_00001_Coeffs=COEFFS.real, channel_00001_Delays=DELAYS), 'type float64'),
    (_mat(channel_00001_Coeffs=COEFFS.repeat(2, 0), channel_00001_Delays=DELAYS), '2 UE antennas'),
    (_mat(x=3.0, text='abc'), r'holds no array of a known format .its arrays: x'),
])
def test_what_does_not_fit_is_one_line(tmp_path, save, message):
  path = tmp_path / 'file.npz'
  save(path)
  with pytest.raises(InputError, match=message) as error:
    read_csi(path, config=CONFIG)
  assert str(error.value).startswith(f'{path}: ') and '\n' not in str(error.value)


def test_channels_of_two_base_stations_are_refused(tmp_path):
  variables = imitations.quadriga_channels() | {'channel_00002_tx_position': np.ones((3, 1))}
  scipy.io.savemat(tmp_path / 'a.mat', variables)
  with pytest.raises(InputError, match='channel_00002_tx_position is not that of channel_00001'):
    read_csi(tmp_path / 'a.mat', config=CONFIG)


def test_a_format_can_be_named(tmp_path):
  path = imitations.deepmimo(tmp_path / 'a.npz')
  assert len(read_csi(path, Layout(axes='deepmimo'), config=CONFIG, allow_silent=True).csi) == 7
  np.save(tmp_path / 'a.npy', np.delete(np.load(path)['channel'], 2, 0))
  assert len(read_csi(tmp_path / 'a.npy', config=CONFIG).csi) == 6
  with pytest.raises(InputError, match='holds no CSI of format sionna .its arrays: channel'):
    read_csi(path, Layout(axes='sionna'))


def test_silent_ues_pass_on_request(tmp_path):
  csi = imitations.expected_csi().reshape(3, 2, 8, 4)
  csi[1, 1] = 0
  np.savez(tmp_path / 'a.npz', csi=csi)
  with pytest.raises(InputError, match=r'csi\[1, 1\] is all zeros'):
    read_csi(tmp_path / 'a.npz')
  [groups] = iter_csi(tmp_path / 'a.npz', allow_silent=True)
  np.testing.assert_array_equal(
      groups.csi.any((-2, -1)), [[True, True], [True, False], [True, True]])


def test_no_power_is_lost_in_ues_without_any(tmp_path):
  path = imitations.sionna(tmp_path / 'a.npz')
  arrays = dict(np.load(path))
  arrays['a'][0] = 0  # of two groups
  np.savez(path, **arrays)
  csi = read_csi(path, config=CONFIG, allow_silent=True).csi
  assert not csi[0].any() and csi[1].any((-2, -1)).all()
  with pytest.raises(InputError, match='is all zeros'):
    read_csi(path, config=CONFIG)


def test_text_beside_the_numbers_is_passed_over(tmp_path):
  csi = imitations.expected_csi().reshape(3, 2, 8, 4)
  np.savez(tmp_path / 'a.npz', csi=csi, scenario='UMa')
  assert read_csi(tmp_path / 'a.npz').csi.shape == csi.shape
  np.savez(tmp_path / 'b.npz', csi=csi.astype(object))
  with pytest.raises(InputError, match="array 'csi' is of type object, expected numbers"):
    read_csi(tmp_path / 'b.npz')


def test_promises_are_held_against_what_is_there(tmp_path):
  """Headers of arrays of terabytes: refused before any memory is asked for."""
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
      header, {'descr': '<c8', 'fortran_order': False, 'shape': (10**9, 1, 8, 64)})
  (tmp_path / 'a.npy').write_bytes(header.getvalue() + bytes(1024))
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.write(tmp_path / 'a.npy', 'channel.npy')
  bomb = imitations.save_v73(tmp_path / 'bomb.mat', {})
  with h5py.File(bomb, 'a') as file:
    file.create_dataset('csi', (10**9, 10**6, 4, 3), 'f8')
  scipy.io.savemat(tmp_path / 'a.mat', {'HT': np.zeros((3, 2048))})
  content = bytearray((tmp_path / 'a.mat').read_bytes())
  place = content.index(np.array([3, 2048], 'i4').tobytes())
  content[place:place + 4] = np.int32(10**6).tobytes()
  (tmp_path / 'a.mat').write_bytes(content)
  for name, message in [
      ('a.npy', 'not a readable npy'), ('a.npz', 'not a readable npz'),
      ('a.mat', 'not a readable .mat'), ('bomb.mat', "'csi' promises 32000000000000000 bytes")]:
    with pytest.raises(InputError, match=message):
      read_csi(tmp_path / name)


def test_chunks_that_were_never_written_are_zeros(tmp_path):
  """MATLAB preallocates: the last UEs of a valid file may stand nowhere."""
  path = tmp_path / 'a.mat'
  imitations.save_v73(path, {})
  pairs = np.dtype([('real', 'f8'), ('imag', 'f8')])
  with h5py.File(path, 'a') as file:
    stored = file.create_dataset('H', (600, 64, 4), pairs, chunks=(6, 64, 4))
    numbers = RESPONSE.swapaxes(1, 2).astype(np.complex128)
    stored[:6] = np.ascontiguousarray(numbers).view(pairs)
  layout = Layout('H', 'antenna,subcarrier,ue')
  csi = read_csi(path, layout, config=CONFIG, allow_silent=True).csi
  np.testing.assert_allclose(csi[:6, 0], imitations.expected_csi(), atol=1e-5)
  assert csi.shape[0] == 600 and not csi[6:].any()
  with pytest.raises(InputError, match=r'csi\[6, 0\] is all zeros.*--drop_silent'):
    read_csi(path, layout, config=CONFIG)


@pytest.mark.parametrize('number, what', [
    (errno.EACCES, 'Permission denied'), (errno.EIO, 'Input/output error')])
def test_what_the_system_refuses_is_no_damage(tmp_path, monkeypatch, number, what):
  path = imitations.own(tmp_path / 'a.npz')

  def refuse(*args, **kwargs):
    raise OSError(number, what)

  monkeypatch.setattr(pathlib.Path, 'open', refuse)
  with pytest.raises(InputError, match=what) as error:
    read_csi(path)
  assert 'damaged' not in str(error.value) and 'write or copy' not in str(error.value)


def _set(name, value):
  """Replaces a dataset of an HDF5 file."""
  def change(file):
    del file[name]
    file[name] = value
  return change


def _count(group, name, value):
  return lambda file: file[group].attrs.modify(name, np.uint32(value))


def _two_rx_antennas(file):
  for index in range(2):
    for leaf in ('coeff_re', 'coeff_im'):
      name = f'channel_4/Snap_{index}/{leaf}'
      _set(name, np.repeat(file[name], 2, -1))(file)
  _count('channel_4', 'NumRx', 2)(file)


def _promise(file):
  del file['channel_4/Snap_0/coeff_re']
  file.create_dataset('channel_4/Snap_0/coeff_re', (10**9, 4, 1), 'f4')


@pytest.mark.parametrize('change, message', [
    (_two_rx_antennas, 'channel_4_Coeffs,channel_4_Delays has 2 UE antennas'),
    (lambda file: file['channel_2'].attrs.modify('tx_position', np.zeros(3, np.float32)),
     'channel_2_tx_position is not that of channel_4; expected the channels of one base station'),
    (_set('channel_4/rx_position', np.full((2, 3), np.nan, np.float32)), 'positions are not all'),
    (_set('Order', np.array([4, 0, 2, 9], 'u4')), 'channel_9/NumRx'),
    (_set('Order', np.array([4, 0, 4, 0], 'u4')), 'its Order lists channel_4 twice'),
    (_set('Order', np.zeros(6, 'u4')), 'holds no array of a known format'),
    (_set('channel_2/delay', np.zeros((3, 2, 1), 'f4')), r'coefficients of shape \(3, 4, 1\)'),
    (_count('channel_2', 'NumTx', 5), 'channel_2 has coefficients of shape .3, 4, 1.'),
    (_count('channel_3', 'NumSnap', 1), r'channel_3_Coeffs has shape \(0, 0, 1, 1\)'),
    (_count('channel_4', 'NumSnap', 1), 'not a readable HDF5 file of QuaDRiGa'),
    (_count('channel_4', 'NumSnap', 2**32 - 1), "'channel_4/NumSnap' promises 4294967295 bytes"),
    (_promise, "Snap_0 has coefficients of shape .1000000000, 4, 1., .3, 4, 1."),
    (lambda file: file.pop('channel_4/Snap_1'), r'csi\[1, 0\] is all zeros'),
    (lambda file: file.pop('Order'), 'holds no array of a known format'),
])
def test_hdf5_that_does_not_fit_is_one_line(tmp_path, change, message):
  path = imitations.quadriga_hdf5(tmp_path / 'a.hdf5')
  with h5py.File(path, 'a') as file:
    change(file)
  with pytest.raises(InputError, match=message) as error:
    read_csi(path, config=CONFIG)
  assert str(error.value).startswith(f'{path}: ') and '\n' not in str(error.value)


def test_a_quadriga_channel_without_paths_is_silent(tmp_path):
  """UEs out of coverage: their channels hold their antennas and where they are, nothing else."""
  path = imitations.quadriga_hdf5(tmp_path / 'a.hdf5')
  with h5py.File(path, 'a') as file:
    for leaf in ('coeff_re', 'coeff_im', 'delay'):
      del file['channel_2'][leaf]
  parts = list(iter_csi(path, config=CONFIG, allow_silent=True))
  csi = np.concatenate([part.csi for part in parts])
  np.testing.assert_array_equal(csi.any((-2, -1))[:, 0], [True, True, False, True, True, True])
  np.testing.assert_allclose(parts[1].positions[:, 0], imitations.positions()[2:3])
