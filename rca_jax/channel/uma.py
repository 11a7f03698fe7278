"""TR 38.901 urban macro (UMa) as data: parameter tables and LOS probability.

Clause and table numbers are those of 3GPP TR 38.901 V17.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

# Large-scale parameters (LSPs) of clause 7.5 step 4; spreads are log10 of degrees or s.
LSPS = ('SF', 'K', 'DS', 'ASD', 'ASA', 'ZSD', 'ZSA')
MAX_CLUSTERS = 20
NUM_RAYS = 20

# Table 7.5-3, ray offsets in units of the cluster's rms spread, ordered so that the rays of the
# three sub-clusters of table 7.5-5 are neighbours: 1-8, 19, 20 | 9-12, 17, 18 | 13-16.
_RAY_OFFSETS = np.array([
    0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551])
_SUBCLUSTER_ORDER = np.array([
    1, 2, 3, 4, 5, 6, 7, 8, 19, 20, 9, 10, 11, 12, 17, 18, 13, 14, 15, 16]) - 1
RAY_OFFSETS = np.stack([_RAY_OFFSETS, -_RAY_OFFSETS], -1).reshape(-1)[
    _SUBCLUSTER_ORDER].astype(np.float32)
SUBCLUSTER_ENDS = (0, 10, 16, 20)
SUBCLUSTER_DELAYS = np.array([0.0, 1.28, 2.56], np.float32)  # times the cluster delay spread c_DS


class StateTable(NamedTuple):
  """Table 7.5-6 for one propagation state (LOS or NLOS); every leaf a float32 array."""

  lsp_mean: np.ndarray  # [7], in the order of LSPS; ZSD comes from `zsd_mean`
  lsp_std: np.ndarray  # [7]
  lsp_mixing: np.ndarray  # [7, 7], the Cholesky factor of the cross-correlations
  lsp_distance_m: np.ndarray  # [7], correlation distances
  cluster_distance_m: np.ndarray  # of all cluster and ray variables, table 7.6.3.1-2
  active: np.ndarray  # [MAX_CLUSTERS], 1 or 0: whether the state has this cluster
  delay_scaling: np.ndarray  # r_tau
  shadowing_db: np.ndarray  # per-cluster shadowing std zeta
  cluster_ds_s: np.ndarray  # c_DS
  cluster_asd_deg: np.ndarray
  cluster_asa_deg: np.ndarray
  cluster_zsa_deg: np.ndarray
  azimuth_scaling: np.ndarray  # C_phi^NLOS, table 7.5-2
  zenith_scaling: np.ndarray  # C_theta^NLOS, table 7.5-4
  xpr_mean_db: np.ndarray  # of the cross-polarisation ratio of a ray, step 9
  xpr_std_db: np.ndarray


def _mixing(correlations: dict[tuple[str, str], float]) -> np.ndarray:
  matrix = np.eye(len(LSPS))
  for (first, second), value in correlations.items():
    i, j = LSPS.index(first), LSPS.index(second)
    matrix[i, j] = matrix[j, i] = value
  return np.linalg.cholesky(matrix)


def state_tables(carrier_frequency_hz: float) -> StateTable:
  """Table 7.5-6 for UMa; leaves [2, ...] with NLOS at 0 and LOS at 1."""
  log_fc = math.log10(max(carrier_frequency_hz / 1e9, 6.0))  # note 4: below 6 GHz use 6
  cluster_ds_s = 1e-9 * max(0.25, 6.5622 - 3.4084 * log_fc)
  nlos = StateTable(
      lsp_mean=np.array([
          0.0, 0.0, -6.28 - 0.204 * log_fc, 1.5 - 0.1144 * log_fc, 2.08 - 0.27 * log_fc, 0.0,
          -0.3236 * log_fc + 1.512]),
      lsp_std=np.array([6.0, 0.0, 0.39, 0.28, 0.11, 0.49, 0.16]),
      lsp_mixing=_mixing({
          ('ASD', 'DS'): 0.4, ('ASA', 'DS'): 0.6, ('ASD', 'SF'): -0.6, ('DS', 'SF'): -0.4,
          ('ASD', 'ASA'): 0.4, ('ZSA', 'SF'): -0.4, ('ZSD', 'DS'): -0.5, ('ZSD', 'ASD'): 0.5,
          ('ZSA', 'ASD'): -0.1}),
      lsp_distance_m=np.array([50.0, 50.0, 40.0, 50.0, 50.0, 50.0, 50.0]),
      cluster_distance_m=np.array(50.0),
      active=np.arange(MAX_CLUSTERS) < 20,
      delay_scaling=np.array(2.3),
      shadowing_db=np.array(3.0),
      cluster_ds_s=np.array(cluster_ds_s),
      cluster_asd_deg=np.array(2.0),
      cluster_asa_deg=np.array(15.0),
      cluster_zsa_deg=np.array(7.0),
      azimuth_scaling=np.array(1.289),
      zenith_scaling=np.array(1.178),
      xpr_mean_db=np.array(7.0),
      xpr_std_db=np.array(3.0))
  los = StateTable(
      lsp_mean=np.array([
          0.0, 9.0, -6.955 - 0.0963 * log_fc, 1.06 + 0.1114 * log_fc, 1.81, 0.0, 0.95]),
      lsp_std=np.array([4.0, 3.5, 0.66, 0.28, 0.20, 0.40, 0.16]),
      lsp_mixing=_mixing({
          ('ASD', 'DS'): 0.4, ('ASA', 'DS'): 0.8, ('ASA', 'SF'): -0.5, ('ASD', 'SF'): -0.5,
          ('DS', 'SF'): -0.4, ('ASA', 'K'): -0.2, ('DS', 'K'): -0.4, ('ZSA', 'SF'): -0.8,
          ('ZSD', 'DS'): -0.2, ('ZSD', 'ASD'): 0.5, ('ZSD', 'ASA'): -0.3, ('ZSA', 'ASA'): 0.4}),
      lsp_distance_m=np.array([37.0, 12.0, 30.0, 18.0, 15.0, 15.0, 15.0]),
      cluster_distance_m=np.array(40.0),
      active=np.arange(MAX_CLUSTERS) < 12,
      delay_scaling=np.array(2.5),
      shadowing_db=np.array(3.0),
      cluster_ds_s=np.array(cluster_ds_s),
      cluster_asd_deg=np.array(5.0),
      cluster_asa_deg=np.array(11.0),
      cluster_zsa_deg=np.array(7.0),
      azimuth_scaling=np.array(1.146),
      zenith_scaling=np.array(1.104),
      xpr_mean_db=np.array(8.0),
      xpr_std_db=np.array(4.0))
  return StateTable(*(
      np.stack(pair).astype(np.float32) for pair in zip(nlos, los, strict=True)))


def sector_gain_db(azimuth, zenith):
  """Table 7.3-1 towards the x axis, without its 8 dBi: 0 dB at most. Radians [...] to dB [...]."""
  vertical = jnp.minimum(12 * (jnp.rad2deg(zenith - jnp.pi / 2) / 65) ** 2, 30)
  turn = jnp.rad2deg(jnp.arctan2(jnp.sin(azimuth), jnp.cos(azimuth)))  # from -180 to 180
  horizontal = jnp.minimum(12 * (turn / 65) ** 2, 30)
  return -jnp.minimum(vertical + horizontal, 30)


LOS_STATE_DISTANCE_M = np.float32(50)  # table 7.6.3.1-2


def power_of_10(exponent):
  """10^exponent by the exponential function: a general power compiles and runs longer."""
  return jnp.exp(math.log(10) * exponent)


def los_probability(distance_2d_m, ue_height_m: float):
  """Table 7.4.2-1, UMa, outdoor UEs. distance_2d_m float [...] -> [...]."""
  distance = jnp.maximum(distance_2d_m, 18.0)  # 1 up to 18 m, where the expression is 1 too
  height_term = max((ue_height_m - 13.0) / 10.0, 0.0) ** 1.5
  near = 18.0 / distance + jnp.exp(-distance / 63.0) * (1.0 - 18.0 / distance)
  return near * (1.0 + height_term * 1.25 * (distance / 100.0) ** 3 * jnp.exp(-distance / 150.0))


def zsd_mean(los, distance_2d_m, ue_height_m: float):
  """Mean of log10 ZSD in degrees, table 7.5-7."""
  above = 0.01 * (ue_height_m - 1.5)
  return jnp.maximum(-0.5, -2.1 * distance_2d_m / 1000.0 - above + jnp.where(los, 0.75, 0.9))


def zod_offset_deg(los, distance_2d_m, ue_height_m: float, carrier_frequency_hz: float):
  """Zenith departure offset mu_offset,ZOD in degrees, table 7.5-7; zero in LOS."""
  log_fc = math.log10(max(carrier_frequency_hz / 1e9, 6.0))
  a, b, c, e = 0.208 * log_fc - 0.782, 25.0, -0.13 * log_fc + 2.03, 7.66 * log_fc - 5.96
  exponent = a * jnp.log10(jnp.maximum(b, distance_2d_m)) + c - 0.07 * (ue_height_m - 1.5)
  return jnp.where(los, 0.0, e - power_of_10(exponent))


def los_delay_scaling(k_db):
  """C_tau of eq. (7.5-3)."""
  return 0.7705 - 0.0433 * k_db + 0.0002 * k_db**2 + 0.000017 * k_db**3


def los_azimuth_scaling(k_db):
  """C_phi / C_phi^NLOS in LOS, eq. (7.5-10)."""
  return 1.1035 - 0.028 * k_db - 0.002 * k_db**2 + 0.0001 * k_db**3


def los_zenith_scaling(k_db):
  """C_theta / C_theta^NLOS in LOS, eq. (7.5-15)."""
  return 1.3086 + 0.0339 * k_db - 0.0077 * k_db**2 + 0.0002 * k_db**3
