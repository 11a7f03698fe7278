import collections
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import pytest

from configs import rca_munet
from configs.reproduce import EXPERIMENTS, PRESETS, get_cells
from rca_jax.config import ExperimentConfig, from_dict, stages, to_dict
from rca_jax.errors import InputError
from rca_jax.evaluation import rows
from rca_jax.evaluation.matrix import missing, select
from rca_jax.evaluation.references import REFERENCES
from rca_jax.evaluation.results import append_rows, read_rows
from rca_jax.evaluation.run import check_measurement

ROOT = pathlib.Path(__file__).parents[1]
ALL_METHODS = {*rca_munet.METHODS, *REFERENCES, 'SSCC'}


def launch(*arguments, output=subprocess.PIPE, **environment):
  return subprocess.Popen(
      [sys.executable, '-m', 'launch.reproduce', *arguments], cwd=ROOT, text=True, stdout=output,
      stderr=output, env=os.environ | {'JAX_PLATFORMS': 'cpu'} | environment)


@pytest.mark.parametrize('preset', PRESETS)
def test_every_cell_can_be_trained_and_measured(preset):
  for cell in get_cells(preset):
    config = cell.config
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert cell.measurements and len(set(cell.measurements)) == len(cell.measurements)
    trained = {stage.name for stage in stages(config)}
    for item in cell.measurements:
      assert item.stage in trained and item.num_ues >= 2
      # Groups so far apart are drawn, see `load_test_csi`.
      assert not item.distance_m or (
          item.num_ues == 2 and item.distance_m <= 0.75 * config.csi.cell_size_m)
      if config.method in REFERENCES:
        assert item == rows.Measurement(item.snr_db, item.num_ues)
      else:
        check_measurement(config, item)  # refuses what the network does not have
        assert config.model.network != 'summation_fusion' or item.num_ues == config.num_ues


@pytest.mark.parametrize('preset', PRESETS)
def test_names_and_ids_tell_cells_apart(preset):
  cells = get_cells(preset)
  assert len({cell.name for cell in cells}) == len({cell.id for cell in cells}) == len(cells)


@pytest.mark.parametrize('preset', PRESETS)
def test_sscc_has_four_points_at_the_overhead_of_djscc(preset):
  points, curves = collections.defaultdict(set), {}
  for cell in get_cells(preset, ['fig4']):
    for item in cell.measurements:
      overhead, snr_db = rows.overhead(cell.config, item), item.snr_db
      if cell.config.method == 'SSCC':
        points[overhead, snr_db].add((cell.id, item.code_rate, item.qam_order))
      elif cell.config.method == 'RCA-MUNet' and item.stage == 'pretrain':
        curves[overhead, snr_db] = cell.config.model.compression_ratio
  assert points.keys() == curves.keys()
  assert set(curves.values()) == set(PRESETS[preset].bits)
  assert min(map(len, points.values())) >= 4


@pytest.mark.parametrize('preset', PRESETS)
def test_table1_has_every_method_at_every_ratio_and_snr(preset):
  sizes, found = PRESETS[preset], set()
  for cell in get_cells(preset, ['table1']):
    for item in cell.measurements:
      found.add((
          cell.config.method, cell.config.model.compression_ratio, cell.config.seed, item.snr_db,
          item.stage))
  for ratio in sizes.ratios:
    for snr_db in sizes.snrs_db:
      assert {(method, ratio, seed, snr_db, stage) for method in rca_munet.METHODS
              for seed in sizes.seeds for stage in ('pretrain', f'finetune_{snr_db:g}db')} <= found
      assert {(method, ratio, 0, snr_db, 'pretrain') for method in ('PCA/KLT', 'genie')} <= found
    assert ('CDL-OP', ratio, 0, None, 'pretrain') in found
  assert {method for method, *_ in found} == ALL_METHODS - {'SSCC'}


@pytest.mark.parametrize('preset', PRESETS)
def test_experiments_are_parts_of_the_whole(preset):
  measurements = {cell.id: set(cell.measurements) for cell in get_cells(preset)}
  parts = collections.defaultdict(set)
  for name in EXPERIMENTS:
    cells = get_cells(preset, [name])
    assert cells, name
    for cell in cells:
      parts[cell.id] |= set(cell.measurements)
  assert parts == measurements
  assert {cell.config.method for cell in get_cells(preset)} == ALL_METHODS


def test_an_unknown_experiment_is_refused():
  with pytest.raises(InputError, match='--only=table9: unknown; choose of table1, fig3'):
    get_cells('tiny', ['fig3', 'table9'])


