import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

from rca_jax.config import ExperimentConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.evaluation import references
from rca_jax.report import figures, paper
from rca_jax.report.levels import (
    REFERENCES,
    Estimate,
    apart,
    best_trained,
    choose,
    gain_db,
    level,
    newest,
    pick,
    sections,
    with_errors,
)
from rca_jax.report.panels import Curve, Panel, draw
from rca_jax.report.reproduction import write_report
from rca_jax.report.tables import cell, nmse_cell, table1, table2
from rca_jax.report.takeaways import WORDS, better
from rca_jax.report.variants import data_table, shortcut_table, ues_table


def row(method, nmse_db, **fields):
  return {
      'method': method, 'compression_ratio': '1/16', 'num_ues': 2, 'snr_db': 10.0,
      'data': 'uma site 0', 'seed': 0, 'nmse_db': nmse_db,
      'nmse_ci95_db': [nmse_db - 0.1, nmse_db + 0.2], 'num_samples': 1000,
      'steps': 0 if method in REFERENCES else 2000,
      'commit': 'abc', 'trained_ues': [2], 'overhead': 64, 'stage': 'pretrain', 'preset': 'small',
      'variant': '', 'cell': f'{method}-cell'} | fields


TUNED = {'stage': 'finetune_10db'}


def test_every_method_without_training_is_known_as_one():
  known = {*references.REFERENCES, *references.BAYES, *references.WITH_MAP}
  assert {*REFERENCES} == known


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
              row('BL1', -14.4, distance_m=metres, **TUNED),
              *(row(method, nmse_db, num_ues=num_ues, distance_m=metres) for num_ues in (2, 8)
                for method, nmse_db in (
                    ('joint Bayes', -4.0 - num_ues / metres), ('joint Bayes (alone)', -4.0)))]
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
  assert level(pick(rows, method='RCA-MUNet', compression_ratio='1/4')) is None


def test_seeds_are_joined_linearly_and_their_interval_is_that_of_the_seeds():
  joined = level([row('BL1', -10.0), row('BL1', -20.0, seed=1)])
  assert joined.nmse_db.value == pytest.approx(10 * np.log10((0.1 + 0.01) / 2))
  assert joined.nmse_db[1:] == (-20.0, -10.0, 2)
  assert level([row('BL1', -10.0)]).nmse_db == Estimate(-10.0, -10.1, -9.8)
  assert nmse_cell(joined) == '-12.60 (-20.00 .. -10.00, 2 seeds)'


@pytest.mark.parametrize('field, values, flag', [
    ('data', ('test.npz', 'other.npz'), '--data=other.npz'),
    ('data_hash', ('aaaaaaaaaaaa', 'bbbbbbbbbbbb'), '--data=bbbbbbbbbbbb'),
    ('steps', (2000, 4000), '--steps=4000'), ('dtype', ('float32', 'bfloat16'), '--dtype=bfloat16'),
    ('cell', ('a1', 'b2'), '--without_cells=a1 or --without_cells=b2'),
    ('init_weights', ('', 'tiny'), 'results.json: report one of them from a file of its own')])
def test_rows_that_differ_in_more_than_the_seed_are_never_joined(field, values, flag):
  found = [row('BL1', -10.0, **{field: value}) for value in values]
  with pytest.raises(InputError, match=re.escape(flag)):
    level(found)
  found[1]['seed'] = 1
  if field == 'cell':  # a seed is a part of the config
    assert level(found).nmse_db.num_seeds == 2
  else:
    with pytest.raises(InputError, match=f'{field} {values[0]} and with {field} {values[1]}'):
      level(found)


def test_seeds_on_other_numbers_of_groups_are_refused_with_the_cells_of_both():
  found = [row('BL1', -10.0, cell='a1'), row('BL1', -11.0, cell='b2', seed=1, num_groups=50)]
  with pytest.raises(InputError, match=re.escape(
      'without num_groups and with num_groups 50; choose with --without_cells=a1 or '
      '--without_cells=b2.')):
    level(found)


def test_rows_say_the_same_with_and_without_what_goes_without_saying():
  with_dtype = row('BL1', -11.0, dtype='float32', channel='', device='cpu', commit='new')
  assert newest([row('BL1', -10.0), with_dtype]) == [with_dtype]
  bfloat16 = row('BL1', -11.0, dtype='bfloat16')
  assert newest([row('BL1', -10.0), bfloat16]) == [row('BL1', -10.0), bfloat16]


