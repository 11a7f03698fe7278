import dataclasses
import functools
import re

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from rca_jax.config import ExperimentConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.report import figures, paper
from rca_jax.report.levels import gain_db, level, pick, tuned_level
from rca_jax.report.page import write_report
from rca_jax.report.tables import compare, table1, table2
from rca_jax.report.variants import data_table, shortcut_table


def row(method, nmse_db, **fields):
  return {
      'method': method, 'compression_ratio': '1/16', 'num_ues': 2, 'snr_db': 10.0,
      'data': 'uma site 0', 'seed': 0, 'nmse_db': nmse_db,
      'nmse_ci95_db': [nmse_db - 0.1, nmse_db + 0.2], 'num_samples': 1000, 'steps': 2000,
      'commit': 'abc', 'trained_ues': [2], 'overhead': 64, 'stage': 'pretrain', 'preset': 'small',
      'variant': '', 'cell': f'{method}-cell'} | fields


TUNED = {'stage': 'finetune_10db'}


@pytest.fixture(scope='module')
def rows():
  """One row of every kind that launch.reproduce writes."""
  snrs_db = (0.0, 10.0, 20.0)
  found = [
      row('RCA-MUNet', -16.123, **TUNED), row('RCA-MUNet', -15.5, snr_db=20.0),
      row('BL1', -14.377, **TUNED), row('BL3', -15.04, **TUNED),
      row('CDL-OP', -4.55, snr_db=None), row('PCA/KLT', -9.4), row('genie', -27.0),
      *(row('RCA-MUNet', -17.0 - m, num_ues=m, trained_ues=[m], **TUNED) for m in (3, 4)),
      *(row('RCA-MUNet', -15.0 - m, num_ues=m, trained_ues=[2, 3, 4], variant='mixed', **TUNED)
        for m in (2, 3, 4, 6))]
  for snr_db in snrs_db:
    found += [
        row('SSCC', -8.0 - snr_db / 4, snr_db=snr_db, variant='64_2', code_rate=0.5, qam_order=16),
        row('RCA-MUNet', -12.0, snr_db=snr_db, channel='rayleigh_block_fading_equalised'),
        row('BL1', -11.0, snr_db=snr_db, channel='rayleigh_block_fading_equalised')]
  for metres in (1.0, 10.0):
    found += [row('RCA-MUNet', -16.0 + metres / 10, distance_m=metres, **TUNED),
              row('BL1', -14.4, distance_m=metres, **TUNED)]
  found += [row('BL2', -12.0 + error / 3, snr_error_db=error) for error in (-3.0, 3.0)]
  found += [row('RCA-MUNet', -14.0, variant='warmup_5_times', **stage) for stage in ({}, TUNED)]
  found += [row('RCA-MUNet', -17.2, variant='shortcut', **TUNED), row(
      'BL1', -15.01, variant='shortcut', **TUNED), row('BL4', -16.0, variant='shortcut', **TUNED)]
  found += [
      row(method, nmse_db - steps / 8000, variant=f'muon_cosine{times}', steps=steps, **stage)
      for stage in ({}, TUNED) for times, steps in (('', 2000), ('-8x', 16000))
      for method, nmse_db in (('RCA-MUNet', -15.0), ('BL1', -14.0))]
  found += [row('CDL-OP', nmse_db, snr_db=None, variant='fresh', compression_ratio=ratio)
            for ratio, nmse_db in (('1/4', -10.02), ('1/16', -4.71))]
  found += [row('BL1', -9.5, variant='fresh', **TUNED)]
  return found


def test_plain_rows_are_those_without_anything_special(rows):
  assert [r['nmse_db'] for r in pick(rows, method='RCA-MUNet', num_ues=2, **TUNED)] == [-16.123]
  assert level(rows, method='RCA-MUNet', compression_ratio='1/4') is None


def test_seeds_are_joined_linearly():
  both = [row('BL1', -10.0), row('BL1', -20.0, seed=1)]
  joined = level(both, method='BL1')
  assert joined.nmse_db == pytest.approx(10 * np.log10((0.1 + 0.01) / 2))
  assert joined.seeds_db == {0: -10.0, 1: -20.0}
  assert level([*both, row('BL1', -12.0)], method='BL1').seeds_db == {0: -12.0, 1: -20.0}


