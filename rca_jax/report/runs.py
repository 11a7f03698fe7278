"""The report of one's own runs, side by side: what they are, how they learned, how well they do."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from rca_jax.config import ExperimentConfig, stage_name, to_dict
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import paired_gain
from rca_jax.evaluation.results import SHARES, read_rows
from rca_jax.report import page
from rca_jax.report.csi import csi_figure
from rca_jax.report.levels import (
  REFERENCES,
  Estimate,
  Level,
  Row,
  apart,
  check_rows,
  level,
  newest,
  value,
  values,
  with_errors,
)
from rca_jax.report.panels import Curve, Panel, draw
from rca_jax.report.tables import Table, cell, nmse_cell
from rca_jax.training.workdir import flat, read_config
from rca_jax.training.writer import read_metrics

_SNR_DB = 10.0  # the summary speaks of the SNR that is nearest to it
_MAX_LINES = 10  # in one figure, as many as there are colors
_TENTH = 0.1  # of the training steps: whether the NMSE still falls
# Groups are the same, so differences can be taken group by group.
_SAME_GROUPS = ('data_hash', 'num_samples', 'distance_m', 'num_symbols', 'num_lost', 'of_lost')
_CSV = ('method', 'compression_ratio', 'num_ues', 'snr_db', 'stage', 'steps', 'seed', 'data',
        'nmse_db', 'nmse_ci95_db', *SHARES, 'num_samples', 'cell', 'commit')
_INTERVALS = 'in brackets the 95 % interval over the test groups, or the range of several seeds'

Place = tuple[int, float | None]  # number of UEs, SNR in dB


class Run(NamedTuple):
  """A training, or rows without one."""

  name: str
  path: Path
  rows: list[Row]  # `errors` are read
  config: ExperimentConfig | None = None
  metrics: Sequence[dict[str, Any]] = ()  # the lines of the training, all stages


class Line(NamedTuple):
  """What one curve shows: of one run, rows that differ in UEs, SNR and seed only."""

  label: str
  levels: dict[Place, Level]


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
  """Folders of trainings and files of rows, with names that tell them apart.

  Raises:
    InputError: one is neither, or is damaged.
  """
  found = [Path(path) for path in paths]
  short = [path.stem if path.is_file() else path.absolute().name for path in found]
  names = short if len({*short}) == len(found) else [str(path) for path in found]
  return [_read(path, name) for path, name in zip(found, names, strict=True)]


def write_runs(
    out: Path, runs: Sequence[Run], title: str = 'Report of runs', text: Sequence[str] = (),
) -> list[Path]:
  """OUT/report.html, OUT/rows.csv, and OUT/NAME.png and .pdf of every figure; returns them.

  `text` are paragraphs before the summary.

  Raises:
    InputError: there is nothing to show, a row lacks a field, or OUT cannot be written.
  """
  if not any(run.rows or run.metrics for run in runs):
    raise InputError(
        f'{", ".join(run.name for run in runs)}: nothing was trained or measured yet.')
  found = lines(runs)
  drawn = {
      'nmse': ('NMSE of the test groups', nmse_panels(found),
               'Each point is the mean over the test groups, the bar its 95 % interval.'
               + (len(found) > _MAX_LINES) * ' The lines with the most points; the table has all.'),
      'gain': (f'Gain over {found[0].label}' if found else '', gain_panels(found),
               'Above 0: better. The bar is the 95 % interval of the difference on the same '
               'groups; where it holds 0 the test groups show no difference.'),
      'ues': ('NMSE of more and fewer UEs', ues_panels(found),
              'One SNR; only lines that were measured with several numbers of UEs.'),
      'learning': ('Learning', learning_panels(runs),
                   'NMSE of the training groups as they come, at SNRs drawn at random'
                   + any('val_nmse_db' in line for run in runs for line in run.metrics)
                   * '; dashed: of the val split' + '.')}
  figures: dict[str, tuple[str, Figure | None, str]] = {
      name: (head, draw(panels), caption)
      for name, (head, panels, caption) in drawn.items() if panels}
  trained = [(run.name, run.config, run.path) for run in runs
             if run.config and (run.path / 'checkpoints' / stage_name()).exists()]
  for name, config, path in trained[:1]:  # some seconds each
    figures['csi'] = f'CSI by {name}', *_csi_figure(config, path)
  tables = {
      'NMSE': nmse_table(found), 'Gain': gain_table(found), 'Configs': config_table(runs)}
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
    written = [out / 'report.html', out / 'rows.csv']
    body = [*map(page.paragraph, text), page.items(summary(runs, found))]
    for name, (head, figure, caption) in figures.items():
      body.append(page.heading(head))
      if figure is not None:
        written += page.save(out / name, figure)
        body.append(page.panels(name, figure) if name in drawn else page.image(written[-2]))
      body.append(page.caption(caption))
    for head, table in tables.items():
      if table is not None:
        body += [page.heading(head), page.table(table)]
    written[0].write_text(page.page(title, body))
    written[1].write_text(rows_csv(found))
  return written


def lines(runs: Sequence[Run]) -> list[Line]:
  """What each run measured, apart by all but UEs, SNR and seed; the first one is the baseline."""
  found: list[Line] = []
  for run in runs:
    check_rows(run.rows)
    rows = newest(run.rows)
    for method in dict.fromkeys(row['method'] for row in rows):
      for tuned in (False, True):
        part = [row for row in rows if row['method'] == method
                and (value(row, 'stage') != stage_name()) == tuned]
        for name, line in apart(part, _along(part)).items():
          label = ', '.join(filter(None, (
              run.name if run.config else method, tuned * 'fine-tuned', name)))
          if label in (other.label for other in found):
            label = f'{label} ({run.name})'
          places = dict.fromkeys((row['num_ues'], row['snr_db']) for row in line)
          found.append(Line(label, {
              place: here for place in places if (here := level(
                  [row for row in line if (row['num_ues'], row['snr_db']) == place]))}))
  return found


def nmse_panels(found: Sequence[Line]) -> list[Panel]:
  """NMSE against SNR, a panel for every number of UEs."""
  return [
      Panel(curves, 'uplink SNR (dB)', 'test NMSE (dB), lower is better', f'{num_ues} UEs')
      for num_ues in _nums_ues(found)
      if (curves := _against_snr(
          found, num_ues, lambda line, place: line.levels[place].nmse_db))]


def ues_panels(found: Sequence[Line]) -> list[Panel]:
  """NMSE against the number of UEs, at the SNR that most was measured at; none of one number."""
  several = [line for line in found if len({num_ues for num_ues, _ in line.levels}) > 1]
  if not several:
    return []
  _, snr_db = _common_place(several)
  curves = [
      Curve(line.label, points, _style(line), f'C{i}') for i, line in _shown(found)
      if len(points := {num_ues: here.nmse_db for (num_ues, snr), here in line.levels.items()
                        if snr == snr_db}) > 1]
  return [Panel(
      curves, 'UEs in a group', 'test NMSE (dB), lower is better', f'{snr_db:g} dB')] * bool(curves)


def gain_panels(found: Sequence[Line]) -> list[Panel]:
  """What each line gains over the first one, against SNR, a panel for every number of UEs."""
  return [
      Panel(curves, 'uplink SNR (dB)', f'gain over {found[0].label} (dB), higher is better',
            f'{num_ues} UEs', zero=True)
      for num_ues in _nums_ues(found)
      if (curves := _against_snr(
          found, num_ues, lambda line, place: gain(line, found[0], place), skip=1))]


def learning_panels(runs: Sequence[Run]) -> list[Panel]:
  """NMSE against training steps: a panel for stage 1, one for all fine-tunings."""
  panels = []
  for title, tuned in (('stage 1', False), ('fine-tuning', True)):
    curves = []
    for i, run in enumerate(runs):
      stages = dict.fromkeys(line['stage'] for line in run.metrics)
      for stage in [stage for stage in stages if (stage != stage_name()) == tuned]:
        label = f'{run.name}, {stage}' if tuned else run.name
        for name, ending, style in (('nmse_db', '', '-'), ('val_nmse_db', ', val', '--')):
          points = {line['step']: Estimate(line[name]) for line in run.metrics
                    if line['stage'] == stage and name in line}
          if points:
            # A line of one point would not be seen.
            curves.append(Curve(
                f'{label}{ending}', points, style if len(points) > 1 else 'o', f'C{i}'))
    if curves:
      panels.append(Panel(
          curves[:_MAX_LINES], 'training step', 'NMSE (dB), lower is better', title))
  return panels


def nmse_table(found: Sequence[Line]) -> Table | None:
  """A line for every curve and number of UEs, a column for every SNR; None of no rows."""
  return _table(
      f'NMSE of the test groups in dB, lower is better; {_INTERVALS}. "-": not measured.', found,
      lambda line, place: nmse_cell(line.levels[place]))


def gain_table(found: Sequence[Line]) -> Table | None:
  """As `nmse_table`, what each line gains over the first one; None of one line."""
  if len(found) < 2:
    return None
  return _table(
      f'dB by which the NMSE is below that of {found[0].label}; {_INTERVALS}, of the difference '
      'on the same groups.', found[1:],
      lambda line, place: cell(gain(line, found[0], place), sign='+'))


def config_table(runs: Sequence[Run]) -> Table | None:
  """The fields in which the runs differ; of one run, those in which it differs from the paper's."""
  configs = {run.name: run.config for run in runs if run.config}
  if not configs:
    return None
  if len(configs) == 1:
    configs |= {'the default': ExperimentConfig()}
  fields = {name: flat(to_dict(config)) for name, config in configs.items()}
  body = [
      (path, *(str(field.get(path, '-')) for field in fields.values()))
      for path in next(iter(fields.values()))
      if len({repr(field.get(path)) for field in fields.values()}) > 1]
  return Table(
      'The fields in which the configs differ.', ('field', *fields), body) if body else None


