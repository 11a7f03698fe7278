"""A radio environment as a pytree, and its propagation paths as a pure function of position.

TR 38.901 clause 7.5 steps 2-11 with the spatial consistency of clause 7.6.3: every random
variable of the procedure (LOS state, large-scale parameters, cluster delays, powers, angles) is
made of smooth random fields over the ground, so nearby UEs see similar clusters *because* the
fields are smooth. What jumps is made of thresholds: the LOS state, the signs of the angles, which
two clusters are the strongest. The BS stands at the origin; azimuth is measured from the x axis,
zenith from the vertical.
"""

from functools import partial
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import fields, uma
from rca_jax.config import CsiConfig

SPEED_OF_LIGHT = 299_792_458.0
# The fields that one cluster is made of: uniform for its delay, normal for its shadowing, then a
# sign and a jitter for each of its four angles.
ANGLES = ('AOD', 'AOA', 'ZOD', 'ZOA')
_CLUSTER_VARIABLES = (
    'delay', 'shadowing', *(f'{a}_{v}' for a in ANGLES for v in ('sign', 'jitter')))
_TRACK_MIN_SCATTERER_DISTANCE_M = 5.0
_MULTIPATH_DELAY_SPREAD_S = 300e-9


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


@flax.struct.dataclass
class Site:
  """One environment: its random fields and what it holds fixed."""

  los_state: fields.Field  # one field
  lsp: fields.Field  # leaves [2, 7, ...], one field each
  clusters: fields.Field  # leaves [2, ...], MAX_CLUSTERS * len(_CLUSTER_VARIABLES) fields
  ray_offsets: jax.Array  # [4, MAX_CLUSTERS, NUM_RAYS], coupled at random (step 8), per angle
  ray_phase: jax.Array  # [2, MAX_CLUSTERS, NUM_RAYS] rad (step 10)
  config: CsiConfig = flax.struct.field(pytree_node=False)


class Paths(NamedTuple):
  """What reaches a UE. C clusters of S sub-clusters and R rays, in sub-cluster order."""

  delay_s: jax.Array  # [..., C, S], after the LOS path
  gain: jax.Array  # [..., C, R] complex64; sum of |gain|^2 over all rays and the LOS path is 1
  azimuth: jax.Array  # [..., C, R] rad, of departure
  zenith: jax.Array  # [..., C, R] rad, of departure
  los_gain: jax.Array  # [...] complex64; delay zero
  los_azimuth: jax.Array  # [...] rad
  los_zenith: jax.Array  # [...] rad
  los: jax.Array  # [...] bool


def sample_site(key: jax.Array, config: CsiConfig) -> Site:
  """Draws an environment."""
  los_key, lsp_key, cluster_key, ray_key = jax.random.split(key, 4)
  uniform = jax.random.uniform(ray_key, (len(ANGLES) + 2, uma.MAX_CLUSTERS, uma.NUM_RAYS))
  tables = uma.state_tables(config.carrier_frequency_hz)
  sample = partial(fields.sample_field, correlation=config.correlation)
  scale = _CALIBRATION[config.correlation].distance_scale
  lsp_keys = jax.random.split(lsp_key, tables.lsp_distance_m.shape)
  return Site(
      los_state=sample(los_key, distance_m=uma.LOS_STATE_DISTANCE_M, num_fields=1),
      lsp=jax.vmap(jax.vmap(lambda k, d: sample(k, distance_m=d, num_fields=1)))(
          lsp_keys, scale * jnp.asarray(tables.lsp_distance_m)),
      clusters=jax.vmap(lambda k, d: sample(
          k, distance_m=d, num_fields=len(_CLUSTER_VARIABLES) * uma.MAX_CLUSTERS))(
              jax.random.split(cluster_key), scale * jnp.asarray(tables.cluster_distance_m)),
      ray_offsets=_couple(uniform[:len(ANGLES)]),
      ray_phase=2 * jnp.pi * uniform[len(ANGLES):],
      config=config)


def _couple(uniform: jax.Array) -> jax.Array:
  """Step 8: random coupling of the rays' angles, within sub-clusters, from uniforms [4, C, R]."""
  subcluster = np.searchsorted(uma.SUBCLUSTER_ENDS[1:], np.arange(uma.NUM_RAYS), 'right')
  shuffled = jnp.argsort(subcluster + uniform, -1)
  return jnp.asarray(uma.RAY_OFFSETS, jnp.float32)[shuffled]


