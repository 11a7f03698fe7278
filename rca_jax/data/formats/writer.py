"""CSI back to what the file of a layout holds: what `reader` does, the other way round."""

from typing import NamedTuple

import numpy as np

from rca_jax.config import CsiConfig, Layout


class Stored(NamedTuple):
  """How a file holds its CSI.

  The array that is given back has its axes, in its order. Of paths it holds the frequency
  responses: `subcarrier` stands where `path` did. An axis of which one place was taken (`select`)
  stays, of length 1; real and imaginary parts in two arrays become one complex array.
  """

  layout: Layout
  lengths: dict[str, int]  # of every axis of its array
  num_groups: int  # of all its arrays, if there are several
  config: CsiConfig

  @property
  def axes(self) -> tuple[str, ...]:
    """Those of the array that is given back."""
    return tuple('subcarrier' if name == 'path' else name for name in self.layout.axis_names)

  @property
  def shape(self) -> tuple[int, ...]:
    """Of that array, all groups."""
    return tuple(self._length(name) for name in self.axes)

  @property
  def dtype(self) -> np.dtype:
    """Of that array: complex64, or float32 where an axis holds real and imaginary parts."""
    return np.dtype(np.float32 if 're_im' in self.axes else np.complex64)

  @property
  def num_ues(self) -> int:
    """Of a group."""
    return self.num_streams * (self.lengths.get('ue', 1) if 'group' in self.axes else 1)

  def place(self, first: int, end: int) -> tuple[slice, ...]:
    """Where the groups from `first` to before `end` stand in the array."""
    if self._lead is None:
      return ()
    return (slice(None),) * self.axes.index(self._lead) + (slice(first, end),)

  def restored(self, csi: np.ndarray, zero: float) -> np.ndarray:
    """Some groups as the array has them.

    Args:
      csi: [G, M, N_a, N_t] complex, of the scale of the file; delay rows behind N_a are zero.
      zero: what stands for a part of no power, see `reader.Block`.
    """
    values = np.zeros((*csi.shape[:2], self._num_rows, csi.shape[-1]), csi.dtype)
    values[..., :csi.shape[-2], :] = csi
    values = np.moveaxis(values.reshape(
        *values.shape[:-1], self.config.num_polarisations, -1), -2, -3)
    transformed = [
        axis for axis, name in ((-2, 'subcarrier'), (-1, 'antenna')) if name in self.axes]
    if transformed:
      values = np.fft.fftn(values, axes=transformed, norm='ortho')
    for name in self.layout.reversed_axes:
      axis = -2 if name in ('subcarrier', 'delay') else -1
      if name in ('delay', 'angle'):
        values = np.roll(values, -1, axis)  # 0 stays in its place
      values = np.flip(values, axis)
    if 'polarisation' not in self.axes:
      values = np.moveaxis(values, -3, -2).reshape(*values.shape[:2], 1, self._num_rows, -1)
    num_ues = values.shape[1] // self.num_streams
    values = values.reshape(len(csi), num_ues, self.num_streams, *values.shape[2:])
    lead = ('group', 'ue') if 'group' in self.axes else ('ue', '')
    row = next(name for name in ('subcarrier', 'delay') if name in self.axes)
    column = next(name for name in ('antenna', 'angle') if name in self.axes)
    names = (*lead, 'rx', 'polarisation', row, column)
    there = [name for name in self.axes if name in names]
    values = values.transpose(
        [names.index(name) for name in there]
        + [i for i in range(len(names)) if names[i] not in there])
    values = values.reshape(values.shape[:len(there)])  # what is not there has length 1
    values = np.expand_dims(values, [
        i for i, name in enumerate(name for name in self.axes if name != 're_im')
        if name not in names])
    if 're_im' in self.axes:
      values = np.stack([values.real, values.imag], self.axes.index('re_im')) + zero
    return values.astype(self.dtype)

  @property
  def _lead(self) -> str | None:
    return next((name for name in ('group', 'ue') if name in self.axes), None)

  @property
  def num_streams(self) -> int:
    """Antennas of a UE, each as a UE of its own: the last axis of a group's UEs."""
    return self.lengths['rx'] if self.layout.selected.get('rx') == 'all' else 1

  @property
  def _num_rows(self) -> int:
    if 'path' in self.lengths:
      return self.config.num_subcarriers
    return self.lengths.get('subcarrier') or self.lengths['delay']

  def _length(self, name: str) -> int:
    if name == self._lead:
      return self.num_groups
    fixed = {'rx': self.num_streams, 'bs': 1, 'time': 1, 'one': 1, 'subcarrier': self._num_rows}
    return fixed.get(name) or self.lengths[name]
