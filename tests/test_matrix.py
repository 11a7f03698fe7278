import dataclasses
import functools
import json
import signal

import numpy as np
import pytest

from rca_jax.config import ExperimentConfig, from_dict, to_dict
from rca_jax.errors import InputError, Stopped
from rca_jax.evaluation import matrix, rows
from rca_jax.evaluation.matrix import Cell, merge, missing, run_matrix, select
from rca_jax.evaluation.results import append_rows, read_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.training.loop import fit

pytestmark = pytest.mark.usefixtures('quick_compilation', 'shared_programs')
AT_0DB, AT_10DB = Measurement(0.0), Measurement(10.0)
TUNED = Measurement(10.0, stage='finetune_10db')


@pytest.fixture(scope='module')
def cells(file_config):
  """A network, a reference, and the network from another seed; on a file."""
  config = dataclasses.replace(
      file_config, training=dataclasses.replace(file_config.training, finetune_snr_db=(10.0,)))
  linear = dataclasses.replace(
      config, method='PCA/KLT', model=dataclasses.replace(config.model, compression_ratio='1/4'))
  return [
      Cell(config, (AT_0DB, TUNED), 'tiny'),
      Cell(linear, (AT_0DB, Measurement(None)), 'tiny'),
      Cell(dataclasses.replace(config, seed=1), (TUNED, AT_10DB), 'tiny', 'other_seed')]


def results(out):
  return [
      {name: value for name, value in row.items() if name != 'commit'}
      for row in read_rows(out / 'results.json')]


def row_of(cell, item, steps=8):
  """The row of a measurement, but for its scores."""
  return rows.describe(cell.config, item, steps, rows.test_data(cell.config))


def test_ids_follow_from_the_config_alone(cells):
  first = cells[0]
  read_back = from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(first.config))))
  assert Cell(read_back, (), 'paper', 'again').id == first.id
  assert len({cell.id for cell in cells}) == 3
  longer = dataclasses.replace(first.config.training.pretrain, num_steps=10)
  training = dataclasses.replace(first.config.training, pretrain=longer)
  assert first._replace(config=dataclasses.replace(first.config, training=training)).id != first.id


def test_rows_of_another_default_are_of_another_cell(monkeypatch):
  cell = Cell(ExperimentConfig(), (AT_10DB,), 'paper')
  found = [row_of(cell, AT_10DB, cell.config.training.pretrain.num_steps)]
  assert missing(cell, found) == []
  # As after a change of the default: the same config file then makes another network.
  wider = dataclasses.replace(cell.config.model, mlp_dim=2 * cell.config.model.mlp_dim)
  monkeypatch.setattr(ExperimentConfig.__init__, '__defaults__', tuple(
      wider if value == cell.config.model else value
      for value in ExperimentConfig.__init__.__defaults__))
  changed = cell._replace(config=ExperimentConfig())
  assert changed.config.model == wider and missing(changed, found) == [AT_10DB]


def test_a_field_that_came_later_does_not_change_ids_where_it_means_what_its_absence_meant(
    cells, monkeypatch):
  first = cells[0]
  before = {name: value for name, value in to_dict(first.config.model).items() if (
      name != 'shortcut')}
  monkeypatch.setattr(rows, 'to_dict', lambda config: to_dict(config) | {'model': before})
  without = first.id
  monkeypatch.undo()
  assert first.id != without
  monkeypatch.setitem(rows.ABSENT_MEANS, 'model.shortcut', False)
  assert first.id == without
  model = dataclasses.replace(first.config.model, shortcut=True)
  assert first._replace(config=dataclasses.replace(first.config, model=model)).id != without


def test_another_generator_makes_other_cells(cells, monkeypatch):
  before = cells[0].id
  monkeypatch.setattr(rows, 'GENERATOR_VERSION', -1)
  assert cells[0].id != before


def test_names_tell_method_ratio_ues_variant_and_seed(cells):
  assert [cell.name for cell in cells] == [
      'RCA-MUNet-cr2-2ues-seed0', 'PCA-KLT-cr4-2ues-seed0', 'RCA-MUNet-cr2-2ues-other_seed-seed1']


def test_one_ratio_has_one_id_and_one_name_however_it_is_written(cells):
  def of(ratio):
    config = cells[0].config
    model = dataclasses.replace(config.model, compression_ratio=ratio)
    return Cell(dataclasses.replace(config, model=model), (), 'tiny')

  written = [of(ratio) for ratio in ('1/2', '0.5', '2/4', '.50')]
  assert {(cell.id, cell.name, cell.config.model.compression_ratio) for cell in written} == {
      (cells[0].id, 'RCA-MUNet-cr2-2ues-seed0', '1/2')}
  assert [of(ratio).name for ratio in ('1', '3/8', '1/8')] == [
      f'RCA-MUNet-cr{text}-2ues-seed0' for text in ('1', '3_8', '8')]