def gain(ours: Line, baseline: Line, place: Place) -> Estimate | None:
  """Decibels by which ours is better at a place; None where one was not measured there.

  With its interval where both are of one seed and have the NMSE of the same groups.
  """
  here, there = ours.levels.get(place), baseline.levels.get(place)
  if not here or not there:
    return None
  rows = [[*found.by_seed.values()] for found in (here, there)]
  same = all(len({repr(value(row, name)) for part in rows for row in part}) == 1
             for name in _SAME_GROUPS)
  of_ours, of_baseline = (
      part[0].get('errors') if len(part) == 1 else None for part in rows)
  if same and of_ours is not None and of_baseline is not None:
    mean, interval = paired_gain(of_ours, of_baseline, seed=0)
    return Estimate(mean, *interval)
  return Estimate(there.nmse_db.value - here.nmse_db.value)


def summary(runs: Sequence[Run], found: Sequence[Line]) -> list[str]:
  """Three sentences: what was compared, who is best, and how far the trainings are."""
  texts = [_measured(runs, found), _best(found), _trained(runs)]
  return [text for text in texts if text]


def rows_csv(found: Sequence[Line]) -> str:
  """Every measured row with its gain over the first line, for other programs."""
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  low_high = [name for field in _CSV for name in (
      ('nmse_low_db', 'nmse_high_db') if field == 'nmse_ci95_db' else (field,))]
  writer.writerow(['line', *low_high, 'gain_db', 'gain_low_db', 'gain_high_db'])
  for line in found:
    for place, here in line.levels.items():
      over = gain(line, found[0], place) if line is not found[0] else None
      for row in here.by_seed.values():
        cells = [row.get(field, value(row, field)) for field in _CSV]
        flattened = [item for found_cell in cells for item in (
            found_cell if isinstance(found_cell, list) else [found_cell])]
        writer.writerow([line.label, *flattened, *(over[:3] if over else [None] * 3)])
  return file.getvalue()


