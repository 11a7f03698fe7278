import dataclasses
import functools
import json

import numpy as np
import pytest

from rca_jax.config import ExperimentConfig, from_dict, to_dict
from rca_jax.errors import InputError
from rca_jax.evaluation import matrix
from rca_jax.evaluation.matrix import Cell, merge, missing, run_matrix, select
from rca_jax.evaluation.results import append_rows, read_rows
from rca_jax.evaluation.run import Measurement
from rca_jax.training.loop import fit
from rca_jax.training.workdir import claim, read_config

pytestmark = pytest.mark.usefixtures('quick_compilation')
AT_0DB, AT_10DB = Measurement(0.0), Measurement(10.0)
TUNED = Measurement(10.0, stage='finetune_10db')


@pytest.fixture(scope='module')
def cells(tiny_config, random_csi, tmp_path_factory):
  """A network, a reference, and the network from another seed; on a file."""
  path = tmp_path_factory.mktemp('data') / 'groups.npz'
  np.savez(path, csi=random_csi)
  config = dataclasses.replace(
      tiny_config, data=dataclasses.replace(tiny_config.data, path=str(path), test_path=str(path)),
      model=dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0),
      training=dataclasses.replace(tiny_config.training, finetune_snr_db=(10.0,)))
  return [
      Cell(config, (AT_0DB, TUNED), 'tiny'),
      Cell(dataclasses.replace(config, method='PCA/KLT'), (AT_0DB, Measurement(None)), 'tiny'),
      Cell(dataclasses.replace(config, seed=1), (TUNED, AT_10DB), 'tiny', 'other_seed')]


def results(out):
  return [
      {name: value for name, value in row.items() if name != 'commit'}
      for row in read_rows(out / 'results.json')]


def test_ids_follow_from_the_config_alone(cells):
  first = cells[0]
  read_back = from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(first.config))))
  assert Cell(read_back, (), 'paper', 'again').id == first.id
  assert len({cell.id for cell in cells}) == 3
  longer = dataclasses.replace(first.config.training.pretrain, num_steps=10)
  training = dataclasses.replace(first.config.training, pretrain=longer)
  assert first._replace(config=dataclasses.replace(first.config, training=training)).id != first.id


def test_names_tell_method_ratio_ues_variant_and_seed(cells):
  assert [cell.name for cell in cells] == [
      'RCA-MUNet-cr2-2ues-seed0', 'PCA-KLT-cr2-2ues-seed0', 'RCA-MUNet-cr2-2ues-other_seed-seed1']


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
  rows = [
      {'cell': network.id, 'num_ues': 2, 'snr_db': 0, 'stage': 'pretrain', 'nmse_db': -1.0},
      {'cell': other.id, 'num_ues': 2, 'snr_db': 10.0, 'stage': 'finetune_10db'},
      {'num_ues': 2, 'snr_db': 10.0, 'stage': 'finetune_10db'}]  # of launch.evaluate
  append_rows(tmp_path / 'results.json', rows)
  rows = read_rows(tmp_path / 'results.json')
  assert missing(network, []) == [AT_0DB, TUNED]
  assert missing(network, rows) == [TUNED]
  assert missing(other, rows) == [AT_10DB]


@pytest.mark.parametrize('change', [
    {'num_ues': 3}, {'stage': 'finetune_10db'}, {'channel': 'awgn'}, {'distance_m': 1.0},
    {'snr_error_db': 3.0}, {'code_rate': 2 / 3}, {'qam_order': 64}, {'snr_db': None}])
def test_every_field_of_a_measurement_tells_rows_apart(cells, change):
  changed = dataclasses.replace(AT_0DB, **change)
  cell = cells[0]._replace(measurements=(AT_0DB, changed))
  row = {'cell': cell.id} | {
      name: value for name, value in dataclasses.asdict(changed).items()
      if value or name == 'snr_db'}
  assert missing(cell, [row]) == [AT_0DB]


