"""The paper's figures and those behind them, from results rows; None where no row fits."""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from rca_jax.config import stage_name
from rca_jax.report.levels import (
  Level,
  Row,
  gain_db,
  level,
  pick,
  tuned_level,
  tuned_snrs,
  values,
)
from rca_jax.report.tables import OURS

matplotlib.use('Agg')

_BASELINE = 'BL1'
_FASTEST = 'muon_cosine'  # the schedule of `length`, as configs/reproduce.py names it
_SNR_LABEL = 'SNR (dB)'
_CHANNEL_LABELS = {
    'rayleigh_block_fading': 'Rayleigh block fading, not equalised',
    'rayleigh_block_fading_equalised': 'Rayleigh block fading, equalised',
    'narrowband_interference': 'interference on 1/8 of the symbols',
    '': 'AWGN, as trained'}


def fig3(rows: Sequence[Row], snr_db: float) -> plt.Figure | None:
  """NMSE against CR: BL1, and ours for every number of UEs, with weights of its own or shared."""
  rows = _one_seed(rows)
  at = {'snr_db': snr_db, 'stage': stage_name(snr_db)}
  ours = [row for row in rows if row['method'] == OURS]
  ratios = sorted(values(pick(rows, method=OURS, **at), 'compression_ratio'), key=Fraction)[::-1]
  if not ratios:
    return None
  fig, axis = plt.subplots(figsize=(6, 4.4), layout='constrained')

  def draw(label: str, style: str, color: str, source: Sequence[Row], **wanted) -> None:
    _line(axis, range(len(ratios)), [
        level(source, compression_ratio=ratio, **at | wanted) for ratio in ratios],
        label, style, color)

  draw('BL1', 's-', 'C0', rows, method=_BASELINE, num_ues=2)
  for i, num_ues in enumerate(values(ours, 'num_ues')):
    own = [row for row in ours if row['trained_ues'] == [num_ues]]
    draw(f'{num_ues} UEs', 'o-', f'C{i + 1}', own, num_ues=num_ues)
    mixed = [row for row in ours if len(row['trained_ues']) > 1]
    draw(f'{num_ues} UEs, one network for all', 'x--', f'C{i + 1}', mixed, num_ues=num_ues,
         variant='mixed')
  draw('genie', ':', 'k', rows, method='genie', stage='pretrain')
  axis.set_xticks(range(len(ratios)), ratios)
  axis.set(xlabel='compression ratio', ylabel='NMSE (dB)')
  _leave_out_genie(axis, pick(rows, **at))
  return _finish(fig, axis, f'SNR {snr_db:g} dB')


def fig4(rows: Sequence[Row]) -> plt.Figure | None:
  """NMSE against SNR, DJSCC against SSCC, a panel an overhead."""
  rows = _one_seed(rows)
  overheads = sorted({row['overhead'] for row in rows if row['method'] == 'SSCC'})
  if not overheads:
    return None
  fig, axes = plt.subplots(
      1, len(overheads), figsize=(5.6 * len(overheads), 4.8), layout='constrained', squeeze=False,
      sharey=True)
  for panel, (axis, overhead) in enumerate(zip(axes[0], overheads, strict=True)):
    here = [row for row in rows if row['overhead'] == overhead and row['num_ues'] == 2]
    _against_snr(axis, here, 'DJSCC, stage 1 only', 'C3', '.-', method=OURS)
    tuned = tuned_snrs([row for row in here if row['method'] == OURS])
    for variant, label, style in (
        ('', 'DJSCC, fine-tuned at the SNR', 'o'),
        ('shortcut', 'DJSCC with a shortcut, fine-tuned at the SNR', 'D'),
        (_FASTEST, 'DJSCC with Muon at 5e-3, fine-tuned at the SNR', '^')):
      levels = [tuned_level(here, snr_db, method=OURS, variant=variant) for snr_db in tuned]
      _line(axis, tuned, levels, label, style, 'C3')
    for i, point in enumerate(_bit_points(here)):
      variant, rate, order = point
      size, _, shortcut = variant.partition('-')
      label = f'SSCC_{size}_{Fraction(rate).limit_denominator(64)}_{order}QAM'
      _against_snr(
          axis, here, f'{label} with a {shortcut}' if shortcut else label,
          ('C0', 'C1', 'C2', 'C4', 'C5', 'C6')[i % 6], 'D--' if shortcut else '.--',
          method='SSCC', variant=variant, code_rate=rate, qam_order=order)
    _against_snr(axis, here, 'PCA/KLT', 'gray', '-.', method='PCA/KLT')
    _against_snr(axis, here, 'genie', 'k', ':', method='genie')
    axis.set(xlabel=_SNR_LABEL)
    _finish(fig, axis, f'({"abcdef"[panel]}) feedback overhead {overhead} symbols')
  _leave_out_genie(axes[0, 0], [row for row in rows if row['overhead'] in overheads], up_to=11.0)
  axes[0, 0].set_ylabel('NMSE (dB)')
  return fig


