"""Enhanced Type II codebook of release 16, one layer (TS 38.214 clause 5.2.2.2.5), and its bits.

A direction for each subband is a sum of L beams, whose coefficients over the subbands are sums of
M taps; the K largest of these P L M numbers are reported, as amplitudes and phases.

Deviation: the standard's array has P = 2 polarisations, ours may have one. What the clause has for
each is there once then: L rows of coefficients for 2 L, and no reference amplitude. The array is a
uniform line (N_2 = 1) of any length. Bits are those of the PMI and of the number of coefficients in
part 1 of the CSI (TS 38.212 clause 6.3.2.1.2), without RI and CQI.
"""

import dataclasses
import functools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from rca_jax.errors import InputError

_OVERSAMPLING = 4  # O_1
_NUM_PHASES = 16
_NUM_ALIGNMENTS = 10
# paramCombination-r16: L, p_v of one layer, beta (table 5.2.2.2.5-1).
_PARAMETERS = {
    1: (2, '1/4', '1/4'), 2: (2, '1/4', '1/2'), 3: (4, '1/4', '1/4'), 4: (4, '1/4', '1/2'),
    5: (4, '1/4', '3/4'), 6: (4, '1/2', '1/2'), 7: (6, '1/4', '1/2'), 8: (6, '1/4', '3/4')}
COMBINATIONS = tuple(_PARAMETERS)
_REFERENCES = 2.0 ** ((np.arange(16) - 15) / 4)  # table 5.2.2.2.5-2, whose 0 is reserved
_AMPLITUDES = 2.0 ** ((np.arange(8) - 7) / 2)  # table 5.2.2.2.5-3


@dataclasses.dataclass(frozen=True)
class Codebook:
  """Which codebook: what a UE is configured with.

  Raises:
    InputError: there is no such combination, or it does not fit the array or the subbands.
  """

  combination: int  # paramCombination-r16
  num_antennas: int  # N_1, of each polarisation
  num_polarisations: int = 1
  num_subbands: int = 13  # N_3, with R = 1

  def __post_init__(self):
    if self.combination not in COMBINATIONS or self.num_polarisations not in (1, 2):
      raise InputError(
          f'combination={self.combination} of {self.num_polarisations} polarisations: expected 1 '
          'to 8, and 1 or 2 polarisations.')
    if not self.num_beams <= self.num_antennas or not 2 <= self.num_subbands <= 19:
      raise InputError(
          f'combination={self.combination} has {self.num_beams} beams; expected as many antennas '
          f'or more, not {self.num_antennas}, and from 2 to 19 subbands, not {self.num_subbands}.')

  @property
  def num_beams(self) -> int:
    """L."""
    return _PARAMETERS[self.combination][0]

  @property
  def num_taps(self) -> int:
    """M = ceil(p N_3)."""
    return math.ceil(Fraction(_PARAMETERS[self.combination][1]) * self.num_subbands)

  @property
  def num_rows(self) -> int:
    """P L, coefficients of a tap."""
    return self.num_polarisations * self.num_beams

  @property
  def max_coefficients(self) -> int:
    """K_0 = ceil(beta P L M)."""
    return math.ceil(
        Fraction(_PARAMETERS[self.combination][2]) * self.num_rows * self.num_taps)

  def widths(self, num_coefficients: int) -> dict[str, int]:
    """Bits of every index of a report of so many coefficients (K^NZ), by the standard's names."""
    choices = {
        'K^NZ': self.max_coefficients, 'i_1,1': _OVERSAMPLING,
        'i_1,2': math.comb(self.num_antennas, self.num_beams),
        'i_1,6': math.comb(self.num_subbands - 1, self.num_taps - 1)}
    return {name: (number - 1).bit_length() for name, number in choices.items()} | {
        'i_1,7': self.num_rows * self.num_taps, 'i_1,8': (num_coefficients - 1).bit_length(),
        'i_2,3': 4 * (self.num_polarisations - 1), 'i_2,4': 3 * (num_coefficients - 1),
        'i_2,5': 4 * (num_coefficients - 1)}

  @property
  def num_bits(self) -> int:
    """Of a report with all K_0 coefficients; shorter ones are filled up with zeros."""
    return sum(self.widths(self.max_coefficients).values())


