"""Feedback that says where its own power comes from: no site, no training, no neighbours.

CSI is what a few clusters of paths leave. A report names their places on the delay-angle grid, as
one polar code word (bayes/polar.py), and its other symbols carry the coefficients of the KLT of the
*described profile*: the same power at all these places. Both sides make that KLT from the places
alone. How strong each cluster is, is not said: the coefficients say it.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.bayes import klt, polar
from rca_jax.bayes.code_words import BLOCK_ERRORS, ERROR_FLOOR, most_bits, word_errors
from rca_jax.bayes.coefficient_code import LINEAR, CoefficientCode
from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, check_one_polarisation, make_grid, project
from rca_jax.bayes.site_code import by_noise, in_ball, in_blocks, linear_change, linear_powers
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.known import Uplink

# Of the angles beside a cluster's: its power falls by exp(-steps / 0.5), its directions are three.
_POWERS = np.exp(-np.abs(np.arange(-2, 3)) / 0.5).astype(np.float32)
_POWERS /= _POWERS.sum()
_BESIDE = np.arange(-1, 2)
_TRIED = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)  # clusters
_LARGEST_WORD = 0.7  # of the symbols
_LEAST_PROBABILITY = 1e-3  # of a code word that is looked at
_LENGTH_STEP = 4  # symbols of a word are a multiple of it
_NUM_TRIAL = 128  # reports by which the number of clusters is chosen
_MEASURED, _WORDS = 6, 400  # plans whose word errors are counted, and of so many words


class Plan(NamedTuple):
  """How reports of one noise are divided."""

  num_clusters: int
  word: polar.Polar  # of their places
  num_word_symbols: int  # the first ones


class _Option(NamedTuple):
  won: float  # of the squared error, where the word arrives
  wrong: float  # probability that it does not
  plan: Plan


class DescribedCode:
  """Codes reports of `num_symbols` symbols.

  Args:
    trial: CSI [n, N_a, N_t] of any places, by which the number of clusters is chosen for each noise
      and the mean power of reports is set to 1.
  """

  def __init__(
      self, config: CsiConfig, num_symbols: int, trial: np.ndarray,
      code: CoefficientCode = LINEAR):
    check_one_polarisation(config, 'described profiles')
    self._grid, self.num_symbols, self._code, self._trial = (
        make_grid(config), num_symbols, code, trial)
    self._num_places = math.prod(self._grid.shape)
    size = config.num_delay_taps * config.num_tx_antennas
    self._size = min(3 * num_symbols // 2, size)
    self._plans: dict[float, Plan] = {}
    self._excesses: dict[float, float] = {}
    self._most = max(n for n in _TRIED if n == 1 or n * len(_BESIDE) <= min(num_symbols, size))

  def transmit(
      self, csi: np.ndarray, keys: jax.Array, uplink: Uplink) -> tuple[np.ndarray, np.ndarray]:
    """Reports, and what the BS recovers of them; each UE's code is made for its own SNR.

    Deviation: as in `baselines.pca.transmit` the power constraint holds on average.

    Args:
      csi: [G, M, N_a, N_t] complex64.
      keys: of the uplink, [G, M].

    Returns:
      symbols as sent [G, M, num_symbols] complex64, and csi_hat, like csi.

    Raises:
      InputError: at so much noise no code word fits in a report.
    """
    symbols = np.empty((*csi.shape[:2], self.num_symbols), np.complex64)
    codes = by_noise(uplink.noise(self.num_symbols), csi.shape[1])
    for noise, ues in codes:
      of_ues = csi[:, ues]
      sent = self.encode(of_ues.reshape(-1, *csi.shape[2:]), noise)
      symbols[:, ues] = sent.reshape(*of_ues.shape[:2], -1)
    received, heard_noise = map(np.asarray, uplink.send(keys, jnp.asarray(symbols)))
    found = np.empty_like(csi)
    for noise, ues in codes:
      found[:, ues] = self.decode(
          received[:, ues].reshape(-1, self.num_symbols), heard_noise[:, ues].ravel(), noise
      ).reshape(len(csi), len(ues), *csi.shape[2:])
    return symbols, in_ball(found)

  def fits(self, noise: float) -> bool:
    """Whether a report has room for a code word of any clusters."""
    return next(self._lengths(self._num_bits(1), noise), None) is not None

  def change(self, csi: np.ndarray, noise: float) -> np.ndarray:
    """What a report is expected to add to the squared error [n] of CSI [n, N_a, N_t]."""
    plan = self.plan(noise)
    transforms = self._transforms(self._clusters(csi, plan.num_clusters))
    variances = transforms.variances[:, None]
    power = linear_powers(variances, noise, self.num_symbols - plan.num_word_symbols)
    energy = np.abs(self._coefficients(transforms, csi))[:, None] ** 2
    return linear_change(variances, energy, power, noise, limit=True)[:, 0]

  def plan(self, noise: float) -> Plan:
    """The number of clusters and the code word of least error over the trial CSI.

    A word that is decoded wrongly leaves an error as large as the CSI. How often that happens is
    measured for the few plans that are best by `code_words.most_bits`: some lengths suit a polar
    code far less than others.
    """
    if noise not in self._plans:
      options = sorted(self._options(noise), key=_expected, reverse=True)[:_MEASURED]
      measured = [
          option._replace(wrong=(0.5 + word_errors(option.plan.word, noise, _WORDS)) / _WORDS)
          for option in options]
      self._plans[noise] = max(measured, key=_expected).plan
    return self._plans[noise]

  def _options(self, noise: float) -> list['_Option']:
    trial = self._trial[:_NUM_TRIAL]
    places = self._clusters(trial, self._most)
    found = []
    for count in (n for n in _TRIED if n <= self._most):
      transforms = self._transforms(places[:, :count])
      variances = transforms.variances[:, None]
      energy = np.abs(self._coefficients(transforms, trial))[:, None] ** 2
      num_bits = self._num_bits(count)
      for size, per_symbol, wrong in self._lengths(num_bits, noise):
        power = linear_powers(variances, noise, self.num_symbols - size)
        won = -linear_change(variances, energy, power, noise).mean()
        found.append(_Option(
            won, wrong, Plan(count, polar.polar_code(num_bits, size, per_symbol), size)))
    if not found:
      raise InputError(
          f'{self.num_symbols} symbols of N_0 = {noise:.3g} cannot say where power comes from; '
          'choose a higher --snr_db or --config.model.compression_ratio.')
    return found

  def _lengths(self, num_bits: int, noise: float) -> Iterator[tuple[int, int, float]]:
    """Symbols of a word of so many bits, bits of each, and how often the word is wrong."""
    for size in range(_LENGTH_STEP, int(_LARGEST_WORD * self.num_symbols) + 1, _LENGTH_STEP):
      for block_error in reversed(BLOCK_ERRORS):
        most, per_symbol = most_bits(noise, size, block_error)
        if most >= num_bits:
          yield size, per_symbol, block_error + ERROR_FLOOR
          break
      else:
        continue
      if block_error == BLOCK_ERRORS[-1]:
        return  # longer words win nothing

  def _num_bits(self, count: int) -> int:
    return max((math.comb(self._num_places, count) - 1).bit_length(), 1)

  def encode(self, csi: np.ndarray, noise: float) -> np.ndarray:
    """Reports [n, num_symbols] of CSI [n, N_a, N_t], of mean power 1."""
    plan, excess = self.plan(noise), self._excess(noise)
    places = np.sort(self._clusters(csi, plan.num_clusters), -1)
    bits = np.array([
        _to_bits(rank(of_report), plan.word.num_bits) for of_report in places.tolist()], np.uint8)
    transforms = self._transforms(places)
    values = self._coefficients(transforms, csi)
    symbols = self._code.encode(
        self._designs(transforms, noise * excess, plan), values) / np.float32(np.sqrt(excess))
    return np.concatenate([polar.encode(plan.word, bits), symbols], -1)

  def decode(self, received: np.ndarray, heard_noise: np.ndarray, noise: float) -> np.ndarray:
    """CSI [n, N_a, N_t] of received reports [n, num_symbols] of N_0 [n], made for `noise`."""
    plan, excess = self.plan(noise), self._excess(noise)
    word, coefficients = np.split(received, [plan.num_word_symbols], -1)
    bits, probability = polar.decode(plan.word, word, heard_noise)
    likely = [
        (report, chosen, weight) for report in range(len(bits))
        for of_word, weight in zip(bits[report], probability[report], strict=True)
        if weight >= _LEAST_PROBABILITY
        and (chosen := unrank(_to_number(of_word), plan.num_clusters, self._num_places))]
    found = np.zeros((len(received), *(len(atoms) for atoms in self._grid)), np.complex64)
    if not likely:
      return found
    report, places, weight = map(np.array, zip(*likely, strict=True))
    transforms = self._transforms(places)
    values = self._code.decode(
        self._designs(transforms, noise * excess, plan), coefficients[report] * np.sqrt(excess),
        heard_noise[report] * excess, self._size).astype(np.complex64)
    csi = in_blocks(
        lambda rows: np.asarray(_synthesise(self._grid, _rows(transforms, rows), values[rows])),
        len(report))
    np.add.at(found, report, weight[:, None, None].astype(np.float32) * csi)
    return found

  def _excess(self, noise: float) -> float:
    """Mean power of the coefficients' symbols of the trial CSI, where the profile expects 1."""
    if noise not in self._excesses:
      self._excesses[noise] = 1.0  # while it is measured
      sent = self.encode(self._trial, noise)[:, self.plan(noise).num_word_symbols:]
      self._excesses[noise] = float((np.abs(sent) ** 2).mean())
    return self._excesses[noise]

  def _designs(self, transforms: klt.Klt, noise: float, plan: Plan) -> list[Any]:
    left = self.num_symbols - plan.num_word_symbols
    return [self._code.design(variances, noise, left) for variances in transforms.variances]

  def _clusters(self, csi: np.ndarray, count: int) -> np.ndarray:
    return in_blocks(lambda rows: np.asarray(find_clusters(self._grid, csi[rows], count)), len(csi))

  def _transforms(self, places: np.ndarray) -> klt.Klt:
    """Of places [n, count], leaves [n, ...]."""
    return in_blocks(
        lambda rows: jax.tree.map(
            np.asarray, _transform(self._grid, jnp.asarray(places[rows]), self._size)), len(places))

  def _coefficients(self, transforms: klt.Klt, csi: np.ndarray) -> np.ndarray:
    return in_blocks(
        lambda rows: np.asarray(_coefficients(self._grid, _rows(transforms, rows), csi[rows])),
        len(csi))


