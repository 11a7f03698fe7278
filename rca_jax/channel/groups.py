"""Groups of nearby UEs, and their CSI."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.channel import response
from rca_jax.channel.site import Site, at_other_carrier, paths, sample_site
from rca_jax.config import CsiConfig

_NUM_TRIES = 24  # of a group's centre; 6 % of the default cell are too near to the BS
_NUM_PAIR_TRIES = 256  # 78 % of the pairs 225 m apart leave the default cell


class CsiGroups(NamedTuple):
  """G groups of M nearby UEs; arrays of JAX, or of numpy from a file, None what that lacks."""

  csi: Any  # [G, M, N_a, N_t] complex64, mean |h|^2 = 1 per UE
  positions: Any  # [G, M, 3] float32 m, BS at the origin
  los: Any  # [G, M] bool
  energy_kept: Any  # [G, M] float32, share of the power in the first N_a delay rows


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


def csi_at(site: Site, positions: jax.Array, carrier_key: jax.Array | None = None) -> CsiGroups:
  """CSI at positions [..., ue, 3] in m. Differentiable in them.

  With a key it is the CSI at another carrier: of the same paths, with phases of its own.
  """
  config = site.config
  found = paths(site, positions)
  if carrier_key is not None:
    found = at_other_carrier(carrier_key, found)
  with jax.default_matmul_precision('highest'):
    taps = response.taps(found, config)
    csi = response.delay_angle(taps, config)
    kept = (jnp.abs(csi) ** 2).sum((-1, -2)) / response.total_energy(taps, config)
  return CsiGroups(response.normalise(csi), positions, found.los, kept)


def sample_positions(key: jax.Array, config: CsiConfig, num_groups: int, num_ues: int) -> jax.Array:
  """Group centres uniform in the cell, UEs uniform in a disc around them: [G, M, 3] m.

  The centres are so far from the BS that no point of the disc comes nearer to it than
  `min_bs_distance_m`. For the same key and G, fewer UEs are the first of more.
  """
  half, disc_m = config.cell_size_m / 2, config.max_ue_distance_m / 2
  # The UE's axis comes first, after the tries': number n of a draw does not depend on its length.
  centre, ues = jnp.split(
      _uniform(key, _NUM_TRIES + num_ues, num_groups, 2), [_NUM_TRIES])
  centre = half * (2 * centre - 1)
  distance_m, min_m = jnp.linalg.norm(centre, axis=-1), config.min_bs_distance_m + disc_m
  centre, distance_m = _first_allowed(distance_m >= min_m, centre, distance_m)
  # Where all tries are too near (one group in 10^30 of the default cell), the last step
  # moves the centre outwards; `CsiConfig` holds a circle of that radius inside the cell.
  centre = centre * jnp.maximum(min_m / distance_m, 1)[:, None]
  # Two points of a disc are never farther apart than its diameter.
  ground = centre + _on_circle(disc_m * jnp.sqrt(ues[..., 0]), ues[..., 1])
  return _at_height(jnp.swapaxes(ground, 0, 1), config)


def sample_pairs(
    key: jax.Array, config: CsiConfig, num_groups: int, distance_m: float) -> jax.Array:
  """Pairs of UEs exactly `distance_m` apart, both inside the cell: positions [G, 2, 3] m.

  The middle is uniform in the cell, the direction uniform; pairs that leave the cell or come too
  near to the BS are drawn again. NaN where no try is allowed: such pairs hardly fit into the cell.
  """
  half = config.cell_size_m / 2
  uniform = _uniform(key, _NUM_PAIR_TRIES, num_groups, 3)
  middle = half * (2 * uniform[..., :2] - 1)
  offset = _on_circle(distance_m / 2, uniform[..., 2])
  ground = jnp.stack([middle - offset, middle + offset], -2)  # [tries, G, 2, 2]
  inside = (jnp.abs(ground) <= half).all((-1, -2))
  far_enough = (jnp.linalg.norm(ground, axis=-1) >= config.min_bs_distance_m).all(-1)
  allowed = inside & far_enough
  ground, fits = _first_allowed(allowed, ground, allowed)
  return _at_height(jnp.where(fits[:, None, None], ground, jnp.nan), config)


def _uniform(key: jax.Array, *shape: int) -> jax.Array:
  # Flat: a draw compiles the longer the more axes it has.
  return jax.random.uniform(key, (math.prod(shape),), jnp.float32).reshape(shape)


def _on_circle(radius_m: jax.Array | float, turn: jax.Array) -> jax.Array:
  """Points [..., 2] m at radii [...] and angles given in turns [...]."""
  angle = 2 * jnp.pi * turn
  return jnp.stack([radius_m * jnp.cos(angle), radius_m * jnp.sin(angle)], -1)


def _first_allowed(allowed: jax.Array, *tries: jax.Array) -> list[jax.Array]:
  """Of arrays [tries, G, ...] the first allowed try of every group, [G, ...]; the first if none."""
  first, group = jnp.argmax(allowed, 0), jnp.arange(allowed.shape[1])
  return [values[first, group] for values in tries]


def _at_height(ground: jax.Array, config: CsiConfig) -> jax.Array:
  """Places [..., 2] m at the height of UEs: [..., 3]."""
  return jnp.pad(ground, ((0, 0), (0, 0), (0, 1)), constant_values=config.ue_height_m)
