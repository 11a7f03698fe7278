"""Arrays and the names of their axes -> delays and angles, a block at a time."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from rca_jax.config import CsiConfig, Layout
from rca_jax.data.formats.angular_delay import delays_and_angles, frequency_response, quiet
from rca_jax.data.formats.arrays import Array, in_memory, rows_per_block, whole
from rca_jax.errors import InputError

POSITIONS = ('positions', 'rx_position', 'rx_positions', 'rx_pos', 'location')  # [ue, 3] m
_SHARE_DELAYS = ('time', 'rx', 'polarisation', 'antenna', 'bs', 'one')  # axes that delays may lack
IsWanted = Callable[[int, int], bool]
_ROLES = {'subcarrier': 'row', 'delay': 'row', 'antenna': 'column', 'angle': 'column'}


class Block(NamedTuple):
  """Some groups, their delays not cut yet."""

  first: int  # number of its first group
  delays: np.ndarray  # [G, M, row, N_t] complex
  beside: dict[str, np.ndarray]  # positions, los, energy_kept [G, M, ...], those that are there
  zero: float  # what stands in the file for a part of no power


class _Named(NamedTuple):
  """Numbers and the names of their axes."""

  values: np.ndarray
  names: tuple[str, ...]

  def at(self, name: str, index: int) -> '_Named':
    axis = self.names.index(name)
    return _Named(self.values.take(index, axis), self.names[:axis] + self.names[axis + 1:])

  def ordered(self, *names: str) -> np.ndarray:
    """With axes of these names; those that are missing have length 1."""
    present = [name for name in names if name in self.names]
    values = self.values.transpose([self.names.index(name) for name in present])
    return np.expand_dims(values, [i for i, name in enumerate(names) if name not in present])


def wanted(first: int, end: int) -> bool:
  """Every block is."""
  del first, end
  return True


def blocks(
    arrays: Mapping[str, Array], layout: Layout, config: CsiConfig,
    is_wanted: IsWanted = wanted) -> Iterator[Block]:
  """The groups of a layout's arrays.

  Args:
    is_wanted: of the numbers of a block's first group and of that behind its last: blocks that are
      not are read, and nothing is computed of them.

  Raises:
    InputError: an array is missing, or has another shape or type than the layout says; or there are
      several of what a group has one of.
  """
  names = layout.axis_names
  parts, delay = _opened(arrays, layout)
  length_of = dict(zip(names, parts[0].shape, strict=True))
  _check_selected(length_of, layout)
  lead = [name for name in ('group', 'ue') if name in names]
  values_per_group = math.prod(length for name, length in length_of.items() if name not in lead[:1])
  if delay is not None:
    values_per_group *= max(1, config.num_subcarriers // length_of['path'])
  count = rows_per_block(values_per_group)
  sources = [_named_blocks(part, names, count) for part in parts]
  if delay is not None:
    sources.append(_named_blocks(delay, _names_of_delays(length_of, delay, layout), count))
  beside = _beside(arrays, layout, [length_of[name] for name in lead])
  beside_blocks = {name: array.blocks(count, 0) for name, array in beside.items()}
  zero, end = None, 0
  for found in zip(*sources, strict=True):
    zero = _zero(found[0], layout) if zero is None else zero
    first, end = end, end + (found[0].values.shape[names.index(lead[0])] if lead else 1)
    those_beside = {name: next(source) for name, source in beside_blocks.items()}
    if not is_wanted(first, end):
      continue
    csi = _selected(_complex(found[:len(parts)], layout, zero), layout)
    if delay is None:
      values = csi.ordered('group', 'ue', 'rx', 'polarisation', 'row', 'column')
    else:
      axes = 'group', 'ue', 'rx', 'polarisation', 'path', 'column'
      delay_s = _selected(found[-1], layout).ordered(*axes)
      if delay_s.dtype.kind != 'f':
        raise InputError(f'its delays are of type {delay_s.dtype}; expected real numbers of s.')
      values = frequency_response(csi.ordered(*axes), delay_s.astype(np.float64), config)
    delays = _streams(_delays(values, layout, config), layout)
    num_streams = delays.shape[1] // values.shape[1]
    yield Block(first, delays, {
        name: np.repeat(found.reshape(*values.shape[:2], *beside[name].shape[len(lead):]),
                        num_streams, axis=1)
        for name, found in those_beside.items()}, zero)


def lengths(arrays: Mapping[str, Array], layout: Layout) -> dict[str, int]:
  """Of every axis of a layout's array. Raises InputError as `blocks`."""
  parts, _ = _opened(arrays, layout)
  return dict(zip(layout.axis_names, parts[0].shape, strict=True))


def num_groups(arrays: Mapping[str, Array], layout: Layout) -> int:
  """That `blocks` yields of a layout. Raises InputError as it does."""
  found = lengths(arrays, layout)
  return found.get('group', found.get('ue', 1))


