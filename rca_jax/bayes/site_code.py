"""Feedback with a site map: a label says the cell, a code of its KLT coefficients says the CSI.

Of the report's symbols some carry the label (bayes/label_source.py: how many, and what the BS knows
without @@ the least error. Or the BS chooses it by the CSI that it sees in the uplink, at another
carrier, and tells the UE: then all symbols carry coefficients.
"""

import copy
import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial

from rca_jax.baselines.genie import water_level
from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import klt, label, scalar
from rca_jax.bayes.coefficient_code import LINEAR, CoefficientCode
from rca_jax.bayes.grid import Grid
from rca_jax.bayes.label_source import Paid, Tracked
from rca_jax.bayes.mixture_klt import MixtureKlt
from rca_jax.bayes.power import limiting
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.djscc import awgn, through
from rca_jax.uplink.known import Uplink

NUM_CANDIDATES = 4  # labels that a UE tries out; 8 gain 0.02 dB
_NUM_PLACED = 16  # that a UE tries out which knows its place
# Labels that a BS tries out by what it sees in the uplink: with 8 one UE of 400 got a bad one, and
# that was 0.3 dB of the mean. It compares the likeliest of them by their error: noise leads the
# error astray, the likelihood alone loses 0.1 dB.
_NUM_UPLINK_CANDIDATES, _NUM_COMPARED = 16, 2
NUM_LABELS = 2  # that a BS weighs
# What of the coefficients' worth is lost for each wrong label, by simulation: when the most likely
# label is wrong, and when the right one is not certain.
_COST = 1.5
SELDOM = 0.25  # of its error: handicap of the reserved label
MIN_PROBABILITY = 1e-3  # of a label that is weighed
FLOOR = 0.01  # of an entry's expected power, of mean 1
_BLOCK = 16  # transforms computed, reports coded at a time
_SCORED = 64  # reports that all labels are compared with at a time
# Labels are compared by the power in 8 x 8 blocks of rows and beams first, then entry by entry: 64
# labels of 1024 entries, or more of fewer.
PARTS, FINE_ENTRIES = 8, 2**16
_PROFILES = 1024  # mean powers computed at a time
_KEPT_BYTES = 1e9  # of transforms, and of what was tried
_KEPT_POWERS = 2**24  # of a small map: its mean powers are computed once

_coefficients, _synthesise = jax.jit(klt.coefficients), jax.jit(klt.synthesise)


class _Tried(NamedTuple):
  """What is known of the candidates for L looks at CSI; no SNR of the report is in it."""

  labels: np.ndarray  # [n, C]
  variances: np.ndarray  # [n, C, S]
  coefficients: np.ndarray  # [n, C, L, S]

  @property
  def energy(self) -> np.ndarray:
    """Mean over looks, [n, C, S]."""
    return (np.abs(self.coefficients) ** 2).mean(2)


class _Code(NamedTuple):
  """What UEs of one SNR share."""

  ues: np.ndarray  # their places in the group
  noise: float  # N_0 that the code is made for
  split: int  # symbols of the label, the first ones
  words: Any  # of the labels [V, split]; None: they are agreed


class Known(NamedTuple):
  """What UE and BS know of a code with paid labels at one N_0, as arrays: `paid_code` needs it."""

  grid: Grid
  index: Any  # the labels' profiles, see em.Profile: [V, K] unsigned
  power: np.ndarray  # [V, K] float16, as a map has them
  coarse_powers: np.ndarray  # in every block of entries, [V, B] float32
  num_in_block: np.ndarray  # [B]
  log_prior: np.ndarray  # [V]
  words: jax.Array  # of the labels [V, split]
  # The KLT of the last label: its variances are alike in groups, and where UE and BS computed their
  # eigenvectors by themselves they would not find the same.
  reserved: klt.Klt
  noise: float  # N_0 that the code is made for
  excess: float  # mean power of real CSI's symbols, where the map expects 1
  num_symbols: int
  size: int  # directions of a KLT


