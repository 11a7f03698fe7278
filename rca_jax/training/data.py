"""CSI for training and testing: from the generator, a data set folder or a file.

A training source is a pytree of device arrays and a pure function that picks a batch from
them inside the compiled step. There is no iterator and so no position to save: which groups
step n sees follows from the key and n alone.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.config import ExperimentConfig
from rca_jax.csi import groups_at, sample_groups, sample_pairs, sample_site
from rca_jax.csi.files import read_csi
from rca_jax.errors import InputError
from rca_jax.training.keys import Stream, stream_key

_TEST_CHUNK = 125  # groups generated at a time; changing it changes the test groups
_MIN_TEST_UES = 4  # test groups have the letter's 4 UEs, of which the first M are used


class CsiSource(NamedTuple):
  """Training groups: `batch(arrays, key, step)` is csi [batch, ue, N_a, N_t] complex64.

  `key` is the step's own, `step` counts from 0; mean |h|^2 = 1 per UE.
  """

  arrays: Any
  batch: Callable[[Any, jax.Array, jax.Array], jax.Array]


def training_source(config: ExperimentConfig) -> CsiSource:
  """The source that `config.data.path` names.

  Raises:
    InputError: the file or folder is unusable, see `rca_jax.csi.files`; or it holds other array
      sizes or fewer UEs than the config asks for.
  """
  if not config.data.path:
    return generator_source(config)
  csi = _read(config, config.data.path, 'train', config.num_ues)
  return array_source(csi, config.training.batch_size, stream_key(config.seed, Stream.FILE_ORDER))


def generator_source(config: ExperimentConfig) -> CsiSource:
  """New groups in every step, in the site of `data.seed` or, `fresh`, one of their own each."""
  site = _site(config)
  num_groups, num_ues = config.training.batch_size, config.num_ues

  def batch(site: Any, key: jax.Array, step: jax.Array) -> jax.Array:
    del step
    return sample_groups(key, config.csi, num_groups, num_ues, site=site).csi

  return CsiSource(site, batch)


def array_source(csi: np.ndarray, batch_size: int, key: jax.Array) -> CsiSource:
  """Groups of an array [G, M, N_a, N_t], every one once an epoch, each epoch in another order."""
  num_groups, shape = len(csi), csi.shape[1:]
  num_epochs = (batch_size - 1) // num_groups + 2  # that one batch can touch

  def batch(arrays: tuple[Any, jax.Array], step_key: jax.Array, step: jax.Array) -> jax.Array:
    del step_key
    rows, key = arrays
    # Position step * batch_size, split so that it cannot overflow in a long run.
    first_epoch = step // num_groups * batch_size
    position = step % num_groups * batch_size
    first_epoch, position = first_epoch + position // num_groups, position % num_groups
    orders = jax.vmap(lambda epoch: jax.random.permutation(
        jax.random.fold_in(key, epoch), num_groups))(first_epoch + jnp.arange(num_epochs))
    picked = rows[jax.lax.dynamic_slice(orders.reshape(-1), (position,), (batch_size,))]
    return jax.lax.complex(*jnp.moveaxis(picked.reshape(batch_size, 2, *shape), 1, 0))

  # Flat and real: XLA for TPUs pads a last axis of 32 to 128, and splits complex arrays.
  rows = np.stack([csi.real, csi.imag], 1).reshape(num_groups, -1)
  return CsiSource((rows, key), batch)


def load_test_csi(
    config: ExperimentConfig, num_ues: int, num_groups: int | None = None,
    path: str = '', distance_m: float = 0.0) -> np.ndarray:
  """Test groups [G, num_ues, N_a, N_t] complex64, mean |h|^2 = 1 per UE.

  From `path`, else `config.data.test_path`, else the `test` split of `config.data.path`, else
  generated from a stream of `data.seed` that training never touches (in its site). Fewer groups
  are the first of more, fewer UEs the first of each group.

  Args:
    num_groups: at most so many; by default `config.data.num_test_groups`.
    distance_m: if positive, generated pairs of UEs exactly so far apart instead.

  Raises:
    InputError: as `training_source`; or `data.path` is a single file, which has no test split; or
      pairs are asked for and no pair so far apart fits into the cell, or num_ues is not 2.
  """
  num_groups = config.data.num_test_groups if num_groups is None else num_groups
  if distance_m:
    return _generated_test_pairs(config, num_ues, num_groups, distance_m)
  path = path or config.data.test_path
  if not path and config.data.path:
    path = config.data.path
    if not Path(path).is_dir():
      raise InputError(
          f'{path}: a single file has no test split; give other groups by launch.evaluate --data, '
          'or data.test_path before training.')
  if path:
    return _read(config, path, 'test', num_ues)[:num_groups]
  return _generated_test_csi(config, num_ues, num_groups)


def _generated_test_csi(config: ExperimentConfig, num_ues: int, num_groups: int) -> np.ndarray:

  def draw(key: jax.Array, site: Any) -> jax.Array:
    drawn = max(num_ues, _MIN_TEST_UES)
    return sample_groups(key, config.csi, _TEST_CHUNK, drawn, site=site).csi

  return _in_chunks(draw, config, num_groups)[:, :num_ues]


def _generated_test_pairs(
    config: ExperimentConfig, num_ues: int, num_groups: int, distance_m: float) -> np.ndarray:
  if num_ues != 2:
    raise InputError(f'num_ues={num_ues}: a distance is one of 2 UEs.')
  # A pair along the diagonal would fit up to 1.4 times the side, but is hardly ever drawn.
  if not 0 < distance_m <= 0.75 * config.csi.cell_size_m:
    raise InputError(
        f'distance_m={distance_m:g} must be positive and at most 0.75 csi.cell_size_m='
        f'{0.75 * config.csi.cell_size_m:g}.')

  def draw(key: jax.Array, site: Any) -> jax.Array:
    site_key, position_key = jax.random.split(key)
    positions = sample_pairs(position_key, config.csi, _TEST_CHUNK, distance_m)
    return groups_at(site_key, config.csi, positions, site).csi

  return _in_chunks(draw, config, num_groups)


def _in_chunks(draw: Callable, config: ExperimentConfig, num_groups: int) -> np.ndarray:
  """Test groups of `draw(key, site)`, a chunk a call."""
  site, key = _site(config), stream_key(config.data.seed, Stream.TEST_GROUPS)
  chunk = jax.jit(lambda site, index: draw(jax.random.fold_in(key, index), site))
  num_chunks = -(-num_groups // _TEST_CHUNK)
  return np.concatenate([np.asarray(chunk(site, i)) for i in range(num_chunks)])[:num_groups]


def _site(config: ExperimentConfig) -> Any:
  if config.csi.mode == 'fresh':
    return None
  # Jitted: the training and the test program must see the very same site.
  sample = jax.jit(functools.partial(sample_site, config=config.csi))
  return sample(stream_key(config.data.seed, Stream.SITE))


def _read(config: ExperimentConfig, path: str, split: str, num_ues: int) -> np.ndarray:
  csi = read_csi(
      path, split=split, config=config.csi, allow_silent=config.data.allow_silent).csi
  expected = (config.csi.num_delay_taps, config.csi.num_tx_antennas)
  if csi.shape[2:] != expected:
    raise InputError(
        f'{path}: csi has shape {csi.shape}; expected [group, ue, {expected[0]}, {expected[1]}] '
        '(csi.num_delay_taps, csi.num_tx_antennas); change the config or the file.')
  if csi.shape[1] < num_ues:
    raise InputError(
        f'{path}: its groups have {csi.shape[1]} UEs, num_ues={num_ues} needs at least as many '
        '(launch.convert --num_ues gathers single UEs by position).')
  csi = csi[:, :num_ues]
  if config.data.allow_silent:
    csi = csi[csi.any((-3, -2, -1))]  # groups of silent UEs alone tell nothing
  if not len(csi):
    raise InputError(f'{path}: none of the first {num_ues} UEs of any group has power.')
  return csi
