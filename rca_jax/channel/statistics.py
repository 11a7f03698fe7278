"""What a set of CSI looks like: figures that differ between two channel simulators."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel.groups import CsiGroups
from rca_jax.channel.site import Paths

DISTANCE_EDGES_M = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10)
COMPACTION_SIZES = (32, 64, 128, 256)


class PairCorrelation(NamedTuple):
  """How alike the CSI of two UEs is, by their distance: a bin between two `DISTANCE_EDGES_M`."""

  mean: np.ndarray  # [bins], mean cosine of |H_i| and |H_j|; NaN where there is no pair
  num_pairs: np.ndarray  # [bins]


def magnitude_correlation(groups: CsiGroups, los: bool) -> PairCorrelation:
  """Mean magnitude correlation of the UE pairs that are both LOS (or both NLOS), by distance."""
  magnitude = np.abs(np.asarray(groups.csi)).reshape(*groups.csi.shape[:2], -1)
  magnitude = magnitude / np.linalg.norm(magnitude, axis=-1, keepdims=True)
  positions, state = np.asarray(groups.positions), np.asarray(groups.los)
  first, second = np.triu_indices(magnitude.shape[1], 1)
  cosine = np.einsum('gpd,gpd->gp', magnitude[:, first], magnitude[:, second])
  distance = np.linalg.norm(positions[:, first] - positions[:, second], axis=-1)
  both = (state[:, first] == los) & (state[:, second] == los)
  bins = np.digitize(distance, DISTANCE_EDGES_M) - 1
  members = [both & (bins == b) for b in range(len(DISTANCE_EDGES_M) - 1)]
  means = [cosine[m].mean() if m.any() else np.nan for m in members]
  return PairCorrelation(np.array(means), np.array([m.sum() for m in members]))


def compaction_db(groups: CsiGroups, los: bool) -> np.ndarray:
  """NMSE in dB of keeping the K largest entries, for K in COMPACTION_SIZES: [4]."""
  csi = np.asarray(groups.csi)[np.asarray(groups.los) == los]
  energy = np.sort((np.abs(csi) ** 2).reshape(len(csi), -1), -1)[:, ::-1]
  kept = np.cumsum(energy, -1) / energy.sum(-1, keepdims=True)
  return np.array([10 * np.log10((1 - kept[:, k - 1]).mean()) for k in COMPACTION_SIZES])


def log_spreads(paths: Paths) -> tuple[jax.Array, jax.Array, jax.Array]:
  """log10 of the delay spread in s, and of the azimuth spreads of departure and arrival in degrees.

  Power-weighted over all rays and the LOS path (TR 38.901 annex A, rms and circular), all [...].
  """
  ray_power = jnp.abs(paths.gain) ** 2  # [..., C, R]
  los_power = jnp.abs(paths.los_gain) ** 2  # [...]
  delay_s = paths.delay_s[..., 0]  # [..., C]
  cluster_power = ray_power.sum(-1)
  mean_s = (cluster_power * delay_s).sum(-1)
  # Centred before squaring: microseconds squared would drown in float32.
  spread_s = jnp.sqrt((cluster_power * (delay_s - mean_s[..., None]) ** 2).sum(-1)
                      + los_power * mean_s**2)

  def spread_deg(azimuth: jax.Array, los_azimuth: jax.Array) -> jax.Array:
    resultant = jnp.abs((ray_power * jnp.exp(1j * azimuth)).sum((-1, -2))
                        + los_power * jnp.exp(1j * los_azimuth))
    return jnp.rad2deg(jnp.sqrt(-2 * jnp.log(jnp.minimum(resultant, 1 - 1e-7))))

  return (
      jnp.log10(spread_s), jnp.log10(spread_deg(paths.azimuth, paths.los_azimuth)),
      jnp.log10(spread_deg(paths.arrival_azimuth, paths.los_azimuth + jnp.pi)))