def test_curves_of_several_lengths_are_apart_and_say_so():
  found = [row('RCA-MUNet', -9.0 - i, snr_db=snr_db, steps=steps)
           for i, (snr_db, steps) in enumerate(
               [(0.0, 2000), (10.0, 2000), (0.0, 4000), (10.0, 4000)])]
  parts = apart(found, along=('snr_db',))
  assert {name: [r['nmse_db'] for r in part] for name, part in parts.items()} == {
      '2,000 steps': [-9.0, -10.0], '4,000 steps': [-11.0, -12.0]}
  sscc = row('SSCC', -8.0, variant='64_2', code_rate=0.5, qam_order=16)
  (panel,) = figures.fig4([*found, sscc])
  assert {curve.label: len(curve.points) for curve in panel.curves} == {
      'DJSCC, stage 1 only, 2,000 steps': 2, 'DJSCC, stage 1 only, 4,000 steps': 2,
      'SSCC, 64 values of 2 bits, code rate 1/2, 16-QAM': 1}


def test_gains_are_those_of_the_same_seeds_and_lengths():
  found = [row('BL1', -10.0), row('BL1', -20.0, seed=1), row('RCA-MUNet', -11.0)]
  ours, baseline = level(found[2:]), level(found[:2])
  assert gain_db(ours, baseline) == Estimate(pytest.approx(1.0))
  assert gain_db(ours, None) is None
  assert gain_db(ours, level(found[1:2])) is None
  assert gain_db(ours, level([row('BL1', -10.0, steps=4000)])) is None
  both = gain_db(level([*found[2:], row('RCA-MUNet', -20.5, seed=1)]), baseline)
  assert both[1:] == (0.5, 1.0, 2) and 0.5 < both.value < 1.0


def test_gain_of_one_seed_has_the_interval_of_the_paired_difference(tmp_path):
  errors = np.random.default_rng(0).exponential(size=1000).astype(np.float32)
  (tmp_path / 'errors').mkdir()
  found = []
  for method, shift_db in (('BL1', 0.0), ('RCA-MUNet', -1.5)):
    np.save(tmp_path / f'errors/{method}.npy', errors * 10 ** (shift_db / 10))
    found.append(row(method, shift_db, errors=f'{method}.npy'))
  baseline, ours = with_errors(found, tmp_path)
  np.testing.assert_allclose(gain_db(level([ours]), level([baseline]))[:3], 1.5, atol=1e-5)
  alone = with_errors([row('BL1', 0.0, errors='gone.npy')], tmp_path)
  assert gain_db(level([ours]), level(alone)) == Estimate(1.5)  # a copy without its arrays


@pytest.mark.parametrize('name, content, message', [
    ('short.npy', np.zeros(3, np.float32), r'shape \[3\].*\[1000\]'),
    ('objects.npy', np.array([{}]), 'not a readable array'),
    ('../up.npy', None, 'refused')])
def test_damaged_arrays_of_errors_are_input_errors(name, content, message, tmp_path):
  (tmp_path / 'errors').mkdir()
  if content is not None:
    np.save(tmp_path / 'errors' / name, content)
  with pytest.raises(InputError, match=message):
    with_errors([row('BL1', 0.0, errors=name)], tmp_path)


def test_a_curve_is_of_one_seed(rows):
  others = [row('RCA-MUNet', -30.0, seed=1, snr_db=0.0), row('RCA-MUNet', -30.0, seed=1, **TUNED)]
  for find in (figures.fig4, figures.fig3):
    alone, beside = find(rows), find([*rows, *others])
    assert alone == beside and len(alone[0].curves) > 2


def test_fine_tuned_weights_go_before_those_of_stage_1(rows):
  for snr_db, fields, nmse_db in ((10.0, {'method': 'BL1'}, -14.377),
                                  (20.0, {'method': 'RCA-MUNet', 'num_ues': 2}, -15.5)):
    found = level(best_trained(rows, snr_db=snr_db, **fields))
    assert found.nmse_db.value == pytest.approx(nmse_db)


