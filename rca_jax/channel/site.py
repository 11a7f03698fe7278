"""A radio environment as a pytree, and its propagation paths as a pure function of position.

TR 38.901 clause 7.5 steps 2-11 with the spatial consistency of clause 7.6.3: every random
variable of the procedure (LOS state, large-scale parameters, cluster delays, powers, angles) is
made of smooth random fields over the ground, so nearby UEs see similar clusters *because* the
fields are smooth. What jumps is made of thresholds: the LOS state, the signs of the angles, which
two clusters are the strongest. The BS stands at the origin; azimuth is measured from the x axis,
zenith from the vertical.
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import fields, uma
from rca_jax.config import CsiConfig

SPEED_OF_LIGHT = 299_792_458.0
ANGLES = ('AOD', 'AOA', 'ZOD', 'ZOA')
_IS_AZIMUTH = np.array([name[0] == 'A' for name in ANGLES])[:, None]
_CROSS_KEY = 1  # folded into a site's key
_CHANGE_DISTANCE_M = 10.0  # correlation distance of what decides where a site has changed
_TRACK_MIN_SCATTERER_DISTANCE_M = 5.0
_MULTIPATH_DELAY_SPREAD_S = 300e-9
# Of DS and the angular spreads in degrees, in the order of uma.LSPS; step 4.
_SPREAD_LIMITS = np.array([np.inf, 104, 104, 52, 52], np.float32)


class _Calibration(NamedTuple):
  distance_scale: float  # of all correlation distances but the LOS state's
  k_offset_db: float  # on the mean of the K-factor


# `stock` follows the reference data of docs/data.md. Its clusters change a little more slowly than
# the TR's distances say, and more power is scattered: QuaDRiGa rescales every sub-cluster to one
# modulus along the array, which spreads its power over the beams.
_CALIBRATION = {
    'stock': _Calibration(1.25, -1.0),
    'exponential': _Calibration(1.0, 0.0),
    'track': _Calibration(1.0, 0.0),
}


class _Change(NamedTuple):
  """Clusters that are drawn anew, each where a field of its own, or one for all, is low."""

  where: fields.Field  # a set of 1 + MAX_CLUSTERS fields
  clusters: fields.Field  # as the site's
  shares: jax.Array  # [1 + MAX_CLUSTERS], of the ground


@flax.struct.dataclass
class Site:
  """One environment: its random fields and what it holds fixed."""

  large_scale: fields.Field  # sets of one field: the LOS state, then [2, 7] large-scale parameters
  clusters: fields.Field  # a set of MAX_CLUSTERS * _CLUSTER_VARIABLES fields for NLOS, one for LOS
  ray_offsets: jax.Array  # [4, MAX_CLUSTERS, NUM_RAYS], coupled at random (step 8), per angle
  ray_phase: jax.Array  # [2, MAX_CLUSTERS, NUM_RAYS] rad (step 10)
  config: CsiConfig = flax.struct.field(pytree_node=False)
  ray_cross: jax.Array | None = None  # like `Paths.cross`, of both states [2, ...] (steps 9, 10)
  change: _Change | None = None  # since its first time


class Paths(NamedTuple):
  """What reaches a UE. C clusters of S sub-clusters and R rays, in sub-cluster order."""

  delay_s: jax.Array  # [..., C, S], after the LOS path; S differ in two clusters at most
  # [..., C, R] complex64; the sum of |gain|^2 over all rays and the LOS path is 1 (isotropic).
  gain: jax.Array
  azimuth: jax.Array  # [..., C, R] rad, of departure
  zenith: jax.Array  # [..., C, R] rad, of departure
  arrival_azimuth: jax.Array  # [..., C, R] rad; of the LOS path pi more than at departure
  los_gain: jax.Array  # [...] complex64; delay zero
  los_azimuth: jax.Array  # [...] rad
  los_zenith: jax.Array  # [...] rad
  los: jax.Array  # [...] bool
  # What antennas that are slanted by +-45 degrees have beside 1: 1 + this and 1 - this, the root of
  # the inverse XPR with the phase of phi to theta, [..., C, R] complex64. None: one polarisation.
  cross: jax.Array | None = None


class _Clusters(NamedTuple):
  """Standard normal variables of the clusters at one place."""

  delay: jax.Array  # [C]; uniform after the normal distribution function
  shadowing: jax.Array  # [C]
  sign: jax.Array  # [4, C], in the order of ANGLES
  jitter: jax.Array  # [4, C]


_CLUSTER_VARIABLES = 2 + 2 * len(ANGLES)
_CLUSTERS_SHAPE = fields.normal_shape(2, _CLUSTER_VARIABLES * uma.MAX_CLUSTERS)


def sample_site(key: jax.Array, config: CsiConfig) -> Site:
  """Draws an environment."""
  tables = uma.state_tables(config.carrier_frequency_hz)
  scale = _CALIBRATION[config.correlation].distance_scale
  large_scale_m = np.append(uma.LOS_STATE_DISTANCE_M, scale * tables.lsp_distance_m)
  ray_shape = (len(ANGLES) + 2, uma.MAX_CLUSTERS, uma.NUM_RAYS)
  large_scale, clusters, rays = _normals(
      key, fields.normal_shape(len(large_scale_m), 1), _CLUSTERS_SHAPE, ray_shape)
  uniform = _uniform(rays)
  return Site(
      large_scale=fields.from_normals(large_scale, config.correlation, large_scale_m),
      clusters=_cluster_fields(clusters, config),
      ray_offsets=_couple(uniform[:len(ANGLES)]),
      ray_phase=2 * jnp.pi * uniform[len(ANGLES):],
      config=config,
      ray_cross=_cross(key, tables) if config.num_polarisations == 2 else None)


def _cross(key: jax.Array, tables: uma.StateTable) -> jax.Array:
  """Steps 9 and 10 for a UE with one vertical antenna: `Site.ray_cross`."""
  # A key of its own: the other draws are those of one polarisation.
  normal, angle = _normals(
      jax.random.fold_in(key, _CROSS_KEY), *[(2, uma.MAX_CLUSTERS, uma.NUM_RAYS)] * 2)
  mean_db, std_db = (leaf[:, None, None] for leaf in (tables.xpr_mean_db, tables.xpr_std_db))
  amplitude = uma.power_of_10(-(mean_db + std_db * normal) / 20)
  return polar(amplitude, 2 * jnp.pi * _uniform(angle))


def at_another_time(
    key: jax.Array, site: Site, moved_scatterers: float, redrawn_ground: float) -> Site:
  """The site after some of its clusters were drawn anew.

  Args:
    moved_scatterers: share of the ground where a cluster is another one; each has its own ground.
    redrawn_ground: share of the ground where all clusters are others.
  """
  where, clusters = _normals(
      key, fields.normal_shape(1, 1 + uma.MAX_CLUSTERS), _CLUSTERS_SHAPE)
  return dataclasses.replace(site, change=_Change(
      where=fields.from_normals(where, 'stock', np.array([_CHANGE_DISTANCE_M])),
      clusters=_cluster_fields(clusters, site.config),
      shares=jnp.append(redrawn_ground, jnp.full(uma.MAX_CLUSTERS, moved_scatterers))))


def _cluster_fields(normal: jax.Array, config: CsiConfig) -> fields.Field:
  scale = _CALIBRATION[config.correlation].distance_scale
  distance_m = scale * uma.state_tables(config.carrier_frequency_hz).cluster_distance_m
  return fields.from_normals(normal, config.correlation, distance_m)


def _normals(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
  """Standard normal variables of several shapes."""
  # One flat draw: each draw, and each axis of a draw, adds to the time of compiling.
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  flat = jnp.split(jax.random.normal(key, (ends[-1],), jnp.float32), ends[:-1])
  return [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]


def _couple(uniform: jax.Array) -> jax.Array:
  """Step 8: random coupling of the rays' angles, within sub-clusters, from uniforms [4, C, R]."""
  subcluster = np.searchsorted(uma.SUBCLUSTER_ENDS[1:], np.arange(uma.NUM_RAYS), 'right')
  shuffled = jnp.argsort(subcluster.astype(np.float32) + uniform, -1)
  return jnp.asarray(uma.RAY_OFFSETS)[shuffled]


