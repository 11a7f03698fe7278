"""Joint Bayes: reports of nearby UEs decoded together, with no map and no training.

The report of a UE is y = F A x + n with x ~ CN(0, diag(c)): c is its power profile, which
neighbours nearly share. The BS finds the profile of every UE by EM steps: first from its own report
alone, then also from those of the others, as far as the profiles that these gave explain it. Then
comes every UE's posterior mean. All is done in the space of the report, where a covariance is
S x S: R = F A diag(c) A^H F^H + N_0 I. The outer products of the K atoms, S x S each, are made a
part of the atoms at a time.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.bayes.random_code import RandomCode, invert, outer, pack, unpack

# By measurement on validation groups.
NUM_STEPS = 8
ALONE_STEPS = 2  # of these: before the reports are compared
_STRANGERS, _SAME_PLACE = -0.1, 0.3  # likeness from which a report counts, and counts in full
PRIOR_UES = 0.1  # so many UEs of little noise the prior counts for
HALF_NOISE = 0.1  # N_0 of a report that counts half
_PROFILE_ERROR = 0.095  # of what a report of little noise explains, what its profile made up
_GROUPS_AT_ONCE = 50  # bounds the memory, as does
_NUMBERS_AT_ONCE = 2 ** 20  # in the atoms' outer products
_MATRICES_AT_ONCE = 2 ** 23  # numbers in the R of so many groups


class Posterior(NamedTuple):
  """Of the CSI of n UEs."""

  mean: jax.Array  # [n, N_a, N_t] complex64
  variance: jax.Array  # trace of its covariance, [n] float32


@partial(jax.jit, static_argnames='num_steps')
def decode(
    code: RandomCode, received: jax.Array, noise: jax.Array, active: jax.Array | None = None,
    num_steps: int = NUM_STEPS) -> tuple[jax.Array, jax.Array]:
  """CSI and predicted NMSE of every UE of G groups.

  A UE that is not active, or whose report is not finite, changes nothing for the others; its
  estimate is zero.

  Args:
    received: [G, M, S] complex64.
    noise: N_0 > 0, broadcasts to [G, M]; one for all UEs of a group, [G, 1] or [], is cheaper.
    active: [G, M]; None: all are.

  Returns:
    csi_hat [G, M, N_a, N_t] complex64 of mean power up to 1, and its linear NMSE [G, M] float32
    as the BS expects it.
  """
  active = jnp.ones(received.shape[:-1], bool) if active is None else active
  noise = jnp.atleast_1d(noise)
  noise = jnp.broadcast_to(noise, (len(received), noise.shape[-1]))
  num_groups, num_ues, num_symbols = received.shape
  of_a_group = num_ues * noise.shape[-1] * num_symbols ** 2
  size = max(1, min(_GROUPS_AT_ONCE, num_groups, _MATRICES_AT_ONCE // of_a_group))
  # A last batch of another size would run beside the others, and on few cores they may wait for
  # each other forever.
  groups = tuple(
      jnp.pad(leaf, [(0, -num_groups % size)] + [(0, 0)] * (leaf.ndim - 1), 'edge').reshape(
          -1, size, *leaf.shape[1:])
      for leaf in (received, noise, active))
  found = jax.lax.map(
      lambda batch: decode_at_once(code, batch[0], batch[1], batch[2], num_steps), groups)
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_groups], found)


def decode_at_once(
    code: RandomCode, received: jax.Array, noise: jax.Array, active: jax.Array,
    num_steps: int = NUM_STEPS) -> tuple[jax.Array, jax.Array]:
  """As `decode`, all groups together: their number may be a symbol. `noise` is [G, M] or [G, 1]."""
  heard = active & jnp.isfinite(received).all(-1)
  received = jnp.where(heard[..., None], received, 0)
  powers, weights = jax.vmap(lambda y, n, is_heard: profiles(code, y, n, is_heard, num_steps))(
      received, noise, heard)
  noise = jnp.broadcast_to(noise, heard.shape)
  csi_hat, nmse = (
      leaf.reshape(*heard.shape, *leaf.shape[1:]) for leaf in estimate(
          code, *(leaf.reshape(heard.size, *leaf.shape[2:]) for leaf in (powers, received, noise))))
  # What a profile made up looks explained: the less, the more reports it was found from.
  made_up = _PROFILE_ERROR / (1 + noise / HALF_NOISE) / jnp.maximum(weights.sum(-1), 1) ** 2
  return csi_hat, nmse + made_up * (1 - nmse)


def profiles(
    code: RandomCode, received: jax.Array, noise: jax.Array, heard: jax.Array,
    num_steps: int = NUM_STEPS) -> tuple[jax.Array, jax.Array]:
  """The profile of every UE of a group, [M, K], and how much each report counts in it, [M, M].

  Args:
    received: y [M, S], zero where it is not heard.
    noise: N_0, [M] or [1].
    heard: [M] bool.
  """
  counts = heard / (1 + noise / HALF_NOISE)

  def alone(power: jax.Array, received: jax.Array, noise: jax.Array, count: jax.Array) -> jax.Array:
    stepped = step(code, power, received[None], noise.reshape(1), jnp.ones(1))
    return with_prior(code.prior, stepped, count)

  powers = code.prior  # the same for all: so is what the first step makes of it
  num_alone = min(ALONE_STEPS, num_steps)
  for _ in range(num_alone):
    axes = (0 if powers.ndim == 2 else None), 0, (0 if noise.shape[0] > 1 else None), 0
    powers = jax.vmap(alone, axes)(powers, received, noise, counts)
  powers = jnp.broadcast_to(powers, (heard.shape[0], code.prior.size))
  weights = jnp.diag(heard).astype(jnp.float32)
  if heard.shape[0] > 1:
    weights = jnp.maximum(weights, heard[:, None] * heard * likeness(code, powers, received, noise))

  def together(_, powers: jax.Array) -> jax.Array:
    stepped = jax.vmap(lambda *of_ue: step(code, of_ue[0], received, noise, of_ue[1]))(
        powers, weights)
    return with_prior(code.prior, stepped, (weights @ counts)[:, None])

  return jax.lax.fori_loop(num_alone, num_steps, together, powers), weights


def with_prior(prior: jax.Array, power: jax.Array, reports: jax.Array) -> jax.Array:
  """A profile [..., K] found from so many reports of little noise, with its share of the prior."""
  return (reports * power + PRIOR_UES * prior) / (reports + PRIOR_UES)


def estimate(
    code: RandomCode, powers: jax.Array, received: jax.Array, noise: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """CSI [n, N_a, N_t] of UEs whose profiles are known, and its linear NMSE [n].

  Args:
    powers: c [n, K].
    received: y [n, S].
    noise: N_0 [n].
  """
  found = posterior(code, powers, received, noise)
  return found.mean * scale(found), found.variance / _energy(found)


def scale(found: Posterior) -> jax.Array:
  """The scale of a report, [n, 1, 1]: CSI has mean power 1, and that tells it."""
  return jnp.sqrt(found.mean[0].size / _energy(found))[:, None, None]


def _energy(found: Posterior) -> jax.Array:
  return (jnp.abs(found.mean) ** 2).sum((-2, -1)) + found.variance


def step(
    code: RandomCode, power: jax.Array, received: jax.Array, noise: jax.Array,
    weights: jax.Array) -> jax.Array:
  """c <- c sum_m w_m |a^H R_m^-1 y_m|^2 / sum_m w_m a^H R_m^-1 a, the EM step in MacKay's form.

  With the square root of the factor the likelihood could never fall; the whole factor is several
  times as fast.

  Args:
    power: c [K].
    received: y [M, S], zero where it is not heard.
    noise: N_0, [M] or [1].
    weights: how much each report counts, [M].
  """
  inverse, _ = _inverse(code, power, noise)
  explained = weights @ jnp.abs(_solve(inverse, received) @ code.seen.conj().T) ** 2
  total = (weights[:, None, None] * inverse).sum(0)
  packed = pack(total).ravel()
  expected = jax.lax.map(lambda seen: outer(seen) @ packed, parts(code.seen, total.shape[-1]))
  return power * explained / jnp.maximum(expected.ravel()[:power.size], 1e-12)


def likeness(
    code: RandomCode, powers: jax.Array, received: jax.Array, noise: jax.Array) -> jax.Array:
  """How much the report of each UE counts for each other, from 0 to 1, [M, M], symmetric.

  The profile of one UE explains the report of another better than the prior does, in nats of log
  evidence; the two UEs' sum, as a share of what their own profiles reach, decides.

  Args:
    powers: profiles [M, K], each found from the report of its UE alone.
    received: y [M, S].
    noise: N_0, [M] or [1].
  """
  # All at once: of two loops beside each other, on few cores, each may wait for the other forever.
  evidence = jax.vmap(lambda power: log_evidence(code, power, received, noise))(
      jnp.concatenate([powers, code.prior[None]]))
  return likeness_by(evidence[:-1] - evidence[-1])


def likeness_by(gain: jax.Array) -> jax.Array:
  """`likeness`, by the log evidence over the prior's of profile n for report m, [..., n, m]."""
  own = jnp.diagonal(gain, axis1=-2, axis2=-1)
  share = (gain + gain.mT) / jnp.maximum(own[..., None] + own[..., None, :], 1e-6)
  return jnp.clip((share - _STRANGERS) / (_SAME_PLACE - _STRANGERS), 0, 1)