def paths(site: Site, positions: jax.Array) -> Paths:
  """Propagation paths at positions [..., ue, 3] in m -> `Paths` with leaves [..., ue, ...].

  Differentiable in the positions. With `correlation='track'` the UEs of one group (axis -2) see
  one draw of clusters, that of their centre, whose scatterers stay where they are (clause 7.6.3.2).
  """
  anchors = positions
  if site.config.correlation == 'track':
    anchors = jnp.broadcast_to(positions.mean(-2, keepdims=True), positions.shape)
  one = _multipath_at if site.config.scenario == 'multipath' else _paths_at
  # A field turns metres into phases: bfloat16, the default of TPUs, rounds 150 m to a metre.
  with jax.default_matmul_precision('highest'):
    flat = jax.vmap(partial(one, site))(positions.reshape(-1, 3), anchors.reshape(-1, 3))
  return jax.tree.map(lambda leaf: leaf.reshape(positions.shape[:-1] + leaf.shape[1:]), flat)


def _paths_at(site: Site, position: jax.Array, anchor: jax.Array) -> Paths:
  """`paths` of one UE at `position` [3], with the clusters drawn for `anchor` [3]."""
  config, ground = site.config, anchor[:2]
  los = is_los(site, ground)
  state = los.astype(jnp.int32)
  table = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32)[state],
                       uma.state_tables(config.carrier_frequency_hz))
  lsp = large_scale_parameters(site, ground)
  cluster = _cluster_variables(site, state, ground)
  delay_s, power, los_share = _delays_and_powers(table, lsp, los, cluster)
  rays = _ray_angles(site, table, lsp, los, cluster, power, los_share, anchor)

  arrival = _unit_vector(rays['AOA'], rays['ZOA'])  # [C, R, 3], from the UE to its last scatterer
  excess_m = _excess_path_m(arrival, delay_s, position, anchor, config)  # [C, R]
  phase = site.ray_phase[state] + _wavenumber(config) * (arrival @ anchor - excess_m)
  amplitude = jnp.sqrt((1 - los_share) * power / uma.NUM_RAYS)
  delay_s = delay_s + _drift_s(excess_m.mean(-1), position, anchor, config)
  los_azimuth, los_zenith = _departure(position, config)
  los_phase = _wavenumber(config) * _distance(position, config)
  return Paths(
      delay_s=delay_s[:, None] + _subcluster_offsets(table, power),
      gain=amplitude[:, None] * jnp.exp(1j * phase),
      azimuth=rays['AOD'],
      zenith=rays['ZOD'],
      los_gain=jnp.sqrt(los_share) * jnp.exp(-1j * los_phase),
      los_azimuth=los_azimuth,
      los_zenith=los_zenith,
      los=los)


def _multipath_at(site: Site, position: jax.Array, anchor: jax.Array) -> Paths:
  """The paper's eq. (1): L = 20 paths of equal mean power, without rays, spreads or a LOS path.

  Gains are complex Gaussian, delays exponential, angles uniform over the front of the array; each
  is one of the site's smooth fields, so nearby UEs share their paths.
  """
  config = site.config
  cluster = _cluster_variables(site, 0, anchor[:2])
  uniform = {name: jax.scipy.stats.norm.cdf(values) for name, values in cluster.items()}
  delay_s = -_MULTIPATH_DELAY_SPREAD_S * jax.scipy.stats.norm.logcdf(cluster['delay'])
  arrival = _unit_vector(2 * jnp.pi * uniform['AOA_sign'][:, None], jnp.pi / 2)  # [C, 1, 3]
  excess_m = _excess_path_m(arrival, delay_s, position, anchor, config)
  phase = site.ray_phase[0, :, :1] + _wavenumber(config) * (arrival @ anchor - excess_m)
  alpha = (cluster['shadowing'] + 1j * cluster['AOD_jitter'])[:, None] * jnp.exp(1j * phase)
  alpha = alpha / jnp.linalg.norm(alpha)
  padding = ((0, 0), (0, uma.NUM_RAYS - 1))
  delay_s = delay_s[:, None] + _drift_s(excess_m, position, anchor, config)
  return Paths(
      delay_s=jnp.broadcast_to(delay_s, (uma.MAX_CLUSTERS, len(uma.SUBCLUSTER_DELAYS))),
      gain=jnp.pad(alpha, padding),
      azimuth=jnp.pad(jnp.pi * (uniform['AOD_sign'] - 0.5)[:, None], padding),
      zenith=jnp.full((uma.MAX_CLUSTERS, uma.NUM_RAYS), jnp.pi / 2),
      los_gain=jnp.zeros((), jnp.complex64),
      los_azimuth=jnp.zeros(()),
      los_zenith=jnp.full((), jnp.pi / 2),
      los=jnp.array(False))


