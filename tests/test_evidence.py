"""A wrong reading is refused by where its power lies, and the right one is named."""

import functools
import re

import imitations
import jax
import numpy as np
import pytest
import scipy.io

from rca_jax.channel import paths, response, sample_positions, sample_site
from rca_jax.config import CsiConfig, Layout
from rca_jax.data.files import read_csi
from rca_jax.data.formats.angular_delay import delays_and_angles
from rca_jax.data.formats.evidence import complaint
from rca_jax.errors import InputError

CONFIG = CsiConfig(num_delay_taps=16, num_tx_antennas=16, num_subcarriers=64)
H = imitations.propagation()  # [ue, antenna, carrier]
FEW = imitations.propagation(num_carriers=16)  # as many carriers as antennas and rows
CSI = np.fft.ifft2(H).swapaxes(1, 2)[:, None, :16]  # [group, ue, delay, angle]
FREQUENCY = np.fft.fft2(CSI)
PANEL = imitations.propagation(num_antennas=8)[:, :, None] * np.exp(
    2j * np.random.default_rng(1).uniform(size=(40, 1, 1, 1)) * np.pi * np.arange(2)[:, None])


def flags_in(message):
  """The layouts that a message names."""
  return [Layout(array, axes) for array, axes in re.findall(
      r'--array=([\w,]*) --axes=([\w,-]+)', message)]