def profile(grid: Grid, places: jax.Array) -> Profile:
  """The described profile of flat indices [..., n]: the same power around each."""
  delay, angle = jnp.divmod(places[..., None], grid.shape[1])
  around = (angle + np.arange(-2, 3)) % grid.shape[1]
  index = (delay * grid.shape[1] + around).reshape(*places.shape[:-1], -1)
  return Profile(index, jnp.broadcast_to(jnp.tile(_POWERS, places.shape[-1]), index.shape))


@partial(jax.jit, static_argnames='count')
def find_clusters(grid: Grid, csi: jax.Array, count: int) -> jax.Array:
  """Where the strongest clusters are, one after the other: flat indices [n, count] of the grid.

  Orthogonal matching pursuit: the place with the most energy around it, then its three directions
  are taken out of the CSI [n, N_a, N_t].
  """
  num_angles = grid.shape[1]
  # A circle of angles: what is around each.
  around = sum(
      power * jnp.roll(jnp.eye(num_angles), step, 1)
      for power, step in zip(_POWERS, range(-2, 3), strict=True))

  def of_one(csi: jax.Array) -> jax.Array:
    def take(i, state):
      rest, basis, found, free = state
      energy = jnp.abs(project(grid, rest.reshape(csi.shape))) ** 2 @ around
      place = jnp.where(free, energy.ravel(), -1.0).argmax()
      delay, angle = jnp.divmod(place, num_angles)
      steered = grid.angle[:, (angle + _BESIDE) % num_angles]
      new = (grid.delay[:, delay][:, None, None] * steered).reshape(csi.size, -1)
      new = new - basis.T @ (basis.conj() @ new)
      new, _ = jnp.linalg.qr(new)
      basis = jax.lax.dynamic_update_slice(basis, new.T, (i * len(_BESIDE), 0))
      rest = rest - new @ (new.conj().T @ rest)
      return rest, basis, found.at[i].set(place), free.at[place].set(False)

    start = (
        csi.ravel(), jnp.zeros((count * len(_BESIDE), csi.size), csi.dtype),
        jnp.zeros(count, jnp.int32), jnp.ones(math.prod(grid.shape), bool))
    return jax.lax.fori_loop(0, count, take, start)[2]

  return jax.vmap(of_one)(csi)