def is_los(site: Site, ground: jax.Array) -> jax.Array:
  """LOS state at ground [2] m: a field of 50 m against table 7.4.2-1's probability -> bool."""
  config = site.config
  if config.scenario != 'uma':
    return jnp.array(config.scenario == 'uma_los')
  uniform = jax.scipy.stats.norm.cdf(fields.evaluate(site.los_state, ground)[0])
  return uniform < uma.los_probability(jnp.linalg.norm(ground), config.ue_height_m)


def large_scale_parameters(site: Site, ground: jax.Array) -> dict[str, jax.Array]:
  """Clause 7.5 step 4 at ground [2] m: SF and K in dB, DS in s, angular spreads in degrees."""
  config = site.config
  los = is_los(site, ground)
  state = los.astype(jnp.int32)
  table = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32)[state],
                       uma.state_tables(config.carrier_frequency_hz))
  both = jax.vmap(jax.vmap(fields.evaluate, (0, None)), (0, None))(site.lsp, ground)  # [2, 7, 1]
  normal = both[state, :, 0]
  mean = table.lsp_mean.at[uma.LSPS.index('ZSD')].set(
      uma.zsd_mean(los, jnp.linalg.norm(ground), config.ue_height_m))
  mean = mean.at[uma.LSPS.index('K')].add(_CALIBRATION[config.correlation].k_offset_db)
  lsp = dict(zip(uma.LSPS, mean + table.lsp_std * (table.lsp_mixing @ normal), strict=True))
  limits = {'ASD': 104.0, 'ASA': 104.0, 'ZSD': 52.0, 'ZSA': 52.0}
  spreads = {name: jnp.minimum(10.0 ** lsp[name], limit) for name, limit in limits.items()}
  return lsp | spreads | {'DS': 10.0 ** lsp['DS']}


def _cluster_variables(site: Site, state: jax.Array, ground: jax.Array) -> dict[str, jax.Array]:
  """Standard normal variables of all clusters at ground [2], each [C]."""
  # Both states, then the right one: a shared matrix product costs less than a gather of weights.
  both = jax.vmap(fields.evaluate, (0, None))(site.clusters, ground)
  values = both[state].reshape(len(_CLUSTER_VARIABLES), uma.MAX_CLUSTERS)
  return dict(zip(_CLUSTER_VARIABLES, values, strict=True))


def _delays_and_powers(table, lsp, los, cluster):
  """Steps 5 and 6: delays after the LOS path [C] s, scattered powers [C] of sum 1, LOS share.

  Deviation from the TR: delays are not shifted to start at zero and clusters below -25 dB stay,
  since a minimum and a threshold are no smooth functions of position; so the LOS path is a path of
  its own instead of a part of the first cluster.
  """
  exponential = -jax.scipy.stats.norm.logcdf(cluster['delay'])
  delay_s = table.delay_scaling * lsp['DS'] * exponential
  power = jnp.exp(-exponential * (table.delay_scaling - 1)) * 10 ** (
      -table.shadowing_db * cluster['shadowing'] / 10)
  power = jnp.where(table.active > 0, power, 0.0)
  k = 10 ** (lsp['K'] / 10)
  delay_s = jnp.where(los, delay_s / uma.los_delay_scaling(lsp['K']), delay_s)
  return delay_s, power / power.sum(), jnp.where(los, k / (1 + k), 0.0)


