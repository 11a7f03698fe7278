"""A map without positions: cells are clusters of UEs with power at the same delays and angles.

UEs of one place share these powers, not their phases. So a cluster is a Gaussian whose entries of
the CSI are independent, and EM alternates labels (the likeliest cluster of each UE) and powers (the
mean of each cluster's UEs). Then each cluster has its profile fitted from its UEs as a square has.

CSI is read in chunks; what is kept is a label for every UE, and the powers of the clusters.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from rca_jax.bayes import packing
from rca_jax.bayes.grid import check_one_polarisation, make_grid
from rca_jax.bayes.map_fit import fit_in_parts, fit_profiles, with_anywhere
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError

_NUM_ROUNDS, _NUM_BEGUN = 8, 6  # of EM; until when clusters that lost their UEs begin anew
_FLOOR = 0.01  # of an entry's expected power, of mean 1
_MIN_SAMPLES, _MOST_SAMPLES = 3, 16  # UEs that an entry is fitted from
_MOST_COUNTED = 2**16 - 1
_CHUNK = 1024  # UEs looked at at a time
_PART = 256  # clusters fitted to a file


def fit_clusters(
    key: jax.Array, csi: np.ndarray, config: CsiConfig, num_ues: float, noise: float, folder: Path,
    progress: Callable[[int, int], None]) -> SiteMap:
  """The map of CSI of which no position is known, of at most one entry for `num_ues` UEs.

  Labels and parts of the map are files of `folder`: the same call goes on from there. `progress`
  is that of `map_fit.fit_map`, for clusters.

  Args:
    csi: [n, N_a, N_t] complex64, mean |h|^2 = 1; may be a file that is mapped to memory.
    noise: N_0 of the CSI against its signal.

  Raises:
    InputError: too few UEs, or the folder cannot be written.
  """
  num_clusters = int(len(csi) / num_ues)
  if num_clusters < 1:
    raise InputError(
        f'{len(csi)} UEs are too few for a map with {num_ues:g} in a cluster; give more UEs, or '
        'less by --num_ues.')
  file = folder / 'labels.safetensors'
  if not file.exists():
    labels = find_clusters(key, csi, num_clusters)
    with writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
      write_atomically(file, safetensors.numpy.save({'labels': labels}))
  labels = safetensors.numpy.load(file.read_bytes())['labels']
  count = np.bincount(labels)
  large = np.flatnonzero(count >= _MIN_SAMPLES)
  if not large.size:
    raise InputError(
        f'no {_MIN_SAMPLES} of the {len(csi)} UEs are alike: too few UEs for a map; give more.')
  order = np.argsort(labels, kind='stable')
  first = np.cumsum(count) - count
  check_one_polarisation(config, 'site maps')
  grid = make_grid(config)

  def fit_part(number: int) -> SiteMap:
    clusters = large[number * _PART:(number + 1) * _PART]
    rows = np.zeros((len(clusters), _MOST_SAMPLES), int)
    weights = np.zeros(rows.shape, np.float32)
    for i, v in enumerate(clusters):
      num = min(count[v], _MOST_SAMPLES)
      rows[i, :num] = order[first[v] + np.arange(num) * count[v] // num]
      weights[i, :num] = 1 / num
    profile = fit_profiles(grid, csi, rows, weights, noise)
    return SiteMap(
        np.full((len(clusters), 2), np.nan, np.float32), np.zeros(len(clusters), bool),
        np.minimum(count[clusters], _MOST_COUNTED).astype(np.uint16),
        *packing.pack(profile, grid.shape[0]))

  sizes = [len(part) for part in np.split(large, range(_PART, len(large), _PART))]
  names = [f'clusters {number}' for number in range(len(sizes))]
  return with_anywhere(grid, fit_in_parts(folder, names, sizes, fit_part, progress))


def find_clusters(key: jax.Array, csi: np.ndarray, num_clusters: int) -> np.ndarray:
  """A label for every UE of csi [n, N_a, N_t]: [n] int32, less than `num_clusters`.

  Clusters begin at random UEs. Those that keep fewer than three begin anew at others, so that there
  are more clusters where there are more UEs; in the last rounds they end.
  """
  keys = jax.random.split(key, _NUM_BEGUN)
  starts = np.asarray(jax.random.choice(keys[0], len(csi), (num_clusters,), replace=False))
  power, count = _start(csi, starts), np.ones(num_clusters)
  for number in range(1, _NUM_ROUNDS + 1):
    labels, power, count = _one_round(csi, power, count)
    lost = np.flatnonzero(count < _MIN_SAMPLES)
    if number < _NUM_BEGUN and lost.size:
      starts = np.asarray(
          jax.random.choice(keys[number], len(csi), (len(lost),), replace=False))
      power[lost], count[lost] = _start(csi, starts), 1
  return labels


def _start(csi: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """What UEs say of the powers of their places: their own, smoothed, as phases are random."""
  order = np.argsort(rows)
  power = np.empty((len(rows), *csi.shape[1:]), np.float32)
  for some in np.split(order, range(_CHUNK, len(order), _CHUNK)):
    power[some] = _smooth(_smooth(np.abs(csi[rows[some]]) ** 2))
  return power


def _smooth(power: np.ndarray) -> np.ndarray:
  """Over neighbouring entries; angles go round."""
  power = (2 * power + np.roll(power, 1, -1) + np.roll(power, -1, -1)) / 4
  wide = np.pad(power, ((0, 0), (1, 1), (0, 0)), mode='edge')
  return (2 * power + wide[:, 2:] + wide[:, :-2]) / 4


def _one_round(
    csi: np.ndarray, power: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Labels of all UEs by the powers [V, N_a, N_t], then powers and counts [V] by the labels."""
  flat = power.reshape(len(power), -1) + _FLOOR
  prior = np.log(np.maximum(count, 0.5)) - np.log(flat).sum(1)
  inverse = jnp.asarray(1 / flat)
  labels = np.empty(len(csi), np.int32)
  total, count = np.zeros(flat.shape, np.float32), np.zeros(len(flat))
  for start in range(0, len(csi), _CHUNK):
    energy = (np.abs(csi[start:start + _CHUNK]) ** 2).reshape(-1, flat.shape[1])
    found = np.asarray(_likeliest(energy, inverse, prior.astype(np.float32)))
    order = np.argsort(found, kind='stable')
    present, first = np.unique(found[order], return_index=True)
    total[present] += np.add.reduceat(energy[order], first, 0)
    count += np.bincount(found, minlength=len(count))
    labels[start:start + _CHUNK] = found
  mean = (total / np.maximum(count, 1)[:, None]).reshape(power.shape)
  # One more UE, as if it had what is mean around every entry: few UEs leave entries without power.
  with_one = (count[:, None, None] * mean + _smooth(mean)) / (count[:, None, None] + 1)
  return labels, with_one.astype(np.float32), count


@jax.jit
def _likeliest(energy: jax.Array, inverse: jax.Array, prior: jax.Array) -> jax.Array:
  return jnp.argmax(prior - energy @ inverse.T, -1)