def paths(site: Site, positions: jax.Array) -> Paths:
  """Propagation paths at positions [..., ue, 3] in m -> `Paths` with leaves [..., ue, ...].

  Differentiable in the positions. With `correlation='track'` the UEs of one group (axis -2) see
  one draw of clusters, that of the first UE, whose scatterers stay where they are (clause 7.6.3.2).
  """
  anchors = positions
  if site.config.correlation == 'track':
    anchors = jnp.broadcast_to(positions[..., :1, :], positions.shape)
  one = _multipath_at if site.config.scenario == 'multipath' else _paths_at
  # A field turns metres into phases: bfloat16, the default of TPUs, rounds 150 m to a metre.
  with jax.default_matmul_precision('highest'):
    flat = jax.vmap(partial(one, site))(positions.reshape(-1, 3), anchors.reshape(-1, 3))
  if site.config.antenna_element == 'sector':
    flat = flat._replace(
        gain=flat.gain * _sector_amplitude(flat.azimuth, flat.zenith),
        los_gain=flat.los_gain * _sector_amplitude(flat.los_azimuth, flat.los_zenith))
  return jax.tree.map(lambda leaf: leaf.reshape(positions.shape[:-1] + leaf.shape[1:]), flat)


def _sector_amplitude(azimuth: jax.Array, zenith: jax.Array) -> jax.Array:
  return uma.power_of_10(uma.sector_gain_db(azimuth, zenith) / 20)


