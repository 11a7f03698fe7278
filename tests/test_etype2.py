import itertools
import math

import numpy as np
import pytest

from rca_jax.baselines import etype2
from rca_jax.baselines.etype2 import (
    COMBINATIONS,
    Codebook,
    from_bits,
    quantise,
    recover,
    to_bits,
)
from rca_jax.errors import InputError

ARRAYS = {1: 32, 2: 16}  # polarisations: antennas of each
NUM_SUBBANDS = 13


def channels(num_polarisations, num=40, num_antennas=16):
  """Four paths each, [n, subband, polarisation, antenna]."""
  rng = np.random.default_rng(0)
  found = np.zeros((num, NUM_SUBBANDS, num_polarisations, num_antennas), complex)
  for _ in range(4):
    sine, delay = rng.uniform(size=(num, 1)), rng.exponential(0.08, (num, 1))
    gain = rng.normal(size=(num, num_polarisations, 2)) @ [1, 1j]
    found += np.einsum(
        'ns,np,na->nspa', np.exp(-2j * np.pi * np.arange(NUM_SUBBANDS) * delay), gain,
        np.exp(2j * np.pi * np.arange(num_antennas) * sine))
  return found


def similarity(h, v):
  """SGCS of every subband, [n, subband]."""
  inner = np.abs(np.einsum('nspa,nspa->ns', h.conj(), v)) ** 2
  return inner / np.einsum('nspa->ns', np.abs(h) ** 2) / np.einsum('nspa->ns', np.abs(v) ** 2)


def books():
  return [Codebook(combination, num_antennas, num_polarisations)
          for num_polarisations, num_antennas in ARRAYS.items() for combination in COMBINATIONS]


def test_bits_are_those_of_the_standard():
  """32 ports (16, 1), 13 subbands, R = 1, rank 1: counted by hand from the clause.

  K^NZ, i_1,1, i_1,2, i_1,6, i_1,7, i_1,8, i_2,3, i_2,4, i_2,5.
  """
  by_hand = {
      1: (2, 2, 7, 8, 16, 2, 4, 9, 12), 2: (3, 2, 7, 8, 16, 3, 4, 21, 28),
      3: (3, 2, 11, 8, 32, 3, 4, 21, 28), 4: (4, 2, 11, 8, 32, 4, 4, 45, 60),
      5: (5, 2, 11, 8, 32, 5, 4, 69, 92), 6: (5, 2, 11, 10, 56, 5, 4, 81, 108),
      7: (5, 2, 13, 8, 48, 5, 4, 69, 92), 8: (6, 2, 13, 8, 48, 6, 4, 105, 140)}
  for combination, widths in by_hand.items():
    codebook = Codebook(combination, 16, 2)
    assert tuple(codebook.widths(codebook.max_coefficients).values()) == widths
    assert codebook.num_bits == sum(widths)
  assert Codebook(5, 16, 2).widths(9) == {
      'K^NZ': 5, 'i_1,1': 2, 'i_1,2': 11, 'i_1,6': 8, 'i_1,7': 32, 'i_1,8': 4, 'i_2,3': 4,
      'i_2,4': 24, 'i_2,5': 32}
  # One polarisation: half of the coefficients, and no reference amplitude.
  assert tuple(Codebook(4, 32).widths(8).values()) == (3, 2, 16, 8, 16, 3, 0, 21, 28)