def test_a_cell_counts_the_groups_of_all_its_stages(cells):
  assert [cell.num_groups for cell in cells] == [2 * 8 * 8, 0, 2 * 8 * 8]


def test_cells_of_one_config_are_merged_in_order(cells):
  network, reference, other = cells
  again = Cell(network.config, (AT_10DB, AT_0DB), 'tiny', 'again')
  found = merge([network, reference, again, other])
  assert found == [
      network._replace(measurements=(AT_0DB, TUNED, AT_10DB)), reference, other]
  assert merge(found) == found


def test_patterns_select_by_name_or_id(cells):
  assert select(cells, []) == cells
  assert select(cells, ['RCA-MUNet-*']) == [cells[0], cells[2]]
  assert select(cells, ['*-seed1', 'PCA*', 'RCA*']) == [cells[2], cells[1], cells[0]]
  assert select(cells, [cells[2].id]) == [cells[2]]
  with pytest.raises(InputError, match=r"'BL1' fits none of 3 cells, e.g. RCA-MUNet-cr2"):
    select(cells, ['RCA*', 'BL1'])


def test_what_has_a_row_of_this_cell_is_not_missing(cells, tmp_path):
  network, other = cells[0], cells[2]
  found = [row_of(network, AT_0DB), row_of(other, TUNED, 16)]
  append_rows(tmp_path / 'results.json', found)
  found = read_rows(tmp_path / 'results.json')
  assert missing(network, []) == [AT_0DB, TUNED]
  assert missing(network, found) == [TUNED]
  assert missing(other, found) == [AT_10DB]


@pytest.mark.parametrize('change', [
    {'steps': 4}, {'num_groups': 5}, {'data_hash': 'of_another'}, {'cell': 'another'}])
def test_rows_of_less_training_or_other_groups_do_not_count(cells, change):
  found = row_of(cells[0], AT_0DB)
  assert missing(cells[0], [found]) == [TUNED]
  assert missing(cells[0], [found | change]) == [AT_0DB, TUNED]


@pytest.mark.parametrize('change', [
    {'num_ues': 3}, {'stage': 'finetune_10db'}, {'channel': 'awgn'}, {'distance_m': 1.0},
    {'snr_error_db': 3.0}, {'code_rate': 2 / 3}, {'qam_order': 64}, {'snr_db': None},
    {'num_lost': 1}])
def test_every_field_of_a_measurement_tells_rows_apart(cells, change):
  changed = dataclasses.replace(AT_0DB, **change)
  cell = cells[0]._replace(measurements=(AT_0DB, changed))
  steps = 16 if 'stage' in change else 8
  assert missing(cell, [row_of(cell, changed, steps)]) == [AT_0DB]


def test_what_cannot_stand_in_a_row_is_refused_before_any_training(cells, tmp_path, fitted):
  path = tmp_path / 'mini$1.npz'
  np.savez(path, csi=np.ones((2, 2, 4, 8), np.complex64))
  config = cells[0].config
  config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, test_path=str(path)))
  with pytest.raises(InputError, match=r"data='mini\$1.npz' cannot stand in a results row"):
    run_matrix([cells[0]._replace(config=config)], tmp_path / 'out')
  assert fitted == []


def test_trains_and_measures_what_is_missing(cells, one_device, tmp_path, monkeypatch):
  monkeypatch.setattr(matrix, 'fit', functools.partial(fit, mesh=one_device))
  network, reference, _ = cells
  first = [network, reference]
  run_matrix(first, tmp_path)
  found = results(tmp_path)
  assert [(row['cell'], row['snr_db'], row['stage'], row['steps']) for row in found] == [
      (network.id, 0, 'pretrain', 8), (network.id, 10, 'finetune_10db', 16),
      (reference.id, 0, 'pretrain', 0), (reference.id, None, 'pretrain', 0)]
  checkpoints = [str(path) for path in tmp_path.glob('runs/*/checkpoints/*/*')]
  assert {path.split('/')[-4] for path in checkpoints} == {f'{network.name}-{network.id}'}

  # More to measure on the network: it is not trained again.
  wider = network._replace(measurements=(AT_10DB, *network.measurements))
  run_matrix([wider, reference], tmp_path)
  assert results(tmp_path)[:-1] == found and missing(wider, results(tmp_path)) == []
  assert results(tmp_path)[-1]['stage'] == 'pretrain'
  assert [str(path) for path in tmp_path.glob('runs/*/checkpoints/*/*')] == checkpoints

  before = (tmp_path / 'results.json').read_bytes()
  for name in ('fit', 'measure', 'reference_rows', 'append_rows'):
    monkeypatch.setattr(matrix, name, forbidden)
  run_matrix([wider, reference], tmp_path)
  assert (tmp_path / 'results.json').read_bytes() == before