class Report(NamedTuple):
  """The indices of n reports. Rows of coefficients are beams, one polarisation after the other."""

  rotation: np.ndarray  # [n], q_1
  beams: np.ndarray  # [n, L], rising
  taps: np.ndarray  # [n, M], rising from 0, the tap of the strongest coefficient
  is_sent: np.ndarray  # [n, P L, M] bool
  strongest: np.ndarray  # [n], its row; its amplitude is 1 (index 7), its phase 0
  reference: np.ndarray  # [n], 1 to 15, of the polarisation without the strongest, if there is one
  amplitude: np.ndarray  # [n, P L, M], 0 to 7; 0 where none is sent
  phase: np.ndarray  # [n, P L, M], 0 to 15; 0 where none is sent


def quantise(codebook: Codebook, directions: np.ndarray) -> Report:
  """The report of each direction.

  The standard leaves the choice to the UE; here it is the beams, taps and coefficients of most
  power. A direction has any phase in each subband: first the strongest beam's is 0, then in turn
  that nearest to what taps and coefficients keep, which raises SGCS by 0.01.

  Args:
    directions: [n, N_3, P, N_1] complex, over antennas; subbands may be zero. These are channels;
      the precoders are their conjugates, and conjugates of the codebook's are in it too.

  Raises:
    InputError: they have another shape, or one is zero in all subbands or not finite.
  """
  _check_directions(codebook, directions)
  num = len(directions)
  rotation, beams, values = _on_beams(codebook, directions)
  values = values.reshape(num, codebook.num_subbands, codebook.num_rows)
  first = (np.abs(values) ** 2).sum(1).argmax(-1)[:, None, None]
  values = values * np.exp(-1j * np.angle(np.take_along_axis(values, first, -1)))
  for _ in range(_NUM_ALIGNMENTS):
    values = values * np.exp(1j * np.angle(
        (values.conj() * _kept(codebook, values)).sum(-1, keepdims=True)))
  taps, found = _on_taps(codebook, values)
  each = np.arange(num)
  strongest, place = np.divmod(np.abs(found).reshape(num, -1).argmax(-1), codebook.num_taps)
  found = found / found[each, strongest, place][:, None, None]
  taps = (taps - taps[each, place][:, None]) % codebook.num_subbands  # the same but for phases
  order = taps.argsort(-1)
  found = np.take_along_axis(found, order[:, None], -1)
  return Report(
      rotation, beams, np.take_along_axis(taps, order, -1),
      *_coefficients(codebook, found, strongest))


def recover(codebook: Codebook, report: Report) -> np.ndarray:
  """The directions that reports say, [n, N_3, P, N_1] complex of norm 1."""
  values = report.is_sent * _scale(codebook, report.strongest, report.reference)
  values = values * _AMPLITUDES[report.amplitude] * np.exp(
      2j * np.pi / _NUM_PHASES * report.phase)
  subbands = np.arange(codebook.num_subbands)
  cycles = report.taps[:, None] * subbands[:, None] / codebook.num_subbands
  values = np.exp(2j * np.pi * cycles) @ values.swapaxes(1, 2)  # [n, N_3, P L]
  values = values.reshape(*values.shape[:2], codebook.num_polarisations, codebook.num_beams)
  beams = _beams(codebook.num_antennas)[report.rotation[:, None], report.beams]
  found = np.einsum('nspl,nla->nspa', values, beams)
  norm = np.linalg.norm(found, axis=(-2, -1), keepdims=True)
  return found / np.where(norm, norm, 1)


def to_bits(codebook: Codebook, report: Report) -> np.ndarray:
  """Reports as bits, [n, num_bits] uint8 of 0 and 1; what the standard leaves out is 0."""
  num, each = len(report.rotation), np.arange(len(report.rotation))
  others, slot = _others(codebook, report.is_sent, report.strongest)
  sent = np.zeros((2, num, codebook.max_coefficients - 1), np.int64)
  for field, indices in zip(sent, (report.amplitude, report.phase), strict=True):
    field[np.nonzero(others)[0], slot[others]] = indices[others]
  of_first_tap = np.cumsum(report.is_sent[..., 0], 1)
  values = (
      report.is_sent.sum((1, 2)) - 1, report.rotation, _rank(report.beams, codebook.num_antennas),
      _rank(report.taps[:, 1:] - 1, codebook.num_subbands - 1), report.is_sent,
      of_first_tap[each, report.strongest] - 1,
      report.reference[:, None].repeat(codebook.num_polarisations - 1, 1), *sent)
  return np.concatenate([
      (value.reshape(num, count, 1) >> np.arange(width)[::-1] & 1).reshape(num, -1)
      for value, (count, width) in zip(values, _layout(codebook), strict=True)],
      1, dtype=np.uint8, casting='unsafe')