def _read(path: Path, name: str) -> Run:
  if path.is_dir():
    config, results = read_config(path), path / 'results.json'
    return Run(name, path, with_errors(read_rows(results), path), config, read_metrics(path))
  if not path.is_file():
    raise InputError(
        f'{path}: no such run; expected a folder of `rca train` or a file of rows, results.json.')
  return Run(name, path, with_errors(read_rows(path), path.parent))


def _csi_figure(config: ExperimentConfig, workdir: Path) -> tuple[Figure | None, str]:
  """With its caption; the other parts of a report need neither weights nor test groups."""
  try:
    figure = csi_figure(config, workdir, _SNR_DB)
  except InputError as error:
    return None, f'Not drawn: {error}'
  return figure, f'Two UEs of its test groups, before and after feedback at {_SNR_DB:g} dB.'


def _along(rows: Sequence[Row]) -> tuple[str, ...]:
  """What rows of one line may differ in; the last ones follow from the others."""
  for_its_ues = all(row['trained_ues'] == [row['num_ues']] for row in rows)
  return 'num_ues', 'snr_db', 'stage', 'overhead', *(['trained_ues'] if for_its_ues else [])


def _nums_ues(found: Iterable[Line]) -> list[int]:
  return sorted({num_ues for line in found for num_ues, _ in line.levels})


def _against_snr(found: Sequence[Line], num_ues: int, estimate: Any, skip: int = 0) -> list[Curve]:
  """Curves of the lines after the first `skip`; each keeps its color in every panel."""
  curves = []
  for i, line in _shown(found):
    points = {
        place[1]: point for place in line.levels if place[0] == num_ues and place[1] is not None
        and i >= skip and (point := estimate(line, place))}
    if points:
      curves.append(Curve(line.label, points, _style(line), f'C{i}'))
  return curves