def at_other_carrier(key: jax.Array, found: Paths) -> Paths:
  """The same paths as another carrier sees them: every ray has a new phase, drawn uniformly."""
  shape = found.gain.shape
  turns = jax.random.uniform(key, (*shape[:-2], math.prod(shape[-2:]) + 1), jnp.float32)
  phase = 2 * jnp.pi * turns
  cross = found.cross
  if cross is not None:
    turn = jax.random.uniform(jax.random.fold_in(key, _CROSS_KEY), cross.shape, jnp.float32)
    cross = polar(jnp.abs(cross), 2 * jnp.pi * turn)
  return found._replace(
      cross=cross,
      gain=polar(jnp.abs(found.gain), phase[..., 1:].reshape(shape)),
      los_gain=polar(jnp.abs(found.los_gain), phase[..., 0]))


def _paths_at(site: Site, position: jax.Array, anchor: jax.Array) -> Paths:
  """`paths` of one UE at `position` [3], with the clusters drawn for `anchor` [3]."""
  config = site.config
  los, lsp = large_scale_parameters(site, anchor[:2])
  table, cluster = _table(config, los), _clusters(site, los, anchor[:2])
  delay_s, power, los_share = _delays_and_powers(table, lsp, los, cluster)
  aod, aoa, zod, zoa = _ray_angles(site, table, lsp, los, cluster, power, los_share, anchor)

  arrival = _unit_vector(aoa, zoa)  # of [C, R], from the UE to its last scatterer
  excess_m = _excess_path_m(arrival, delay_s, position, anchor, config)  # [C, R]
  phase = jnp.where(los, site.ray_phase[1], site.ray_phase[0]) + _wavenumber(config) * (
      _dot(arrival, anchor) - excess_m)
  amplitude = jnp.sqrt((1 - los_share) * power / uma.NUM_RAYS)
  delay_s = delay_s + _drift_s(excess_m.mean(-1), position, anchor, config)
  los_azimuth, los_zenith = _departure(position, config)
  los_phase = _wavenumber(config) * _distance(position, config)
  return Paths(
      delay_s=delay_s[:, None] + _subcluster_offsets(table, power),
      gain=polar(amplitude[:, None], phase),
      azimuth=aod,
      zenith=zod,
      arrival_azimuth=aoa,
      los_gain=polar(jnp.sqrt(los_share), -los_phase),
      los_azimuth=los_azimuth,
      los_zenith=los_zenith,
      los=los,
      cross=None if site.ray_cross is None else jnp.where(
          los, site.ray_cross[1], site.ray_cross[0]))