def forbidden(*_, **__):
  raise AssertionError('called without need')


@pytest.fixture
def fitted(monkeypatch):
  """Nothing is trained, rows are made up; lists the seeds that were fitted and how far."""
  seeds = []

  def fit(config, workdir, make_progress, until):
    seeds.append((config.seed, until))
    make_progress('pretrain', 0, 8, 8, 'new groups').update(8, -1.0, 0.1, None)

  def measure(config, steps, measurements):
    for item in measurements:
      yield rows.describe(config, item, steps[item.stage], rows.test_data(config))

  def references(config, measurements):
    return list(measure(config, {'pretrain': 0}, measurements))

  monkeypatch.setattr(matrix, 'fit', fit)
  monkeypatch.setattr(matrix, 'load_weights', lambda *_: {'pretrain': 8, 'finetune_10db': 16})
  monkeypatch.setattr(matrix, 'measure', measure)
  monkeypatch.setattr(matrix, 'reference_rows', references)
  return seeds


@pytest.fixture
def whole(cells, fitted, tmp_path):
  """The rows of an uninterrupted matrix."""
  run_matrix(cells, tmp_path / 'whole')
  fitted.clear()
  return results(tmp_path / 'whole')


def test_every_measurement_has_its_row_once(cells, whole):
  assert [row['cell'] for row in whole] == [cell.id for cell in cells for _ in range(2)]
  assert [missing(cell, whole) for cell in cells] == [[], [], []]
  assert [row['variant'] for row in whole] == [''] * 4 + ['other_seed'] * 2
  assert {row['preset'] for row in whole} == {'tiny'}


def test_a_signal_ends_the_matrix_and_the_next_call_continues(
    cells, whole, fitted, tmp_path, monkeypatch):

  def stopped(config, *arguments, of=matrix.fit, **named):
    of(config, *arguments, **named)
    if config.seed:
      raise Stopped('stopped at step 4', signal.SIGTERM)

  with monkeypatch.context() as patch, pytest.raises(Stopped):
    patch.setattr(matrix, 'fit', stopped)
    run_matrix(cells, tmp_path)
  assert results(tmp_path) == whole[:4]
  monkeypatch.setattr(matrix, 'reference_rows', forbidden)
  run_matrix(cells, tmp_path)
  assert results(tmp_path) == whole
  assert fitted == [(0, 'pretrain'), (0, ''), (1, 'pretrain'), (1, 'pretrain'), (1, '')]


@pytest.mark.parametrize('rows_before', range(6))
def test_a_kill_costs_no_row_and_doubles_none(
    cells, whole, fitted, tmp_path, monkeypatch, rows_before):

  def killed(path, rows):
    if len(read_rows(path)) == rows_before:
      raise KeyboardInterrupt
    append_rows(path, rows)

  with monkeypatch.context() as patch:
    patch.setattr(matrix, 'append_rows', killed)
    with pytest.raises(KeyboardInterrupt):
      run_matrix(cells, tmp_path)
  assert results(tmp_path) == whole[:rows_before]
  fitted.clear()
  run_matrix(cells, tmp_path)
  assert results(tmp_path) == whole
  # The other seed's stage 1 comes before its fine-tuning, whose row stands first in the cell.
  order = [(0, 'pretrain'), (0, ''), (1, 'pretrain'), (1, '')]
  assert fitted == order[{0: 0, 1: 1, 5: 3}.get(rows_before, 2):]


def test_one_that_diverges_does_not_keep_the_others_from_their_rows(
    cells, whole, fitted, tmp_path, monkeypatch):

  def diverging(config, *arguments, of=matrix.fit, **named):
    if config.seed == 0:
      raise FloatingPointError('the loss is nan')
    return of(config, *arguments, **named)

  monkeypatch.setattr(matrix, 'fit', diverging)
  with pytest.raises(FloatingPointError, match='RCA-MUNet-cr2-2ues-seed0: the loss is nan'):
    run_matrix(cells, tmp_path)
  assert results(tmp_path) == whole[2:]


def test_the_progress_names_every_cell(cells, whole, tmp_path, capsys):
  run_matrix(cells, tmp_path / 'whole')
  run_matrix(cells[:1], tmp_path)
  assert [line.partition('  ')[0] for line in capsys.readouterr().err.splitlines()[-4:]] == [
      *(f'cell {place}/3 {cell.name}' for place, cell in enumerate(cells, 1)),
      f'cell 1/1 {cells[0].name}']