def _shown(found: Sequence[Line]) -> list[tuple[int, Line]]:
  """The lines that are drawn, numbered; of too many those with the most points can be read."""
  chosen = sorted(range(len(found)), key=lambda i: (i > 0, -len(found[i].levels)))[:_MAX_LINES]
  return [*enumerate(found[number] for number in sorted(chosen))]


def _style(line: Line) -> str:
  methods = {row['method'] for here in line.levels.values() for row in here.by_seed.values()}
  return '^--' if methods <= {*REFERENCES} else 'o-'


def _common_place(found: Sequence[Line]) -> Place:
  """The place with noise that most lines have; of equals the one nearest to `_SNR_DB`."""
  places = [(num_ues, snr_db) for line in found for num_ues, snr_db in line.levels
            if snr_db is not None]
  return min(
      places, key=lambda item: (-places.count(item), abs(item[1] - _SNR_DB)), default=(0, None))


def _table(caption: str, found: Sequence[Line], text: Any) -> Table | None:
  snrs_db: list[float | None] = [*sorted(
      {snr_db for line in found for _, snr_db in line.levels if snr_db is not None})]
  if any((None in {snr_db for _, snr_db in line.levels}) for line in found):
    snrs_db.append(None)
  body = [
      (line.label, str(num_ues), *(
          text(line, (num_ues, snr_db)) if (num_ues, snr_db) in line.levels else '-'
          for snr_db in snrs_db))
      for num_ues in _nums_ues(found) for line in found
      if any(place[0] == num_ues for place in line.levels)]
  heads = ('noise-free' if snr_db is None else f'{snr_db:g} dB' for snr_db in snrs_db)
  return Table(caption, ('', 'UEs', *heads), body) if body else None


def _measured(runs: Sequence[Run], found: Sequence[Line]) -> str:
  rows = [row for run in runs for row in run.rows]
  if not found:
    return f'Nothing is measured yet: rca evaluate --workdir={runs[0].path}.'
  samples = values(rows, 'num_samples')
  groups = f'{samples[0]:,}' if len(samples) == 1 else f'{samples[0]:,} to {samples[-1]:,}'
  return (
      f'{", ".join(run.name for run in runs)}: CR {", ".join(values(rows, "compression_ratio"))}; '
      f'tested with {", ".join(map(str, values(rows, "num_ues")))} UEs on '
      f'{", ".join(values(rows, "data"))}, {groups} groups.')


def _best(found: Sequence[Line]) -> str:
  """At `_common_place`."""
  place = _common_place(found)
  if place[1] is None:
    return ''
  here = sorted(
      (line for line in found if place in line.levels),
      key=lambda line: line.levels[place].nmse_db.value)
  text = (f'At {place[1]:g} dB and {place[0]} UEs {here[0].label} has '
          f'{"the lowest NMSE" if len(here) > 1 else "an NMSE of"}'
          f'{":" if len(here) > 1 else ""} {nmse_cell(here[0].levels[place])} dB')
  lead = gain(here[0], here[1], place) if len(here) > 1 else None
  if not lead:
    return f'{text}.'
  clear = lead.low is None or lead.low > 0
  return (f'{text}, {cell(lead, sign="+")} dB over {here[1].label}'
          f'{"" if clear else ", which the test groups do not show to be a difference"}.')


def _trained(runs: Sequence[Run]) -> str:
  """How far each training is and whether its NMSE still falls."""
  texts = []
  for run in runs:
    learned = [line for line in run.metrics if line['stage'] == stage_name()]
    if not run.config or not learned:
      continue
    total = run.config.training.pretrain.num_steps
    step = learned[-1]['step']
    text = f'{run.name} is at {step:,} of {total:,} steps'
    last, before = (
        [line['nmse_db'] for line in learned if low * step < line['step'] <= high * step]
        for low, high in ((1 - _TENTH, 1), (1 - 2 * _TENTH, 1 - _TENTH)))
    if last and before:
      text += (f'; in the last tenth of them the training NMSE changed by '
               f'{np.mean(last) - np.mean(before):+z.2f} dB')
    if 'val_nmse_db' in learned[-1]:
      apart_db = learned[-1]['val_nmse_db'] - learned[-1]['nmse_db']
      text += f'; val is {abs(apart_db):.2f} dB {"above" if apart_db > 0 else "below"} it'
    texts.append(text)
  return f'{". ".join(texts)}.' if texts else ''