def describe(arrays: Mapping[str, Array]) -> str:
  """The first arrays with their shapes."""
  shown = [f'{name} {array.shape}' for name, array in list(arrays.items())[:8]]
  return ', '.join(shown) or 'none'


def _opened(arrays: Mapping[str, Array], layout: Layout) -> tuple[list[Array], Array | None]:
  """The array or its two parts, and that of the delays."""
  names, num_axes = layout.array.split(','), len(layout.axis_names)
  has_paths = 'path' in layout.axis_names
  if not 1 <= len(names) - has_paths <= 2:
    raise InputError(
        f'array={layout.array} names {len(names)} arrays; expected NAME or REAL,IMAGINARY'
        f'{", then the delays" if has_paths else ""}.')
  for name in names:
    if name not in arrays:
      raise InputError(f'has no array {name!r} (its arrays: {describe(arrays)}).')
  found = [arrays[name] for name in names]
  delay = found.pop() if has_paths else None
  parts = [part.with_axes(num_axes) for part in found]
  for name, part in zip(names, parts, strict=False):
    if len(part.shape) != num_axes or 0 in part.shape or part.shape != parts[0].shape:
      other = f', as {names[0]} {parts[0].shape}' if part is not parts[0] else ''
      raise InputError(
          f'{name} has shape {part.shape}; expected [{layout.axes}], {num_axes} axes, none empty'
          f'{other}.')
    for axis, length in zip(layout.axis_names, part.shape, strict=True):
      if length != {'one': 1, 're_im': 2}.get(axis, length):
        raise InputError(f'{name} has shape {part.shape}; [{layout.axes}] has {length} of {axis}.')
  return parts, delay


def _check_selected(lengths: dict[str, int], layout: Layout) -> None:
  for name, index in layout.selected.items():
    if name not in lengths or index.isdigit() and int(index) >= lengths[name]:
      raise InputError(
          f'{layout.array} has {lengths.get(name, "no axis")} {name}; --select={name}:{index} is '
          'none of them.')
  for name, kind in (('rx', 'UE antennas'), ('bs', 'base stations')):
    if lengths.get(name, 1) > 1 and name not in layout.selected:
      more = ', --select=rx:all (each a UE) or --select=rx:strongest' if name == 'rx' else ''
      raise InputError(
          f'{layout.array} has {lengths[name]} {kind} (axis {name}); choose --select={name}:0'
          f'{more}.')


def _named_blocks(array: Array, names: tuple[str, ...], count: int) -> Iterator[_Named]:
  """Blocks of groups, or of single UEs; or all at once of one UE."""
  array = array.with_axes(len(names))
  name = next((name for name in ('group', 'ue') if name in names), None)
  found = [whole(array)] if name is None else array.blocks(count, names.index(name))
  for values in found:
    yield _Named(values, names)


def _names_of_delays(lengths: dict[str, int], delay: Array, layout: Layout) -> tuple[str, ...]:
  """Those of the coefficients without the ones that share delays."""
  for count in range(len(_SHARE_DELAYS) + 1):
    for left_out in itertools.combinations(_SHARE_DELAYS, count):
      names = tuple(name for name in lengths if name not in left_out)
      found = delay.with_axes(len(names)).shape
      if len(found) == len(names) and all(
          length == lengths[name] or length == 1 and name in _SHARE_DELAYS
          for name, length in zip(names, found, strict=True)):
        return names
  raise InputError(
      f'{layout.array}: coefficients have shape {tuple(lengths.values())} and delays '
      f'{delay.shape}; expected [{layout.axes}] and the same without axes that share delays.')


@quiet
def _complex(parts: tuple[_Named, ...], layout: Layout, zero: float) -> _Named:
  kinds = {part.values.dtype.kind for part in parts}
  first, has_parts = parts[0], 're_im' in layout.axis_names
  if kinds == {'c'} and len(parts) == 1 and not has_parts:
    return first
  if kinds <= set('iuf') and has_parts != (len(parts) == 2):
    real, imag = [first.at('re_im', index) for index in (0, 1)] if has_parts else parts
    return real._replace(values=(real.values - zero) + 1j * (imag.values - zero))
  raise InputError(
      f'{layout.array} is of type {first.values.dtype}; expected complex numbers, or real ones in '
      'two arrays (--array=REAL,IMAGINARY) or with an axis re_im of length 2.')


def _zero(named: _Named, layout: Layout) -> float:
  """Where zero is: parts without a sign are of CsiNet's kind, in [0, 1] around 0.5."""
  values = named.values
  if 're_im' not in named.names or values.dtype.kind == 'c' or values.min() < 0:
    return 0.0
  if values.max() > 1:
    raise InputError(
        f'{layout.array} has values from {values.min()} to {values.max()}; expected parts of both '
        'signs, or in [0, 1] with zero at 0.5.')
  return 0.5


