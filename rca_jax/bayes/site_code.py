"""Feedback with a site map: a label says the cell, a code of its KLT coefficients says the CSI.

Of the report's symbols some carry the label, all others the coefficients (bayes/hybrid.py, or only
its linear part). The UE takes the label that leaves its own CSI the least error.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import hybrid, klt, label
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.site_map import SiteMap, entry_powers
from rca_jax.config import CsiConfig
from rca_jax.uplink.djscc import awgn, through

_NUM_CANDIDATES = 8  # labels that a UE tries out
_NUM_LABELS = 2  # that a BS weighs
# What of the coefficients' worth is lost for each wrong label, by simulation: when the most likely
# label is wrong, and when the right one is not certain.
_COST = 1.5
_MIN_PROBABILITY = 1e-3  # of a label that is weighed
_FLOOR = 0.01  # of an entry's expected power, of mean 1
_BLOCK = 16  # transforms computed, reports coded at a time


class SiteCode:
  """Codes reports of `num_symbols` symbols with a map; keeps the transforms it has needed."""

  def __init__(
      self, site_map: SiteMap, config: CsiConfig, num_symbols: int,
      design: Callable[[np.ndarray, float, int], hybrid.Design] = hybrid.linear_design):
    self._map, self._grid, self.num_symbols = site_map, make_grid(config), num_symbols
    self._num_entries = config.num_delay_taps * config.num_tx_antennas
    self._size = min(3 * num_symbols // 2, self._num_entries)
    self._design, self._designs = design, {}
    self._log_powers = jnp.log(entry_powers(self._grid, site_map) + _FLOOR)
    share = site_map.num_samples / site_map.num_samples.sum()
    self._log_prior = jnp.log(jnp.asarray(share, jnp.float32))
    self._transforms: dict[int, klt.Klt] = {}
    self._compute = jax.jit(lambda profile: klt.transform(self._grid, profile, self._size))

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
    split = self.label_symbols(noise)
    candidates = np.asarray(_candidates(self._log_powers, self._log_prior, csi))
    errors = self._over(
        functools.partial(_error, noise=noise), candidates, csi,
        *self._linear(candidates, noise, self.num_symbols - split))
    sent = candidates[np.arange(len(csi)), errors.argmin(1)]
    values = self._over(klt.coefficients, sent, csi)
    symbols = hybrid.encode(self._designs_of(sent, noise, split), values)
    words = label.codewords(len(self._map.los), split)
    received = np.asarray(through(
        awgn, keys, jnp.concatenate([words[sent], symbols], -1, dtype=jnp.complex64), snr_db))
    total = 0
    for weight, labels in self._likely(words, received[:, :split], noise):
      values = hybrid.decode(
          self._designs_of(labels, noise, split), received[:, split:], noise, self._size)
      found = self._over(klt.synthesise, labels, values.astype(np.complex64))
      total = total + weight[:, None, None] * found
    return total

  def _likely(
      self, words: jax.Array, received: np.ndarray, noise: float
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """The most likely labels [n] of received symbols [n, split], with their probabilities [n]."""
    log_posterior = label.log_posterior(words, received, noise, self._log_prior)
    values, labels = map(np.asarray, jax.lax.top_k(log_posterior, min(_NUM_LABELS, len(words))))
    weights = np.exp(values)  # all other labels count with the mean of CSI, zero
    weights[weights < _MIN_PROBABILITY] = 0
    labels = np.where(weights > 0, labels, labels[:, :1])  # whose transforms are there
    return list(zip(weights.T, labels.T, strict=True))

  def _designs_of(self, labels: np.ndarray, noise: float, split: int) -> list[hybrid.Design]:
    self._stack(labels)
    for v in map(int, np.unique(labels)):
      if (v, noise) not in self._designs:
        self._designs[v, noise] = self._design(
            self._transforms[v].variances, noise, self.num_symbols - split)
    return [self._designs[int(v), noise] for v in labels]

  def label_symbols(self, noise: float) -> int:
    """How many symbols the label gets: those of the least expected error.

    The same for all reports: from entries all over the map. A map of one entry needs no label.
    """
    if len(self._map.los) == 1:
      return 0
    variances = self._stack(np.linspace(0, len(self._map.los) - 1, _BLOCK).astype(int)).variances
    split = np.arange(1, self.num_symbols)
    left = self.num_symbols - split
    sent = np.where(np.arange(variances.shape[1]) < left[:, None, None], variances, 0.0)
    power = least_error_powers(sent, noise, left[:, None])
    won = (sent * power / (power + noise)).sum(-1).mean(1) / self._num_entries
    num_labels = np.exp(-(self._log_prior * jnp.exp(self._log_prior)).sum())
    wrong = label.error_rate(float(num_labels), split, noise)
    return int(split[np.argmax(won * (1 - np.minimum(1, _COST * wrong)))])

  def _linear(
      self, labels: np.ndarray, noise: float, num_symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains of the UE and of the BS with the linear codes of `labels`, [*labels.shape, S]."""
    different, place = np.unique(labels, return_inverse=True)
    codes = [
        hybrid.linear_design(w, noise, num_symbols) for w in self._stack(different).variances]
    return tuple(
        np.array(part, np.float32)[place.reshape(labels.shape)]
        for part in zip(*((code.gain, code.lmmse) for code in codes), strict=True))

  def _over(self, function, labels: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """`function` of the transforms of `labels` [n, ...] and of `values`, block by block."""
    found = []
    for start in range(0, len(labels), _BLOCK):
      rows = start + np.arange(_BLOCK) % min(_BLOCK, len(labels) - start)
      found.append(np.asarray(function(self._stack(labels[rows]), *(v[rows] for v in values))))
    return np.concatenate(found)[:len(labels)]

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


@jax.jit
def _error(
    found: klt.Klt, csi: jax.Array, gain: jax.Array, lmmse: jax.Array, noise: float) -> jax.Array:
  """Expected squared error of CSI [n, ...] with each candidate's linear code [n, C, S]: [n, C]."""
  energy = jnp.abs(klt.coefficients(found, csi[:, None])[..., :gain.shape[-1]]) ** 2
  missing = (1 - lmmse * gain) ** 2
  return (
      (jnp.abs(csi) ** 2).sum((1, 2))[:, None]
      + ((missing - 1) * energy + lmmse**2 * noise).sum(-1))