def test_table_1_shows_measured_numbers_the_papers_and_their_gains(rows):
  table = table1(rows)
  cells = {line[:2]: dict(zip(table.head, line, strict=True)) for line in table.body}
  assert len(cells) == len(table.body) == 12
  here = cells['1/16', '10 dB']
  assert table.head[3:6] == ('RCA-MUNet', "paper's RCA-MUNet", 'gain over BL1')  # ours first
  for name, ours, papers in (
      ('RCA-MUNet', '-16.12 (-16.22 .. -15.92)', '-16.76'), ('gain over BL1', '+1.75', '+2.07'),
      ('gain over BL3', '+1.08', '+1.07'), ('CDL-OP', '-4.55 (-4.65 .. -4.35)', '-4.71'),
      ('BL5', '-', '-15.00')):
    assert (here[name], here[f"paper's {name}"]) == (ours, papers)
  assert 'BL4-textbook' not in here  # neither printed nor measured
  assert here['steps'] == '2,000' and cells['1/32', '0 dB']['steps'] == '-'
  assert cells['1/32', '0 dB']['RCA-MUNet'] == '-'
  assert cells['1/32', '0 dB']["paper's RCA-MUNet"] == '-5.61'
  assert cell(None) == '-' and cell(Estimate(-0.001), '+') == '+0.00'


def test_a_longer_training_has_a_line_of_its_own_in_table_1(rows):
  table = table1([*rows, row('RCA-MUNet', -18.0, steps=4000, cell='longer', **TUNED)])
  short, long = (dict(zip(table.head, line, strict=True)) for line in table.body
                 if line[:2] == ('1/16', '10 dB'))
  assert (short['steps'], long['steps']) == ('2,000', '4,000')
  assert short['RCA-MUNet'].startswith('-16.12 ') and short['gain over BL1'].startswith('+1.75')
  assert long['RCA-MUNet'].startswith('-18.00 ') and long['BL1'] == '-'
  assert long['gain over BL1'] == '-'
  assert short['PCA/KLT'] == long['PCA/KLT'] != '-'


def test_no_number_of_the_paper_stands_as_measured():
  table = table1([row('BL1', -14.0, **TUNED)])
  for line in table.body:
    for name, text in zip(table.head[3:], line[3:], strict=True):
      assert text.startswith('-14.00') or text == '-' or name.startswith("paper's"), (name, text)


def test_the_papers_numbers_are_in_order():
  assert len(paper.TABLE1) == 12
  for cells in paper.TABLE1.values():  # the paper's claim: ours beats every baseline
    assert min(cells) == cells[paper.TABLE1_METHODS.index('RCA-MUNet')]
  assert paper.table1('BL3', '1/8', 10.0) == -17.89
  assert paper.table1('BL3', '1/8', None) is None


def test_data_table_says_how_far_the_papers_cdl_op_is(rows):
  table = data_table(rows)
  papers, default, fresh = (dict(zip(table.head, line, strict=True)) for line in table.body)
  assert (default['data'], fresh['data']) == ('default, uma site 0', 'fresh, uma site 0')
  assert default['CDL-OP 1/16'] == '-4.55 (-4.65 .. -4.35)' and default['apart'] == '0.16'
  assert (papers['CDL-OP 1/16'], papers['CDL-OP 1/8'], fresh['CDL-OP 1/8']) == (
      '-4.71', '-7.59', '-')
  assert fresh['apart'] == '0.71'  # of 1.0 and 0.0
  assert fresh['BL1 1/16, 10 dB'] == '-9.50 (-9.60 .. -9.30)'
  assert papers['BL1 1/16, 10 dB'] == '-14.69'
  assert data_table([found for found in rows if found['variant'] != 'fresh']) is None


def test_shortcut_table_has_both_gains(rows):
  table = shortcut_table(rows)
  assert table.head[4:] == ('RCA-MUNet', 'its gain over BL1', 'BL1', 'BL4', 'PCA/KLT')
  for line, shortcut, gain in zip(table.body, ('no', 'yes'), ('+1.75', '+2.19'), strict=True):
    assert line[:4] == ('1/16', '10 dB', shortcut, '2,000') and line[-1].startswith('-9.40 ')
    assert line[5] == gain
  assert table.body[0][7] == '-' and table.body[1][7].startswith('-16.00 ')
  assert shortcut_table([row('BL1', -3.0)]) is None