def _selected(named: _Named, layout: Layout) -> _Named:
  """One base station, time and UE antenna; without groups every UE is one."""
  for name, index in ({'time': '0', 'one': '0', 'bs': '0'} | layout.selected).items():
    if name in named.names and index.isdigit():
      is_shared = named.values.shape[named.names.index(name)] == 1
      named = named.at(name, 0 if is_shared else int(index))
  roles = _ROLES if 'group' in named.names else _ROLES | {'ue': 'group'}
  return named._replace(names=tuple(roles.get(name, name) for name in named.names))


@quiet
def _delays(values: np.ndarray, layout: Layout, config: CsiConfig) -> np.ndarray:
  """[..., polarisation, row, column] of any kind, to delays and angles [..., row, N_t]."""
  values = _by_polarisation(values, layout, config.num_polarisations)
  for name in layout.reversed_axes:
    axis = -2 if _ROLES[name] == 'row' else -1
    values = np.flip(values, axis)
    if name in ('delay', 'angle'):
      values = np.roll(values, 1, axis)  # 0 stays in its place
  of_carriers = 'delay' not in layout.axis_names
  if of_carriers and 1 < values.shape[-2] < config.num_delay_taps:
    raise InputError(
        f'has {values.shape[-2]} subcarriers; {config.num_delay_taps} delay rows (num_delay_taps) '
        'need at least as many.')
  found = delays_and_angles(values, of_carriers, 'antenna' in layout.axis_names)
  return np.moveaxis(found, -3, -2).reshape(*found.shape[:-3], found.shape[-2], -1)


def _by_polarisation(values: np.ndarray, layout: Layout, num_polarisations: int) -> np.ndarray:
  """With all polarisations on the third axis from the end, where they stood among the columns."""
  there, columns = values.shape[-3], values.shape[-1]
  if 'polarisation' in layout.axis_names:
    if there != num_polarisations:
      raise InputError(
          f'{layout.array} has {there} of polarisation, csi.num_polarisations is '
          f'{num_polarisations}.')
    return values
  if columns % num_polarisations:
    raise InputError(
        f'{layout.array} has {columns} antennas; csi.num_polarisations={num_polarisations} needs '
        'an even number.')
  split = values[..., 0, :, :].reshape(*values.shape[:-3], values.shape[-2], num_polarisations, -1)
  return np.moveaxis(split, -2, -3)


@quiet
def _streams(delays: np.ndarray, layout: Layout) -> np.ndarray:
  """[group, ue, rx, ...] to [group, ue, ...]: every antenna a UE, or the strongest of each UE."""
  if layout.selected.get('rx') != 'strongest':
    return delays.reshape(delays.shape[0], -1, *delays.shape[3:])
  power = np.sum(np.square(np.abs(delays), dtype=np.float64), axis=(-2, -1), keepdims=True)
  return np.take_along_axis(delays, power.argmax(2, keepdims=True), 2)[:, :, 0]


def _beside(arrays: Mapping[str, Array], layout: Layout, lead: list[int]) -> dict[str, Array]:
  """Positions and the like, [group and ue as far as they are axes, ...]."""
  array = layout.array.split(',')[0]
  prefix = array.removesuffix('Coeffs') if array.endswith('_Coeffs') else ''
  found = {}
  name = next((prefix + name for name in POSITIONS if prefix + name in arrays), None)
  if name is not None:
    found['positions'] = _positions(arrays, name, prefix, lead)
  for name in ('los', 'energy_kept') if array == 'csi' else ():
    if name in arrays:
      found[name] = arrays[name].with_axes(len(lead))
      if found[name].shape != tuple(lead):
        raise InputError(f'{name} has shape {found[name].shape}; expected {tuple(lead)}.')
  return found


def _positions(arrays: Mapping[str, Array], name: str, prefix: str, lead: list[int]) -> Array:
  """[..., 3] m from the point of the ground below the base station, if that is in the file."""
  array, shape = arrays[name].with_axes(2), (*lead, 3)
  if array.shape == (3, math.prod(lead)) and (array.shape != shape or 'rx_position' in name):
    values = whole(array).T
  elif array.shape[-1] == 3 and math.prod(array.shape) == math.prod(shape):
    values = whole(array)
  else:
    raise InputError(f'{name} has shape {array.shape}; expected {shape}.')
  ground = base_station(arrays, prefix) * [1, 1, 0]
  return in_memory((values.reshape(shape) - ground).astype(np.float32))


def base_station(arrays: Mapping[str, Array], prefix: str) -> np.ndarray:
  """Where `tx_position` says it stands in the first snapshot, [3] m; else the origin.

  Raises:
    InputError: it is no position.
  """
  name = prefix + 'tx_position'
  if name not in arrays:
    return np.zeros(3)
  position = whole(arrays[name])
  if position.shape[0] != 3:
    raise InputError(f'{name} has shape {position.shape}; expected (3, 1) or (3, snapshot).')
  return position.reshape(3, -1)[:, 0].astype(np.float64)
