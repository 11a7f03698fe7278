"""The map that builds itself: profiles of cells from the reports that arrive there.

A random report is y = F h + n with one of a few F in turn. What such reports say of the profile c
of their cell are sums: of y y^H for every F, and how many there are. So two halves add up to the
whole, old reports fade by a factor, memory does not grow, and EM steps can be taken at any time
from any c. All reports are taken to have one N_0.

Once the profile is known better the cell has a linear code, that of its KLT. The BS chooses by what
it can measure itself: CSI has mean power 1, and a random report can be decoded without some of its
symbols, which then say how good that was.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import em, joint, klt, random_code
from rca_jax.bayes.grid import Grid
from rca_jax.bayes.power import limiting
from rca_jax.bayes.random_code import Projections, RandomCode, invert, outer, pack, unpack
from rca_jax.config import CsiConfig

_NUM_CODES = 4  # 16 are no better
_NUM_STEPS = 6  # of EM for a fit; it goes on from the last one's profile
_NUM_ATOMS = 144  # that a KLT is made of, as a map's
_HELD_OUT = 8  # one symbol of so many tells how well a report is decoded by the others
_POWER_FACTOR = 4.0  # a random report's power is known; it is not used if it is so far off


class Codes(NamedTuple):
  """The random codes, which UEs use in turn: what they and the BS know from the start."""

  projections: Projections  # leaves [F, ...]
  grid: Grid
  seen: jax.Array  # F a of every atom, [F, K, S] complex64
  prior: jax.Array  # c of an unknown place, [K] float32

  def code(self, which: int) -> RandomCode:
    """One of them."""
    projections = Projections(*(leaf[which] for leaf in self.projections))
    return RandomCode(projections, self.grid, self.seen[which], self.prior)


class Statistics(NamedTuple):
  """What random reports say of the profile of their cell: sums over reports."""

  outer: jax.Array  # of w y y^H, packed, [..., F, S, S] float32
  weight: jax.Array  # of w, [..., F] float32


class LinearCode(NamedTuple):
  """A cell's KLT with the powers of its coefficients."""

  transform: klt.Klt
  power: jax.Array  # [..., S] float32, of sum S


def make_codes(key: jax.Array, num_symbols: int, config: CsiConfig, csi: np.ndarray) -> Codes:
  """Random codes and their prior.

  Args:
    csi: as of `random_code.make_code`.

  Raises:
    InputError: as `random_code.random_projections`.
  """
  codes = [
      random_code.make_code(
          random_code.random_projections(one, num_symbols, config), config, csi)
      for one in jax.random.split(key, _NUM_CODES)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *codes)
  return Codes(stacked.projections, codes[0].grid, stacked.seen, stacked.prior.mean(0))


@jax.jit
def is_sound(received: jax.Array, noise: float) -> jax.Array:
  """Whether random reports [..., S] are finite and of a power that they can have: [...] bool."""
  power = (jnp.abs(received) ** 2).mean(-1) / (1 + noise)
  return (power < _POWER_FACTOR) & (power > 1 / _POWER_FACTOR)  # False for NaN


@partial(jax.jit, static_argnums=(0, 1))
def gather(
    num_cells: int, num_codes: int, received: jax.Array, which: jax.Array, cells: jax.Array,
    weights: jax.Array) -> Statistics:
  """Sums over n random reports, for all cells.

  Args:
    received: [n, S] complex64.
    which: of the codes, [n] int.
    cells: that each report counts in, [n, J] int.
    weights: with which it does, [n, J]; where 0 the report may be anything.
  """
  there = (weights > 0).any(-1)
  received = jnp.where(there[:, None], received, 0)
  products = pack(received[:, :, None] * received[:, None].conj())
  num_symbols = received.shape[-1]
  at = cells, which[:, None]
  return Statistics(
      jnp.zeros((num_cells, num_codes, num_symbols, num_symbols)).at[at].add(
          weights[..., None, None] * products[:, None]),
      jnp.zeros((num_cells, num_codes)).at[at].add(weights))


@jax.jit
def merge(one: Statistics, other: Statistics) -> Statistics:
  """Those of all reports of both."""
  return jax.tree.map(jnp.add, one, other)