class SiteCode:
  """Codes reports of `num_symbols` symbols with a map, in `size` directions of each KLT at most.

  Real CSI has more power in some directions than a map expects, and so would its symbols. With
  `trial`, CSI [n, N_a, N_t] of the map's places, their power is measured and set to 1.
  """

  def __init__(
      self, site_map: SiteMap | MixtureKlt, config: CsiConfig, num_symbols: int, source: Paid,
      code: CoefficientCode = LINEAR, size: int | None = None, trial: np.ndarray | None = None):
    self._map, self._grid, self.num_symbols = site_map, site_map.grid(config), num_symbols
    self._num_labels = len(site_map.num_samples)
    self._shape = config.num_delay_taps, config.num_tx_antennas
    self._num_entries = config.num_delay_taps * config.num_tx_antennas
    self._size = min(size or 3 * num_symbols // 2, self._num_entries)
    self._paid, self._source, self._code = Paid(site_map), source, code
    self._trial = trial
    self._num_in_block = in_parts(np.ones(self._shape, np.float32))
    self._reserve = True
    self._otherwise: Callable[[int], Any] = lambda num_symbols: None
    self._refine: Callable[..., Any] | None = None
    self._designs: dict[tuple[int, float, int], Any] = {}
    self._excesses: dict[tuple[float, int], float] = {}
    self._transforms: dict[int, klt.Klt] = {}  # the last one needed comes last
    self._tried: dict[bytes, _Tried] = {}  # of CSI that comes again at another SNR

  def variant(
      self, source: Paid, code: CoefficientCode, reserve: bool = True,
      otherwise: Callable[[int], Any] | None = None,
      refine: Callable[..., Any] | None = None) -> 'SiteCode':
    """The same map with another source and code; what is computed of the map is shared.

    Args:
      reserve: whether UEs may take the label for CSI that fits no place.
      otherwise: what codes CSI of that label on so many symbols, a `described.DescribedCode`; by
        default the KLT of the whole map's mean power does.
      refine: what is added to the CSI, given the profiles of its cells, their KLTs, and what
        `code.hear` says, each [n, ...].

    Raises:
      InputError: the code has no `hear`.
    """
    if refine and not code.hear:
      raise InputError('what a hybrid report says of its coefficients is no Gaussian to refine by.')
    _ = self._coarse_powers  # here, for all variants
    other = copy.copy(self)
    other._source, other._code, other._designs, other._excesses = source, code, {}, {}
    other._reserve, other._refine = reserve, refine
    other._otherwise = functools.cache(otherwise or self._otherwise)
    return other

  def estimate(
      self, csi: np.ndarray, keys: jax.Array, uplink: Uplink, past: np.ndarray | None = None,
      places: np.ndarray | None = None) -> np.ndarray:
    """What the BS recovers of the reports of `transmit`; arguments as of `transmit`."""
    return self.transmit(csi, keys, uplink, past, places)[1]

  def transmit(
      self, csi: np.ndarray, keys: jax.Array, uplink: Uplink, past: np.ndarray | None = None,
      places: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reports, and what the BS recovers of them; label and coefficients are both sent.

    Each UE's code is made for the SNR that it is told. Deviation: as in `baselines.pca.transmit`
    the power constraint holds on average.

    Args:
      csi: [G, M, N_a, N_t] complex64.
      keys: of the uplink, [G, M].
      past: CSI at the last report, for `label_source.Tracked`: each UE chose its last label by it.
      places: m [G, M, 2], where UEs know that they are: they try out the labels around. The BS does
        not know it.

    Returns:
      symbols as sent [G, M, num_symbols] complex64, and csi_hat, like csi.
    """
    num_groups, num_ues = csi.shape[:2]
    symbols = np.empty((num_groups, num_ues, self.num_symbols), np.complex64)
    last = None if past is None else np.empty((num_groups, num_ues), int)
    codes = self._codes(uplink, num_ues)
    for ues, noise, split, words in codes:
      if past is not None and last is not None:
        last[:, ues] = self._choose(past[:, ues], noise, split, self._paid, None)[0]
      if places is None:
        sent, values = self._choose(
            csi[:, ues], noise, split, self._source, None if last is None else last[:, ues])
      else:
        sent, values = self._choose(
            csi[:, ues], noise, split, self._around, self._at(places[:, ues]), _NUM_PLACED)
      symbols[:, ues, :split] = words[sent]
      symbols[:, ues, split:] = self._encode(sent, values, noise, split)
      rows = np.nonzero(sent == self._reserved)
      if rows[0].size and (other := self._other(noise, split)):
        rows = rows[0], ues[rows[1]]
        symbols[*rows, split:] = other.encode(csi[rows], noise)
    received, heard = map(np.asarray, uplink.send(keys, jnp.asarray(symbols)))
    return symbols, self._recover(codes, received, heard, last)

  def recover(self, received: np.ndarray, uplink: Uplink) -> np.ndarray:
    """CSI [G, M, N_a, N_t] of reports [G, M, num_symbols] that went through AWGN."""
    heard = np.broadcast_to(uplink.noise(self.num_symbols), received.shape[:2])
    return self._recover(self._codes(uplink, received.shape[1]), received, heard, None)

  def known(self, noise: float) -> Known:
    """What UE and BS know at this N_0, if the label is paid and the code linear."""
    split = self.label_symbols(noise, 1)
    profile = self._placed_map.profile(np.arange(self._num_labels))
    index = np.asarray(profile.index)
    return Known(
        self._grid, index.astype(np.min_scalar_type(index.max())),
        np.asarray(profile.power).astype(np.float16), self._coarse_powers, self._num_in_block,
        self._paid.expected(None).astype(np.float32), label.codewords(self._num_labels, split),
        jax.tree.map(lambda leaf: leaf[0], self._stack(np.array([self._reserved]))),
        noise, self._excess(noise, split), self.num_symbols, self._size)

  def estimate_agreed(
      self, csi: np.ndarray, keys: jax.Array, uplink: Uplink, labels: np.ndarray) -> np.ndarray:
    """As `estimate`, where UE and BS know the labels [G, M]: all symbols carry coefficients."""
    flat, of_each = csi.reshape(-1, *csi.shape[2:]), labels.ravel()
    values = in_blocks(
        lambda rows: np.asarray(_coefficients(self._grid, self._stack(of_each[rows]), flat[rows])),
        len(flat)).reshape(*labels.shape, -1)
    codes = [
        _Code(ues, noise, 0, None)
        for noise, ues in by_noise(uplink.noise(self.num_symbols), csi.shape[1])]
    symbols = np.empty((*labels.shape, self.num_symbols), np.complex64)
    for code in codes:
      symbols[:, code.ues] = self._encode(labels[:, code.ues], values[:, code.ues], code.noise, 0)
    received, noise = map(np.asarray, uplink.send(keys, jnp.asarray(symbols)))
    found = np.empty_like(csi)
    for code in codes:
      ues = code.ues
      found[:, ues] = self._decode(
          labels[:, ues].ravel(), received[:, ues].reshape(-1, self.num_symbols),
          noise[:, ues].ravel(), code).reshape(len(csi), len(ues), *csi.shape[2:])
    return in_ball(found)

  def estimate_ideal(self, csi: np.ndarray, keys: jax.Array, bits: float) -> np.ndarray:
    """CSI, as of `transmit`, after so many bits a UE at the rate-distortion bound of the map.

    Reverse water-filling of the variances leaves D of w in each direction; real CSI goes through
    the test channel of that code, which is AWGN of power w / D - 1 at N_0 = 1. Each UE has the
    label that is best for it.
    """
    tried = self._try_alone(csi)
    level = water_level(tried.variances.astype(np.float64), bits)[..., None]
    power = np.maximum(tried.variances / level - 1, 0)
    best = linear_change(tried.variances, tried.energy, power, 1.0).argmin(1)
    return self._test_channel(keys, tried, power, best).reshape(csi.shape)

  def estimate_ideal_at(
      self, csi: np.ndarray, keys: jax.Array, level: float) -> tuple[np.ndarray, np.ndarray]:
    """As `estimate_ideal` with one water level for all UEs, and the bits [G, M], label and all."""
    tried = self._try_alone(csi)
    power = np.maximum(tried.variances / level - 1, 0)
    bits = np.log2(1 + power).sum(-1) + self._label_bits(tried.labels)
    error = linear_change(tried.variances, tried.energy, power, 1.0)
    best = (error + np.log(2) * level * bits).argmin(1)  # a bit more leaves so much less error
    hat = self._test_channel(keys, tried, power, best)
    return hat.reshape(csi.shape), bits[np.arange(len(bits)), best].reshape(csi.shape[:2])

  def quantise(self, csi: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """CSI [G, M, N_a, N_t] from cells of one step, and ideal bits [G, M], label and all.

    One step for all directions is reverse water-filling: weak ones get no bits.
    """
    tried = self._try_alone(csi)
    parts = _parts(tried.coefficients[:, :, 0])
    deviations = np.repeat(np.sqrt(tried.variances / 2), 2, -1)
    values, bits = scalar.quantise(parts, deviations, step)
    bits = bits.sum(-1) + self._label_bits(tried.labels)
    # A bit more in one real dimension leaves a quarter of its error, step^2 / 12.
    error = ((values - parts) ** 2 - parts**2).sum(-1)
    rows = np.arange(len(bits)), (error + np.log(2) / 6 * step**2 * bits).argmin(1)
    hat = self._synthesise(
        tried.labels[rows], values[rows][:, ::2] + 1j * values[rows][:, 1::2])
    return hat.reshape(csi.shape), bits[rows].reshape(csi.shape[:2])

  def uplink_labels(
      self, looks: np.ndarray, look_snr_db: float, uplink: Uplink) -> np.ndarray:
    """The labels [G, M] that the BS chooses by noisy looks at CSI of the same paths.

    Of the labels v of largest log p(v) + sum over looks of log N(look; 0, R_v + N_0 I) that whose
    code leaves the least error, if CSI has the energies of the looks less those of the noise.

    Args:
      looks: [G, M, L, N_a, N_t] complex64, of independent phases.
      uplink: of the reports to come.
    """
    look_noise = 10 ** (-look_snr_db / 10)
    tried = self._try_out(
        looks.reshape(-1, *looks.shape[2:]), look_noise, _NUM_UPLINK_CANDIDATES, self._paid, None)
    energy = tried.energy
    floor = look_noise + FLOOR
    gain = tried.variances / floor  # a look's likelihood against that of noise alone
    fit = (energy / floor * gain / (1 + gain) - np.log1p(gain)).sum(-1)
    fit = looks.shape[2] * fit + self._paid.expected(None)[tried.labels]
    noise = np.broadcast_to(uplink.noise(self.num_symbols), looks.shape[:2]).reshape(-1, 1, 1)
    power = linear_powers(tried.variances, noise, self.num_symbols)
    change = linear_change(tried.variances, energy - look_noise, power, noise)
    unlikely = np.argsort(-fit, axis=1)[:, _NUM_COMPARED:]
    np.put_along_axis(change, unlikely, np.inf, 1)
    return tried.labels[np.arange(len(fit)), change.argmin(1)].reshape(looks.shape[:2])

  def label_symbols(self, noise: float, num_ues: int) -> int:
    """How many symbols the label gets: those of the least expected error.

    The same for all reports: from entries all over the map.
    """
    some = np.linspace(0, max(self._num_labels - 2, 0), _BLOCK).astype(int)
    variances = self._stack(some).variances
    split = np.arange(self.num_symbols)
    left = self.num_symbols - split
    sent = np.where(np.arange(variances.shape[1]) < left[:, None, None], variances, 0.0)
    power = least_error_powers(sent, noise, left[:, None])
    won = (sent * power / (power + noise)).sum(-1).mean(1)
    wrong = self._source.error_rate(split, noise, num_ues)
    return int(np.argmax(won * (1 - np.minimum(1, _COST * wrong))))

  def _codes(self, uplink: Uplink, num_ues: int) -> list[_Code]:
    codes = []
    for noise, ues in by_noise(uplink.noise(self.num_symbols), num_ues):
      split = self.label_symbols(noise, num_ues)
      codes.append(_Code(ues, noise, split, label.codewords(self._num_labels, split)))
    return codes

  def _recover(
      self, codes: Sequence[_Code], received: np.ndarray, noise: np.ndarray,
      last: np.ndarray | None) -> np.ndarray:
    """CSI [G, M, N_a, N_t] of reports as received, of N_0 [G, M]."""
    weights, labels = self._likely(codes, received, noise, last)
    total = np.zeros((*noise.shape, *self._shape), np.complex64)
    for code, number in itertools.product(codes, range(labels.shape[-1])):
      rows = np.nonzero(weights[:, code.ues, number])
      rows = rows[0], code.ues[rows[1]]
      if rows[0].size:
        found = self._decode(
            labels[*rows, number], received[rows][:, code.split:], noise[rows], code)
        total[rows] += weights[*rows, number, None, None] * found
    return in_ball(total)

  def _choose(
      self, csi: np.ndarray, noise: float, split: int, source: Paid, last: np.ndarray | None,
      num_candidates: int = NUM_CANDIDATES) -> tuple[np.ndarray, np.ndarray]:
    """The labels that UEs send [G, M], and the coefficients [G, M, S] of CSI [G, M, N_a, N_t].

    The squared error of every candidate's linear code, for the CSI at hand, decides; the reserved
    label must be clearly better, since the BS does not expect it. `last` are the labels before.
    """
    shape, flat = csi.shape[:2], csi.reshape(-1, *csi.shape[2:])
    tried = self._try_out(
        flat[:, None], 0.0, num_candidates, source, None if last is None else last.ravel())
    values = tried.coefficients[:, :, 0]
    power = linear_powers(tried.variances, noise, self.num_symbols - split)
    change = linear_change(tried.variances, np.abs(values) ** 2, power, noise, limit=True)
    if other := self._other(noise, split):
      change[:, :-1][tried.labels[:, :-1] == self._reserved] = np.inf
      change[:, -1] = other.change(flat, noise)
    change[:, -1] += SELDOM * ((np.abs(flat) ** 2).sum((1, 2)) + change[:, -1])
    if not self._reserve:
      change[tried.labels == self._reserved] = np.inf
    rows, best = np.arange(len(flat)), change.argmin(1)
    return tried.labels[rows, best].reshape(shape), values[rows, best].reshape(*shape, -1)

  def _encode(
      self, labels: np.ndarray, values: np.ndarray, noise: float, split: int) -> np.ndarray:
    """Symbols [G, M, num_symbols - split] of coefficients [G, M, S], of mean power 1."""
    excess = self._excess(noise, split)
    symbols = self._code.encode(
        self._designs_of(labels.ravel(), noise * excess, split), values.reshape(labels.size, -1))
    return symbols.reshape(*labels.shape, -1) / np.float32(np.sqrt(excess))

  def _excess(self, noise: float, split: int) -> float:
    """Mean power of the trial CSI's symbols, where the map expects 1."""
    if self._trial is None:
      return 1.0
    if (noise, split) not in self._excesses:
      self._excesses[noise, split] = 1.0  # while it is measured
      labels, values = self._choose(self._trial[:, None], noise, split, self._paid, None)
      symbols = self._encode(labels, values, noise, split)
      self._excesses[noise, split] = float((np.abs(symbols) ** 2).mean())
    return self._excesses[noise, split]

  @property
  def _placed_map(self) -> SiteMap:
    """A mixture has no places and no profiles; what needs them is not asked of it."""
    assert isinstance(self._map, SiteMap)
    return self._map

  @functools.cached_property
  def _around(self) -> Tracked:
    """What a UE that knows its place expects of its label, from that of its square."""
    return Tracked(self._placed_map, 0.0)

  def _at(self, places: np.ndarray) -> np.ndarray:
    """The labels nearest to places [..., 2] m."""
    place = self._placed_map.place
    placed = np.flatnonzero(np.isfinite(place[:, 0]))
    return placed[scipy.spatial.KDTree(place[placed]).query(places)[1]]

  def _try_alone(self, csi: np.ndarray) -> _Tried:
    """Candidates of UEs [G, M] that know nothing but their CSI."""
    return self._try_out(
        csi.reshape(-1, 1, *csi.shape[2:]), 0.0, NUM_CANDIDATES, self._paid, None)

  def _label_bits(self, labels: np.ndarray) -> np.ndarray:
    return -self._paid.expected(None)[labels] / np.log(2)

  def _test_channel(
      self, keys: jax.Array, tried: _Tried, power: np.ndarray, best: np.ndarray) -> np.ndarray:
    """CSI [n, N_a, N_t] by the candidates `best` [n], their coefficients through AWGN of N_0 = 1.

    `power` [n, C, S] is that of the coefficients.
    """
    rows = np.arange(len(best)), best
    power, variances = power[rows], tried.variances[rows].astype(np.float64)
    sent = np.sqrt(power / variances) * tried.coefficients[:, :, 0][rows]
    received = np.asarray(through(awgn, keys.reshape(-1), sent.astype(np.complex64), jnp.zeros(())))
    return self._synthesise(
        tried.labels[rows], np.sqrt(power * variances) / (power + 1) * received)

  def _try_out(
      self, looks: np.ndarray, noise: float, num_candidates: int, source: Paid,
      last: np.ndarray | None) -> _Tried:
    """Candidates for UEs by looks [n, L, N_a, N_t] with noise of variance `noise`."""
    digest = hashlib.sha256(np.ascontiguousarray(looks).data)
    digest.update(repr((noise, num_candidates)).encode())
    digest.update(b'' if last is None else last.tobytes())
    if (found := self._tried.get(digest.digest())) is not None:
      return found

    def likely(rows: np.ndarray) -> np.ndarray:
      energy = (np.abs(looks[rows]) ** 2).sum(1)
      expected = source.expected(None if last is None else last[rows])
      expected = np.broadcast_to(expected, (len(rows), self._num_labels))
      fine = np.asarray(most_likely(
          expected, self._coarse_powers + (FLOOR + noise), self._num_in_block, in_parts(energy),
          looks.shape[1], max(FINE_ENTRIES // energy[0].size, num_candidates)))
      powers = self._powers(fine).reshape(*fine.shape, -1) + (FLOOR + noise)
      best = np.asarray(most_likely(
          np.take_along_axis(expected, fine, 1), powers, np.float32(1),
          energy.reshape(len(rows), -1), looks.shape[1], num_candidates))
      return np.take_along_axis(fine, best, 1)

    def coded(rows: np.ndarray) -> _Tried:
      transforms = self._stack(labels[rows])
      of_each = jax.tree.map(lambda leaf: leaf[:, :, None], transforms)
      values = _coefficients(self._grid, of_each, looks[rows][:, None])
      return _Tried(labels[rows], transforms.variances, np.asarray(values))

    labels = in_blocks(likely, len(looks), _SCORED)
    anywhere = np.full_like(labels[:, :1], self._num_labels - 1)
    labels = np.concatenate([labels, anywhere], 1)
    found = self._tried[digest.digest()] = in_blocks(coded, len(looks))
    while len(self._tried) > 1 and sum(
        leaf.nbytes for tried in self._tried.values() for leaf in tried) > _KEPT_BYTES:
      del self._tried[next(iter(self._tried))]
    return found

  @functools.cached_property
  def _coarse_powers(self) -> np.ndarray:
    """Mean power of every entry in every block, [V, B]."""
    parts = np.split(
        np.arange(self._num_labels), range(_PROFILES, self._num_labels, _PROFILES))
    return np.concatenate([in_parts(self._powers(part)) for part in parts]) / self._num_in_block

  @functools.cached_property
  def _all_powers(self) -> np.ndarray:
    return self._computed_powers(np.arange(self._num_labels))

  def _powers(self, labels: np.ndarray) -> np.ndarray:
    """What these entries expect of |h|^2: [*labels.shape, N_a, N_t], of mean 1."""
    if self._num_labels * self._num_entries <= _KEPT_POWERS:
      return self._all_powers[labels]
    return self._computed_powers(labels)

  def _computed_powers(self, labels: np.ndarray) -> np.ndarray:
    found = in_blocks(
        lambda rows: self._map.mean_powers(self._grid, labels.ravel()[rows]),
        labels.size, _PROFILES)
    return found.reshape(*labels.shape, *found.shape[1:])

  def _decode(
      self, labels: np.ndarray, received: np.ndarray, noise: np.ndarray, code: _Code
  ) -> np.ndarray:
    """CSI [n, N_a, N_t] of the coefficients' symbols [n, num_symbols - split], of N_0 [n]."""
    excess = self._excess(code.noise, code.split)
    designs = self._designs_of(labels, code.noise * excess, code.split)
    values = self._code.decode(designs, received * np.sqrt(excess), noise * excess, self._size)
    found = self._synthesise(labels, values)
    if (refine := self._refine) and (hear := self._code.hear):
      heard = hear(designs, received * np.sqrt(excess), noise * excess, self._size)
      added = in_blocks(
          lambda rows: np.asarray(refine(
              self._placed_map.profile(labels[rows]), self._stack(labels[rows]),
              *(leaf[rows] for leaf in heard))), len(labels))
      found += np.where((labels != self._reserved)[:, None, None], added, 0)
    if (other := self._other(code.noise, code.split)) and (rows := labels == self._reserved).any():
      found[rows] = other.decode(received[rows], noise[rows], code.noise)
    return found

  def _other(self, noise: float, split: int) -> Any:
    """What codes CSI of the reserved label; None: the map does."""
    other = self._otherwise(self.num_symbols - split)
    return other if other is not None and other.fits(noise) else None

  @property
  def _reserved(self) -> int:
    return self._num_labels - 1

  def _synthesise(self, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """CSI [n, N_a, N_t] of coefficients [n, S]."""
    values = values.astype(np.complex64)
    return in_blocks(
        lambda rows: np.asarray(_synthesise(self._grid, self._stack(labels[rows]), values[rows])),
        len(labels))

  def _likely(
      self, codes: Sequence[_Code], received: np.ndarray, noise: np.ndarray,
      last: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels [G, M, 2], the most likely ones of symbols [G, M, num_symbols].

    Labels that are not among them count with the mean of CSI, zero. `noise` is N_0 [G, M].
    """
    num_groups, num_ues = noise.shape
    count = min(NUM_LABELS, self._num_labels)
    weights, labels = [], []
    for group in range(num_groups):
      likelihood = np.empty((num_ues, self._num_labels))
      for code in codes:
        likelihood[code.ues] = label.log_likelihood(
            code.words, received[group, code.ues, :code.split], noise[group, code.ues, None])
      posterior = self._source.posterior(likelihood, None if last is None else last[group])
      top = np.argpartition(-posterior, count - 1, axis=-1)[:, :count]
      labels.append(top)
      weights.append(np.take_along_axis(posterior, top, -1))
    probability = np.stack(weights)
    return np.where(probability < MIN_PROBABILITY, 0, probability), np.stack(labels)

  def _designs_of(self, labels: np.ndarray, noise: float, split: int) -> list[Any]:
    new = [v for v in np.unique(labels).tolist() if (v, noise, split) not in self._designs]
    for start in range(0, len(new), _BLOCK):
      part = new[start:start + _BLOCK]
      for v, variances in zip(part, self._stack(np.array(part)).variances, strict=True):
        self._designs[v, noise, split] = self._code.design(
            variances, noise, self.num_symbols - split)
    return [self._designs[int(v), noise, split] for v in labels]

  def _stack(self, labels: np.ndarray) -> klt.Klt:
    """Transforms with leaves [*labels.shape, ...]."""
    needed = np.unique(labels).tolist()
    missing = [v for v in needed if v not in self._transforms]
    for start in range(0, len(missing), _BLOCK):
      part = missing[start:start + _BLOCK]
      filled = np.array(part + part[:1] * (_BLOCK - len(part)))
      found = jax.tree.map(np.array, self._map.transform(self._grid, filled, self._size))
      self._transforms |= {
          v: jax.tree.map(lambda leaf, i=i: leaf[i].copy(), found) for i, v in enumerate(part)}
    for v in needed:
      self._transforms[v] = self._transforms.pop(v)
    each = sum(leaf.nbytes for leaf in self._transforms[needed[0]])
    while len(self._transforms) > max(_KEPT_BYTES // each, len(needed)):
      del self._transforms[next(iter(self._transforms))]
    flat = [self._transforms[int(v)] for v in labels.ravel()]
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(*labels.shape, *leaves[0].shape), *flat)


def by_noise(noise: np.ndarray, num_ues: int) -> list[tuple[float, np.ndarray]]:
  """Each N_0 of `noise`, which broadcasts to [M], and the UEs that have it."""
  noise = np.broadcast_to(noise, num_ues)
  return [(float(one), np.flatnonzero(noise == one)) for one in np.unique(noise)]


def in_blocks(
    function: Callable[[np.ndarray], Any], count: int, size: int = _BLOCK) -> Any:
  """The tree of arrays [count, ...] of a function of row numbers, called with `size` of them."""
  parts = []
  for start in range(0, count, size):
    num = min(size, count - start)  # the last block is filled up with its own rows
    found = function(start + np.arange(size) % num)
    parts.append(jax.tree.map(lambda leaf, num=num: leaf[:num], found))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _parts(values: np.ndarray) -> np.ndarray:
  """Real and imaginary parts in turn: [..., n] -> [..., 2 n]."""
  return np.stack([values.real, values.imag], -1).reshape(*values.shape[:-1], -1)


def linear_powers(
    variances: np.ndarray, noise: np.ndarray | float, num_symbols: int) -> np.ndarray:
  """Of the linear code's coefficients, for variances [n, C, S]: [n, C, num_symbols]."""
  return least_error_powers(
      variances[..., :num_symbols].astype(np.float64), noise, num_symbols)


def linear_change(
    variances: Any, energy: Any, power: Any, noise: Any, limit: bool = False) -> Any:
  """What a linear code adds to the squared error [n, C], for coefficients' energies [n, C, S].

  `power` [n, C, k] is that of the k coefficients that are sent; `limit`: reports of too much power
  are shrunk. Arrays are of numpy or JAX.
  """
  variances, energy = (values[..., :power.shape[-1]] for values in (variances, energy))
  won = power / (power + noise)
  if limit:
    won = won * limiting((power * energy / variances).mean(-1, keepdims=True))
  lost = variances * power * noise / (power + noise) ** 2
  return (((1 - won) ** 2 - 1) * energy + lost).sum(-1)


def in_ball(csi: np.ndarray) -> np.ndarray:
  """The CSI of mean |h|^2 <= 1 nearest to [..., N_a, N_t]: true CSI is there, no error grows."""
  energy = (np.abs(csi) ** 2).mean((-2, -1), keepdims=True)
  return csi / np.sqrt(np.maximum(energy, 1))


def in_parts(energy: Any) -> Any:
  """Sums over the blocks of rows and beams: [..., N_a, N_t] -> [..., B], of numpy or JAX."""
  add = energy.__array_namespace__().add
  for axis in (-2, -1):
    size = -(-energy.shape[axis] // PARTS)
    energy = add.reduceat(energy, np.arange(0, energy.shape[axis], size), axis)
  return energy.reshape(*energy.shape[:-2], -1)


@functools.partial(jax.jit, static_argnums=(4, 5))
def most_likely(
    expected: jax.Array, powers: jax.Array, weights: jax.Array, energy: jax.Array,
    num_looks: int, count: int) -> jax.Array:
  """The places [n, C] of the most likely labels if all entries of CSI were independent.

  Args:
    expected: log prior [n, V].
    powers: mean power of the entries, or of blocks of them, [V, B] or [n, V, B].
    weights: entries that each stands for, [B] or [].
    energy: of all looks together [n, B].
  """
  fit = jnp.matmul(1 / powers, energy[..., None])[..., 0]
  score = expected - num_looks * (weights * jnp.log(powers)).sum(-1) - fit
  return jax.lax.top_k(score, min(count, score.shape[1]))[1]
