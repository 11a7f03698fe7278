"""Test groups: from a file or data set folder, or generated from a stream that no training uses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import (
    Site,
    csi_at,
    groups_at,
    sample_groups,
    sample_pairs,
    sample_positions,
)
from rca_jax.config import ExperimentConfig
from rca_jax.data.source import config_site, read_groups
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key

_CHUNK = 125  # groups generated at a time; another number gives other test groups


def load_test_csi(
    config: ExperimentConfig, num_ues: int, num_groups: int | None = None,
    path: str = '', distance_m: float = 0.0) -> np.ndarray:
  """Test groups [G, num_ues, N_a, N_t] complex64, mean |h|^2 = 1 per UE.

  From `path`, else `config.data.test_path`, else the `test` split of `config.data.path`, else
  generated from a stream of `data.seed` that training never touches (in its site). Fewer groups
  are the first of more, fewer UEs the first of each group.

  Args:
    num_groups: at most so many; by default `config.data.num_test_groups`.
    distance_m: if positive, generated pairs of UEs exactly so far apart instead, or more UEs in a
      disc so wide.

  Raises:
    InputError: as `training_source`; or `data.path` is a single file, which has no test split; or
      pairs or discs so wide hardly fit into the cell.
  """
  num_groups = config.data.num_test_groups if num_groups is None else num_groups
  if distance_m:
    return _generated_apart(config, num_ues, num_groups, distance_m)
  path = path or config.data.test_path
  if not path and config.data.path:
    path = config.data.path
    if not Path(path).is_dir():
      raise InputError(
          f'{path}: a single file has no test split; give other groups by `rca evaluate --data`, '
          'or data.test_path before training.')
  if path:
    return read_groups(config, path, 'test', num_ues)[:num_groups]
  return _generated_test_csi(config, num_ues, num_groups)


def load_test_places(config: ExperimentConfig, num_ues: int) -> np.ndarray:
  """Where the UEs of `load_test_csi` are, [G, num_ues, 2] m.

  Raises:
    InputError: the test groups are no generated ones of one site.
  """
  _require_known_places(config)
  return _in_chunks(
      lambda _, key: _test_positions(key, config, num_ues)[1][..., :2], config,
      config.data.num_test_groups, Stream.TEST_GROUPS)


def load_past_csi(config: ExperimentConfig, num_ues: int, distance_m: float) -> np.ndarray:
  """As `load_test_csi`, where every UE was a walk of `distance_m` before, in any direction.

  Raises:
    InputError: the test groups are no generated ones of one site.
  """
  _require_known_places(config)

  def draw(site: Site, key: jax.Array) -> jax.Array:
    walk_key, positions = _test_positions(key, config, num_ues)
    angle = 2 * jnp.pi * jax.random.uniform(walk_key, positions.shape[:2], jnp.float32)
    step = jnp.stack([jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)], -1)
    return csi_at(site, positions + distance_m * step).csi

  return _in_chunks(draw, config, config.data.num_test_groups, Stream.TEST_GROUPS)


def load_uplink_csi(
    config: ExperimentConfig, num_ues: int, num_looks: int, snr_db: float) -> np.ndarray:
  """What a BS sees of `load_test_csi`'s UEs in the uplink: looks [G, num_ues, L, N_a, N_t].

  Every look is of the same paths at a carrier of its own, with independent phases; it is CSI of
  mean |h|^2 = 1 and complex Gaussian noise. Fewer looks are the first of more.

  Raises:
    InputError: the test groups are no generated ones of one site.
  """
  _require_known_places(config)
  deviation = (10 ** (-snr_db / 10) / 2) ** 0.5

  def draw(site: Site, key: jax.Array, look_key: jax.Array) -> jax.Array:
    _, positions = _test_positions(key, config, num_ues)

    def look(key: jax.Array) -> jax.Array:
      carrier_key, noise_key = jax.random.split(key)
      csi = csi_at(site, positions, carrier_key).csi
      return csi + deviation * jax.lax.complex(
          *jax.random.normal(noise_key, (2, *csi.shape), jnp.float32))

    return jax.vmap(look, out_axes=2)(jax.random.split(look_key, num_looks))

  return _in_chunks(
      draw, config, config.data.num_test_groups, Stream.TEST_GROUPS, Stream.UPLINK_CSI)


def _require_known_places(config: ExperimentConfig) -> None:
  if config.data.path or config.data.test_path or config.csi.mode != 'site':
    raise InputError(
        'where a UE is, and was, is known of generated groups of one site only: '
        '--config.csi.mode=site, and no --config.data.path or --config.data.test_path.')


def _test_positions(
    key: jax.Array, config: ExperimentConfig, num_ues: int) -> tuple[jax.Array, jax.Array]:
  """A free key, and the positions [G, M, 3] m that `sample_groups` draws with the same key."""
  # Its other key is that of a site, free where the site is given.
  free_key, position_key = jax.random.split(key)
  return free_key, sample_positions(position_key, config.csi, _CHUNK, num_ues)


def _generated_test_csi(config: ExperimentConfig, num_ues: int, num_groups: int) -> np.ndarray:

  def draw(site: Site | None, key: jax.Array) -> jax.Array:
    return sample_groups(key, config.csi, _CHUNK, num_ues, site=site).csi

  return _in_chunks(draw, config, num_groups, Stream.TEST_GROUPS)


def _generated_apart(
    config: ExperimentConfig, num_ues: int, num_groups: int, distance_m: float) -> np.ndarray:
  if distance_m < 0:
    raise InputError(f'distance_m={distance_m:g} must be positive.')
  if num_ues > 2:
    within = dataclasses.replace(config.csi, max_ue_distance_m=distance_m)
    return _generated_test_csi(dataclasses.replace(config, csi=within), num_ues, num_groups)

  def draw(site: Site | None, key: jax.Array) -> jax.Array:
    site_key, position_key = jax.random.split(key)
    positions = sample_pairs(position_key, config.csi, _CHUNK, distance_m)
    return groups_at(site_key, config.csi, positions, site).csi

  csi = _in_chunks(draw, config, num_groups, Stream.TEST_PAIRS)
  if np.isnan(csi).any():
    raise InputError(
        f'distance_m={distance_m:g}: pairs of UEs so far apart hardly fit into a cell of '
        f'csi.cell_size_m={config.csi.cell_size_m:g}, {config.csi.min_bs_distance_m:g} m '
        '(csi.min_bs_distance_m) from the BS; choose a smaller distance.')
  return csi


def _in_chunks(
    draw: Callable, config: ExperimentConfig, num_groups: int, *streams: Stream) -> np.ndarray:
  """Test groups of `draw(site, *keys)`, one key of every stream, a chunk a call."""
  site, keys = config_site(config), [stream_key(config.data.seed, stream) for stream in streams]
  chunk = jax.jit(lambda site, index: draw(
      site, *(jax.random.fold_in(key, index) for key in keys)))
  num_chunks = -(-num_groups // _CHUNK)
  return np.concatenate([np.asarray(chunk(site, i)) for i in range(num_chunks)])[:num_groups]
