"""A mixture of KLTs from sample covariances: Gaussian-mixture transform coding (arXiv 2603.14325).

What a site map is to be compared with: it knows no atoms of a delay-angle grid, so every component
needs hundreds of UEs. Components are clusters of UEs (bayes/clusters.py); their covariances shrink
towards that of all UEs, which is the last component.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from rca_jax.bayes import clusters
from rca_jax.bayes.grid import Grid
from rca_jax.bayes.klt import Klt
from rca_jax.config import CsiConfig

_NUM_SHRINKING = 4  # UEs that the covariance of all counts as
_FALLBACK_SHARE = 10  # the last component counts as a tenth of the UEs, as in a site map


class MixtureKlt(NamedTuple):
  """V components, one label each; the last is of all UEs. `SiteCode` uses it as a map."""

  num_samples: np.ndarray  # [V] int
  powers: np.ndarray  # [V, N_a, N_t] float32, expected of |h|^2
  variances: np.ndarray  # [V, S] float32, largest first
  directions: np.ndarray  # [V, N_a N_t, S] complex64, orthonormal

  @staticmethod
  def grid(config: CsiConfig) -> Grid:
    """Whose atoms are the entries of CSI."""
    return Grid(*(
        jnp.eye(num, dtype=jnp.complex64)
        for num in (config.num_delay_taps, config.num_tx_antennas)))

  def transform(self, grid: Grid, labels: np.ndarray, size: int) -> Klt:
    """As `SiteMap.transform`."""
    index = np.arange(self.directions.shape[1], dtype=np.int32)
    return Klt(
        self.variances[labels, :size], np.broadcast_to(index, (*labels.shape, index.size)),
        self.directions[labels, :, :size])

  def mean_powers(self, grid: Grid, labels: np.ndarray) -> np.ndarray:
    """As `SiteMap.mean_powers`."""
    return self.powers[labels]


def fit_mixture(key: jax.Array, csi: np.ndarray, num_components: int, size: int) -> MixtureKlt:
  """Components of csi [n, N_a, N_t] of mean |h|^2 = 1: at most so many, and that of all."""
  labels = clusters.find_clusters(key, csi, num_components)
  flat = csi.reshape(len(csi), -1)
  count = np.bincount(labels)
  present = np.flatnonzero(count)
  of_all = _sum_of_products(flat)
  of_all /= np.float32(len(flat))
  covariances = itertools.chain(
      (_shrunk(flat[labels == v], of_all) for v in present), [of_all])  # one at a time
  powers, variances, directions = map(np.stack, zip(*(
      _component(covariance, csi.shape[1:], size) for covariance in covariances), strict=True))
  return MixtureKlt(
      np.append(count[present], max(len(flat) // _FALLBACK_SHARE, 1)), powers, variances,
      directions)


def _shrunk(samples: np.ndarray, of_all: np.ndarray) -> np.ndarray:
  """Their covariance, as if some samples more had that of all."""
  total = _sum_of_products(samples)
  total += _NUM_SHRINKING * of_all
  return total / np.float32(len(samples) + _NUM_SHRINKING)


def _sum_of_products(samples: np.ndarray) -> np.ndarray:
  """Of h h^H, [D, D], for rows h^T [n, D]."""
  return samples.T @ samples.conj()


def _component(
    covariance: np.ndarray, shape: tuple[int, ...], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Powers of the entries, the `size` largest eigenvalues and their directions, largest first."""
  dim = len(covariance)
  powers = covariance.diagonal().real.reshape(shape).copy()  # no view: that keeps the covariance
  variances, directions = scipy.linalg.eigh(covariance, subset_by_index=(dim - size, dim - 1))
  return powers, np.maximum(variances[::-1], 1e-6), directions[:, ::-1]