def test_bits_are_those_of_the_formulas_at_any_size():
  """TS 38.212 tables 6.3.2.1.2-1A, -2A and clause 5.2.2.2.5 of TS 38.214, one layer, R = 1."""
  table = [(2, 4, 4), (2, 4, 2), (4, 4, 4), (4, 4, 2), (4, 4, 4 / 3), (4, 2, 2), (6, 4, 2),
           (6, 4, 4 / 3)]  # L, 1 / p, 1 / beta
  for combination, (num_beams, taps, coefficients) in enumerate(table, 1):
    for n1, n3, p in itertools.product((6, 8, 12, 16, 32), range(2, 20), (1, 2)):
      m = -(-n3 // taps)
      k0 = math.ceil(p * num_beams * m / coefficients)
      codebook = Codebook(combination, n1, p, n3)
      for k in {1, k0}:
        assert sum(codebook.widths(k).values()) == (
            math.ceil(math.log2(k0)) + math.ceil(math.log2(4))
            + math.ceil(math.log2(math.comb(n1, num_beams)))
            + math.ceil(math.log2(math.comb(n3 - 1, m - 1))) + p * num_beams * m
            + math.ceil(math.log2(k)) + 4 * (p == 2) + 3 * (k - 1) + 4 * (k - 1))


SMALLEST = [Codebook(1, 2, 1, 2), Codebook(1, 2, 2, 2), Codebook(6, 4, 1, 3), Codebook(8, 6, 2, 19)]


@pytest.mark.parametrize('codebook', SMALLEST, ids=str)
def test_smallest_and_largest_sizes_come_back_too(codebook):
  rng = np.random.default_rng(0)
  shape = (9, codebook.num_subbands, codebook.num_polarisations, codebook.num_antennas)
  h = rng.normal(size=(*shape, 2)) @ [1, 1j]
  report = quantise(codebook, h)
  bits = to_bits(codebook, report)
  assert bits.shape == (9, codebook.num_bits)
  for before, after in zip(report, from_bits(codebook, bits), strict=True):
    np.testing.assert_array_equal(before, after)
  assert similarity(h, recover(codebook, report)).mean() > 0.3


def hard_cases(codebook):
  """Ties everywhere, subbands without power, and one polarisation without power."""
  h = channels(codebook.num_polarisations, 4, codebook.num_antennas)
  h[0] = 0
  h[0, :, :, 0] = 1  # all beams and subbands alike
  h[1] = 1j  # one beam, one tap
  h[2, 3:11] = 0
  h[3, :, -1] = 0 if codebook.num_polarisations == 2 else h[3, :, -1]
  return h


@pytest.mark.parametrize('codebook', books(), ids=str)
def test_ties_and_what_has_no_power(codebook):
  h = hard_cases(codebook)
  report = quantise(codebook, h)
  for chosen in (report.beams, report.taps):
    assert np.all(np.diff(chosen) > 0)
  assert report.is_sent.sum((1, 2)).max() <= codebook.max_coefficients
  assert report.is_sent[1].sum() == codebook.num_polarisations
  found = recover(codebook, report)
  np.testing.assert_allclose((np.abs(found) ** 2).sum((-1, -2)), 1)
  np.testing.assert_array_equal(
      found, recover(codebook, from_bits(codebook, to_bits(codebook, report))))
  np.testing.assert_allclose(similarity(h[1:2], found[1:2]), 1)
  assert similarity(h[2:3, :3], found[2:3, :3]).mean() > 0.3
  if codebook.num_polarisations == 2:
    assert not report.is_sent[3, codebook.num_beams:].any() and report.reference[3] == 1


@pytest.mark.parametrize('codebook', books(), ids=str)
def test_scale_and_phases_of_subbands_do_not_matter(codebook):
  """But for ties: the coefficients of a beam of phase 0 come in pairs of one size."""
  h = channels(codebook.num_polarisations, 40, codebook.num_antennas)
  turned = 1e-6 * h * np.exp(
      2j * np.pi * np.random.default_rng(1).uniform(size=(40, NUM_SUBBANDS, 1, 1)))
  before, after = (to_bits(codebook, quantise(codebook, x)) for x in (h, turned))
  assert (before == after).all(1).mean() >= 0.9


def test_alignment_of_subbands_brings_reports_nearer(monkeypatch):
  rng, codebook = np.random.default_rng(0), Codebook(7, 16)
  h = channels(1, 200) + 0.1 * rng.normal(size=(200, NUM_SUBBANDS, 1, 16, 2)) @ [1, 1j]
  with_alignment = similarity(h, recover(codebook, quantise(codebook, h))).mean(1)
  monkeypatch.setattr(etype2, '_NUM_ALIGNMENTS', 0)
  gain = with_alignment - similarity(h, recover(codebook, quantise(codebook, h))).mean(1)
  assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))