def test_methods_for_4_ues_stand_beside_each_other_with_their_gain(rows):
  assert ues_table(rows) is None  # ours alone: Fig. 3
  more = {'num_ues': 4, 'trained_ues': [4]}
  table = ues_table([*rows, row('BL1', -20.0, **more, **TUNED), row('PCA/KLT', -9.0, **more)])
  found = {line[0]: dict(zip(table.head, line, strict=True)) for line in table.body}
  assert table.head[4:] == ('RCA-MUNet', 'its gain over BL1', 'BL1', 'PCA/KLT')
  assert [*found] == ['3', '4']
  assert found['4']['its gain over BL1'] == '+1.00' and found['3']['BL1'] == '-'
  assert found['4']['PCA/KLT'].startswith('-9.00 ')


def test_table_2_counts_single_user_networks_for_one_ue():
  ours = ExperimentConfig(model=ModelConfig(compression_ratio='1/8'))
  single = dataclasses.replace(ours, method='BL1', model=dataclasses.replace(
      ours.model, attention='self', final_norm=True))
  body = {line[0]: line for line in table2([ours, single]).body}
  assert body['RCA-MUNet'][2:7] == ('2', '5,549,184', '5.55 M', '289,827,840', '289.83 M')
  assert body['BL1'][2:7] == ('1', '5,549,952', '5.55 M', '144,963,072', '144.96 M')


@pytest.mark.parametrize('name', [name for name in figures.FIGURES if name != 'loss'])
def test_every_panel_has_data_and_no_rows_make_no_figure(rows, name):
  find = figures.FIGURES[name]
  assert find([row('BL2', -3.0, stage='finetune_0db')]) == find([]) == []
  panels = find(rows)
  assert panels and all(curve.points for panel in panels for curve in panel.curves)
  for panel, axis in zip(panels, draw(panels).axes, strict=True):
    drawn = {round(float(y), 6) for line in axis.get_lines() for y in line.get_ydata(orig=False)}
    assert {round(point.value, 6) for curve in panel.curves for point in curve.points.values()
            } <= drawn
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        curve.label for curve in panel.curves]


def test_takeaways_are_numbers_of_the_rows(rows):
  shifted = [found | {'nmse_db': found['nmse_db'] - 0.5, 'nmse_ci95_db': [-50.0, -49.0]}
             if found['method'] in ('RCA-MUNet', 'joint Bayes', 'BL2') else found for found in rows]
  said = {}
  for name, find in figures.FIGURES.items():
    if name != 'loss':
      said[name], others = (WORDS[name].found(find(part)) for part in (rows, shifted))
      assert said[name] and said[name] != others, name
  assert said['fig3'][0] == 'With 2 UEs ours is 1.75 dB better at CR 1/16 than BL1.'
  assert '"4 UEs" has the lowest NMSE, -21.00 (-21.10 .. -20.80) dB' in said['fig3'][1]
  assert said['distance'] == [
      'RCA-MUNet: +1.50 dB at 1 m, +0.60 dB at 10 m; neighbours help up to 10 m.']
  assert said['fig4'] == [
      'With feedback overhead 64 symbols DJSCC of stage 1 is 2.50 dB better at 20 dB than the best '
      'SSCC.']
  assert said['length'] == [
      'RCA-MUNet, 10 dB: 16,000 steps are 1.75 dB better than 2,000, with a gain over BL1 of +1.00 '
      'dB.']
  assert WORDS.keys() == {'site_map', *figures.FIGURES}


def test_better_says_which_way_and_where_intervals_overlap():
  low, high = Estimate(-3.0, -3.4, -2.6), Estimate(-2.5, -2.9, -2.1)
  assert better(low, high) == '0.50 dB better (the intervals overlap)'
  assert better(high, Estimate(-3.0, -3.1, -2.95)) == '0.50 dB worse'
  assert better(low, Estimate(-2.0)) == '1.00 dB better'


def test_joint_bayes_gains_over_alone_by_distance(rows):
  (panel,) = figures.joint_distance(rows)
  assert [curve.label for curve in panel.curves] == [
      '2 UEs, exactly so far apart', '8 UEs in a disc so wide']
  assert panel.curves[1].points == {
      1.0: Estimate(pytest.approx(8.0)), 10.0: Estimate(pytest.approx(0.8))}
  assert panel.title == 'CR 1/16, SNR 10 dB, seed 0'