def log_evidence(
    code: RandomCode, power: jax.Array, received: jax.Array, noise: jax.Array) -> jax.Array:
  """log p(y_m | c) + S log pi of every report, [M]; arguments as of `step`."""
  inverse, log_det = _inverse(code, power, noise)
  return -log_det - (received.conj() * _solve(inverse, received)).real.sum(-1)


def posterior(
    code: RandomCode, powers: jax.Array, received: jax.Array, noise: jax.Array) -> Posterior:
  """Of the CSI of UEs whose profiles are known; arguments as of `estimate`."""
  inverses = jax.vmap(lambda power, noise: _inverse(code, power, noise[None])[0][0])(powers, noise)
  return posterior_by(code, powers, inverses, received)


def posterior_by(
    code: RandomCode, powers: jax.Array, inverses: jax.Array, received: jax.Array) -> Posterior:
  """`posterior` by R^-1 [n, S, S] of every UE."""
  amplitudes = powers * (_solve(inverses, received) @ code.seen.conj().T)
  mean = jnp.einsum(
      'dp,npq,aq->nda', code.grid.delay, amplitudes.reshape(-1, *code.grid.shape), code.grid.angle)
  told = (pack(inverses) * _grams(code, powers)).sum((-2, -1))  # trace of C F^H R^-1 F C
  return Posterior(mean, jnp.maximum(powers.sum(-1) - told, 0))