@pytest.mark.parametrize('codebook', books(), ids=str)
def test_bits_come_back_as_the_report_they_were(codebook):
  report = quantise(codebook, channels(codebook.num_polarisations, 40, codebook.num_antennas))
  bits = to_bits(codebook, report)
  assert bits.shape == (40, codebook.num_bits) and set(np.unique(bits)) == {0, 1}
  for before, after in zip(report, from_bits(codebook, bits), strict=True):
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize('codebook', books(), ids=str)
def test_reports_are_what_the_clause_allows(codebook):
  report = quantise(codebook, channels(codebook.num_polarisations, 40, codebook.num_antennas))
  num_sent, each = report.is_sent.sum((1, 2)), np.arange(40)
  assert num_sent.max() == codebook.max_coefficients and num_sent.min() >= 1
  for chosen, size in ((report.beams, codebook.num_antennas), (report.taps, NUM_SUBBANDS)):
    assert np.all(np.diff(chosen) > 0) and chosen.min() >= 0 and chosen.max() < size
  assert not report.taps[:, 0].any() and set(report.rotation) <= {0, 1, 2, 3}
  assert report.is_sent[each, report.strongest, 0].all()
  assert np.all(report.amplitude[each, report.strongest, 0] == 7)
  assert not report.phase[each, report.strongest, 0].any()
  assert report.amplitude.max() == 7 and report.phase.max() == 15
  assert report.reference.min() >= 1 and report.reference.max() <= 15


