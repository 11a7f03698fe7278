"""What a file is read as: what was said, or what its names propose and its power agrees with."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from rca_jax.config import CsiConfig, Layout
from rca_jax.data.formats.arrays import Array, in_memory
from rca_jax.data.formats.evidence import ENOUGH_UES, complaint, early_share
from rca_jax.data.formats.presets import Reading, proposals
from rca_jax.data.formats.reader import blocks, describe
from rca_jax.errors import InputError

_SAMPLE_UES, _SAMPLE_BYTES = 512, 2**26  # of the first UEs that are judged
_FEW_UES = 32  # for many readings
_MOST_SHOWN = 4
# What an array of so many axes can be; X and Y are delays and angles in some form and order.
_ARRANGEMENTS = {
    2: ('X,Y',), 3: ('ue,X,Y', 'X,Y,ue'), 5: ('group,ue,rx,X,Y',),
    4: ('group,ue,X,Y', 'ue,rx,X,Y', 'rx,X,Y,ue', 'X,Y,rx,ue', 'X,Y,ue,group')}
_LEADS = ('ue', 'group')
_MATRICES = [
    order for row, column in itertools.product(
        ('subcarrier', '-subcarrier', 'delay', '-delay'), ('antenna', 'angle'))
    for order in ((column, row), (row, column))]
_IN_TRAINING = ' (in training --config.data.array, --config.data.axes)'


def choose(arrays: Mapping[str, Array], layout: Layout, config: CsiConfig) -> Reading:
  """The layouts of a file, whose groups follow one another.

  Axes and formats that are named are believed. Otherwise names and shapes propose, and the power
  of the first UEs must agree with one proposal alone.

  Raises:
    InputError: nothing is proposed, or several readings are possible, or the power speaks against
      the only one; it says how to say which.
  """
  if layout.axis_names:
    if not layout.array and len(arrays) > 1:
      raise InputError(f'--axes needs --array=NAME too; its arrays: {describe(arrays)}.')
    return [dataclasses.replace(layout, array=layout.array or next(iter(arrays), ''))]
  if layout.array:
    _refuse(f'--array={layout.array} needs --axes too', arrays, layout.array, config)
  found = [[dataclasses.replace(part, select=layout.select) for part in reading]
           for reading in proposals(arrays, layout.format)]
  if not found and layout.format:
    raise InputError(
        f'holds no CSI of format {layout.format} (its arrays: {describe(arrays)}).')
  if not found:
    _refuse('holds no array of a known format', arrays, _likeliest(arrays), config)
  if len(found) == 1 and layout.format:
    return found[0]
  judge = _judged if len(found) == 1 else _objection
  complaints = [judge(arrays, reading, config) for reading in found]
  fitting = [reading for reading, text in zip(found, complaints, strict=True) if not text]
  if len(fitting) == 1:
    return fitting[0]
  if fitting:
    flags = ' or '.join(reading[0].flags() for reading in fitting)
    raise InputError(f'can be read in {len(fitting)} ways, say which: {flags}{_IN_TRAINING}.')
  first = found[0][0]
  if ',' in first.array:  # paths are no array of one's own whose axes were mistaken
    raise InputError(f'{complaints[0]}; --axes=FORMAT (docs/data.md) reads it all the same.')
  _refuse(complaints[0], arrays, first.array, config, first)


def _refuse(
    reason: str, arrays: Mapping[str, Array], name: str, config: CsiConfig,
    believed: Layout | None = None) -> NoReturn:
  """Raises InputError with the flags of every reading of the array that its power agrees with."""
  if not set(name.split(',')) <= set(arrays):
    raise InputError(
        f'{reason} (its arrays: {describe(arrays)}); expected one of the formats of docs/data.md, '
        'or --array=NAME --axes=...')
  flags = [layout.flags() for layout in _fitting(arrays, name, config)[:_MOST_SHOWN]]
  flags = flags or ['--array=NAME --axes=... (docs/data.md)']
  if believed is not None:
    flags.append(f'(as was tried) {believed.flags()}')
  raise InputError(
      f'{reason} (its arrays: {describe(arrays)}); say how it is read: {" or ".join(flags)}'
      f'{_IN_TRAINING}.')


def _likeliest(arrays: Mapping[str, Array]) -> str:
  """The largest array, with its twin if two of one shape may be real and imaginary parts."""
  size = {name: math.prod(array.shape) for name, array in arrays.items()}
  largest = [name for name in arrays if size[name] == max(size.values())]
  twins = [name for name in largest if re.search('re|im', name, re.IGNORECASE)]
  if len(twins) == 2:
    return ','.join(sorted(twins, key=lambda name: 'im' in name.lower()))
  return ','.join(largest[:1])


def _judged(arrays: Mapping[str, Array], reading: Reading, config: CsiConfig) -> str:
  """What speaks against a reading of the first UEs, '' if nothing does."""
  found: list[np.ndarray] = []
  for block in itertools.chain.from_iterable(blocks(arrays, part, config) for part in reading):
    ues = block.delays.reshape(-1, *block.delays.shape[-2:])
    if found and found[0].shape[1:] != ues.shape[1:]:
      break  # refused later, when it is read
    found.append(ues)
    if sum(map(len, found)) >= _SAMPLE_UES or sum(ues.nbytes for ues in found) >= _SAMPLE_BYTES:
      break
  return complaint(np.concatenate(found)[:_SAMPLE_UES], config)


def _objection(arrays: Mapping[str, Array], reading: Reading, config: CsiConfig) -> str:
  """As `_judged`; or why the arrays cannot be read so at all."""
  try:
    return _judged(arrays, reading, config)
  except InputError as error:
    return str(error)


def _fitting(arrays: Mapping[str, Array], name: str, config: CsiConfig) -> list[Layout]:
  """Of all that arrays of this shape can be, what their power agrees with; best first."""
  parts = [arrays[part] for part in name.split(',')]
  shape, found = parts[0].shape, []
  samples = [[next(part.blocks(_FEW_UES, axis)) for part in parts] for axis in (0, len(shape) - 1)]
  is_complex = len(parts) == 2 or samples[0][0].dtype.kind == 'c'
  places = [None] if is_complex else [i for i, length in enumerate(shape) if length == 2]
  shares = {}
  for place, arrangement, matrix in itertools.product(
      places, _ARRANGEMENTS.get(len(shape) - (not is_complex), ()), _MATRICES):
    axes = arrangement.split(',')
    where = place, axes.index('X'), axes.index('Y')
    if (*where, matrix) not in shares:
      sample = samples[arrangement.endswith(_LEADS)]
      shares[*where, matrix] = _early_share(_flat(sample, *where), matrix, config)
    names = [dict(zip('XY', matrix, strict=True)).get(axis, axis) for axis in axes]
    if place is not None:
      names.insert(place, 're_im')
    has_streams = 'rx' in names and shape[names.index('rx')] > 1
    found.append(
        (shares[*where, matrix], Layout(name, ','.join(names), 'rx:all' if has_streams else '')))
  least = 0.75 * max((share for share, _ in found), default=0)
  found = sorted([item for item in found if item[0] > least], key=lambda item: -item[0])
  ues_first = [layout for _, layout in found if not layout.axes.endswith(_LEADS)]
  return ues_first or [layout for _, layout in found]


def _flat(sample: list[np.ndarray], place: int | None, row: int, column: int) -> np.ndarray:
  """[ue, X, Y] complex of few UEs, whatever stands before or after X and Y."""
  if place is not None:
    sample = [sample[0].take(part, place) for part in (0, 1)]
  values = sample[0] + 1j * sample[1] if len(sample) == 2 else sample[0]
  values = np.moveaxis(values, (row, column), (-2, -1))
  return values.reshape(-1, *values.shape[-2:])[:_FEW_UES]


def _early_share(values: np.ndarray, matrix: tuple[str, str], config: CsiConfig) -> float:
  """As `early_share` of a reading of [ue, X, Y], half if it is not judged; 0 if refused."""
  layout = Layout('sample', ','.join(('ue', *matrix)))
  if 1 in values.shape[1:]:
    return 0.0
  try:
    found = list(blocks({'sample': in_memory(values)}, layout, config))
  except InputError:
    return 0.0
  delays = np.concatenate([block.delays[:, 0] for block in found])
  weight = 1.0 if len(delays) >= ENOUGH_UES else 0.5
  return 0.0 if complaint(delays, config) else weight * early_share(delays)
