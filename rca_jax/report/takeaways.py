"""The words of the paper report's figures: what each shows, and what was found, from its panels."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from rca_jax.report.levels import OURS, SINGLE_USER, Estimate
from rca_jax.report.panels import Curve, Panel
from rca_jax.report.tables import cell


class Words(NamedTuple):
  """`found` makes sentences, with their numbers, of the figure's panels."""

  title: str
  caption: str
  found: Callable[[Sequence[Panel]], list[str]]


def better(ours: Estimate, other: Estimate) -> str:
  """How much lower an NMSE is, e.g. '0.18 dB better'; intervals that overlap are said."""
  gain = other.value - ours.value
  text = f'{abs(gain):.2f} dB {"better" if gain > 0 else "worse"}'
  mine, theirs = ours.interval, other.interval
  overlap = mine and theirs and mine[0] <= theirs[1] and theirs[0] <= mine[1]
  return f'{text} (the intervals overlap)' if overlap else text


def _fig3(panels: Sequence[Panel]) -> list[str]:
  panel, = panels
  texts = [f'With 2 UEs ours is {_compared(ours, alone, "CR {}")} than {SINGLE_USER}.'
           for ours in _named(panel, '2 UEs')[:1] for alone in _named(panel, SINGLE_USER)[:1]
           if _common(ours, alone)]
  networks = [curve for curve in panel.curves if not curve.label.startswith('genie')]
  smallest = min((ratio for curve in networks for ratio in curve.points), key=Fraction)
  return [*texts, f'At CR {smallest} {_lowest(networks, smallest)}.']


def _fig4(panels: Sequence[Panel]) -> list[str]:
  texts = []
  for panel in panels:
    separate, linear = _named(panel, 'SSCC'), _named(panel, 'PCA/KLT')
    best = Curve('', {
        x: min((curve.points[x] for curve in separate if x in curve.points),
               key=lambda point: point.value)
        for curve in separate for x in curve.points}, '', '')
    for ours in [curve for curve in _named(panel, 'DJSCC, stage 1') if _common(curve, best)][:1]:
      past = [f'{x:g}' for curve in linear for x in _common(ours, curve)
              if curve.points[x].value < ours.points[x].value]
      texts.append(
          f'With {panel.title.split(",")[0]} DJSCC of stage 1 is '
          f'{_compared(ours, best, "{:g} dB")} than the best SSCC'
          + (f'; PCA/KLT is past it at {", ".join(past)} dB.' if past else '.'))
  return texts


def _by_distance(panels: Sequence[Panel]) -> list[str]:
  """Of panels whose last one shows gains against metres."""
  texts = []
  for curve in panels[-1].curves:
    near, far = min(curve.points), max(curve.points)
    helps = [x for x, gain in curve.points.items()
             if (gain.value if gain.low is None else gain.low) > 0]
    texts.append(
        f'{curve.label}: {cell(curve.points[near], "+")} dB at {near:g} m, '
        f'{cell(curve.points[far], "+")} dB at {far:g} m; neighbours help '
        + (f'up to {max(helps):g} m.' if helps else 'at no distance.'))
  return texts


def _uplink(panels: Sequence[Panel]) -> list[str]:
  panel, = panels
  ours = [(curve.label.removeprefix(f'{OURS}, '), curve.points) for curve in panel.curves
          if curve.label.startswith(OURS)]
  snr_db = max(x for _, points in ours for x in points)
  (first, baseline), *others = ((name, points) for name, points in ours if snr_db in points)
  text = f'At {snr_db:g} dB {OURS} has {cell(baseline[snr_db])} dB with {first}'
  losses = [f'{better(points[snr_db], baseline[snr_db])} with {name}' for name, points in others]
  return [f'{text}; it is {"; ".join(losses)}.' if losses else f'{text}.']


def _wrong_snr(panels: Sequence[Panel]) -> list[str]:
  texts = []
  for panel in panels:
    for curve in panel.curves:
      low, high = min(curve.points), max(curve.points)
      what = 'told an SNR off by' if low < 0 else 'at a true SNR of'
      texts.append(f'{curve.label} has {cell(curve.points[low])} dB {what} {low:g} dB, and '
                   f'{cell(curve.points[high])} dB {what} {high:g} dB.')
  return texts


def _schedule(panels: Sequence[Panel]) -> list[str]:
  panel, = panels
  curve = panel.curves[-1]  # fine-tuned, where there is such a one
  best = min(curve.points, key=lambda name: curve.points[name].value)
  text = f'After "{panel.names[best]}" the NMSE is lowest ({curve.label}), '
  text += f'{cell(curve.points[best])} dB'
  return [text + (f', {better(curve.points[best], curve.points[""])} than the default.'
                  if best and '' in curve.points else '.')]