def distance(rows: Sequence[Row]) -> plt.Figure | None:
  """What two UEs gain over BL1, against their distance."""
  rows = [row for row in rows if row.get('distance_m')]
  metres = values(rows, 'distance_m')
  if not metres:
    return None
  fig, (top, bottom) = plt.subplots(
      2, 1, figsize=(6, 5.6), layout='constrained', sharex=True, height_ratios=(2, 1))
  found = {}
  for method, style, color in ((_BASELINE, 's-', 'C0'), (OURS, 'o-', 'C3')):
    found[method] = [_only(rows, method=method, distance_m=metre) for metre in metres]
    _line(top, metres, found[method], method, style, color)
  gains = [gain_db(*pair) for pair in zip(found[OURS], found[_BASELINE], strict=True)]
  bottom.plot(metres, [np.nan if gain is None else gain for gain in gains], 'o-', color='C3')
  bottom.axhline(0, color='k', lw=0.8)
  bottom.set(xlabel='distance of the two UEs (m)', ylabel='gain (dB)', xscale='log')
  bottom.set_xticks(metres, [f'{metre:g}' for metre in metres])
  bottom.minorticks_off()
  bottom.grid(alpha=0.3)
  top.set_ylabel('NMSE (dB)')
  return _finish(fig, top, '')


def uplink(rows: Sequence[Row]) -> plt.Figure | None:
  """AWGN-trained weights on uplinks they were not trained for."""
  disturbed = [row for row in rows if row.get('channel')]
  if not disturbed:
    return None
  overhead = min(row['overhead'] for row in disturbed)
  # The same networks on all uplinks.
  cells = {row.get('cell') for row in disturbed if row['overhead'] == overhead}
  rows = [row for row in rows if row.get('cell') in cells]
  fig, axis = plt.subplots(figsize=(6.4, 4.6), layout='constrained')
  shown = {row['snr_db'] for row in disturbed}
  rows = [row for row in rows if row['snr_db'] in shown]
  for i, (channel, label) in enumerate(_CHANNEL_LABELS.items()):
    for method, style in ((OURS, 'o-'), (_BASELINE, 's--')):
      _against_snr(axis, rows, f'{method}, {label}', f'C{i}', style, method=method,
                   channel=channel, num_ues=2)
  axis.set(xlabel=_SNR_LABEL, ylabel='NMSE (dB)')
  return _finish(fig, axis, '')


def told_wrongly(rows: Sequence[Row]) -> plt.Figure | None:
  """Where the SNR is another one: than networks were tuned for, and than BL2 is told."""
  told = [row for row in rows if row.get('snr_error_db') and row['snr_db'] is not None]
  if not told:
    return None
  snr_db, ratio = told[0]['snr_db'], told[0]['compression_ratio']
  seeds = {row['seed'] for row in told}
  rows = [row for row in rows if row['compression_ratio'] == ratio and row['num_ues'] == 2
          and row['seed'] in seeds]
  errors = sorted({row['snr_error_db'] for row in told} | {0.0})
  fig, (left, right) = plt.subplots(
      1, 2, figsize=(9.6, 4), layout='constrained', sharex=True, sharey=True)
  snrs_db = [snr_db + error for error in errors]
  for method, style, color in ((OURS, 'o-', 'C3'), (_BASELINE, 's-', 'C0')):
    tuned = {'method': method, 'stage': stage_name(snr_db)}
    _line(left, snrs_db, [level(rows, snr_db=true_db, **tuned) for true_db in snrs_db],
          f'{method}, tuned for {snr_db:g} dB', style, color)
  _line(right, snrs_db, [
      level(rows, method='BL2', snr_db=snr_db, snr_error_db=error) for error in errors],
        f'BL2 at {snr_db:g} dB', '^-', 'C2')
  left.set_xticks(snrs_db)
  left.set(xlabel='true SNR (dB)', ylabel='NMSE (dB)')
  right.set(xlabel='SNR it is told (dB)')
  _finish(fig, right, '')
  return _finish(fig, left, '')