def _grams(code: RandomCode, powers: jax.Array) -> jax.Array:
  """Packed F C C F^H, C = A diag(c) A^H, of profiles [n, K]: [n, S, S].

  Delays first: then all but the last product are one of large matrices for all n.
  """
  (num_antennas, num_angles), num = code.grid.angle.shape, powers.shape[0]
  # C between antennas, of every delay, and the delay's share of F^H.
  powers = powers.reshape(num, -1, num_angles).swapaxes(0, 1)
  spread = unpack((powers @ outer(code.grid.angle.T)).reshape(
      len(powers), num, num_antennas, num_antennas))
  sent = jnp.einsum('dp,sda->pas', code.grid.delay.conj(), code.projections.matrix().conj())
  cross = spread.reshape(len(powers), -1, num_antennas) @ sent
  cross = code.grid.delay @ cross.reshape(len(powers), -1)  # C F^H
  num_symbols = sent.shape[-1]
  cross = cross.reshape(-1, num, num_antennas, num_symbols).swapaxes(0, 1)
  cross = cross.reshape(num, -1, num_symbols)
  real, imag = cross.real, cross.imag
  return real.mT @ (real + imag) + imag.mT @ (imag - real)


def _solve(inverse: jax.Array, received: jax.Array) -> jax.Array:
  """R_m^-1 y_m: [M or 1, S, S] with [M, S] to [M, S]."""
  return (inverse @ received[..., None])[..., 0]


def _inverse(
    code: RandomCode, power: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
  """R^-1 of every N_0, [M or 1, S, S], and log det R, [M or 1]."""
  num_symbols = code.seen.shape[-1]

  def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    power, seen = part
    return total + power @ outer(seen), None

  both = parts(power, num_symbols), parts(code.seen, num_symbols)
  packed, _ = jax.lax.scan(add, jnp.zeros(num_symbols ** 2), both)
  return invert(packed.reshape(num_symbols, num_symbols), noise)


def parts(values: jax.Array, num_symbols: int) -> jax.Array:
  """[K, ...] in parts [n, size, ...] that bound the memory; zeros fill the last one."""
  size = max(1, _NUMBERS_AT_ONCE // num_symbols ** 2)
  filled = jnp.pad(values, [(0, -len(values) % size)] + [(0, 0)] * (values.ndim - 1))
  return filled.reshape(-1, size, *values.shape[1:])