def test_lost_reports_have_both_measures():
  found = [
      row('RCA-MUNet', -10.0 + num_lost, num_ues=4, trained_ues=[4], num_lost=num_lost,
          of_lost=of_lost, sgcs=0.9 - 0.1 * num_lost, sgcs_ci95=[0.1, 0.95])
      for num_lost in range(4) for of_lost in (False, True) if num_lost or not of_lost]
  nmse, sgcs = figures.loss(found)
  assert [len(curve.points) for curve in nmse.curves] == [4, 3]
  assert sgcs.curves[0].points[3] == Estimate(pytest.approx(0.6), 0.1, 0.95)
  assert figures.loss(found[:1]) == []


def test_figures_show_the_rows_levels(rows):
  drawn = {point.value for panel in figures.fig3(rows) for curve in panel.curves
           for point in curve.points.values()}
  assert {-16.123, -14.377, -20.0, -21.0, -27.0} <= drawn


def test_longer_training_is_compared_at_equal_steps(rows):
  nmse, gains = figures.length(
      [*rows, row('BL1', -30.0, variant='muon_cosine-4x', steps=8000, **TUNED)])
  assert [curve.label for curve in nmse.curves] == [
      'RCA-MUNet, 10 dB', 'BL1, 10 dB', 'PCA/KLT, 10 dB']
  assert gains.curves[0].points == {2000: Estimate(1.0), 16000: Estimate(1.0)}
  (panel,) = figures.schedule(rows)
  assert [*panel.names.values()] == ['default', 'warmup 5 times', 'muon cosine']


def test_ticks_stand_where_something_was_measured_and_unknown_intervals_have_no_bar():
  points = {0.5: Estimate(-3.0), 4.0: Estimate(-2.0, -2.5, -1.0)}
  (axis,) = draw([Panel([Curve('a', points, 'o-', 'C0')], 'x', 'y', log=True)]).axes
  assert [text.get_text() for text in axis.get_xticklabels()] == ['0.5', '4']
  (_, _, (bars,)), = axis.containers
  ends = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment)]
  assert [end for end in ends if np.isfinite(end).all()] == [[-2.5, -1.0]]


def test_the_report_is_whole_and_opens_offline(rows, tmp_path):
  found = [r for r in rows if r['method'] != 'SSCC' and not r.get('channel')
           and not r.get('snr_error_db') and not r['variant'].startswith('muon')]
  written = {path.name for path in write_report(tmp_path, [*found, found[0]], [])}
  drawn = ('fig3', 'distance', 'joint_distance', 'schedule')
  assert written == {f'{name}.{suffix}' for suffix in ('png', 'pdf') for name in drawn} | {
      'report.html', 'table1.md', 'table2.md', 'data.md', 'shortcut.md'}
  page = (tmp_path / 'report.html').read_text()
  assert not re.search(r'(src|href)="(?!data:)', page)
  axes = sum(len(figures.FIGURES[name](found)) for name in drawn)
  assert page.count('data:image/png') == axes == 5
  for measured in found:  # every number can be traced to a row
    assert f'<td>{measured["nmse_db"]:.4g}</td>' in page
  assert page.count('<td>-16.12</td>') == 1  # what is there twice is listed once


def test_a_quick_look_gives_way_to_the_measurement_on_all_groups():
  full, few, fewer = row('BL1', -10.0), row('BL1', -9.0, num_groups=50), row(
      'BL1', -8.0, num_groups=20)
  assert newest([full, few, fewer]) == [full]
  assert newest([fewer, few]) == [few] == newest([few, fewer])