def test_trains_and_measures_what_is_missing(cells, one_device, tmp_path, monkeypatch):
  monkeypatch.setattr(matrix, 'fit', functools.partial(fit, mesh=one_device))
  network, reference, _ = cells
  first = [network, reference]
  assert run_matrix(first, tmp_path)
  rows = results(tmp_path)
  assert [(row['cell'], row['snr_db'], row['stage'], row['steps']) for row in rows] == [
      (network.id, 0, 'pretrain', 8), (network.id, 10, 'finetune_10db', 16),
      (reference.id, 0, 'pretrain', 0), (reference.id, None, 'pretrain', 0)]
  checkpoints = [str(path) for path in tmp_path.glob('runs/*/checkpoints/*/*')]
  assert {path.split('/')[-4] for path in checkpoints} == {f'{network.name}-{network.id}'}

  # More to measure on the network: it is not trained again.
  wider = network._replace(measurements=(AT_10DB, *network.measurements))
  assert run_matrix([wider, reference], tmp_path)
  assert results(tmp_path)[:-1] == rows and missing(wider, results(tmp_path)) == []
  assert results(tmp_path)[-1]['stage'] == 'pretrain'
  assert [str(path) for path in tmp_path.glob('runs/*/checkpoints/*/*')] == checkpoints

  before = (tmp_path / 'results.json').read_bytes()
  for name in ('fit', 'measure', 'reference_rows', 'append_rows'):
    monkeypatch.setattr(matrix, name, forbidden)
  assert run_matrix([wider, reference], tmp_path)
  assert (tmp_path / 'results.json').read_bytes() == before


def forbidden(*_, **__):
  raise AssertionError('called without need')


@pytest.fixture
def fitted(monkeypatch):
  """Nothing is trained, rows are made up; lists the seeds that were fitted and how far."""
  seeds = []

  def fit(config, workdir, make_progress, until):
    seeds.append((config.seed, until))
    workdir.mkdir(parents=True, exist_ok=True)
    claim(workdir, config)
    make_progress('pretrain', 0, 8, 8).update(8, -1.0, 0.1)
    return True

  def rows(config, measurements):
    for item in measurements:
      yield dataclasses.asdict(item) | {'method': config.method, 'seed': config.seed}

  monkeypatch.setattr(matrix, 'fit', fit)
  monkeypatch.setattr(matrix, 'measure', lambda workdir, todo: rows(read_config(workdir), todo))
  monkeypatch.setattr(matrix, 'reference_rows', lambda *arguments: list(rows(*arguments)))
  return seeds


@pytest.fixture
def whole(cells, fitted, tmp_path):
  """The rows of an uninterrupted matrix."""
  assert run_matrix(cells, tmp_path / 'whole')
  fitted.clear()
  return results(tmp_path / 'whole')


def test_every_measurement_has_its_row_once(cells, whole):
  assert [row['cell'] for row in whole] == [cell.id for cell in cells for _ in range(2)]
  assert [missing(cell, whole) for cell in cells] == [[], [], []]
  assert [row['variant'] for row in whole] == [''] * 4 + ['other_seed'] * 2
  assert {row['preset'] for row in whole} == {'tiny'}


def test_sigterm_ends_the_matrix_and_the_next_call_continues(
    cells, whole, fitted, tmp_path, monkeypatch):

  def stopped(config, *arguments, of=matrix.fit, **named):
    return of(config, *arguments, **named) and config.seed == 0

  with monkeypatch.context() as patch:
    patch.setattr(matrix, 'fit', stopped)
    assert run_matrix(cells, tmp_path) is False
  assert results(tmp_path) == whole[:4]
  monkeypatch.setattr(matrix, 'reference_rows', forbidden)
  assert run_matrix(cells, tmp_path)
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
  assert run_matrix(cells, tmp_path)
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
  assert run_matrix(cells, tmp_path / 'whole')
  assert run_matrix(cells[:1], tmp_path)
  assert [line.partition('  ')[0] for line in capsys.readouterr().err.splitlines()[-4:]] == [
      *(f'cell {place}/3 {cell.name}' for place, cell in enumerate(cells, 1)),
      f'cell 1/1 {cells[0].name}']