def _length(panels: Sequence[Panel]) -> list[str]:
  nmse, *gains = panels
  at_end = {curve.label: cell(curve.points[max(curve.points)], '+')
            for panel in gains for curve in panel.curves}
  texts = []
  for curve in _named(nmse, OURS):
    first, last = min(curve.points), max(curve.points)
    if first < last:
      text = (f'{curve.label}: {last:,} steps are '
              f'{better(curve.points[last], curve.points[first])} than {first:,}')
      texts.append(text + (f', with a gain over {SINGLE_USER} of {at_end[curve.label]} dB.'
                           if curve.label in at_end else '.'))
  return texts


def _loss(panels: Sequence[Panel]) -> list[str]:
  nmse, *sgcs = panels
  most = max(x for curve in nmse.curves for x in curve.points)
  heard = [f'{curve.label}: {better(curve.points[most], curve.points[0])} with {most} lost than '
           'with none.' for curve in nmse.curves if {0, most} <= curve.points.keys()]
  return heard + [
      f'{curve.label}: SGCS {cell(curve.points[most])}.' for panel in sgcs
      for curve in _named(panel, 'lost') if most in curve.points]


def _site_map(panels: Sequence[Panel]) -> list[str]:
  texts = []
  for panel in panels:
    codes = [curve for curve in panel.curves if not curve.label.startswith(('genie', 'bound'))]
    snrs_db = [x for curve in codes for x in curve.points]
    snr_db = max(snrs_db, key=lambda x: (snrs_db.count(x), x), default=None)
    for best in _ranked(codes, snr_db)[:1]:
      others = [f', {better(best.points[snr_db], curve.points[snr_db])} than {curve.label}'
                for curve in codes if curve.label in (OURS, 'PCA/KLT') and curve is not best
                and snr_db in curve.points]
      texts.append(f'At {snr_db:g} dB ({panel.title}) {_lowest(codes, snr_db)}{"".join(others)}.')
  return texts


WORDS = {
    'site_map': Words(
        'A code that knows its site', 'NMSE against SNR, from the best linear code to the genie, '
        'which knows each ray but its phase; of a network its best training.', _site_map),
    'fig3': Words(
        'Fig. 3: NMSE against compression ratio', f'NMSE of {OURS} for several numbers of UEs, and '
        f'of {SINGLE_USER}, which decodes each UE alone.', _fig3),
    'fig4': Words(
        'Fig. 4: DJSCC against separate source and channel coding', 'NMSE against SNR of as many '
        'symbols: ours, and quantised and coded bits (SSCC).', _fig4),
    'distance': Words(
        'How near must neighbours be', 'NMSE of two UEs that are exactly so far apart, and the '
        f'gain of {OURS} over {SINGLE_USER}.', _by_distance),
    'joint_distance': Words(
        'How near must neighbours be, untrained', 'What joint Bayes gains over decoding each UE '
        'alone.', _by_distance),
    'uplink': Words(
        'Uplinks that training did not see', 'NMSE of networks that were trained with AWGN.',
        _uplink),
    'wrong_snr': Words(
        'Another SNR than the true one', 'NMSE of networks that were tuned for another SNR, and of '
        'BL2, which is told a wrong one.', _wrong_snr),
    'schedule': Words(
        'Schedules', f'NMSE of {OURS} after other schedules of the learning rate.', _schedule),
    'length': Words(
        'Longer training', f'NMSE of {OURS} and {SINGLE_USER}, and the gain between them; dotted: '
        'the best linear code.', _length),
    'loss': Words(
        'Reports that do not arrive', 'NMSE and SGCS of UEs whose report was heard, and of those '
        'whose report was lost.', _loss)}


def _named(panel: Panel, start: str) -> list[Curve]:
  return [curve for curve in panel.curves if curve.label.startswith(start)
          and 'one network' not in curve.label]


def _common(ours: Curve, other: Curve) -> list[Any]:
  """Where both were measured, in order."""
  return sorted(ours.points.keys() & other.points.keys(),
                key=lambda x: -Fraction(x) if isinstance(x, str) else x)


def _compared(ours: Curve, other: Curve, place: str) -> str:
  """At both ends of what both were measured at."""
  ends = dict.fromkeys([(places := _common(ours, other))[0], places[-1]])
  return ' and '.join(
      f'{better(ours.points[x], other.points[x])} at {place.format(x)}' for x in ends)


def _ranked(curves: Sequence[Curve], x: Any) -> list[Curve]:
  """Those that were measured at x, the lowest NMSE first."""
  here = [curve for curve in curves if x in curve.points]
  return sorted(here, key=lambda curve: curve.points[x].value)


def _lowest(curves: Sequence[Curve], x: Any) -> str:
  best = _ranked(curves, x)[0]
  return f'"{best.label}" has the lowest NMSE, {cell(best.points[x])} dB'
