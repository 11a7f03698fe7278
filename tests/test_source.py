import dataclasses
import functools

import imitations
import jax
import numpy as np
import pytest

from rca_jax.baselines.genie import genie_nmse
from rca_jax.data.source import array_source, training_source
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.evaluation.rows import test_data as data_of_rows
from rca_jax.evaluation.run import evaluate_run, load_weights, measure
from rca_jax.training.loop import fit
from rca_jax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures('quick_compilation')


def with_data(config, **changes):
  return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def groups_of(source, *shape):
  """All groups [G, *shape] of an `array_source`."""
  rows, _ = source.arrays
  parts = rows.reshape(len(rows), 2, *shape)
  return parts[:, 0] + 1j * parts[:, 1]


@pytest.fixture(scope='module')
def csi_file(random_csi, tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'groups.npz'
  np.savez(path, csi=random_csi)
  return str(path)


@pytest.mark.parametrize('num_groups, batch_size', [(10, 4), (5, 8), (6, 6)])
def test_a_file_is_visited_once_an_epoch_in_ever_new_order(num_groups, batch_size):
  csi = (1 - 2j) * np.arange(num_groups, dtype=np.complex64).reshape(num_groups, 1, 1, 1)
  source = array_source(csi, batch_size, jax.random.key(0))
  batch = jax.jit(source.batch)
  visited = np.concatenate([
      batch(source.arrays, jax.random.key(1), np.int32(step)).ravel()
      for step in range(4 * num_groups)])
  assert visited.dtype == np.complex64 and np.array_equal(visited.imag, -2 * visited.real)
  visited = visited.real
  epochs = visited.reshape(-1, num_groups)
  assert len(epochs) == 4 * batch_size
  assert np.all(np.sort(epochs, axis=1) == np.arange(num_groups))
  assert len({tuple(epoch) for epoch in epochs}) > len(epochs) // 2


def test_a_batch_far_into_a_run_does_not_overflow():
  csi = np.arange(3, dtype=np.complex64).reshape(3, 1, 1, 1)
  source = array_source(csi, 2, jax.random.key(0))
  first = 2**31 - 5
  assert first % 3 == 0
  # Three steps of 2 from a multiple of 3 on: two epochs of a file of 3.
  visited = np.concatenate([
      source.batch(source.arrays, jax.random.key(1), np.int32(first + back)).real.ravel()
      for back in range(3)])
  assert np.all(np.sort(visited.reshape(2, 3), axis=1) == np.arange(3))


def test_a_file_gives_the_first_ues_at_unit_power(tiny_config, csi_file, random_csi):
  source = training_source(with_data(tiny_config, path=csi_file))
  csi = groups_of(source, 2, 4, 8)
  assert len(csi) == 12
  np.testing.assert_allclose(np.mean(np.abs(csi) ** 2, axis=(-2, -1)), 1, rtol=1e-5)
  ratio = random_csi[:, :2] / csi
  np.testing.assert_allclose(ratio, np.broadcast_to(ratio[..., :1, :1], ratio.shape), rtol=1e-4)


def test_files_of_other_tools_are_trained_on(tiny_config, tmp_path):
  path = imitations.sionna(tmp_path / 'cir.npz')
  csi = dataclasses.replace(
      tiny_config.csi, num_delay_taps=imitations.NUM_ROWS, num_tx_antennas=imitations.NUM_ANTENNAS)
  config = with_data(dataclasses.replace(tiny_config, csi=csi), path=str(path))
  found = groups_of(
      training_source(config), 2, imitations.NUM_ROWS, imitations.NUM_ANTENNAS)
  expected = imitations.expected_csi().reshape(2, 3, *found.shape[2:])
  np.testing.assert_allclose(found, expected[:, :2], atol=1e-5)


def test_files_are_trained_and_tested_on_by_the_names_of_their_axes(tiny_config, tmp_path):
  h = imitations.response().reshape(2, 3, imitations.NUM_ANTENNAS, imitations.NUM_CARRIERS)
  np.savez(tmp_path / 'h.npz', H=np.stack([h.real, h.imag], -1))
  csi = dataclasses.replace(
      tiny_config.csi, num_delay_taps=imitations.NUM_ROWS, num_tx_antennas=imitations.NUM_ANTENNAS)
  config = with_data(
      dataclasses.replace(tiny_config, csi=csi), path=str(tmp_path / 'h.npz'),
      test_path=str(tmp_path / 'h.npz'), array='H', axes='group,ue,antenna,subcarrier,re_im')
  expected = imitations.expected_csi().reshape(2, 3, imitations.NUM_ROWS, imitations.NUM_ANTENNAS)
  np.testing.assert_allclose(load_test_csi(config, 3), expected, atol=1e-5)
  found = groups_of(training_source(config), *expected[0, :2].shape)
  np.testing.assert_allclose(found, expected[:, :2], atol=1e-5)
  with pytest.raises(InputError, match='holds no array of a known format'):
    training_source(with_data(config, array='', axes=''))


def test_too_few_ues_or_other_sizes_are_refused(tiny_config, csi_file):
  config = with_data(tiny_config, path=csi_file)
  with pytest.raises(InputError, match='have 3 UEs, num_ues=4'):
    training_source(dataclasses.replace(config, num_ues=4))
  wide = dataclasses.replace(config.csi, num_tx_antennas=16)
  with pytest.raises(InputError, match=r'expected \[group, ue, 4, 16\].*num_delay_taps=4 '
                                       '--config.csi.num_tx_antennas=8'):
    training_source(dataclasses.replace(config, csi=wide))


def test_files_with_silent_ues_are_trained_and_tested_on_if_asked(
    file_config, one_device, random_csi, tmp_path):
  csi = random_csi.copy()
  csi[0, 1] = csi[4, :2] = 0
  path = tmp_path / 'silent.npz'
  np.savez(path, csi=csi)
  training = dataclasses.replace(file_config.training, finetune_snr_db=())
  refused = with_data(
      dataclasses.replace(file_config, training=training), path=str(path), test_path=str(path))
  with pytest.raises(InputError, match=r'csi\[0, 1\] is all zeros; .*data.allow_silent=True'):
    training_source(refused)
  config = with_data(refused, allow_silent=True)
  assert len(load_test_csi(config, 2)) == 11 and len(load_test_csi(config, 3)) == 12
  fit(config, tmp_path / 'run', one_device)
  assert all(np.isfinite(list(line.values())[1:]).all() for line in read_metrics(tmp_path / 'run'))
  (row,) = evaluate_run(tmp_path / 'run', [10.0], [2])
  assert row['num_samples'] == 11 and np.isfinite([row['nmse_db'], row['rho']]).all()
  weights = load_weights(tmp_path / 'run', config, ['pretrain'])
  measured = functools.partial(measure, refused, weights, [Measurement(10.0)], data=str(path))
  with pytest.raises(InputError, match='--allow_silent'):
    list(measured())
  assert list(measured(allow_silent=True))[0]['nmse_db'] == row['nmse_db']
  linear = dataclasses.replace(
      config, method='PCA/KLT', model=dataclasses.replace(config.model, compression_ratio='1/4'))
  (row,) = reference_rows(linear, [Measurement(None)])
  assert row['num_samples'] == 11 and row['nmse_db'] < 0


def test_training_file_is_no_test_file(tiny_config, csi_file):
  config = with_data(tiny_config, path=csi_file)
  with pytest.raises(InputError, match='a single file has no test split; give'):
    load_test_csi(config, 2)
  assert load_test_csi(with_data(config, test_path=csi_file), 3, 5).shape == (5, 3, 4, 8)


def test_generated_test_groups_grow_by_appending(tiny_config):
  few = load_test_csi(tiny_config, 2, 3)
  more = load_test_csi(tiny_config, 3, 6)
  assert few.shape == (3, 2, 4, 8) and more.shape == (6, 3, 4, 8)
  # Another number of UEs is another program: a place rounded by 1e-5 m turns a phase by 1e-3.
  np.testing.assert_allclose(few, more[:3, :2], atol=5e-3)
  assert len({complex(group[0, 0, 0]) for group in more}) == 6


def test_test_pairs_are_repeatable_and_correlate_with_nearness(tiny_config):
  near, again, far = (load_test_csi(tiny_config, 2, 20, distance_m=d) for d in (0.1, 0.1, 40.0))
  assert near.shape == (20, 2, 4, 8)
  np.testing.assert_array_equal(near, again)

  def likeness(csi):
    magnitude = np.abs(csi).reshape(20, 2, -1)
    return np.mean(np.sum(magnitude[:, 0] * magnitude[:, 1], -1) / 32)

  assert likeness(near) > likeness(far) + 0.05


def test_more_ues_at_a_distance_are_in_a_disc_so_wide(tiny_config):
  csi = dataclasses.replace(tiny_config.csi, max_ue_distance_m=3.0)
  np.testing.assert_array_equal(
      load_test_csi(tiny_config, 3, 5, distance_m=3.0),
      load_test_csi(dataclasses.replace(tiny_config, csi=csi), 3, 5))


@pytest.mark.parametrize('num_ues, distance_m, message', [
    (3, 80.0, 'leaves no room in a cell'),
    (2, 80.0, 'hardly fit into a cell of csi.cell_size_m=60'),
    (2, -1.0, 'must be positive')])
def test_impossible_pairs_are_input_errors(tiny_config, num_ues, distance_m, message):
  with pytest.raises(InputError, match=message):
    load_test_csi(tiny_config, num_ues, 20, distance_m=distance_m)


def test_groups_of_another_time_are_at_the_same_places_and_other_data(tiny_config):
  """LOS CSI keeps most of its power; a change of all clusters is none of the LOS path."""
  config = dataclasses.replace(
      with_data(tiny_config, num_test_groups=30),
      csi=dataclasses.replace(tiny_config.csi, scenario='uma_los'))
  before, all_changed, some_changed = (
      load_test_csi(with_data(config, redrawn_ground=share), 2) for share in (0.0, 1.0, 0.3))
  same = (before == some_changed).all((-2, -1))
  assert 0.4 < same.mean() < 0.95 and not (before == all_changed).all((-2, -1)).any()
  alike = np.abs((before.conj() * all_changed).mean((-2, -1)))
  assert np.median(alike) > 0.4  # independent CSI: 0.18
  names, hashes = zip(*(
      data_of_rows(with_data(config, **changes))
      for changes in ({}, {'redrawn_ground': 0.5}, {'moved_scatterers': 0.05})), strict=True)
  assert names == ('uma_los site 0',) + 2 * ('uma_los site 0 at another time',)
  assert len(set(hashes)) == 3


@pytest.mark.parametrize('changes, message', [
    ({'moved_scatterers': 1.5}, r'data.moved_scatterers=1.5 must be from 0 to 1'),
    ({'redrawn_ground': 0.5, 'path': 'a.npz'}, 'leave out data.path'),
    ({'redrawn_ground': 0.5, 'test_path': 'a.npz'}, 'leave out data.path')])
def test_changes_that_have_no_meaning_are_one_line(tiny_config, changes, message):
  with pytest.raises(InputError, match=message):
    with_data(tiny_config, **changes)
  with pytest.raises(InputError, match="csi.mode='site'"):
    with_data(dataclasses.replace(
        tiny_config, csi=dataclasses.replace(tiny_config.csi, mode='fresh')), redrawn_ground=0.1)
  with pytest.raises(InputError, match='at its first time only'):
    genie_nmse(with_data(tiny_config, redrawn_ground=0.1), [10.0], 1)
