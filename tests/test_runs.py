"""One's own runs side by side: lines, gains, words, page, CSV."""

import csv
import dataclasses
import io
import json
import re

import numpy as np
import pytest

from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import paired_gain
from rca_jax.report.runs import (
    Run,
    config_table,
    gain,
    gain_panels,
    learning_panels,
    lines,
    nmse_panels,
    nmse_table,
    read_runs,
    rows_csv,
    summary,
    ues_panels,
    write_runs,
)

ERRORS = np.random.default_rng(0).exponential(size=200)


def row(nmse_db, snr_db=10.0, method='RCA-MUNet', **fields):
  return {
      'method': method, 'compression_ratio': '1/16', 'num_ues': 2, 'snr_db': snr_db,
      'data': 'uma site 0', 'data_hash': 'abc', 'seed': 0, 'steps': 8, 'trained_ues': [2],
      'overhead': 64, 'cell': method, 'nmse_db': nmse_db,
      'nmse_ci95_db': [nmse_db - 0.1, nmse_db + 0.1], 'num_samples': len(ERRORS)} | fields


def run(name, rows, tmp_path, metrics=(), **config):
  return Run(name, tmp_path / name, rows, ExperimentConfig(**config), metrics)


@pytest.fixture
def runs(tmp_path):
  metrics = [{'stage': 'pretrain', 'step': step, 'nmse_db': -step / 100_000,
              'val_nmse_db': -5.0} for step in range(1000, 625_001, 1000)]
  tuned = {'stage': 'finetune_10db', 'steps': 9}
  return [
      run('base', [row(-9.0, errors=ERRORS), row(-5.0, 0.0)], tmp_path, metrics[:10]),
      run('new', [row(-10.0, errors=ERRORS * 0.8), row(-5.5, 0.0), row(-11.0, **tuned),
                  row(-12.0, num_ues=4, trained_ues=[2])], tmp_path, metrics, seed=1),
      Run('rows', tmp_path / 'rows.json', [row(-7.0, method='PCA/KLT', steps=0)])]


def test_lines_are_apart_by_all_but_ues_snr_and_seed(runs):
  found = lines(runs)
  assert [line.label for line in found] == ['base', 'new', 'new, fine-tuned', 'PCA/KLT']
  assert [*found[1].levels] == [(2, 10.0), (2, 0.0), (4, 10.0)]
  assert {line.label: len(line.levels) for line in found}['new, fine-tuned'] == 1
  seeds = Run('a', runs[0].path, [row(-9.0), row(-10.0, seed=1), row(-8.0, distance_m=5.0)])
  first, apart = lines([seeds])
  assert (first.label, apart.label) == ('RCA-MUNet', 'RCA-MUNet, distance_m 5.0')
  assert first.levels[2, 10.0].nmse_db.num_seeds == 2


def test_lines_of_one_name_say_whose_they_are(runs):
  other = Run('other', runs[2].path, [row(-6.0, method='PCA/KLT', steps=0)])
  assert [line.label for line in lines([runs[2], other])] == ['PCA/KLT', 'PCA/KLT (other)']


def test_the_gain_is_that_of_the_difference_on_the_same_groups(runs):
  base, new, tuned, _ = lines(runs)
  mean, interval = paired_gain(ERRORS * 0.8, ERRORS, seed=0)
  assert gain(new, base, (2, 10.0))[:3] == (mean, *interval)
  assert mean == pytest.approx(-10 * np.log10(0.8))
  assert gain(new, base, (2, 0.0))[:2] == (0.5, None)  # no values by group
  assert gain(tuned, base, (2, 10.0))[:2] == (2.0, None)
  assert gain(new, base, (4, 10.0)) is None


@pytest.mark.parametrize('fields', [{'data_hash': 'other'}, {'distance_m': 5.0}])
def test_other_groups_are_never_paired(runs, fields):
  other = lines([runs[1]._replace(rows=[row(-10.0, errors=ERRORS * 0.8, **fields)])])[0]
  assert gain(other, lines(runs)[0], (2, 10.0)).low is None


def test_panels_show_every_level_and_no_gain_of_the_first(runs):
  found = lines(runs)
  two, four = nmse_panels(found)
  assert (two.title, four.title) == ('2 UEs', '4 UEs')
  assert {curve.label: {snr: point.value for snr, point in curve.points.items()}
          for curve in two.curves} == {
      'base': {10.0: -9.0, 0.0: -5.0}, 'new': {10.0: -10.0, 0.0: -5.5},
      'new, fine-tuned': {10.0: -11.0}, 'PCA/KLT': {10.0: -7.0}}
  (gains,) = gain_panels(found)
  assert [curve.label for curve in gains.curves] == ['new', 'new, fine-tuned', 'PCA/KLT']
  colors = {curve.label: curve.color for curve in two.curves}
  assert all(curve.color == colors[curve.label] for curve in (*gains.curves, *four.curves))
  (learning,) = learning_panels(runs)
  assert [(curve.label, len(curve.points)) for curve in learning.curves] == [
      ('base', 10), ('base, val', 10), ('new', 625), ('new, val', 625)]


def test_a_training_of_one_line_is_seen(runs):
  (learning,) = learning_panels([runs[0]._replace(metrics=runs[0].metrics[:1])])
  assert {curve.style for curve in learning.curves} == {'o'}


def test_more_ues_have_a_panel_where_they_were_measured(runs):
  (panel,) = ues_panels(lines(runs))
  assert [(curve.label, [*curve.points]) for curve in panel.curves] == [('new', [2, 4])]
  assert panel.title == '10 dB' and panel.curves[0].points[4].value == -12.0
  assert ues_panels(lines(runs[:1])) == []