def schedule(rows: Sequence[Row]) -> plt.Figure | None:
  """NMSE of ours after other schedules, before and after fine-tuning."""
  rows = [row for row in rows if row['method'] == OURS and row['trained_ues'] == [2]
          and row['num_ues'] == 2 and row['snr_db'] is not None
          and row.get('variant') != 'shortcut'
          and not row.get('variant', '').startswith(f'{_FASTEST}-')]
  variants = [name for name in dict.fromkeys(row.get('variant', '') for row in rows)
              if name and pick(rows, variant=name)]
  if not variants:
    return None
  sample = pick(rows, variant=variants[0])[0]
  where = {'compression_ratio': sample['compression_ratio'], 'snr_db': sample['snr_db'],
           'seed': sample['seed']}
  variants = ['', *variants]
  fig, axis = plt.subplots(figsize=(6.4, 0.6 * len(variants) + 1.4), layout='constrained')
  stages = (('pretrain', 'stage 1', 'C0'),
            (stage_name(where['snr_db']), 'fine-tuned', 'C3'))
  for i, (stage, label, color) in enumerate(stages):
    found = [level(rows, variant=name, stage=stage, **where) for name in variants]
    heights = [j + (i - 0.5) * 0.3 for j in range(len(variants))]
    points = [(cell, height) for cell, height in zip(found, heights, strict=True) if cell]
    axis.errorbar(
        [cell.nmse_db for cell, _ in points], [height for _, height in points],
        xerr=_error_bars([cell for cell, _ in points]), fmt='o', color=color, capsize=3,
        label=label)
  axis.set_yticks(range(len(variants)), [name.replace('_', ' ') or 'default' for name in variants])
  axis.invert_yaxis()
  axis.set(xlabel='NMSE (dB)')
  return _finish(fig, axis, f'CR {where["compression_ratio"]}, SNR {where["snr_db"]:g} dB')


def length(rows: Sequence[Row]) -> plt.Figure | None:
  """NMSE of ours and of BL1 and the gain between them, against the steps they were trained for.

  The linear code's level is drawn beside them: what the neighbours are worth shows beyond it.
  """
  trained = _one_seed([row for row in rows if row.get('variant', '').startswith(_FASTEST)
                       and row['num_ues'] == 2 and row['method'] in (OURS, _BASELINE)])
  snrs_db = tuned_snrs(trained)
  steps = values([row for row in trained if row['stage'] != stage_name()], 'steps')
  if len(steps) < 2:
    return None
  ratio = trained[0]['compression_ratio']
  trained = [row | {'variant': ''} for row in trained if row['compression_ratio'] == ratio]
  fig, (top, bottom) = plt.subplots(
      2, 1, figsize=(6, 6.2), layout='constrained', sharex=True, height_ratios=(2, 1))
  for i, snr_db in enumerate(snrs_db):
    at = {'snr_db': snr_db, 'stage': stage_name(snr_db)}
    found = {
        method: [level(trained, method=method, steps=number, **at) for number in steps]
        for method in (OURS, _BASELINE)}
    for method, style in ((OURS, 'o-'), (_BASELINE, 's--')):
      _line(top, steps, found[method], f'{method}, {snr_db:g} dB', style, f'C{i}')
    linear = level(rows, method='PCA/KLT', compression_ratio=ratio, snr_db=snr_db)
    if linear:
      top.axhline(linear.nmse_db, color=f'C{i}', ls=':', lw=1, label=f'PCA/KLT, {snr_db:g} dB')
    gains = [gain_db(*pair) for pair in zip(found[OURS], found[_BASELINE], strict=True)]
    bottom.plot(
        steps, [np.nan if gain is None else gain for gain in gains], 'o-', color=f'C{i}', ms=4)
  bottom.axhline(0, color='k', lw=0.8)
  bottom.set(xlabel='training steps', ylabel=f'gain over {_BASELINE} (dB)', xscale='log')
  bottom.set_xticks(steps, [f'{number:,}' for number in steps])
  bottom.minorticks_off()
  bottom.grid(alpha=0.3)
  top.set_ylabel('NMSE (dB)')
  return _finish(fig, top, f'CR {ratio}, fine-tuned at each SNR')