@jax.jit
def fade(statistics: Statistics, factor: jax.Array) -> Statistics:
  """Old reports count less, by a factor [...] for every cell."""
  return Statistics(
      statistics.outer * factor[..., None, None, None], statistics.weight * factor[..., None])


@partial(jax.jit, static_argnames='num_steps')
def fit(
    codes: Codes, statistics: Statistics, power: jax.Array, noise: float,
    num_steps: int = _NUM_STEPS) -> jax.Array:
  """Profiles [C, K] of cells by EM steps in MacKay's form, from the profiles `power`.

  c <- c sum_F a^H R^-1 (sum y y^H) R^-1 a / sum_F (sum w) a^H R^-1 a, R that of F, a seen by F. A
  little of the prior is kept.

  Args:
    statistics: of C cells.
    noise: N_0 of all reports.
  """
  num_cells, num_symbols = len(power), codes.seen.shape[-1]
  seen = jax.vmap(lambda one: joint.parts(one, num_symbols))(codes.seen)
  reports = statistics.weight.sum(-1)[:, None] / (1 + noise / joint.HALF_NOISE)

  def of_code(total: jax.Array, code: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    seen, products, weight, power = code
    inverse, _ = invert(covariances(seen, power), jnp.asarray(noise))
    both = jnp.concatenate([
        pack(inverse @ unpack(products) @ inverse), weight[:, None, None] * pack(inverse)])
    both = both.reshape(-1, num_symbols ** 2).T
    found = jax.lax.map(lambda seen: outer(seen) @ both, seen)
    return total + found.reshape(-1, 2 * num_cells), None

  def update(_, power: jax.Array) -> jax.Array:
    in_parts = joint.parts(power.T, num_symbols)
    of_each = (
        seen, jnp.moveaxis(statistics.outer, 1, 0), statistics.weight.T,
        jnp.broadcast_to(in_parts, (len(seen), *in_parts.shape)))
    zeros = jnp.zeros((in_parts.shape[0] * in_parts.shape[1], 2 * num_cells))
    total, _ = jax.lax.scan(of_code, zeros, of_each)
    explained, expected = jnp.split(total[:power.shape[1]].T, 2)
    stepped = power * explained / jnp.maximum(expected, 1e-12)
    return joint.with_prior(codes.prior, stepped, reports)

  return jax.lax.fori_loop(0, num_steps, update, power)


def covariances(seen: jax.Array, power: jax.Array) -> jax.Array:
  """Packed F A diag(c) A^H F^H of C profiles, [C, S, S].

  Args:
    seen: F a of the atoms in `joint.parts`, [parts, n, S].
    power: c in such parts, [parts, n, C].
  """
  num_symbols = seen.shape[-1]

  def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    seen, power = part
    return total + power.T @ outer(seen), None

  packed, _ = jax.lax.scan(add, jnp.zeros((power.shape[-1], num_symbols ** 2)), (seen, power))
  return packed.reshape(-1, num_symbols, num_symbols)


@jax.jit
def decode(
    code: RandomCode, power: jax.Array, reports: jax.Array, received: jax.Array, noise: float
) -> jax.Array:
  """CSI [n, N_a, N_t] of random reports [n, S], each from a cell of its own.

  Joint Bayes of one report: the cell's profile `power` [n, K] is the prior and counts for
  `reports` [n] reports. What is not sound gives zero.
  """
  heard = is_sound(received, noise)
  received = jnp.where(heard[:, None], received, 0)
  own = 1 / (1 + noise / joint.HALF_NOISE)

  def profile(report: tuple[jax.Array, ...]) -> jax.Array:
    prior, counted, received = report

    def update(_, power: jax.Array) -> jax.Array:
      stepped = joint.step(
          code, power, received[None], jnp.full(1, noise), jnp.ones(1))
      return (own * stepped + counted * prior) / (own + counted)

    return jax.lax.fori_loop(0, joint.NUM_STEPS, update, prior)

  counted = reports * own + joint.PRIOR_UES
  powers = jax.vmap(profile)((power, counted, received))
  found, _ = joint.estimate(code, powers, received, jnp.full(len(powers), noise))
  return jnp.where(heard[:, None, None], found, 0)


@jax.jit
def measured_error(
    code: RandomCode, power: jax.Array, reports: jax.Array, received: jax.Array, noise: float
) -> jax.Array:
  """NMSE [n] of `decode` as the BS can measure it: by symbols that the decoder does not get.

  Right on average over F, but for the symbols that are missing.
  """
  split = received.shape[-1] - max(received.shape[-1] // _HELD_OUT, 1)
  shown = code._replace(
      projections=code.projections._replace(kept=code.projections.kept[:split]),
      seen=code.seen[:, :split])
  csi_hat = decode(shown, power, reports, received[:, :split], noise)
  left = received[:, split:] - code.projections(csi_hat)[:, split:]
  return (jnp.abs(left) ** 2).mean(-1) - noise


def linear_codes(grid: Grid, power: jax.Array, noise: float, num_symbols: int) -> LinearCode:
  """Of cells of profiles [C, K]: the KLT of the strongest atoms, powers for the least error."""
  num_atoms = min(_NUM_ATOMS, power.shape[1])
  strongest, index = jax.lax.top_k(power, num_atoms)
  return with_powers(transforms(grid, em.Profile(index, strongest), num_symbols), noise)


def with_powers(transform: klt.Klt, noise: float) -> LinearCode:
  """The linear codes of KLTs, at N_0 = noise."""
  variances = np.asarray(transform.variances, np.float64)
  power = least_error_powers(variances, noise, variances.shape[-1])
  return LinearCode(transform, jnp.asarray(power, jnp.float32))


@partial(jax.jit, static_argnums=2)
def transforms(grid: Grid, profile: em.Profile, num_symbols: int) -> klt.Klt:
  """The `klt.transform` of every profile of a batch."""
  # One by one: what a cell's code is must not depend on the cells beside it.
  return jax.lax.map(lambda one: klt.transform(grid, one, num_symbols), profile)


@jax.jit
def encode_linear(grid: Grid, code: LinearCode, csi: jax.Array, excess: float) -> jax.Array:
  """Symbols [n, S] of CSI [n, N_a, N_t], of mean power 1 over UEs.

  CSI has more power in weak directions than a profile expects: `excess` is what symbols would have,
  as the BS measured it in earlier reports. Deviation: as in `baselines.pca.transmit` the power
  constraint holds on average; a report has twice the mean at most.
  """
  values = klt.coefficients(grid, code.transform, csi)
  symbols = values * jnp.sqrt(code.power / code.transform.variances)
  factor = limiting((jnp.abs(symbols) ** 2).mean(-1, keepdims=True))
  return symbols * factor / jnp.sqrt(excess)


@jax.jit
def decode_linear(
    grid: Grid, code: LinearCode, received: jax.Array, noise: float, excess: float
) -> tuple[jax.Array, jax.Array]:
  """CSI [n, N_a, N_t] of reports [n, S], and its NMSE [n] as the BS measures it.

  The received powers tell those of the coefficients without bias; what is missing of the power
  that CSI has, is lost. A report that is not finite gives zero.
  """
  received, noise = received * jnp.sqrt(excess), noise * excess
  heard = jnp.isfinite(received).all(-1)[:, None]
  received = jnp.where(heard, received, 0)
  variances, power = code.transform.variances, code.power
  scale = jnp.sqrt(power * variances) / (power + noise)
  csi_hat = klt.synthesise(grid, code.transform, scale * received)
  size = csi_hat[0].size
  energy = (jnp.abs(csi_hat) ** 2).mean((-2, -1), keepdims=True)
  csi_hat = csi_hat * jax.lax.rsqrt(jnp.maximum(energy, 1))  # all true CSI is in this ball
  energy = jnp.abs(received) ** 2 - noise
  change = power * noise - (power + 2 * noise) * energy
  change = jnp.where(power > 0, variances * change / (power + noise) ** 2, 0)
  return csi_hat, jnp.where(heard[:, 0], 1 + change.sum(-1) / size, 1)


@partial(jax.jit, static_argnums=1)
def expected_error(code: LinearCode, num_entries: int, noise: float) -> jax.Array:
  """NMSE of linear codes [C] that the BS expects of their profiles; too small where they err."""
  kept = code.transform.variances * code.power / (code.power + noise)
  return 1 - kept.sum(-1) / num_entries