def clause(codebook, report, n):
  """W of clause 5.2.2.2.5, as it is printed: [subband, polarisation, antenna]."""
  num_antennas, num_beams = codebook.num_antennas, codebook.num_beams
  p1 = {i: 2 ** (-(15 - i) / 4) for i in range(1, 16)}
  p2 = [1 / (8 * math.sqrt(2)), 1 / 8, 1 / (4 * math.sqrt(2)), 1 / 4, 1 / (2 * math.sqrt(2)),
        1 / 2, 1 / math.sqrt(2), 1]
  strong = report.strongest[n] // num_beams
  found = np.zeros((NUM_SUBBANDS, codebook.num_polarisations, num_antennas), complex)
  for t in range(NUM_SUBBANDS):
    gamma = 0
    for i in range(codebook.num_rows):
      reference = 1 if i // num_beams == strong else p1[report.reference[n]]
      inner = sum(
          np.exp(2j * np.pi * t * report.taps[n, f] / NUM_SUBBANDS) * p2[report.amplitude[n, i, f]]
          * np.exp(2j * np.pi * report.phase[n, i, f] / 16)
          for f in range(codebook.num_taps) if report.is_sent[n, i, f])
      m = 4 * report.beams[n, i % num_beams] + report.rotation[n]
      beam = np.exp(2j * np.pi * m * np.arange(num_antennas) / (4 * num_antennas))
      found[t, i // num_beams] += beam * reference * inner
      gamma += reference**2 * abs(inner) ** 2
    found[t] /= np.sqrt(num_antennas * gamma)
  return found


@pytest.mark.parametrize('combination, num_polarisations', [(2, 1), (5, 2), (6, 2), (7, 1)])
def test_directions_are_those_of_the_clause(combination, num_polarisations):
  codebook = Codebook(combination, 16, num_polarisations)
  report = quantise(codebook, channels(num_polarisations, 5))
  expected = np.array([clause(codebook, report, n) for n in range(5)])
  np.testing.assert_allclose(recover(codebook, report), expected, atol=1e-9)


@pytest.mark.parametrize('num_polarisations', [1, 2])
def test_what_the_codebook_has_comes_back_exactly(num_polarisations):
  """Two beams of one rotation, a quarter turn and 3 dB apart, a tap between them."""
  codebook = Codebook(1, 16, num_polarisations)
  antenna, t = np.arange(16), np.arange(NUM_SUBBANDS)[:, None, None]
  beams = np.exp(2j * np.pi * np.array([4 * 3 + 2, 4 * 9 + 2])[:, None] * antenna / 64)
  polarisation = np.array([1, 2 ** (-3 / 4) * np.exp(2j * np.pi * 5 / 16)])[:num_polarisations]
  h = polarisation[:, None] * (
      beams[0] + 1j / math.sqrt(2) * np.exp(2j * np.pi * t * 4 / NUM_SUBBANDS) * beams[1])
  report = quantise(codebook, h[None])
  np.testing.assert_array_equal(report.beams, [[3, 9]])
  assert 4 in report.taps and report.rotation == 2
  np.testing.assert_allclose(similarity(h[None], recover(codebook, report)), 1)
  if num_polarisations == 2:
    assert report.reference == 12


@pytest.mark.parametrize('num_polarisations', [1, 2])
def test_precoders_and_channels_have_the_same_codebook(num_polarisations):
  h, codebook = channels(num_polarisations), Codebook(4, 16, num_polarisations)
  found, of_conjugate = (recover(codebook, quantise(codebook, x)) for x in (h, h.conj()))
  np.testing.assert_allclose(similarity(h, found), similarity(h.conj(), of_conjugate), atol=1e-9)


@pytest.mark.parametrize('num_polarisations', [1, 2])
def test_more_bits_are_nearer_and_none_beat_their_beams(num_polarisations):
  h = channels(num_polarisations)
  found, beams = {}, np.exp(2j * np.pi * np.outer(np.arange(64), np.arange(16)) / 64) / 4
  for combination in COMBINATIONS:
    codebook = Codebook(combination, 16, num_polarisations)
    report = quantise(codebook, h)
    sgcs = similarity(h, recover(codebook, report))
    chosen = beams[4 * report.beams + report.rotation[:, None]]
    power = np.abs(np.einsum('nspa,nla->nspl', h, chosen.conj())) ** 2
    most = power.sum((2, 3)) / (np.abs(h) ** 2).sum((2, 3))
    assert np.all(sgcs <= most + 1e-9)
    found[combination] = sgcs.mean()
  for less, more in ((1, 2), (2, 4), (3, 4), (4, 5), (7, 8), (5, 8)):
    assert found[less] < found[more]
  assert found[8] > 0.9


def test_bits_with_errors_are_a_direction_too():
  rng = np.random.default_rng(0)
  for codebook in books():
    bits = rng.integers(0, 2, (200, codebook.num_bits)).astype(np.uint8)
    found = recover(codebook, from_bits(codebook, np.concatenate([bits, 0 * bits, 0 * bits + 1])))
    np.testing.assert_allclose((np.abs(found) ** 2).sum((-1, -2)), 1)


@pytest.mark.parametrize('arguments, message', [
    ((9, 16), 'combination=9'), ((1, 16, 3), 'of 3 polarisations'), ((7, 4), 'has 6 beams'),
    ((1, 16, 2, 20), 'from 2 to 19 subbands, not 20')])
def test_what_is_no_codebook_is_an_input_error(arguments, message):
  with pytest.raises(InputError, match=message):
    Codebook(*arguments)


def test_what_is_no_direction_and_no_report_is_an_input_error():
  codebook, h = Codebook(4, 16), channels(1, 3)
  for of, value in ((1, 0), (2, np.nan), (2, np.inf)):
    broken = h.copy()
    broken[of, :, 0, :] = value
    with pytest.raises(InputError, match=f'direction {of} is zero or not finite'):
      quantise(codebook, broken)
  for wrong in (h[:, :12], h[:0], h[0], np.tile(h, (1, 1, 2, 1))):
    with pytest.raises(InputError, match=r'expected \[n, 13 subbands, 1 polarisations, 16'):
      quantise(codebook, wrong)
  with pytest.raises(InputError, match=rf'expected \[n, {codebook.num_bits}\]'):
    from_bits(codebook, to_bits(codebook, quantise(codebook, h))[:, 1:])