def test_two_files_of_one_name_have_tables_of_their_own(tmp_path):
  files = {'aaaaaaaaaaaa': -14.0, 'bbbbbbbbbbbb': -3.0}
  found = [row('BL1', nmse_db, data='test.npz', data_hash=data_hash, **TUNED)
           for data_hash, nmse_db in files.items()]
  assert [*sections(found)] == [f'test.npz, {data_hash}' for data_hash in files]
  write_report(tmp_path, found, [])
  for i, (data_hash, nmse_db) in enumerate(files.items()):
    text = (tmp_path / f'table1-{i + 1}-test.npz_{data_hash}.md').read_text()
    assert f'| {nmse_db:.2f} (' in text and text.count(' .. ') == 1
  page = (tmp_path / 'report.html').read_text()
  assert 'Data: test.npz, aaaaaaaaaaaa' in page and page.count('<h3>Table I<') == 2
  (chosen,) = choose(found, data=['bbbbbbbbbbbb'])
  assert [*sections([chosen])] == ['test.npz']


def test_dtypes_and_presets_stay_apart_and_references_stand_beside_each():
  found = [row('BL1', -14.0), row('BL1', -13.9, dtype='bfloat16'), row('PCA/KLT', -9.0)]
  parts = sections(found)
  assert {name: [r['nmse_db'] for r in part] for name, part in parts.items()} == {
      'uma site 0, float32': [-14.0, -9.0], 'uma site 0, bfloat16': [-13.9, -9.0]}
  assert [*sections([row('BL1', -1.0), row('BL1', -1.0, preset='tiny')])] == [
      'uma site 0, small', 'uma site 0, tiny']
  assert [*sections(found[2:])] == ['uma site 0']


def test_flags_choose_among_rows_and_say_what_there_would_be():
  found = [row('BL1', -14.0), row('BL1', -15.0, steps=4000, cell='b'), row('PCA/KLT', -9.0)]
  assert [r['nmse_db'] for r in choose(found, steps=[4000], dtype=['float32'])] == [-15.0, -9.0]
  assert [r['nmse_db'] for r in choose(found, without_cells=['b'])] == [-14.0, -9.0]
  with pytest.raises(InputError, match='--steps=1 fits no row; the rows have 2000, 4000'):
    choose(found, steps=[1])
  with pytest.raises(InputError, match='--data=x.npz fits no row; the rows have uma site 0'):
    choose(found, data=['x.npz'])
  with pytest.raises(InputError, match='--without_cells=zz: no row'):
    choose(found, without_cells=['zz', 'b'])


def test_no_rows_are_an_input_error(tmp_path):
  with pytest.raises(InputError, match='no rows'):
    write_report(tmp_path, [], [])


def test_reports_touch_no_global_state_and_levels_import_little():
  """No pyplot, so no backend and no list of open figures; numpy is all that levels need."""
  subprocess.run([sys.executable, '-c', """
import sys
import rca_jax.report.levels
assert not {'jax', 'flax', 'orbax', 'matplotlib'} & {*sys.modules}
import rca_jax.report.csi_statistics, rca_jax.report.reproduction, rca_jax.report.runs
assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules
"""], check=True)


def test_table_1_has_a_column_for_the_site_map_where_it_was_measured():
  ours = row('RCA-MUNet', -9.0)
  assert 'site map' not in table1([ours]).head
  measured = table1([ours, row('site map', -7.25)])
  assert measured.head[-1] == 'site map'
  assert any('-7.25' in line[-1] for line in measured.body)
  alone = table1([row('site map', -7.25)])
  assert alone.head == ('CR', 'SNR', 'steps', 'site map')
  assert {line[0] for line in alone.body} == {'1/16'}


def test_the_site_maps_panels_keep_data_apart_and_share_the_y_axis(tmp_path):
  found = [row(method, nmse_db - snr_db, snr_db=snr_db)
           for snr_db in (0.0, 10.0) for method, nmse_db in (
               ('PCA/KLT', -1.0), ('site map (joint)', -5.0), ('site map bound', -8.0))]
  assert figures.site_map(sections(found[:1])) == []
  found += [row('RCA-MUNet', -4.0, data_hash='bbb', **TUNED), row('genie', -9.0, num_ues=4)]
  panels = figures.site_map(sections(found))
  assert [[curve.label for curve in panel.curves] for panel in panels] == [
      ['PCA/KLT', 'site map, linear code', 'bound given the map'], ['RCA-MUNet']]
  assert panels[0].curves[1].points[10.0].value == -15
  first, second = draw(panels).axes
  assert first.get_ylim() == second.get_ylim()
  write_report(tmp_path, found, [])
  assert (tmp_path / 'site_map.png').is_file()