def test_gains_are_those_of_the_same_seeds():
  found = [row('BL1', -10.0), row('BL1', -20.0, seed=1), row('RCA-MUNet', -11.0)]
  cells = {method: level(found, method=method) for method in ('BL1', 'RCA-MUNet', 'BL3')}
  assert gain_db(cells['RCA-MUNet'], cells['BL1']) == pytest.approx(1.0)
  assert gain_db(cells['RCA-MUNet'], cells['BL3']) is None
  assert gain_db(cells['RCA-MUNet'], level(found[1:2], method='BL1')) is None


def test_a_curve_is_of_one_seed(rows):
  others = [row('RCA-MUNet', -30.0, seed=1, snr_db=0.0), row('RCA-MUNet', -30.0, seed=1, **TUNED)]
  for draw in (figures.fig4, functools.partial(figures.fig3, snr_db=10.0)):
    alone, beside = (
        {line.get_label(): line.lines[0].get_ydata().tolist()
         for axis in draw(found).axes for line in axis.containers}
        for found in (rows, [*rows, *others]))
    assert alone == beside and len(alone) > 2


def test_fine_tuned_weights_go_before_those_of_stage_1(rows):
  assert tuned_level(rows, 10.0, method='BL1').nmse_db == pytest.approx(-14.377)
  assert tuned_level(rows, 20.0, method='RCA-MUNet', num_ues=2).nmse_db == pytest.approx(-15.5)


def test_table_1_shows_measured_numbers_the_papers_and_their_gains(rows):
  table = table1(rows)
  cells = {tuple(line[:2]): dict(zip(table.head, line, strict=True)) for line in table.body}
  assert len(cells) == 12
  here = cells['1/16', '10 dB']
  assert here['RCA-MUNet'] == '-16.12 (-16.22 .. -15.92) [-16.76]'
  assert here['gain over BL1'] == '+1.75 [+2.07]'
  assert here['gain over BL3'] == '+1.08 [+1.07]'
  assert here['CDL-OP'] == '-4.55 (-4.65 .. -4.35) [-4.71]'
  assert here['BL5'] == '- [-15.00]' and here['BL4-textbook'] == '-'
  assert cells['1/32', '0 dB']['RCA-MUNet'] == '- [-5.61]'
  assert 'uma site 0' in table.caption and 'small' in table.caption
  assert 'RCA-MUNet 2,000' in table.caption
  assert compare(None, None) == '-'


def test_no_number_of_the_paper_stands_as_measured():
  table = table1([row('BL1', -14.0, **TUNED)])
  for line in table.body:
    for name, cell in zip(table.head[2:], line[2:], strict=True):
      assert cell.startswith('-14.00') or cell == '-' or cell.startswith('- ['), (name, cell)


def test_the_papers_numbers_are_in_order():
  assert len(paper.TABLE1) == 12
  for cells in paper.TABLE1.values():  # the paper's claim: ours beats every baseline
    assert min(cells) == cells[paper.TABLE1_METHODS.index('RCA-MUNet')]
  assert paper.table1('BL3', '1/8', 10.0) == -17.89
  assert paper.table1('BL3', '1/8', None) is None


def test_data_table_tells_how_far_the_papers_cdl_op_is(rows):
  table = data_table(rows)
  default, fresh = (dict(zip(table.head, line, strict=True)) for line in table.body)
  assert (default['data'], fresh['data']) == ('default', 'fresh')
  assert default['CDL-OP 1/16'] == '-4.55 (-4.65 .. -4.35) [-4.71]' and default['apart'] == '0.16'
  assert fresh['CDL-OP 1/8'] == '- [-7.59]'
  assert fresh['apart'] == '0.71'  # of 1.0 and 0.0
  assert fresh['BL1 1/16, 10 dB'] == '-9.50 (-9.60 .. -9.30) [-14.69]'
  assert data_table([found for found in rows if found['variant'] != 'fresh']) is None