def refused(path, **arrays):
  np.savez(path, **arrays)
  with pytest.raises(InputError) as error:
    read_csi(path, config=CONFIG)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('name, array, message, axes', [
    ('csi', FREQUENCY, 'its delay axis is no delay axis', 'group,ue,subcarrier,antenna'),
    ('csi', H.swapaxes(1, 2)[:, None], 'its delay axis is no delay', 'group,ue,subcarrier,antenna'),
    ('csi', CSI.swapaxes(2, 3), 'delays and angles look swapped', 'group,ue,angle,delay'),
    ('csi', FREQUENCY.swapaxes(2, 3), 'is no delay axis', 'group,ue,antenna,subcarrier'),
    ('csi', np.fft.fft(CSI), 'its angle axis is no angle axis', 'group,ue,delay,antenna'),
    ('csi', np.fft.ifft2(FREQUENCY.conj()), 'half of its delays holds', 'group,ue,-delay,angle'),
    ('channel', FEW.swapaxes(1, 2)[:, None], 'look swapped', 'ue,rx,subcarrier,antenna'),
    ('channel', FEW[:, None].conj(), 'turn as e^(+j 2 pi f tau)', 'ue,rx,antenna,-subcarrier'),
    ('channel', H[:, None, :, ::-1], 'run from high to low', 'ue,rx,antenna,-subcarrier'),
    ('channel', np.fft.ifft(H)[:, None], 'is no delay axis', 'ue,rx,antenna,delay'),
])
def test_a_wrong_orientation_is_refused_and_the_right_one_named(
    tmp_path, name, array, message, axes):
  text = refused(tmp_path / 'a.npz', **{name: array})
  assert message in text and '--config.data.axes' in text
  found = flags_in(text)
  # As many as the power allows, and last what was tried.
  assert Layout(name, axes) in found[:-1], text
  for layout in found:
    csi = read_csi(tmp_path / 'a.npz', layout, config=CONFIG).csi  # what is said is believed
    if layout.axes == axes and '-' not in axes:
      expected = np.fft.ifft2(FEW if array.shape[-1] == array.shape[-2] == 16 and name == 'channel'
                              else H).swapaxes(1, 2)[:, :16]
      expected /= np.sqrt(np.mean(np.abs(expected)**2, (1, 2), keepdims=True))
      np.testing.assert_allclose(csi[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize('array, axes', [
    (H, 'ue,antenna,subcarrier'), (H.swapaxes(1, 2), 'ue,subcarrier,antenna'),
    (FEW, 'ue,antenna,subcarrier'), (np.stack([H.real, H.imag], -1), 'ue,antenna,subcarrier,re_im'),
    (np.stack([H.real, H.imag], 1), 'ue,re_im,antenna,subcarrier'),
    (H.reshape(20, 2, 16, 64), 'group,ue,antenna,subcarrier'),
    (H[:, None], 'ue,rx,antenna,subcarrier'), (CSI[:, 0], 'ue,delay,angle'),
    (H.transpose(1, 2, 0), 'antenna,subcarrier,ue')])
def test_an_unknown_array_is_not_read_but_its_readings_are_named(tmp_path, array, axes):
  text = refused(tmp_path / 'a.npz', H=array, other=np.ones(3))
  assert 'holds no array of a known format (its arrays: H' in text
  assert axes in [layout.axes for layout in flags_in(text)]


def test_real_and_imaginary_parts_are_found_in_two_arrays(tmp_path):
  text = refused(tmp_path / 'a.npz', h_imag=H.imag, h_real=H.real)
  assert flags_in(text)[0] == Layout('h_real,h_imag', 'ue,antenna,subcarrier')


def test_two_readings_that_fit_are_both_named(tmp_path):
  """A .mat array `csi` with a first axis of 1 may be our own or QuaDRiGa's."""
  rng = np.random.default_rng(0)
  csi = rng.normal(size=(1, 30, 16, 16)) + 1j * rng.normal(size=(1, 30, 16, 16))
  scipy.io.savemat(tmp_path / 'a.mat', {'csi': csi})
  with pytest.raises(InputError, match='can be read in 2 ways') as error:
    read_csi(tmp_path / 'a.mat', config=CONFIG)
  assert [layout.axes for layout in flags_in(str(error.value))] == [
      'group,ue,delay,angle', 'rx,antenna,subcarrier,ue']
  # Where the power decides, one is left.
  scipy.io.savemat(tmp_path / 'b.mat', {'csi': H.transpose(1, 2, 0)[None]})
  assert read_csi(tmp_path / 'b.mat', config=CONFIG).csi.shape == (40, 1, 16, 16)


def test_an_array_that_is_no_ulas_is_refused(tmp_path):
  channel = PANEL.transpose(0, 2, 1, 3).reshape(40, 1, 16, 64)
  text = refused(tmp_path / 'a.npz', channel=channel)
  assert 'no uniform linear array: their phase jumps after every 8' in text
  layout = Layout('channel', 'ue,rx,antenna,subcarrier')
  groups = read_csi(tmp_path / 'a.npz', layout, config=CONFIG)
  assert groups.csi.shape == (40, 1, 16, 16)


def test_too_few_ues_or_independent_numbers_are_not_judged():
  rng = np.random.default_rng(0)
  for shape in ((36, 4, 8), (500, 16, 16), (30, 8, 4)):
    numbers = rng.normal(size=(*shape, 2)) @ [1, 1j]
    assert complaint(numbers, CsiConfig(num_delay_taps=shape[1])) == ''
  assert complaint(FREQUENCY[:8], CONFIG) == '' != complaint(FREQUENCY, CONFIG)


@pytest.fixture(scope='module')
def sites():
  """100 environments."""
  return jax.jit(jax.vmap(functools.partial(sample_site, config=CsiConfig())))(
      jax.random.split(jax.random.key(0), 100))


@functools.partial(jax.jit, static_argnums=1)
def csi_of(found, config):
  return response.normalise(
      response.delay_angle(response.taps(found, config), config))


@pytest.mark.slow
@pytest.mark.usefixtures('quick_compilation')
@pytest.mark.parametrize('mode', ['site', 'fresh'])
@pytest.mark.parametrize('scenario', ['uma', 'uma_los', 'uma_nlos', 'multipath'])
def test_csi_of_the_generator_is_never_refused(scenario, mode, sites):
  sites = sites.replace(config=CsiConfig(scenario=scenario))
  positions = sample_positions(jax.random.key(1), sites.config, 100, 2)
  if mode == 'fresh':
    found = jax.jit(jax.vmap(paths))(sites, positions)
  else:
    found = jax.jit(paths)(jax.tree.map(lambda leaf: leaf[0], sites), positions)
  for num_rows, num_antennas, num_carriers in ((4, 8, 64), (16, 16, 1024), (32, 32, 1024)):
    config = CsiConfig(  # of the scenario nothing is left in the paths
        num_delay_taps=num_rows, num_tx_antennas=num_antennas, num_subcarriers=num_carriers)
    csi = np.asarray(csi_of(found, config))
    for start in range(0, 90, 10):
      assert complaint(csi[start:start + 20], config) == ''
    frequency = np.fft.fft2(csi)
    assert complaint(frequency, config) and complaint(np.fft.fft(csi, axis=-1), config)
    assert complaint(delays_and_angles(frequency, True, True), config) == ''