def test_of_too_many_lines_those_with_most_points_are_drawn(runs):
  few = [row(-1.0 - i, variant=f'v{i}') for i in range(20)]
  many = [row(-30.0, snr_db, variant='last') for snr_db in (0.0, 10.0, 20.0)]
  (panel,) = nmse_panels(lines([Run('a', runs[0].path, [*few, *many])]))
  drawn = [curve.label for curve in panel.curves]
  assert len(drawn) == 10 and 'RCA-MUNet, last' in drawn and drawn[0].endswith('v0')


def test_tables_have_what_was_measured_and_dashes(runs):
  table = nmse_table(lines(runs))
  assert table.head == ('', 'UEs', '0 dB', '10 dB')
  assert table.body[0] == ('base', '2', '-5.00 (-5.10 .. -4.90)', '-9.00 (-9.10 .. -8.90)')
  assert table.body[-1] == ('new', '4', '-', '-12.00 (-12.10 .. -11.90)')
  noise_free = nmse_table(lines([runs[2]._replace(rows=[row(-4.0, None, steps=0)])]))
  assert noise_free.head == ('', 'UEs', 'noise-free')


def test_configs_are_shown_where_they_differ(runs):
  table = config_table(runs)
  assert table.head == ('field', 'base', 'new') and table.body == [('config.seed', '0', '1')]
  alone = config_table([runs[1]])
  assert alone.head == ('field', 'new', 'the default')
  assert alone.body == [('config.seed', '1', '0')]
  assert config_table([runs[0]]) is None and config_table([runs[2]]) is None


def test_the_summary_says_who_is_best_by_how_much_and_how_far_trainings_are(runs):
  compared = [runs[0], runs[1]._replace(rows=runs[1].rows[:1])]
  what, best, trained = summary(compared, lines(compared))
  assert 'base, new: CR 1/16' in what and '200 groups' in what
  assert best.startswith('At 10 dB and 2 UEs new has the lowest NMSE: -10.00 (-10.10 .. -9.90) dB')
  assert '+0.97 (' in best and best.endswith('dB over base.')
  assert 'base is at 10,000 of 625,000 steps' in trained
  assert trained.endswith(
      'new is at 625,000 of 625,000 steps; in the last tenth of them the training NMSE changed by '
      '-0.63 dB; val is 1.25 dB above it.')


def test_a_difference_that_the_groups_do_not_show_is_called_so(runs):
  noise = np.random.default_rng(1).exponential(size=200)
  close = runs[1]._replace(rows=[row(-9.01, errors=ERRORS * 0.999 + 0.3 * (noise - 1).clip(-0.1))])
  compared = [runs[0]._replace(rows=runs[0].rows[:1]), close]
  assert gain(*lines(compared)[::-1], (2, 10.0)).low < 0
  text = summary(compared, lines(compared))[1]
  assert 'do not show to be a difference' in text


def test_the_page_is_whole_and_csv_has_every_row(runs, tmp_path):
  written = {path.name for path in write_runs(tmp_path / 'out', runs, text=['<first>'])}
  assert written == {'report.html', 'rows.csv', *(
      f'{name}.{kind}' for name in ('nmse', 'gain', 'ues', 'learning') for kind in ('png', 'pdf'))}
  page = (tmp_path / 'out' / 'report.html').read_text()
  assert not re.search(r'(src|href)="(?!data:)', page) and page.count('data:image/png') == 5
  assert '&lt;first&gt;' in page
  lines_read = [*csv.DictReader(io.StringIO(rows_csv(lines(runs))))]
  assert [float(line['nmse_db']) for line in lines_read] == [
      -9.0, -5.0, -10.0, -5.5, -12.0, -11.0, -7.0]
  new = lines_read[2]
  assert (new['line'], new['stage'], new['nmse_low_db']) == ('new', 'pretrain', '-10.1')
  assert float(new['gain_db']) == pytest.approx(0.97, abs=0.01) and new['gain_low_db']
  assert lines_read[0]['gain_db'] == ''


def test_a_run_that_is_not_measured_says_how(finished, tmp_path):
  (alone,) = read_runs([finished])
  assert alone.metrics and not alone.rows
  assert summary([alone], [])[0] == (
      f'Nothing is measured yet: rca evaluate --workdir={finished}.')
  written = write_runs(tmp_path, [alone])
  assert {'learning.png', 'csi.png'} <= {path.name for path in written}
  assert 'typical' not in (tmp_path / 'report.html').read_text().partition('<img')[0]


def test_a_report_needs_no_test_groups(finished, tmp_path):
  (run,) = read_runs([finished])
  gone = dataclasses.replace(run.config, data=dataclasses.replace(
      run.config.data, test_path='none.npz'))
  written = write_runs(tmp_path, [run._replace(config=gone)])
  assert 'csi.png' not in {path.name for path in written}
  assert 'Not drawn: none.npz' in (tmp_path / 'report.html').read_text()


def test_runs_have_names_that_tell_them_apart(tmp_path):
  for folder in ('a', 'b'):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'results.json').write_text(json.dumps([row(-1.0)]))
  paths = [tmp_path / folder / 'results.json' for folder in ('a', 'b')]
  assert [run.name for run in read_runs(paths)] == [*map(str, paths)]
  assert [run.name for run in read_runs(paths[:1])] == ['results']
  with pytest.raises(InputError, match='none: no such run; expected a folder of `rca train`'):
    read_runs([tmp_path / 'none'])
  with pytest.raises(InputError, match='nothing was trained or measured'):
    write_runs(tmp_path, [Run('a', tmp_path, [])])