def rank(places: Sequence[int]) -> int:
  """The number of a set of places, given in rising order, among all sets of that size."""
  return sum(math.comb(place, i) for i, place in enumerate(places, 1))


def unrank(number: int, count: int, num_places: int) -> list[int]:
  """The set of that number in rising order; empty if there is none."""
  if number >= math.comb(num_places, count):
    return []
  places = []
  most = num_places
  for i in range(count, 0, -1):
    low, high = i - 1, most - 1  # the largest place with comb(place, i) <= number
    while low < high:
      middle = (low + high + 1) // 2
      low, high = (middle, high) if math.comb(middle, i) <= number else (low, middle - 1)
    number -= math.comb(low, i)
    places.append(low)
    most = low
  return places[::-1]


@partial(jax.jit, static_argnames='size')
def _transform(grid: Grid, places: jax.Array, size: int) -> klt.Klt:
  return klt.transform(grid, profile(grid, places), size)


def _expected(option: _Option) -> float:
  return (1 - option.wrong) * option.won


_coefficients, _synthesise = jax.jit(klt.coefficients), jax.jit(klt.synthesise)


def _rows(tree: Any, rows: np.ndarray) -> Any:
  return jax.tree.map(lambda leaf: leaf[rows], tree)


def _to_bits(number: int, num_bits: int) -> list[int]:
  return [number >> place & 1 for place in reversed(range(num_bits))]


def _to_number(bits: np.ndarray) -> int:
  return int(''.join(map(str, bits.tolist())), 2)