def from_bits(codebook: Codebook, bits: np.ndarray) -> Report:
  """The inverse of `to_bits`. With errors they are a report too, of another direction.

  Raises:
    InputError: they are not [n, num_bits].
  """
  if bits.shape[1:] != (codebook.num_bits,):
    raise InputError(f'bits have shape {list(bits.shape)}; expected [n, {codebook.num_bits}].')
  num, start, fields = len(bits), 0, []
  for count, width in _layout(codebook):
    field = bits[:, start:start + count * width].reshape(num, count, width).astype(np.int64)
    fields.append(field @ (1 << np.arange(width)[::-1]))
    start += count * width
  _, rotation, beams, taps, is_sent, strongest, reference, *sent = fields
  each, is_sent = np.arange(num), is_sent.reshape(num, codebook.num_rows, -1).astype(bool)
  of_first_tap = is_sent[..., 0] * np.cumsum(is_sent[..., 0], 1)
  strongest = (of_first_tap == strongest + 1).argmax(1)
  others, slot = _others(codebook, is_sent, strongest)
  is_sent = others.copy()
  is_sent[each, strongest, 0] = True
  amplitude, phase = np.zeros((2, *is_sent.shape), np.int64)
  for values, field in zip((amplitude, phase), sent, strict=True):
    values[others] = field[np.nonzero(others)[0], slot[others]]
  amplitude[each, strongest, 0] = len(_AMPLITUDES) - 1
  taps = 1 + _unrank(taps[:, 0], codebook.num_subbands - 1, codebook.num_taps - 1)
  return Report(
      rotation[:, 0], _unrank(beams[:, 0], codebook.num_antennas, codebook.num_beams),
      np.pad(taps, ((0, 0), (1, 0))), is_sent, strongest,
      reference[:, 0] if reference.size else np.ones(num, int), amplitude, phase)


def _check_directions(codebook: Codebook, directions: np.ndarray) -> None:
  expected = (codebook.num_subbands, codebook.num_polarisations, codebook.num_antennas)
  if directions.ndim != 4 or directions.shape[1:] != expected or not len(directions):
    raise InputError(
        f'directions have shape {list(directions.shape)}; expected [n, {expected[0]} subbands, '
        f'{expected[1]} polarisations, {expected[2]} antennas].')
  power = (np.abs(directions) ** 2).sum((1, 2, 3))
  if not (np.isfinite(power) & (power > 0)).all():
    raise InputError(
        f'direction {np.argmin(np.isfinite(power) & (power > 0))} is zero or not finite; leave out '
        'UEs without a channel.')


@functools.cache
def _beams(num_antennas: int) -> np.ndarray:
  """Orthonormal ones of each rotation: [q, beam, antenna] complex."""
  beam = _OVERSAMPLING * np.arange(num_antennas) + np.arange(_OVERSAMPLING)[:, None]
  cycles = beam[..., None] * np.arange(num_antennas) / (_OVERSAMPLING * num_antennas)
  return np.exp(2j * np.pi * cycles) / num_antennas**0.5


