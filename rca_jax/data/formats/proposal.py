"""What a file is read as: what was said, or what its names propose and its power agrees with."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np

from rca_jax.config import CsiConfig, Layout
from rca_jax.data.formats.arrays import Array, in_memory, whole
from rca_jax.data.formats.evidence import complaint
from rca_jax.data.formats.presets import Reading, proposals
from rca_jax.data.formats.reader import blocks, describe
from rca_jax.errors import InputError

_SAMPLE_UES, _SAMPLE_BYTES = 512, 2**26  # of the first UEs that are judged
_FEW_UES = 32  # for many readings
_MOST_SHOWN = 4
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
  flags = [layout.flags() for layout in itertools.islice(
      _fitting(arrays, name, config), _MOST_SHOWN)] or ['--array=NAME --axes=... (docs/data.md)']
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
  found = []
  for block in itertools.chain.from_iterable(blocks(arrays, part, config) for part in reading):
    ues = block.delays.reshape(-1, *block.delays.shape[-2:])
    if found and found[0].shape[1:] != ues.shape[1:]:
      break  # refused later, when it is read
    found.append(ues)
    if sum(map(len, found)) >= _SAMPLE_UES or sum(ues.nbytes for ues in found) >= _SAMPLE_BYTES:
      break
  return complaint(np.concatenate(found)[:_SAMPLE_UES], config)


def _fitting(arrays: Mapping[str, Array], name: str, config: CsiConfig) -> Iterator[Layout]:
  """Of all that arrays of this shape can be, what their power agrees with."""
  names = name.split(',')
  for axis in (0, len(arrays[names[0]].shape) - 1):  # UEs first, or last as MATLAB has them
    parts = {part: in_memory(next(arrays[part].blocks(_FEW_UES, axis))) for part in names}
    shape = parts[names[0]].shape
    is_real = len(names) == 1 and whole(parts[name]).dtype.kind != 'c'
    for axes in _possible_axes(shape, is_real, ues_first=axis == 0):
      layout = Layout(name, ','.join(axes), 'rx:all' * (_num_rx(axes, shape) > 1))
      if not _objection(parts, [layout], config):
        yield layout


def _objection(arrays: Mapping[str, Array], reading: Reading, config: CsiConfig) -> str:
  """As `_judged`; or why the arrays cannot be read so at all."""
  try:
    return _judged(arrays, reading, config)
  except InputError as error:
    return str(error)


def _num_rx(axes: tuple[str, ...], shape: tuple[int, ...]) -> int:
  return shape[axes.index('rx')] if 'rx' in axes else 1


def _possible_axes(
    shape: tuple[int, ...], is_real: bool, ues_first: bool) -> Iterator[tuple[str, ...]]:
  """Names of the axes of an array of this shape; -subcarrier only after subcarrier."""
  matrices = [
      order for rows, columns in itertools.product(
          ('subcarrier', '-subcarrier', 'delay', '-delay'), ('antenna', 'angle'))
      for order in ((columns, rows), (rows, columns))]
  leads = {2: [()], 3: [('ue',)], 4: [('group', 'ue'), ('ue', 'rx')], 5: [('group', 'ue', 'rx')]}
  for lead in leads.get(len(shape) - is_real, []):
    for matrix in matrices:
      orders = [lead + matrix] if ues_first else [matrix + lead[::-1], lead[1:] + matrix + lead[:1]]
      for order in dict.fromkeys(orders):
        for place in [i for i, length in enumerate(shape) if length == 2] if is_real else [None]:
          yield order if place is None else (*order[:place], 're_im', *order[place:])
