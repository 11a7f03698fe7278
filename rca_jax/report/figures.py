"""The paper's figures and more, as panels of curves from results rows; no panels where no row fits.

Each shows one training, that of the seed with the most rows: points of another would bend a curve.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from rca_jax.config import stage_name
from rca_jax.report.levels import (
  ANY,
  OURS,
  SINGLE_USER,
  WITH_MAP,
  Estimate,
  Level,
  Row,
  apart,
  best_trained,
  gain_db,
  level,
  pick,
  tuned,
  value,
  values,
)
from rca_jax.report.panels import Curve, Panel

_FIG3_SNR_DB = 10.0
_SITE_MAP_RATIO = '1/16'
_JOINT, _ALONE = 'joint Bayes', 'joint Bayes (alone)'
_FASTEST = 'muon_cosine'  # the schedule of `length`, as configs/reproduce.py names it
_SNR = 'uplink SNR (dB)'
_NMSE = 'NMSE (dB), lower is better'
_GAIN = f'gain over {SINGLE_USER} (dB), higher is better'
_CHANNELS = {
    '': 'AWGN, as trained',
    'rayleigh_block_fading': 'Rayleigh block fading, not equalised',
    'rayleigh_block_fading_equalised': 'Rayleigh block fading, equalised',
    'narrowband_interference': 'interference on 1/8 of the symbols'}


def fig3(rows: Sequence[Row]) -> list[Panel]:
  """NMSE against CR: BL1, and ours for every number of UEs, with weights of its own or shared."""
  rows = _one_seed([row for row in rows if row['snr_db'] == _FIG3_SNR_DB])
  networks, along = tuned(rows), ('compression_ratio', 'overhead')
  if not pick(networks, method=OURS, stage=ANY):
    return []
  curves = _curves(
      pick(networks, method=SINGLE_USER, num_ues=2, stage=ANY), along, SINGLE_USER, 's-', 'C0')
  for i, num_ues in enumerate(values((r for r in rows if r['method'] == OURS), 'num_ues')):
    wanted = {'method': OURS, 'num_ues': num_ues, 'stage': ANY}
    curves += _curves(
        pick(networks, trained_ues=[num_ues], **wanted), along, f'{num_ues} UEs', 'o-',
        f'C{i + 1}')
    curves += _curves(
        pick(networks, variant='mixed', **wanted), along, f'{num_ues} UEs, one network for all',
        'x--', f'C{i + 1}')
  shown = _ends(curves)
  curves += _genie(rows, along)
  ratios = sorted({ratio for curve in curves for ratio in curve.points}, key=Fraction)[::-1]
  return [Panel(
      curves, 'compression ratio', _NMSE, _title(networks), {ratio: ratio for ratio in ratios},
      limits=shown)]


def fig4(rows: Sequence[Row]) -> list[Panel]:
  """NMSE against SNR, DJSCC against SSCC, a panel an overhead."""
  rows = _one_seed([row for row in rows if row['num_ues'] == 2])
  overheads = values((row for row in rows if row['method'] == 'SSCC'), 'overhead')
  along = ('snr_db', 'stage')
  panels = {}
  for overhead in overheads:
    here = [row for row in rows if row['overhead'] == overhead]
    panels[f'feedback overhead {overhead} symbols, {_title(here)}'] = (
        _fig4_curves(here, along), _genie(here, along))
  limits = _ends([curve for curves, _ in panels.values() for curve in curves])
  return [Panel([*curves, *genie], _SNR, _NMSE, title, limits=limits)
          for title, (curves, genie) in panels.items()]


def _fig4_curves(rows: Sequence[Row], against_snr: Sequence[str]) -> list[Curve]:
  curves = _curves(pick(rows, method=OURS), against_snr, 'DJSCC, stage 1 only', '.-', 'C3')
  for variant, label, style in (
      ('', 'DJSCC, fine-tuned at the SNR', 'o'),
      ('shortcut', 'DJSCC with a shortcut, fine-tuned at the SNR', 'D'),
      (_FASTEST, 'DJSCC with Muon at 5e-3, fine-tuned at the SNR', '^')):
    found = pick(tuned(rows), method=OURS, variant=variant, stage=ANY)
    curves += _curves(found, against_snr, label, style, 'C3')
  bits = {(value(row, 'qam_order'), value(row, 'variant'), value(row, 'code_rate'))
          for row in rows if row['method'] == 'SSCC'}
  sizes = {point: [int(part) for part in re.findall(r'\d+', point[1])] for point in bits}
  for i, (order, variant, rate) in enumerate(
      sorted(bits, key=lambda point: (point[0], sizes[point], point[1]))):
    size, _, shortcut = variant.partition('-')
    label = (f'SSCC, {size.replace("_", " values of ")} bits, code rate '
             f'{Fraction(rate).limit_denominator(64)}, {order}-QAM')
    curves += _curves(
        pick(rows, method='SSCC', variant=variant, code_rate=rate, qam_order=order), against_snr,
        f'{label} with a {shortcut}' if shortcut else label, 'D--' if shortcut else '.--',
        ('C0', 'C1', 'C2', 'C4', 'C5', 'C6')[i % 6])
  return curves + _curves(pick(rows, method='PCA/KLT'), against_snr, 'PCA/KLT', '-.', 'gray')


def distance(rows: Sequence[Row]) -> list[Panel]:
  """What two UEs gain over BL1, against their distance."""
  rows = _one_seed([row for row in rows if value(row, 'distance_m')])
  return _with_gain(
      lambda method: pick(rows, method=method, stage=ANY, distance_m=ANY), ('distance_m',),
      {'': {}}, 'distance of the two UEs (m)', _title(rows))


def joint_distance(rows: Sequence[Row]) -> list[Panel]:
  """What joint Bayes gains over decoding each UE alone, against how far the UEs are apart."""
  rows = _one_seed([row for row in rows if value(row, 'distance_m')])
  curves, used = [], []
  for i, num_ues in enumerate(values(pick(rows, method=_JOINT, distance_m=ANY), 'num_ues')):
    together, alone = (
        pick(rows, method=method, num_ues=num_ues, distance_m=ANY) for method in (_JOINT, _ALONE))
    baseline = _levels(alone, 'distance_m')
    gains = {x: gain_db(cell, baseline.get(x)) for x, cell in _levels(
        together, 'distance_m').items()}
    label = '2 UEs, exactly so far apart' if num_ues == 2 else f'{num_ues} UEs in a disc so wide'
    curves.append(Curve(label, {x: gain for x, gain in gains.items() if gain}, 'o-', f'C{i}'))
    used += together
  curves = [curve for curve in curves if curve.points]
  return [Panel(
      curves, 'distance (m)', f'gain over {_ALONE} (dB), higher is better', _title(used), log=True,
      zero=True)] if curves else []


def uplink(rows: Sequence[Row]) -> list[Panel]:
  """Networks trained with AWGN, on uplinks that they were not trained for."""
  rows = _one_seed(rows)
  disturbed = [row for row in rows if value(row, 'channel')]
  cells, snrs_db = ({row.get(name) for row in disturbed} for name in ('cell', 'snr_db'))
  rows = [row for row in rows if row.get('cell') in cells and row['snr_db'] in snrs_db]
  curves = []
  for i, (channel, label) in enumerate(_CHANNELS.items()):
    for method, style in ((OURS, 'o-'), (SINGLE_USER, 's--')):
      curves += _curves(
          pick(rows, method=method, channel=channel), ('snr_db',), f'{method}, {label}', style,
          f'C{i}')
  return [Panel(curves, _SNR, _NMSE, _title(disturbed))] if curves else []


def wrong_snr(rows: Sequence[Row]) -> list[Panel]:
  """Networks tuned for another SNR than the true one, and BL2, which is given a wrong one."""
  rows = _one_seed([row for row in rows if row['num_ues'] == 2])
  wrong = pick(rows, method='BL2', snr_error_db=ANY)
  places = {(row['compression_ratio'], row['snr_db']) for row in wrong if row.get('snr_error_db')}
  given = [row for row in wrong if (row['compression_ratio'], row['snr_db']) in places]
  if not given:
    return []
  tuned_there = {(ratio, stage_name(snr_db)) for ratio, snr_db in places}
  snrs_db = {row['snr_db'] + value(row, 'snr_error_db') for row in given}
  other = [row for row in pick(rows, stage=ANY) if row['snr_db'] in snrs_db
           and (row['compression_ratio'], value(row, 'stage')) in tuned_there]
  curves = [curve for method, style, color in ((OURS, 'o-', 'C3'), (SINGLE_USER, 's-', 'C0'))
            for curve in _curves(
                pick(other, method=method, stage=ANY), ('snr_db',), method, style, color)]
  tuned_for = ' or '.join(f'{snr_db:g} dB' for _, snr_db in sorted(places))
  panels = [
      Panel(curves, 'true SNR (dB)', _NMSE, f'fine-tuned for {tuned_for}, {_title(other)}'),
      Panel(_curves(given, ('snr_error_db',), 'BL2', '^-', 'C2'),
            'SNR that BL2 is given, minus the true SNR (dB)', _NMSE, _title(given))]
  return [panel for panel in panels if panel.curves]


def schedule(rows: Sequence[Row]) -> list[Panel]:
  """NMSE of ours after other schedules, before and after fine-tuning."""
  rows = _one_seed([
      row for row in rows if row['trained_ues'] == [2] and row['num_ues'] == 2
      and row['snr_db'] is not None and value(row, 'variant') != 'shortcut'
      and not value(row, 'variant').startswith(f'{_FASTEST}-')])
  rows = pick(rows, method=OURS, variant=ANY, stage=ANY)
  others = [(row['compression_ratio'], row['snr_db']) for row in rows if value(row, 'variant')]
  if not others:
    return []
  place = max(dict.fromkeys(others), key=others.count)
  rows = [row for row in rows if (row['compression_ratio'], row['snr_db']) == place]
  names = {'': 'default'} | {
      name: name.replace('_', ' ') for row in rows if (name := value(row, 'variant'))}
  along = ('variant', 'steps')
  curves = _curves(
      pick(rows, variant=ANY), along, 'stage 1', 'o', 'C0') + _curves(
      pick(tuned(rows), variant=ANY, stage=ANY), along, 'fine-tuned', 'o', 'C3')
  return [Panel(curves, '', _NMSE, _title(rows), names)]


def length(rows: Sequence[Row]) -> list[Panel]:
  """NMSE of ours and of BL1 and the gain between them, against the steps they were trained for.

  The linear code's level stands beside them: what is below it, no code of one UE could have.
  """
  trained = tuned(_one_seed([
      row for row in rows if value(row, 'variant').startswith(_FASTEST) and row['num_ues'] == 2]))
  if len(values(trained, 'steps')) < 2:
    return []
  ratios = values(trained, 'compression_ratio')
  steps = values(trained, 'steps')
  panels = _with_gain(
      lambda method: pick(trained, method=method, stage=ANY, variant=ANY), ('steps', 'variant'),
      {f', {snr_db:g} dB': {'snr_db': snr_db} for snr_db in values(trained, 'snr_db')},
      'training steps', f'fine-tuned at each SNR, {_title(trained)}')
  linear = [
      Curve(f'PCA/KLT, {snr_db:g} dB', dict.fromkeys(steps, Estimate(found.nmse_db.value)), ':',
            f'C{i}')
      for i, snr_db in enumerate(values(trained, 'snr_db')) for ratio in ratios
      if (found := level(pick(
          rows, method='PCA/KLT', compression_ratio=ratio, snr_db=snr_db)))]
  return [panels[0]._replace(curves=[*panels[0].curves, *linear]), *panels[1:]]


def loss(rows: Sequence[Row]) -> list[Panel]:
  """NMSE and SGCS against the number of lost reports, of the UEs that were heard and of the lost.

  Nobody can know the phase of a lost report, so NMSE alone would say that nothing is known.
  """
  lossy = [row for row in rows if value(row, 'num_lost') and row['method'] == OURS]
  num_ues = max(values(lossy, 'num_ues'), default=0)
  places = {(row['compression_ratio'], row['snr_db']) for row in lossy}
  rows = _one_seed([
      row for row in rows if row['num_ues'] == num_ues and row['trained_ues'] == [num_ues]
      and (row['compression_ratio'], row['snr_db']) in places])
  nmse, sgcs = [], []
  for color, variant, label in (('C0', '', 'trained without losses'),
                                ('C3', 'report_loss', 'trained with losses')):
    for of_lost, style, whose in ((False, 'o-', 'heard'), (True, 's--', 'lost')):
      found = pick(rows, method=OURS, variant=variant, of_lost=of_lost, num_lost=ANY)
      drawn = (('num_lost',), f'{whose} UEs, {label}', style, color)
      nmse += _curves(found, *drawn)
      sgcs += _curves([row for row in found if 'sgcs' in row], *drawn, estimate=_sgcs)
  xlabel, title = f'reports lost of {num_ues}', _title(rows)
  return [panel for panel in (
      Panel(nmse, xlabel, _NMSE, title),
      Panel(sgcs, xlabel, 'SGCS, higher is better', title, limits=(0, 1))) if panel.curves]


def site_map(parts: Mapping[str, Sequence[Row]]) -> list[Panel]:
  """NMSE against SNR, from the linear code to the genie, a panel for each part's data.

  Of a method that was trained or fitted several times the curve that ends lowest.
  Empty where no part has a site map: then the other figures show all there is.
  """
  panels = []
  for name, part in parts.items():
    rows = _one_seed([row for row in part if row['num_ues'] == 2
                      and row['compression_ratio'] == _SITE_MAP_RATIO])
    curves = []
    for method, label, style, color in (
        ('PCA/KLT', 'PCA/KLT', '-.', 'gray'), (SINGLE_USER, SINGLE_USER, 's--', 'C0'),
        (OURS, OURS, 'o-', 'C3'),
        ('joint Bayes', 'joint Bayes', '^-', 'C1'),
        ('described profile (folded)', 'described profile', 'v-', 'C4'),
        ('site map (joint)', 'site map, linear code', 'D--', 'C2'),
        ('site map (folded joint)', 'site map, folding code', 'D-', 'C2'),
        ('site map bound', 'bound given the map', ':', 'C2'), ('genie', 'genie', ':', 'k')):
      found = [row for row in best_trained(rows, method=method, variant=ANY)
               if row['snr_db'] is not None]
      curves += sorted(
          _curves(found, ('snr_db', 'stage'), label, style, color),
          key=lambda curve: curve.points[max(curve.points)].value)[:1]
    if curves:
      panels.append(Panel(curves, _SNR, _NMSE, _label(name, _title(rows))))
  return panels if any(row['method'] in WITH_MAP for part in parts.values() for row in part) else []


FIGURES = {
    'fig3': fig3, 'fig4': fig4, 'distance': distance, 'joint_distance': joint_distance,
    'uplink': uplink, 'wrong_snr': wrong_snr, 'schedule': schedule, 'length': length, 'loss': loss}


def _with_gain(
    find: Callable[[str], list[Row]], along: Sequence[str], parts: dict[str, dict[str, Any]],
    xlabel: str, title: str) -> list[Panel]:
  """BL1 and ours, and in a second panel what ours gains; curves of `parts` have a color each."""
  nmse, gains = [], []
  for i, (name, fields) in enumerate(parts.items()):
    colors = (f'C{i}', f'C{i}') if len(parts) > 1 else ('C3', 'C0')
    both = [row for method in (OURS, SINGLE_USER) for row in find(method)
            if all(row[field] == wanted for field, wanted in fields.items())]
    for label, part in apart(both, (*along, 'method')).items():
      ours, baseline = (
          _levels([row for row in part if row['method'] == method], along[0])
          for method in (OURS, SINGLE_USER))
      for method, levels, style, color in (
          (OURS, ours, 'o-', colors[0]), (SINGLE_USER, baseline, 's--', colors[1])):
        points = {x: cell.nmse_db for x, cell in levels.items()}
        nmse.append(Curve(_label(f'{method}{name}', label), points, style, color))
      points = {x: gain for x, cell in ours.items() if (gain := gain_db(cell, baseline.get(x)))}
      gains.append(Curve(_label(f'{OURS}{name}', label), points, 'o-', colors[0]))
  nmse, gains = ([curve for curve in found if curve.points] for found in (nmse, gains))
  return [panel for panel in (
      Panel(nmse, xlabel, _NMSE, title, log=True),
      Panel(gains, xlabel, _GAIN, title, log=True, zero=True)) if panel.curves]


def _curves(
    rows: Sequence[Row], along: Sequence[str], label: str, style: str, color: str,
    estimate: Callable[[Level], Estimate] = lambda cell: cell.nmse_db) -> list[Curve]:
  """A curve for all in which the rows differ besides `along`, whose first field is the x axis."""
  return [
      Curve(_label(label, name), {
          x: estimate(cell) for x, cell in _levels(part, along[0]).items()}, style, color)
      for name, part in apart(rows, along).items()]


def _genie(rows: Sequence[Row], along: Sequence[str]) -> list[Curve]:
  """Its range is another, so the legend says it and the panel need not show all of it."""
  curves = _curves(pick(rows, method='genie'), along, 'genie', ':', 'k')
  ends = [(min(found), max(found)) for curve in curves
          if (found := [point.value for point in curve.points.values()])]
  return [curve._replace(label=f'{curve.label}: {low:.0f} .. {high:.0f} dB')
          for curve, (low, high) in zip(curves, ends, strict=True)]


def _levels(rows: Sequence[Row], x: str) -> dict[Any, Level]:
  return {place: here for place in values(rows, x)
          if (here := level([row for row in rows if value(row, x) == place]))}


def _sgcs(cell: Level) -> Estimate:
  row, = cell.by_seed.values()
  return Estimate(row['sgcs'], *row.get('sgcs_ci95', ()))


def _label(*parts: str) -> str:
  return ', '.join(filter(None, parts))


def _one_seed(rows: Sequence[Row]) -> list[Row]:
  """Of the seed with the most rows, and the lowest of those."""
  seeds = [row['seed'] for row in rows]
  return [row for row in rows if row['seed'] == max(sorted(set(seeds)), key=seeds.count)]


def _title(rows: Sequence[Row]) -> str:
  """What all rows have in common of CR, SNR and seed."""
  texts = (
      ('compression_ratio', 'CR {}'), ('snr_db', 'SNR {:g} dB'), ('seed', 'seed {}'))
  return ', '.join(
      text.format(*found) for name, text in texts if len(found := values(rows, name)) == 1)


def _ends(curves: Sequence[Curve]) -> tuple[float, float]:
  """Limits of the y axis for these curves."""
  found = [point.value for curve in curves for point in curve.points.values()]
  return min(found, default=0) - 1, max(found, default=0) + 1
