"""Feedback with a site map: a label says the cell, a linear code of its KLT says the CSI.

Of the report's symbols some carry the label, all others coefficients with the powers that leave the
least error. The UE takes the label that leaves its own CSI the least error.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.bayes import klt, label
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.site_map import SiteMap, entry_powers
from rca_jax.config import CsiConfig
from rca_jax.uplink.djscc import awgn, through

_NUM_CANDIDATES = 8  # labels that a UE tries out
_NUM_LABELS = 2  # that a BS weighs
_MIN_PROBABILITY = 1e-3  # of a label that is weighed
_FLOOR = 0.01  # of an entry's expected power, of mean 1
_BLOCK = 16  # transforms computed, reports coded at a time


class SiteCode:
  """Codes reports of `num_symbols` symbols with a map; keeps the transforms it has needed."""

  def __init__(self, site_map: SiteMap, config: CsiConfig, num_symbols: int):
    self._map, self._grid, self.num_symbols = site_map, make_grid(config), num_symbols
    self._log_powers = jnp.log(entry_powers(self._grid, site_map) + _FLOOR)
    share = site_map.num_samples / site_map.num_samples.sum()
    self._log_prior = jnp.log(jnp.asarray(share, jnp.float32))
    self._transforms: dict[int, klt.Klt] = {}
    self._compute = jax.jit(lambda profile: klt.transform(self._grid, profile, num_symbols))

  def estimate(self, csi: np.ndarray, keys: jax.Array, snr_db: float) -> np.ndarray:
    """What the BS recovers of reports, through AWGN; label and coefficients are both sent.

    Deviation: as in `baselines.pca.transmit` the power constraint holds on average.

    Args:
      csi: [n, N_a, N_t] complex64.
      keys: of the noise, [n].

    Returns:
      csi_hat, like csi.
    """
    noise = 10 ** (-snr_db / 10)
    candidates = np.asarray(_candidates(self._log_powers, self._log_prior, csi))
    split = self.label_symbols(noise)
    errors = self._over(_error, candidates, csi, noise=noise, num_symbols=self.num_symbols - split)
    sent = candidates[np.arange(len(csi)), np.asarray(errors).argmin(1)]
    symbols = self._over(
        _encode, sent, csi, noise=noise, num_symbols=self.num_symbols - split)
    words = label.codewords(len(self._map.los), split)
    received = np.asarray(through(
        awgn, keys, jnp.concatenate([words[sent], jnp.asarray(symbols)], -1), snr_db))
    log_posterior = label.log_posterior(words, received[:, :split], noise, self._log_prior)
    values, labels = map(np.asarray, jax.lax.top_k(log_posterior, min(_NUM_LABELS, words.shape[0])))
    weights = np.where(np.exp(values) < _MIN_PROBABILITY, 0, np.exp(values))
    weights[:, 0] = np.maximum(weights[:, 0], _MIN_PROBABILITY)
    weights /= weights.sum(1, keepdims=True)
    labels = np.where(weights > 0, labels, labels[:, :1])
    total = 0
    for place in range(labels.shape[1]):
      found = self._over(
          _decode, labels[:, place], received[:, split:], noise=noise,
          num_symbols=self.num_symbols - split)
      total = total + weights[:, place, None, None] * found
    return total

  def label_symbols(self, noise: float) -> int:
    """How many symbols the label gets: a wrong one loses all, a symbol less some of the rest.

    The same for all reports: from entries all over the map. A map of one entry needs no label.
    """
    num_labels = len(self._map.los)
    if num_labels == 1:
      return 0
    some = self._stack(np.linspace(0, num_labels - 1, _BLOCK).astype(int))
    size = some.basis[0, 0].size
    best = []
    for split in range(1, self.num_symbols):
      variances = some.variances[:, :self.num_symbols - split]
      power = klt.allocate_power(
          variances, jnp.full(len(variances), noise), jnp.full(len(variances), variances.shape[1]))
      kept = (variances * power / (power + noise)).sum(-1)
      wrong = label.error_bound(num_labels, split, noise)
      best.append(float(jnp.mean(wrong + (1 - wrong) * (1 - kept / size))))
    return 1 + int(np.argmin(best))

  def _over(self, function, labels, values, **fixed) -> np.ndarray:
    """`function` of the transforms of `labels` and of `values`, block by block."""
    found = []
    for start in range(0, len(values), _BLOCK):
      rows = start + np.arange(_BLOCK) % min(_BLOCK, len(values) - start)
      found.append(np.asarray(function(self._stack(labels[rows]), values[rows], **fixed)))
    return np.concatenate(found)[:len(values)]

  def _stack(self, labels: np.ndarray) -> klt.Klt:
    """Transforms with leaves [*labels.shape, ...]."""
    missing = [int(v) for v in np.unique(labels) if int(v) not in self._transforms]
    for start in range(0, len(missing), _BLOCK):
      part = missing[start:start + _BLOCK]
      filled = np.array(part + part[:1] * (_BLOCK - len(part)))
      found = jax.tree.map(np.asarray, self._compute(self._map.profile(filled)))
      self._transforms |= {
          v: jax.tree.map(lambda leaf, i=i: leaf[i], found) for i, v in enumerate(part)}
    flat = [self._transforms[int(v)] for v in labels.ravel()]
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(*labels.shape, *leaves[0].shape), *flat)


@jax.jit
def _candidates(log_powers: jax.Array, log_prior: jax.Array, csi: jax.Array) -> jax.Array:
  """The most likely labels [n, C] if all entries of CSI were independent."""
  energy = (jnp.abs(csi) ** 2).reshape(len(csi), -1)
  score = log_prior - log_powers.sum(-1) - energy @ jnp.exp(-log_powers).T
  return jax.lax.top_k(score, min(_NUM_CANDIDATES, score.shape[1]))[1]


class _Linear(NamedTuple):
  gain: jax.Array  # [..., S] of the UE
  estimate: jax.Array  # [..., S] of the BS: LMMSE
  residual: jax.Array  # [..., S] share of a coefficient that is missing without noise


def _linear(found: klt.Klt, noise: float, num_symbols: int) -> _Linear:
  variances = found.variances[..., :num_symbols]
  full = jnp.full(variances.shape[:-1], 1.0)
  power = klt.allocate_power(variances, noise * full, num_symbols * full)
  gain, estimate = jnp.sqrt(power / variances), jnp.sqrt(power * variances) / (power + noise)
  return _Linear(gain, estimate, noise / (power + noise))


@functools.partial(jax.jit, static_argnames=('num_symbols',))
def _error(found: klt.Klt, csi: jax.Array, noise: float, num_symbols: int) -> jax.Array:
  """Expected squared error of CSI [n, ...] with each of its candidates' codes [n, C]."""
  code = _linear(found, noise, num_symbols)
  values = klt.coefficients(found, csi[:, None])[..., :num_symbols]
  energy = jnp.abs(values) ** 2
  return (
      (jnp.abs(csi) ** 2).sum((1, 2))[:, None]
      + ((code.residual**2 - 1) * energy + code.estimate**2 * noise).sum(-1))


@functools.partial(jax.jit, static_argnames=('num_symbols',))
def _encode(found: klt.Klt, csi: jax.Array, noise: float, num_symbols: int) -> jax.Array:
  return _linear(found, noise, num_symbols).gain * klt.coefficients(found, csi)[..., :num_symbols]


@functools.partial(jax.jit, static_argnames=('num_symbols',))
def _decode(found: klt.Klt, received: jax.Array, noise: float, num_symbols: int) -> jax.Array:
  values = _linear(found, noise, num_symbols).estimate * received
  rest = found.variances.shape[-1] - num_symbols
  return klt.synthesise(found, jnp.pad(values, ((0, 0), (0, rest))))
