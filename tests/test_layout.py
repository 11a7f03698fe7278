"""Arrays of any name and order, read by the names of their axes."""

import h5py
import imitations
import numpy as np
import pytest
import scipy.io

from rca_jax.config import CsiConfig, DataConfig, Layout
from rca_jax.data.files import read_csi
from rca_jax.errors import InputError

CONFIG = CsiConfig(
    bandwidth_hz=imitations.BANDWIDTH_HZ, num_subcarriers=imitations.NUM_CARRIERS,
    num_delay_taps=imitations.NUM_ROWS, num_tx_antennas=imitations.NUM_ANTENNAS)
H = imitations.response()  # [ue, antenna, carrier]
CSI = imitations.expected_csi()  # [ue, delay, angle]
A = imitations.paths()[0].swapaxes(1, 2)  # [ue, antenna, path]
TAU = imitations.paths()[1] / imitations.BANDWIDTH_HZ  # [ue, path]
ANTENNA_GAINS = np.array([1, 3j])  # of two UE antennas
COMMON = {'location': imitations.positions()}


def npz(**arrays):
  return lambda path: np.savez(path, **arrays)


def npy(array):
  def save(path):
    with path.open('wb') as file:
      np.save(file, array)
  return save


def mat(**variables):
  return lambda path: scipy.io.savemat(path, variables, appendmat=False)


def mat73(**variables):
  return lambda path: imitations.save_v73(path, variables)


def hdf5(**arrays):
  def save(path):
    with h5py.File(path, 'w') as file:
      for name, array in arrays.items():
        file.create_group(name)['values'] = array
  return save


def parts(array, axis=-1):
  return np.stack([array.real, array.imag], axis)


def two_rx(array, axis):
  """Behind `axis` an axis of two UE antennas, of which the second hears more."""
  shape = np.ones(array.ndim + 1, int)
  shape[axis] = 2
  return np.expand_dims(array, axis) * ANTENNA_GAINS.reshape(shape)


CASES = {
    'npz H': (npz(H=H, **COMMON), Layout('H', 'ue,antenna,subcarrier')),
    'npz h, carrier first': (npz(h=H.swapaxes(1, 2)), Layout('h', 'ue,subcarrier,antenna')),
    'npz channel, no rx': (npz(channel=H), Layout('channel', 'ue,antenna,subcarrier')),
    'npy': (npy(H), Layout(axes='ue,antenna,subcarrier')),
    'npy in Fortran order': (npy(np.asfortranarray(H)), Layout(axes='ue,antenna,subcarrier')),
    're_im last': (npz(H=parts(H)), Layout('H', 'ue,antenna,subcarrier,re_im')),
    're_im second': (npz(H=parts(H, 1)), Layout('H', 'ue,re_im,antenna,subcarrier')),
    'two arrays': (npz(a=H.real, b=H.imag), Layout('a,b', 'ue,antenna,subcarrier')),
    'plain HDF5': (hdf5(H=H), Layout('H/values', 'ue,antenna,subcarrier')),
    'HDF5, two arrays': (
        hdf5(re=H.real, im=H.imag), Layout('re/values,im/values', 'ue,antenna,subcarrier')),
    '.mat, UEs last': (mat(H=H.transpose(1, 2, 0)), Layout('H', 'antenna,subcarrier,ue')),
    '.mat 7.3, UEs last': (mat73(H=H.transpose(1, 2, 0)), Layout('H', 'antenna,subcarrier,ue')),
    '.mat csi as in the npz': (mat(csi=CSI[:, None]), Layout()),
    '.mat 7.3 csi as in the npz': (mat73(csi=CSI[:, None]), Layout()),
    'delay x antenna': (
        npz(csi=np.fft.fft(CSI, norm='ortho')[:, None]), Layout('csi', 'group,ue,delay,antenna')),
    'frequency x angle': (
        npz(H=np.fft.ifft(H, axis=1)), Layout('H', 'ue,angle,subcarrier')),
    'paths of one name': (npz(gain=A, t=TAU), Layout('gain,t', 'ue,antenna,path')),
    'paths in two arrays': (
        npz(re=A.real, im=A.imag, t=TAU), Layout('re,im,t', 'ue,antenna,path')),
    'Sionna RT, no batch': (
        npz(a=A[:, None, None, :, :, None], tau=TAU[:, None], positions=imitations.positions()),
        Layout()),
    'Sionna, delays per antenna': (
        npz(a=A[None, :, None, None, :, :, None],
            tau=np.broadcast_to(TAU[None, :, None, None, None], (1, 6, 1, 1, 4, 3))), Layout()),
    'Sionna h_freq': (npz(h_freq=H[None, :, None, None, :, None]), Layout()),
    'Sionna RT h_freq': (npz(h_freq=H[:, None, None, :, None]), Layout()),
    'DeepMIMO v3': (npz(channel=1e-9 * H[:, None], **COMMON), Layout()),
    'rx:0': (npz(channel=two_rx(H, 1)), Layout(select='rx:0')),
    'rx:1': (npz(channel=two_rx(H, 1)), Layout(axes='deepmimo', select='rx:1')),
    'rx:strongest': (npz(channel=two_rx(H, 1)), Layout(select='rx:strongest')),
    'second base station': (
        npz(H=np.stack([H[::-1], H], 1)), Layout('H', 'ue,bs,antenna,subcarrier', 'bs:1')),
    'second time': (
        npz(H=np.stack([H[::-1], H], -1)), Layout('H', 'ue,antenna,subcarrier,time', 'time:1')),
    'an axis of length 1': (npz(H=H[:, None]), Layout('H', 'ue,one,antenna,subcarrier')),
}


