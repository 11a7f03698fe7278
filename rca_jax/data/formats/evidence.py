"""Whether a reading of an array is one of CSI, by where its power lies.

Delays and angles are where CSI is compact; over carriers and antennas it is spread. A delay profile
starts early and has no negative delays, and a uniform linear array looks the same everywhere.
"""

import numpy as np

from rca_jax.config import CsiConfig

ENOUGH_UES = 24  # fewer may lie anywhere
_MUCH = 1.5  # genuine CSI spreads under a DFT (0.1 to 1), independent numbers stay (1)


def early_share(delays: np.ndarray) -> float:
  """Of the power of delays and angles [ue, row, N_t] in the first quarter of the delays."""
  power = np.sum(np.abs(delays) ** 2, axis=-1)
  return float(np.mean(_first_quarter(power / np.maximum(power.sum(-1, keepdims=True), 1e-300))))


def _first_quarter(share: np.ndarray) -> np.ndarray:
  return share[..., :max(1, share.shape[-1] // 4)].sum(-1)


def complaint(delays: np.ndarray, config: CsiConfig) -> str:
  """What speaks against delays and angles [..., row, N_t] complex; '' if nothing does."""
  if not np.isfinite(delays).all():
    return ''  # refused elsewhere, by its index
  # Every polarisation as a UE of its own.
  delays = delays.reshape(-1, delays.shape[-2], config.num_polarisations, delays.shape[-1] // (
      config.num_polarisations)).swapaxes(1, 2)
  delays = delays.reshape(-1, *delays.shape[-2:])
  delays = delays[delays.any((1, 2))]
  if not len(delays):
    return ''
  # From 1e-17 to 1, so that squares of squares are numbers too; every UE counts alike.
  delays = delays / np.abs(delays).max((1, 2), keepdims=True)
  delays /= np.linalg.norm(delays, axis=(1, 2), keepdims=True)
  power = np.abs(delays) ** 2
  rows, columns = power.sum((0, 2)) / len(power), power.sum((0, 1)) / len(power)
  enough = len(delays) >= ENOUGH_UES
  return (
      enough and (_spread(delays) or _transposed(rows, columns))
      or _negative(rows, config, enough) or _late(rows, config)
      or enough and _not_linear(delays) or '')


def _spread(delays: np.ndarray) -> str:
  for axis, kind, name in ((1, 'delay', 'frequency'), (2, 'angle', 'antenna')):
    other = 3 - axis
    here = _compactness(np.sum(np.abs(delays) ** 2, other))
    there = _compactness(np.sum(np.abs(np.fft.fft(delays, axis=axis)) ** 2, other))
    if there > _MUCH * here:
      return (
          f'its {kind} axis is no {kind} axis: a DFT along it makes the power {there / here:.1f} '
          f'times as compact, so it is one of {name}')
  return ''


def _compactness(power: np.ndarray) -> float:
  """Mean over UEs of sum p^2 of the shares p [ue, place]: 1 in one place, 1/N if spread evenly."""
  return np.mean(np.sum((power / power.sum(-1, keepdims=True)) ** 2, -1))


def _transposed(rows: np.ndarray, columns: np.ndarray) -> str:
  first_rows, first_columns = _first_quarter(rows), _first_quarter(columns)
  if first_rows < 0.35 and first_columns > max(0.4, _MUCH * first_rows):
    return (
        f'its first quarter of delays holds {first_rows:.0%} of the power, that of the angles '
        f'{first_columns:.0%}: delays and angles look swapped')
  return ''


def _negative(rows: np.ndarray, config: CsiConfig, enough: bool) -> str:
  """All delays, or the rows of one that wrapped around, at the end of the axis."""
  num_rows = config.num_delay_taps
  first, last = rows[1:(len(rows) + 1) // 2].sum(), rows[len(rows) // 2 + 1:].sum()
  mirrored = np.roll(rows[::-1], 1)
  whole = len(rows) > num_rows and mirrored[:num_rows].sum() > 0.5 > rows[:num_rows].sum()
  wrapped = enough and len(rows) >= 8 and last > max(0.03, 2 * first)
  if whole or wrapped:
    return (
        f'the first half of its delays holds {first:.0%} of the power, the last {last:.0%}: its '
        'carriers turn as e^(+j 2 pi f tau) or run from high to low')
  return ''


def _late(rows: np.ndarray, config: CsiConfig) -> str:
  kept = rows[:config.num_delay_taps].sum()
  if kept < 0.5:
    return (
        f'the first {config.num_delay_taps} delay rows (num_delay_taps) of '
        f'{1e9 / config.bandwidth_hz:g} ns (1 / bandwidth_hz) keep {kept:.0%} of the power; '
        'expected half at least, keep more rows or take out the delay that all paths share')
  return ''


def _not_linear(delays: np.ndarray) -> str:
  """Neighbours of a ULA differ by the same phase all along; those of a panel jump at its edges."""
  antennas = np.fft.fft(delays, axis=2)
  steps = np.sum(antennas[:, :, :-1] * antennas[:, :, 1:].conj(), axis=1)  # [ue, N_t - 1]
  num_antennas = antennas.shape[2]
  sizes = range(2, num_antennas // 2 + 1) if num_antennas >= 8 else ()  # fewer differ by chance
  for size in sizes:
    at_edge = np.arange(1, num_antennas) % size == 0
    if num_antennas % size:
      continue
    inside, edge = steps[:, ~at_edge], steps[:, at_edge]
    alike = _likeness(inside, inside, excluded=np.sum(np.abs(inside) ** 2))
    if alike > 0.3 and _likeness(edge, inside) < alike / 2:
      return (
          f'its antennas are no uniform linear array: their phase jumps after every {size} (a '
          'panel, or two polarisations: csi.num_polarisations=2)')
  return ''


def _likeness(first: np.ndarray, second: np.ndarray, excluded: float = 0.0) -> float:
  """Mean cosine of the angle between the numbers of two sets [ue, n], `excluded` of equal pairs."""
  product = np.sum(first.sum(1) * second.sum(1).conj()).real - excluded
  scale = np.sum(np.abs(first).sum(1) * np.abs(second).sum(1)) - excluded
  return product / max(scale, 1e-300)