@pytest.mark.parametrize('preset', ['small', 'paper'])
def test_other_numbers_of_steps_change_nothing_else(preset):
  usual, shorter = get_cells(preset), get_cells(preset, (), 3000, 1000)
  assert [cell.name for cell in shorter] == [cell.name for cell in usual]
  for cell, short in zip(usual, shorter, strict=True):
    pretrain, finetune = {
        'finetune_twice_as_long': (3000, 2000), 'batch_4_times': (750, 250)}.get(
            cell.variant, (3000, 1000))
    _, _, times = cell.variant.partition('muon_cosine-')
    pretrain = round(float(times.removesuffix('x') or 1) * pretrain)
    assert short.config.training.pretrain.num_steps == pretrain
    assert short.config.training.finetune.num_steps == finetune
    assert short.measurements == cell.measurements
    # These warm-ups must leave room for what follows.
    if cell.variant not in ('warmup_5_times', 'adam_noam'):
      training = dataclasses.replace(
          short.config.training, **{name: dataclasses.replace(
              getattr(short.config.training, name),
              num_steps=getattr(cell.config.training, name).num_steps)
              for name in ('pretrain', 'finetune')})
      assert dataclasses.replace(short.config, training=training) == cell.config


@pytest.mark.parametrize('preset', PRESETS)
def test_networks_can_compute_in_bfloat16_and_references_stay(preset):
  usual, reduced = get_cells(preset), get_cells(preset, dtype='bfloat16')
  for cell, other in zip(usual, reduced, strict=True):
    is_reference = cell.config.method in REFERENCES
    assert other.config.model.dtype == ('float32' if is_reference else 'bfloat16')
    assert (other.id == cell.id) == is_reference and other.name == cell.name


def test_the_list_says_what_is_missing(tmp_path):
  cells = select(get_cells('tiny', ['table1']), ['BL1-*', 'genie-*'])
  config, tuned = cells[0].config, cells[0].measurements[0]
  row = rows.describe(config, tuned, 16, rows.test_data(config))
  append_rows(tmp_path / 'results.json', [row])
  arguments = ['--preset=tiny', '--only=table1', '--cells=BL1-*,genie-*', f'--out={tmp_path}']
  before = sorted(tmp_path.iterdir())
  process = launch(*arguments, '--list', '--format=json', COLUMNS='40')
  out, error = process.communicate(timeout=120)
  assert process.returncode == 0 and error == ''
  assert [list(row.values()) for row in json.loads(out)] == [
      [cells[0].name, cells[0].id, 128, 2, 1], [cells[1].name, cells[1].id, 0, 1, 1]]
  assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('arguments, message', [
    (['--preset=tiny'], '--out is missing'),
    (['--cells=BL9*', '--list'], "'BL9*' fits none of 44 cells")])
def test_a_wrong_flag_is_one_line(arguments, message):
  process = launch(*arguments)
  out, error = process.communicate(timeout=120)
  assert process.returncode == 2 and out == ''
  assert error.startswith('error: ') and message in error and error.count('\n') == 1


def files_of(cells, out):
  """When what the runs of some cells have left was last changed."""
  return {
      path: path.stat().st_mtime_ns for cell in cells
      for path in (out / 'runs' / f'{cell.name}-{cell.id}').rglob('*')}


@pytest.mark.slow
def test_the_tiny_matrix_is_killed_and_continues_to_its_end(tmp_path):
  """Needs the `sscc` extra."""
  pytest.importorskip('sionna')
  cells, results, log = get_cells('tiny'), tmp_path / 'results.json', tmp_path / 'log'
  deadline = time.monotonic() + 30 * 60  # minutes, if the machine is free

  def start():
    with log.open('a') as output:
      return launch(
          '--preset=tiny', f'--out={tmp_path}', output=output, JAX_DISABLE_MOST_OPTIMIZATIONS='1')

  process = start()
  # The first cell is then complete, and the second one is being measured.
  while len(read_rows(results)) <= len(cells[0].measurements):
    assert process.poll() is None and time.monotonic() < deadline, log.read_text()
    time.sleep(0.05)
  process.kill()
  process.wait()
  kept = read_rows(results)
  assert missing(cells[0], kept) == [] and missing(cells[1], kept) != []
  finished = files_of(cells[:1], tmp_path)
  assert any('checkpoints' in path.parts for path in finished)

  assert start().wait(deadline - time.monotonic()) == 0, log.read_text()
  found = read_rows(results)
  assert found[:len(kept)] == kept
  assert files_of(cells[:1], tmp_path) == finished
  assert [missing(cell, found) for cell in cells] == [[]] * len(cells)
  assert len(found) == sum(len(cell.measurements) for cell in cells)
  assert {row['method'] for row in found} == ALL_METHODS
  assert all(math.isfinite(row['nmse_db']) for row in found)
  assert 'Warning' not in log.read_text()