def _multipath_at(site: Site, position: jax.Array, anchor: jax.Array) -> Paths:
  """The paper's eq. (1): L = 20 paths of equal mean power, without rays, spreads or a LOS path.

  Gains are complex Gaussian, delays exponential, angles uniform over the front of the array; each
  is one of the site's smooth fields, so nearby UEs share their paths.
  """
  config = site.config
  cluster = _clusters(site, jnp.array(False), anchor[:2])
  uniform = dict(zip(ANGLES, _uniform(cluster.sign), strict=True))
  delay_s = -_MULTIPATH_DELAY_SPREAD_S * jnp.log(_uniform(cluster.delay))
  aoa = 2 * jnp.pi * uniform['AOA'][:, None]
  arrival = _unit_vector(aoa, jnp.float32(jnp.pi / 2))
  excess_m = _excess_path_m(arrival, delay_s, position, anchor, config)
  phase = site.ray_phase[0, :, :1] + _wavenumber(config) * (_dot(arrival, anchor) - excess_m)
  alpha = jax.lax.complex(cluster.shadowing, cluster.jitter[ANGLES.index('AOD')])
  alpha = alpha[:, None] * polar(jnp.float32(1), phase)
  alpha = alpha / jnp.linalg.norm(alpha)
  padding = ((0, 0), (0, uma.NUM_RAYS - 1))
  delay_s = delay_s[:, None] + _drift_s(excess_m, position, anchor, config)
  return Paths(
      delay_s=jnp.broadcast_to(delay_s, (uma.MAX_CLUSTERS, len(uma.SUBCLUSTER_DELAYS))),
      gain=jnp.pad(alpha, padding),
      azimuth=jnp.pad(jnp.pi * (uniform['AOD'] - 0.5)[:, None], padding),
      zenith=jnp.full((uma.MAX_CLUSTERS, uma.NUM_RAYS), jnp.pi / 2, jnp.float32),
      arrival_azimuth=jnp.pad(aoa, padding),
      los_gain=jnp.zeros((), jnp.complex64),
      los_azimuth=jnp.zeros((), jnp.float32),
      los_zenith=jnp.full((), jnp.pi / 2, jnp.float32),
      los=jnp.array(False))