def _on_beams(
    codebook: Codebook, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rotation [n], beams [n, L] and the coefficients [n, N_3, P, L] of most power."""
  values = np.einsum(
      'nspa,qba->qnspb', directions, _beams(codebook.num_antennas).conj(), optimize=True)
  power = (np.abs(values) ** 2).sum((2, 3))  # [q, n, beam]
  beams = np.sort(power.argsort(-1)[..., -codebook.num_beams:], -1)
  rotation = np.take_along_axis(power, beams, -1).sum(-1).argmax(0)
  each = np.arange(len(rotation))
  beams = beams[rotation, each]
  return rotation, beams, np.take_along_axis(values[rotation, each], beams[:, None, None], -1)


def _on_taps(codebook: Codebook, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Taps [n, M] and the coefficients [n, P L, M] of most power, of values [n, N_3, P L]."""
  spectrum = np.fft.fft(values, axis=1)
  taps = (np.abs(spectrum) ** 2).sum(-1).argsort(1)[:, -codebook.num_taps:]
  return taps, np.take_along_axis(spectrum, taps[..., None], 1).swapaxes(1, 2)


def _kept(codebook: Codebook, values: np.ndarray) -> np.ndarray:
  """Values [n, N_3, P L] made of their largest K_0 coefficients on M taps."""
  taps, found = _on_taps(codebook, values)
  spectrum = np.zeros_like(values)
  np.put_along_axis(
      spectrum, taps[..., None], (found * _largest(codebook, found)).swapaxes(1, 2), 1)
  return np.fft.ifft(spectrum, axis=1)


def _largest(codebook: Codebook, found: np.ndarray) -> np.ndarray:
  """Where the largest K_0 of the coefficients [n, P L, M] are, bool."""
  size = np.abs(found).reshape(len(found), -1)
  is_largest = np.zeros(size.shape, bool)
  np.put_along_axis(is_largest, size.argsort(-1)[:, -codebook.max_coefficients:], True, 1)
  return is_largest.reshape(found.shape)


def _coefficients(
    codebook: Codebook, found: np.ndarray, strongest: np.ndarray) -> tuple[np.ndarray, ...]:
  """`is_sent` and all after it in a report, of coefficients [n, P L, M] to the strongest's."""
  size, each, is_sent = np.abs(found), np.arange(len(found)), _largest(codebook, found)
  is_other = _is_other(codebook, strongest)
  most = (size * is_sent * is_other).max((1, 2))[:, None]
  reference = 1 + np.abs(most - _REFERENCES[1:]).argmin(-1)
  size = size / _scale(codebook, strongest, reference)
  is_sent &= size > _AMPLITUDES[0] / 2  # nearer to 0 than to the smallest
  is_sent[each, strongest, 0] = True
  amplitude = np.abs(size[..., None] - _AMPLITUDES).argmin(-1)
  phase = np.rint(np.angle(found) * _NUM_PHASES / (2 * np.pi)).astype(int) % _NUM_PHASES
  return is_sent, strongest, reference, amplitude * is_sent, phase * is_sent


def _is_other(codebook: Codebook, strongest: np.ndarray) -> np.ndarray:
  """Which rows are not of the strongest coefficient's polarisation, [n, P L, 1]."""
  polarisation = np.arange(codebook.num_rows) // codebook.num_beams
  return (polarisation != strongest[:, None] // codebook.num_beams)[..., None]


def _scale(codebook: Codebook, strongest: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Of the polarisation of each row, [n, P L, 1]."""
  return np.where(
      _is_other(codebook, strongest), _REFERENCES[reference][:, None, None], 1.0)


def _others(
    codebook: Codebook, is_sent: np.ndarray, strongest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """What is sent besides the strongest, [n, P L, M] bool, and the places of its bits."""
  others = is_sent.copy()
  others[np.arange(len(others)), strongest, 0] = False
  slot = np.cumsum(others.reshape(len(others), -1), 1).reshape(others.shape) - 1
  return others & (slot < codebook.max_coefficients - 1), slot


def _layout(codebook: Codebook) -> list[tuple[int, int]]:
  """How many numbers a field of a report has, and how many bits each of them."""
  most = codebook.max_coefficients
  counts = {
      'i_1,7': codebook.num_rows * codebook.num_taps, 'i_2,3': codebook.num_polarisations - 1,
      'i_2,4': most - 1, 'i_2,5': most - 1}
  return [
      (counts.get(name, 1), width // max(counts.get(name, 1), 1))
      for name, width in codebook.widths(most).items()]


def _rank(chosen: np.ndarray, size: int) -> np.ndarray:
  """The number of a choice of k of `size`, as in the clause: [n, k] rising to [n]."""
  k = chosen.shape[1]
  return sum(
      (_choices(size, k - i)[size - 1 - chosen[:, i]] for i in range(k)),
      np.zeros(len(chosen), np.int64))


def _unrank(rank: np.ndarray, size: int, k: int) -> np.ndarray:
  """The inverse of `_rank`."""
  chosen = np.zeros((len(rank), k), np.int64)
  for i in range(k):
    choices = _choices(size, k - i)
    left = choices.searchsorted(rank, 'right') - 1
    chosen[:, i] = size - 1 - left
    rank = rank - choices[left]
  return chosen


def _choices(size: int, k: int) -> np.ndarray:
  """Binomial coefficients C(x, k) of all x < `size`."""
  return np.array([math.comb(x, k) for x in range(size)])