@pytest.mark.parametrize('name', CASES)
def test_named_axes_give_the_csi_of_the_paths(tmp_path, name):
  save, layout = CASES[name]
  save(tmp_path / 'file.npz')
  groups = read_csi(tmp_path / 'file.npz', layout, config=CONFIG)
  found = groups.csi.reshape(CSI.shape)
  phase = {'rx:1': 1j, 'rx:strongest': 1j}.get(name, 1)
  np.testing.assert_allclose(found, phase * CSI, atol=1e-5)
  if groups.positions is not None:
    np.testing.assert_array_equal(
        groups.positions.reshape(6, 3), imitations.positions().astype(np.float32))
  assert (groups.positions is not None) == (
      name in ('npz H', 'DeepMIMO v3', 'Sionna RT, no batch'))


@pytest.mark.parametrize('paths', [False, True])
def test_every_ue_antenna_can_be_a_ue_of_the_group(tmp_path, paths):
  if paths:
    np.savez(tmp_path / 'a.npz', a=two_rx(A[:, None, :, :, None], 1), tau=TAU[:, None],
             positions=imitations.positions())
  else:
    np.savez(tmp_path / 'a.npz', channel=two_rx(H, 1), location=imitations.positions())
  groups = read_csi(tmp_path / 'a.npz', Layout(select='rx:all'), config=CONFIG)
  assert groups.csi.shape[:2] == (6, 2)
  np.testing.assert_allclose(groups.csi, CSI[:, None] * [[[1]], [[1j]]], atol=1e-5)
  np.testing.assert_array_equal(groups.positions[:, 0], groups.positions[:, 1])
  with pytest.raises(InputError, match=r'2 UE antennas .*--select=rx:0, --select=rx:all \(each a UE'
                                       r'\) or --select=rx:strongest'):
    read_csi(tmp_path / 'a.npz', config=CONFIG)


def test_groups_of_ues_and_their_order_are_kept(tmp_path):
  np.savez(tmp_path / 'a.npz', H=H.reshape(2, 3, 4, 64).transpose(3, 1, 0, 2))
  csi = read_csi(tmp_path / 'a.npz', Layout('H', 'subcarrier,ue,group,antenna'), config=CONFIG).csi
  np.testing.assert_allclose(csi, CSI.reshape(2, 3, 8, 4), atol=1e-5)


def test_axes_that_run_back_are_turned(tmp_path):
  """Carriers from high to low change the phase of a path alone; the conjugate mirrors angles."""
  np.savez(tmp_path / 'a.npz', back=H[..., ::-1], conj=H.conj(), csi=np.roll(CSI[:, ::-1], 1, 1))
  for array, axes in (('back', 'ue,antenna,-subcarrier'), ('conj', 'ue,-antenna,-subcarrier'),
                      ('csi', 'ue,-delay,angle')):
    found = read_csi(tmp_path / 'a.npz', Layout(array, axes), config=CONFIG).csi
    np.testing.assert_allclose(np.abs(found[:, 0]), np.abs(CSI), atol=1e-5)