def test_shortcut_table_has_both_gains(rows):
  table = shortcut_table(rows)
  assert table.head[4:] == ('BL1', 'BL4', 'RCA-MUNet', 'gain of RCA-MUNet over BL1')
  for line, shortcut, gain in zip(table.body, ('no', 'yes'), ('+1.75', '+2.19'), strict=True):
    assert line[:3] == ('1/16', '10 dB', shortcut) and line[3].startswith('-9.40 ')
    assert line[-1] == gain
  assert table.body[0][5] == '-' and table.body[1][5].startswith('-16.00 ')
  assert shortcut_table([row('BL1', -3.0)]) is None


def test_table_2_counts_single_user_networks_for_one_ue():
  ours = ExperimentConfig(model=ModelConfig(compression_ratio='1/8'))
  single = dataclasses.replace(ours, method='BL1', model=dataclasses.replace(
      ours.model, attention='self', final_norm=True))
  body = {line[0]: line for line in table2([ours, single]).body}
  assert body['RCA-MUNet'][2:7] == ('2', '5,549,184', '5.55 M', '289,827,840', '289.83 M')
  assert body['BL1'][2:7] == ('1', '5,549,952', '5.55 M', '144,963,072', '144.96 M')


DRAWN = (lambda rows: figures.fig3(rows, 10.0), figures.fig4, figures.distance, figures.uplink,
         figures.told_wrongly, figures.schedule, figures.length)


@pytest.mark.parametrize('draw', DRAWN)
def test_every_panel_has_data_and_no_rows_make_no_figure(rows, draw):
  assert draw([row('BL2', -3.0, stage='finetune_0db')]) is None
  figure = draw(rows)
  for axis in figure.axes:
    drawn = [line for line in axis.get_lines() if np.isfinite(line.get_ydata(orig=False)).any()]
    assert drawn and axis.get_xlabel() + axis.get_ylabel()
  plt.close(figure)


def test_figures_show_the_rows_levels(rows):
  figure = figures.fig3(rows, 10.0)
  drawn = {
      round(float(y), 6) for line in figure.axes[0].get_lines()
      for y in line.get_ydata(orig=False)}
  assert {-16.123, -14.377, -20.0, -21.0, -27.0} <= drawn
  plt.close(figure)


def test_longer_training_is_compared_at_equal_steps(rows):
  figure = figures.length([*rows, row('BL1', -30.0, variant='muon_cosine-4x', steps=8000, **TUNED)])
  bottom = figure.axes[1].get_lines()[0]
  np.testing.assert_array_equal(bottom.get_xdata(), [2000, 8000, 16000])
  np.testing.assert_allclose(bottom.get_ydata(), [1.0, np.nan, 1.0])
  schedules = figures.schedule(rows).axes[0].get_yticklabels()
  assert [label.get_text() for label in schedules] == ['default', 'warmup 5 times', 'muon cosine']
  plt.close('all')


def test_the_report_is_whole_and_opens_offline(rows, tmp_path):
  before = plt.get_fignums()
  written = {path.name for path in write_report(tmp_path, rows, [ExperimentConfig()])}
  figures_of = {f'{name}.{suffix}' for suffix in ('png', 'pdf') for name in (
      'fig3', 'fig4', 'distance', 'uplink', 'told_wrongly', 'schedule', 'length')}
  assert written == figures_of | {
      'report.html', 'table1.md', 'table2.md', 'data.md', 'shortcut.md'}
  page = (tmp_path / 'report.html').read_text()
  assert not re.search(r'(src|href)="(?!data:)', page)
  assert page.count('data:image/png') == 7
  for found in rows:  # every number can be traced to a row
    assert f'<td>{found["nmse_db"]:.4g}</td>' in page
  assert plt.get_fignums() == before


def test_rows_of_no_or_several_presets_are_input_errors(rows, tmp_path):
  for wrong in ([], [*rows, row('BL1', -1.0, preset='tiny')]):
    with pytest.raises(InputError, match='a report shows one'):
      write_report(tmp_path, wrong, [])


def test_matplotlib_needs_no_display():
  assert matplotlib.get_backend().lower() == 'agg'