def loss(rows: Sequence[Row]) -> plt.Figure | None:
  """NMSE and SGCS against the number of lost reports, of the UEs that were heard and of the lost.

  A phase that nobody reported cannot be known, so NMSE alone would say that nothing is.
  """
  num_ues = max((row['num_ues'] for row in rows if row.get('num_lost')), default=0)
  if not num_ues:
    return None
  rows = [row for row in rows if (row['method'], row['num_ues'], row['trained_ues']) == (
      OURS, num_ues, [num_ues])]
  lost = range(num_ues)
  fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout='constrained')
  for i, (variant, label) in enumerate((('', 'trained without losses'),
                                        ('report_loss', 'trained with losses'))):
    for of_lost, style, whose in ((False, 'o-', 'heard'), (True, 's--', 'lost')):
      wanted = {'variant': variant, 'of_lost': of_lost}
      text = f'{whose} UEs, {label}'
      _line(left, lost, [level(rows, num_lost=n, **wanted) for n in lost], text, style, f'C{3 * i}')
      found = [(n, row['sgcs']) for n in lost for row in pick(rows, num_lost=n, **wanted)
               if 'sgcs' in row]
      right.plot(
          [n for n, _ in found], [sgcs for _, sgcs in found], style, color=f'C{3 * i}', ms=4,
          lw=1.3, markerfacecolor='white' if of_lost else f'C{3 * i}')
  for axis, label in ((left, 'NMSE (dB)'), (right, 'SGCS')):
    axis.set_xticks(lost)
    axis.set(xlabel=f'reports lost of {num_ues}', ylabel=label)
  right.set_ylim(0, 1)
  right.grid(alpha=0.3)
  return _finish(fig, left, '')


def _one_seed(rows: Sequence[Row]) -> list[Row]:
  """Of the seed with the most rows: points of other seeds would bend a curve."""
  seeds = [row['seed'] for row in rows]
  return [row for row in rows if row['seed'] == max(sorted(set(seeds)), key=seeds.count)]


def _bit_points(rows: Sequence[Row]) -> list[tuple[str, float, int]]:
  return sorted({
      (row.get('variant', ''), row.get('code_rate', 0.0), row.get('qam_order', 0))
      for row in rows if row['method'] == 'SSCC'},
                key=lambda point: (
                    point[2], [int(part) for part in re.findall(r'\d+', point[0])], point[0]))


def _leave_out_genie(axis: Axes, rows: Sequence[Row], up_to: float | None = None) -> None:
  """The genie leaves the others' range: the panel is theirs."""
  shown = [row['nmse_db'] for row in rows if row['method'] != 'genie']
  axis.set_ylim(min(shown) - 3, max(shown) + 1 if up_to is None else max(max(shown) + 1, up_to))


def _only(rows: Sequence[Row], **wanted) -> Level | None:
  """The level of rows of whatever stage they have."""
  stages = {row.get('stage', 'pretrain') for row in rows}
  return next((cell for stage in sorted(stages) if (cell := level(
      rows, stage=stage, **wanted))), None)


def _against_snr(
    axis: Axes, rows: Sequence[Row], label: str, color: str, style: str, **wanted) -> None:
  snrs_db = values(pick(rows, **wanted), 'snr_db')
  levels = [level(rows, snr_db=snr_db, **wanted) for snr_db in snrs_db]
  _line(axis, snrs_db, levels, label, style, color)


def _line(
    axis: Axes, x: Iterable[float], levels: Sequence[Level | None], label: str, style: str,
    color: str) -> None:
  """Points with their intervals; those that were not run are left out, the line goes on."""
  points = [(place, cell) for place, cell in zip(x, levels, strict=True) if cell]
  if points:
    cells = [cell for _, cell in points]
    axis.errorbar(
        [place for place, _ in points], [cell.nmse_db for cell in cells],
        yerr=_error_bars(cells), fmt=style, color=color, capsize=2, ms=4, lw=1.3,
        elinewidth=0.8, markerfacecolor='white' if style[0] == 's' else color, label=label)


def _error_bars(cells: Sequence[Level]) -> np.ndarray:
  return np.abs([
      [cell.nmse_db - cell.low_db for cell in cells],
      [cell.high_db - cell.nmse_db for cell in cells]])


def _finish(fig: plt.Figure, axis: Axes, title: str) -> plt.Figure:
  axis.set_title(title, fontsize=10)
  axis.grid(alpha=0.3)
  axis.legend(fontsize=7, handlelength=3.5)
  return fig