@pytest.mark.parametrize('centred', [False, True])
@pytest.mark.parametrize('folded', [False, True])
def test_cost2100_in_all_its_shapes(tmp_path, centred, folded):
  csi = imitations.cost2100_csi()
  table = parts(csi, 1) + (0 if centred else 0.5)
  scipy.io.savemat(tmp_path / 'a.mat', {'HT': table.reshape(30, -1) if folded else table})
  expected = csi.swapaxes(1, 2)[:, None]
  expected /= np.sqrt(np.mean(np.abs(expected)**2, (-2, -1), keepdims=True))
  np.testing.assert_allclose(read_csi(tmp_path / 'a.mat').csi, expected, atol=1e-5)
  layout = Layout('HT', 'ue,re_im,angle,delay')
  np.testing.assert_allclose(read_csi(tmp_path / 'a.mat', layout).csi, expected, atol=1e-5)


def test_more_delay_rows_than_asked_for_are_cut(tmp_path):
  np.savez(tmp_path / 'a.npz', csi=np.pad(CSI, ((0, 0), (0, 4), (0, 0)))[:, None])
  groups = read_csi(tmp_path / 'a.npz', config=CONFIG)
  np.testing.assert_allclose(groups.csi[:, 0], CSI, atol=1e-6)
  np.testing.assert_array_equal(groups.energy_kept, 1)


@pytest.mark.parametrize('layout, message', [
    (Layout('H', 'ue,antenna,subcarrier,time'), r'shape \(6, 4, 64\); expected \[ue,antenna,'
     'subcarrier,time\\], 4 axes'),
    (Layout('G', 'ue,antenna,subcarrier'), "no array 'G' .its arrays: H .6, 4, 64., re"),
    (Layout(axes='ue,antenna,subcarrier'), '--axes needs --array=NAME'),
    (Layout('H'), '--array=H needs --axes too'),
    (Layout('re', 'ue,antenna,subcarrier'), 're is of type float64; expected complex numbers, or'),
    (Layout('re,H', 'ue,antenna,subcarrier'), 're,H is of type float64; expected complex'),
    (Layout('H,re,re', 'ue,antenna,subcarrier'), 'names 3 arrays; expected NAME or REAL,IMAGINARY'),
    (Layout('H', 'ue,one,subcarrier'.replace('ue', 'antenna')), 'has 4 of one'),
    (Layout('H', 'ue,antenna,subcarrier', 'bs:0'), 'H has no axis bs; --select=bs:0 is none'),
    (Layout('H', 'rx,antenna,subcarrier', 'rx:6'), 'H has 6 rx; --select=rx:6 is none'),
    (Layout('H,t', 'ue,antenna,path'), 'coefficients have shape .6, 4, 64. and delays .5,'),
])
def test_a_layout_that_does_not_fit_is_one_line(tmp_path, layout, message):
  np.savez(tmp_path / 'a.npz', H=H, re=H.real, t=np.zeros(5))
  with pytest.raises(InputError, match=message) as error:
    read_csi(tmp_path / 'a.npz', layout, config=CONFIG)
  assert str(error.value).startswith(f'{tmp_path}/a.npz: ') and '\n' not in str(error.value)


@pytest.mark.parametrize('fields, message', [
    ({'axes': 'ue,antena,subcarrier'}, 'axes=ue,antena,subcarrier: antena is unknown; axes are'),
    ({'axes': 'ue,ue,antenna,delay'}, 'stands there twice'),
    ({'axes': 'ue,antenna'}, 'expected one of subcarrier, delay, path among them'),
    ({'axes': 'antenna,angle,delay'}, 'expected one of antenna, angle among them'),
    ({'axes': '-ue,antenna,delay'}, 'ue cannot run back'),
    ({'axes': 'angle,path'}, 'paths have antennas'),
    ({'axes': 'deepmimo', 'array': 'H'}, 'leave out array=H'),
    ({'select': 'rx:first'}, "select='rx:first': expected rx:0, rx:all"),
])
def test_layouts_that_are_none_are_refused_in_the_config(fields, message):
  with pytest.raises(InputError, match=message):
    DataConfig(**fields)


def test_a_layout_is_of_files_and_not_of_folders(tmp_path):
  with pytest.raises(InputError, match='is a data set folder; leave out --axes=deepmimo'):
    read_csi(tmp_path, Layout(axes='deepmimo'))