def large_scale_parameters(
    site: Site, ground: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Clause 7.5 steps 2 and 4 at ground [2] m.

  Returns:
    The LOS state, bool: a field of 50 m against the probability of table 7.4.2-1; and SF and K in
    dB, DS in s, angular spreads in degrees.
  """
  config, distance_m = site.config, jnp.linalg.norm(ground)
  normal = fields.evaluate(site.large_scale, ground)[:, 0]
  uniform = _uniform(normal[0])
  los = {
      'uma': uniform < uma.los_probability(distance_m, config.ue_height_m),
      'uma_los': jnp.array(True),
  }.get(config.scenario, jnp.array(False))
  table = _table(config, los)
  shift = jnp.stack([  # what the table does not hold: the mean of ZSD, and our calibration of K
      jnp.float32(0), jnp.float32(_CALIBRATION[config.correlation].k_offset_db),
      *[jnp.float32(0)] * 3, uma.zsd_mean(los, distance_m, config.ue_height_m), jnp.float32(0)])
  nlos_normal, los_normal = normal[1:].reshape(2, len(uma.LSPS))
  lsp = table.lsp_mean + shift + table.lsp_std * (
      table.lsp_mixing @ jnp.where(los, los_normal, nlos_normal))
  spreads = jnp.minimum(uma.power_of_10(lsp[2:]), _SPREAD_LIMITS)
  return los, dict(zip(uma.LSPS, [*lsp[:2], *spreads], strict=True))


def _table(config: CsiConfig, los: jax.Array) -> uma.StateTable:
  """The table of one propagation state."""
  return jax.tree.map(
      lambda leaf: jnp.where(los, leaf[1], leaf[0]), uma.state_tables(config.carrier_frequency_hz))


def _clusters(site: Site, los: jax.Array, ground: jax.Array) -> _Clusters:
  """The variables of all clusters at ground [2] m."""
  def of_state(clusters: fields.Field) -> jax.Array:
    # Both states, then the right one: a shared matrix product costs less than a gather of weights.
    nlos_values, los_values = fields.evaluate(clusters, ground)
    return jnp.where(los, los_values, nlos_values).reshape(_CLUSTER_VARIABLES, uma.MAX_CLUSTERS)

  values = of_state(site.clusters)
  if site.change is not None:
    low = _uniform(fields.evaluate(site.change.where, ground)[0]) < site.change.shares
    values = jnp.where((low[0] | low[1:])[None], of_state(site.change.clusters), values)
  return _Clusters(values[0], values[1], *jnp.split(values[2:], 2))


def _delays_and_powers(table, lsp, los, cluster):
  """Steps 5 and 6: delays after the LOS path [C] s, scattered powers [C] of sum 1, LOS share.

  Deviation from the TR: delays are not shifted to start at zero and clusters below -25 dB stay,
  since a minimum and a threshold are no smooth functions of position; so the LOS path is a path of
  its own instead of a part of the first cluster.
  """
  exponential = -jnp.log(_uniform(cluster.delay))
  delay_s = table.delay_scaling * lsp['DS'] * exponential
  power = jnp.exp(
      -exponential * (table.delay_scaling - 1)
      - math.log(10) / 10 * table.shadowing_db * cluster.shadowing)
  power = jnp.where(table.active > 0, power, 0)
  k = uma.power_of_10(lsp['K'] / 10)
  delay_s = jnp.where(los, delay_s / uma.los_delay_scaling(lsp['K']), delay_s)
  return delay_s, power / power.sum(), jnp.where(los, k / (1 + k), 0)


def _ray_angles(site, table, lsp, los, cluster, power, los_share, anchor) -> jax.Array:
  """Step 7: the four angles of every ray, [4, C, R] rad, in the order of ANGLES."""
  config = site.config
  relative = (1 - los_share) * power
  relative = relative / jnp.maximum(relative.max(), los_share)  # eq. (7.5-8)
  log_ratio = -jnp.log(jnp.maximum(relative, 1e-6))
  c_phi = table.azimuth_scaling * jnp.where(los, uma.los_azimuth_scaling(lsp['K']), 1)
  c_theta = table.zenith_scaling * jnp.where(los, uma.los_zenith_scaling(lsp['K']), 1)
  # The strongest cluster's ratio is zero, or round-off of 6e-8 whose root would turn its phase by a
  # radian, otherwise in every compiled program. Not zero, so that the gradient is finite.
  azimuth_shape = 2 / 1.4 * jnp.sqrt(jnp.where(log_ratio < 1e-6, 1e-9, log_ratio)) / c_phi
  zenith_shape = log_ratio / c_theta
  # Not stacked: XLA would compute each part of the stack anew, in one large program.
  shape = jnp.where(_IS_AZIMUTH, azimuth_shape, zenith_shape)  # [4, C]

  distance_2d_m = jnp.linalg.norm(anchor[:2])
  aod, zod = _departure(anchor, config)
  zod_offset_deg = uma.zod_offset_deg(
      los, distance_2d_m, config.ue_height_m, config.carrier_frequency_hz)
  cluster_zsd_deg = 3 / 8 * uma.power_of_10(uma.zsd_mean(los, distance_2d_m, config.ue_height_m))
  centre = jnp.stack([aod, aod + jnp.pi, zod + jnp.deg2rad(zod_offset_deg), jnp.pi - zod])
  spread_deg = jnp.stack([lsp['ASD'], lsp['ASA'], lsp['ZSD'], lsp['ZSA']])
  ray_spread_deg = jnp.stack([
      table.cluster_asd_deg, table.cluster_asa_deg, cluster_zsd_deg, table.cluster_zsa_deg])
  offset_deg = spread_deg[:, None] * (jnp.sign(cluster.sign) * shape + cluster.jitter / 7)
  rays_deg = offset_deg[..., None] + ray_spread_deg[:, None, None] * site.ray_offsets
  return centre[:, None, None] + jnp.deg2rad(rays_deg)


def _subcluster_offsets(table, power: jax.Array) -> jax.Array:
  """Step 11, table 7.5-5: extra delays [C, S] s; zero but for the two strongest clusters."""
  strongest = power >= jax.lax.top_k(power, 2)[0][1]
  return jnp.where(strongest[:, None], table.cluster_ds_s * uma.SUBCLUSTER_DELAYS, 0)


def _excess_path_m(arrival, delay_s, position, anchor, config) -> jax.Array:
  """How much longer each ray's path is at `position` than at `anchor`, [C, R] m.

  The last scatterer stays where it is: as seen from the anchor, on the ellipse of the ray's delay.
  """
  if config.correlation != 'track':
    return jnp.zeros(jnp.shape(arrival[0]), jnp.float32)
  direct_m = _distance(anchor, config)
  total_m = (direct_m + SPEED_OF_LIGHT * delay_s)[:, None]
  to_bs = -_from_bs(anchor, config) / direct_m
  range_m = (total_m**2 - direct_m**2) / (2 * (total_m - direct_m * _dot(arrival, to_bs)) + 1e-3)
  range_m = jnp.maximum(range_m, _TRACK_MIN_SCATTERER_DISTANCE_M)
  away = [p - a - range_m * d for p, a, d in zip(position, anchor, arrival, strict=True)]
  return jnp.sqrt(_dot(away, away)) - range_m


def _drift_s(excess_m, position, anchor, config) -> jax.Array:
  """The change of a delay after the LOS path, whose own length changes too; eq. (7.6-9)."""
  return (excess_m - (_distance(position, config) - _distance(anchor, config))) / SPEED_OF_LIGHT


def polar(amplitude: jax.Array, phase: jax.Array) -> jax.Array:
  """amplitude * exp(j phase), complex64 of their common shape."""
  # jnp.exp of a complex number compiles, and runs, twice as long.
  return jax.lax.complex(amplitude * jnp.cos(phase), amplitude * jnp.sin(phase))


def _uniform(normal: jax.Array) -> jax.Array:
  """The normal distribution function: of a standard normal variable a uniform one."""
  return jax.lax.erfc(-normal * 0.5**0.5) / 2


def _unit_vector(azimuth: jax.Array, zenith: jax.Array) -> tuple[jax.Array, ...]:
  """Its x, y and z, not stacked: XLA would compute both angles anew for each of the three."""
  sine = jnp.sin(zenith)
  return sine * jnp.cos(azimuth), sine * jnp.sin(azimuth), jnp.cos(zenith)


def _dot(first, second) -> jax.Array:
  """The scalar product of two vectors, each given by its components."""
  return sum(a * b for a, b in zip(first, second, strict=True))


def _from_bs(position: jax.Array, config: CsiConfig) -> jax.Array:
  return position - jnp.array([0, 0, config.bs_height_m], jnp.float32)


def _distance(position: jax.Array, config: CsiConfig) -> jax.Array:
  return jnp.linalg.norm(_from_bs(position, config))


def _departure(position: jax.Array, config: CsiConfig) -> tuple[jax.Array, jax.Array]:
  """Azimuth and zenith of the UE as seen from the BS, rad."""
  x, y, z = _from_bs(position, config)
  return jnp.arctan2(y, x), jnp.arctan2(jnp.hypot(x, y), z)


def _wavenumber(config: CsiConfig) -> float:
  return 2 * np.pi * config.carrier_frequency_hz / SPEED_OF_LIGHT