def _ray_angles(site, table, lsp, los, cluster, power, los_share, anchor) -> dict[str, jax.Array]:
  """Step 7: the four angles of every ray, rad [C, R]."""
  config = site.config
  relative = (1 - los_share) * power
  relative = relative / jnp.maximum(relative.max(), los_share)  # eq. (7.5-8)
  log_ratio = -jnp.log(jnp.maximum(relative, 1e-6))
  c_phi = table.azimuth_scaling * jnp.where(los, uma.los_azimuth_scaling(lsp['K']), 1.0)
  c_theta = table.zenith_scaling * jnp.where(los, uma.los_zenith_scaling(lsp['K']), 1.0)
  # The floor keeps the gradient finite at the strongest cluster, where the root is zero.
  azimuth_shape = 2 / 1.4 * jnp.sqrt(jnp.maximum(log_ratio, 1e-9)) / c_phi
  zenith_shape = log_ratio / c_theta

  distance_2d_m = jnp.linalg.norm(anchor[:2])
  aod, zod = _departure(anchor, config)
  zod_offset_deg = uma.zod_offset_deg(
      los, distance_2d_m, config.ue_height_m, config.carrier_frequency_hz)
  cluster_zsd_deg = 3 / 8 * 10 ** uma.zsd_mean(los, distance_2d_m, config.ue_height_m)
  centre = {'AOD': aod, 'AOA': aod + jnp.pi, 'ZOA': jnp.pi - zod,
            'ZOD': zod + jnp.deg2rad(zod_offset_deg)}
  spread_deg = {'AOD': lsp['ASD'], 'AOA': lsp['ASA'], 'ZOD': lsp['ZSD'], 'ZOA': lsp['ZSA']}
  ray_spread_deg = {'AOD': table.cluster_asd_deg, 'AOA': table.cluster_asa_deg,
                    'ZOD': cluster_zsd_deg, 'ZOA': table.cluster_zsa_deg}
  rays = {}
  for index, name in enumerate(ANGLES):
    shape = azimuth_shape if name[0] == 'A' else zenith_shape
    offset = jnp.sign(cluster[f'{name}_sign']) * shape + cluster[f'{name}_jitter'] / 7
    ray_offset_deg = ray_spread_deg[name] * site.ray_offsets[index]
    rays[name] = centre[name] + jnp.deg2rad((spread_deg[name] * offset)[:, None] + ray_offset_deg)
  return rays


def _subcluster_offsets(table, power: jax.Array) -> jax.Array:
  """Step 11, table 7.5-5: extra delays [C, S] s; zero but for the two strongest clusters."""
  strongest = power >= jnp.sort(power)[-2]
  return jnp.where(strongest[:, None], table.cluster_ds_s * uma.SUBCLUSTER_DELAYS, 0.0)


def _excess_path_m(arrival, delay_s, position, anchor, config) -> jax.Array:
  """How much longer each ray's path is at `position` than at `anchor`, [C, R] m.

  The last scatterer stays where it is: as seen from the anchor, on the ellipse of the ray's delay.
  """
  if config.correlation != 'track':
    return jnp.zeros(arrival.shape[:-1])
  direct_m = _distance(anchor, config)
  total_m = (direct_m + SPEED_OF_LIGHT * delay_s)[:, None]
  to_bs = -_from_bs(anchor, config) / direct_m
  range_m = (total_m**2 - direct_m**2) / (2 * (total_m - direct_m * (arrival @ to_bs)) + 1e-3)
  range_m = jnp.maximum(range_m, _TRACK_MIN_SCATTERER_DISTANCE_M)
  scatterer = anchor + range_m[..., None] * arrival
  return jnp.linalg.norm(position - scatterer, axis=-1) - range_m


def _drift_s(excess_m, position, anchor, config) -> jax.Array:
  """The change of a delay after the LOS path, whose own length changes too; eq. (7.6-9)."""
  return (excess_m - (_distance(position, config) - _distance(anchor, config))) / SPEED_OF_LIGHT


def _unit_vector(azimuth: jax.Array, zenith: jax.Array) -> jax.Array:
  x, y = jnp.sin(zenith) * jnp.cos(azimuth), jnp.sin(zenith) * jnp.sin(azimuth)
  return jnp.stack([x, y, jnp.broadcast_to(jnp.cos(zenith), x.shape)], -1)


def _from_bs(position: jax.Array, config: CsiConfig) -> jax.Array:
  return position - jnp.array([0.0, 0.0, config.bs_height_m])


def _distance(position: jax.Array, config: CsiConfig) -> jax.Array:
  return jnp.linalg.norm(_from_bs(position, config))


def _departure(position: jax.Array, config: CsiConfig) -> tuple[jax.Array, jax.Array]:
  """Azimuth and zenith of the UE as seen from the BS, rad."""
  vector = _from_bs(position, config)
  return jnp.arctan2(vector[1], vector[0]), jnp.arccos(vector[2] / _distance(position, config))


def _wavenumber(config: CsiConfig) -> float:
  return 2 * np.pi * config.carrier_frequency_hz / SPEED_OF_LIGHT
