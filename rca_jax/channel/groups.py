"""Groups of nearby UEs, and their CSI."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.channel import response
from rca_jax.channel.site import Site, paths, sample_site
from rca_jax.config import CsiConfig

_NUM_TRIES = 24  # 5 % of the default cell's groups come too near to the BS: 24 in a row never do


class CsiGroups(NamedTuple):
  """G groups of M nearby UEs."""

  csi: jax.Array  # [G, M, N_a, N_t] complex64, mean |h|^2 = 1 per UE
  positions: jax.Array  # [G, M, 3] float32 m, BS at the origin
  los: jax.Array  # [G, M] bool
  energy_kept: jax.Array  # [G, M] float32, share of the power in the first N_a delay rows


def sample_groups(
    key: jax.Array, config: CsiConfig, num_groups: int, num_ues: int = 4, site: Site | None = None,
) -> CsiGroups:
  """Draws groups of nearby UEs and their CSI.

  In `site` mode all groups live in `site` (drawn from the key where it is None); in `fresh` mode
  each has an environment of its own and `site` must be None. `config`, `num_groups` and `num_ues`
  are static under `jax.jit`.
  """
  site_key, position_key = jax.random.split(key)
  positions = sample_positions(position_key, config, num_groups, num_ues)
  return groups_at(site_key, config, positions, site)


def groups_at(
    key: jax.Array, config: CsiConfig, positions: jax.Array, site: Site | None = None) -> CsiGroups:
  """Groups at given positions [G, M, 3] m; environments as in `sample_groups`."""
  if config.mode == 'fresh':
    keys = jax.random.split(key, len(positions))
    return jax.vmap(lambda k, p: csi_at(sample_site(k, config), p))(keys, positions)
  return csi_at(sample_site(key, config) if site is None else site, positions)


def csi_at(site: Site, positions: jax.Array) -> CsiGroups:
  """CSI at positions [..., ue, 3] in m. Differentiable in them."""
  config = site.config
  found = paths(site, positions)
  with jax.default_matmul_precision('highest'):
    taps = response.taps(found, config.num_tx_antennas)
    csi = response.delay_angle(taps, config)
    kept = (jnp.abs(csi) ** 2).sum((-1, -2)) / response.total_energy(taps, config)
  return CsiGroups(response.normalise(csi), positions, found.los, kept)


def sample_positions(key: jax.Array, config: CsiConfig, num_groups: int, num_ues: int) -> jax.Array:
  """Group centres uniform in the cell, UEs uniform in a disc around them: [G, M, 3] m.

  A group that comes nearer to the BS than `min_bs_distance_m` is drawn again.
  """
  half = config.cell_size_m / 2
  uniform = jax.random.uniform(key, (num_groups, _NUM_TRIES, 1 + num_ues, 2))
  centre = half * (2 * uniform[:, :, :1] - 1)
  # Two points of a disc are never farther apart than its diameter.
  radius = config.max_ue_distance_m / 2 * jnp.sqrt(uniform[:, :, 1:, :1])
  angle = 2 * jnp.pi * uniform[:, :, 1:, 1:]
  ground = centre + radius * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)
  far_enough = (jnp.linalg.norm(ground, axis=-1) >= config.min_bs_distance_m).all(-1)
  return _first_allowed(ground, far_enough, config)


def sample_pairs(
    key: jax.Array, config: CsiConfig, num_groups: int, distance_m: float) -> jax.Array:
  """Pairs of UEs exactly `distance_m` apart, both inside the cell: positions [G, 2, 3] m.

  The middle is uniform in the cell, the direction uniform; pairs that leave the cell or come too
  near to the BS are drawn again.
  """
  half = config.cell_size_m / 2
  uniform = jax.random.uniform(key, (num_groups, _NUM_TRIES, 3))
  angle = 2 * jnp.pi * uniform[..., 2]
  offset = distance_m / 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
  middle = half * (2 * uniform[..., :2] - 1)
  ground = jnp.stack([middle - offset, middle + offset], -2)  # [G, tries, 2, 2]
  inside = (jnp.abs(ground) <= half).all((-1, -2))
  far_enough = (jnp.linalg.norm(ground, axis=-1) >= config.min_bs_distance_m).all(-1)
  return _first_allowed(ground, inside & far_enough, config)


def _first_allowed(ground: jax.Array, allowed: jax.Array, config: CsiConfig) -> jax.Array:
  """The first allowed try of every group: [G, tries, M, 2] and [G, tries] to [G, M, 3] m."""
  first = jnp.argmax(allowed, -1)[:, None, None, None]
  ground = jnp.take_along_axis(ground, first, 1)[:, 0]
  height = jnp.full((*ground.shape[:2], 1), config.ue_height_m)
  return jnp.concatenate([ground, height], -1)
