"""CSI for training: from the generator, a data set folder or a file.

A training source is a pytree of device arrays and a pure function that picks a batch from
them inside the compiled step. There is no iterator and so no position to save: which groups
step n sees follows from the key and n alone.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import CsiGroups, at_another_time, sample_groups, sample_site
from rca_jax.config import ExperimentConfig
from rca_jax.data.files import GUESSED, iter_csi, read_manifest
from rca_jax.data.order import batch_indices
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key

_NUM_VALIDATION_GROUPS, _VALIDATION_BATCH = 1000, 100


class CsiSource(NamedTuple):
  """Training groups: `batch(arrays, key, step)` is csi [batch, ue, N_a, N_t] complex64.

  `key` is the step's own, `step` counts from 0; mean |h|^2 = 1 per UE.
  """

  arrays: Any
  batch: Callable[[Any, jax.Array, jax.Array], jax.Array]
  num_groups: int | None = None  # that are stored; None: every step sees new ones


def training_source(config: ExperimentConfig) -> CsiSource:
  """The source that `config.data.path` names.

  Raises:
    InputError: the file or folder is unusable, see `rca_jax.data.files`; or it holds other array
      sizes or fewer UEs than the config asks for.
  """
  if not config.data.path:
    return generator_source(config)
  csi = read_groups(config, config.data.path, 'train', config.num_ues)
  return array_source(csi, config.training.batch_size, stream_key(config.seed, Stream.FILE_ORDER))


def generator_source(config: ExperimentConfig) -> CsiSource:
  """New groups in every step, in the site of `data.seed` or, `fresh`, one of their own each."""
  site = config_site(config)
  num_groups, num_ues = config.training.batch_size, config.num_ues

  def batch(site: Any, key: jax.Array, step: jax.Array) -> jax.Array:
    del step
    return sample_groups(key, config.csi, num_groups, num_ues, site=site).csi

  return CsiSource(site, batch)


def array_source(csi: np.ndarray, batch_size: int, key: jax.Array) -> CsiSource:
  """Groups of an array [G, M, N_a, N_t], every one once an epoch, each epoch in another order."""
  num_groups, shape = len(csi), csi.shape[1:]

  def batch(arrays: tuple[Any, jax.Array], step_key: jax.Array, step: jax.Array) -> jax.Array:
    del step_key
    rows, key = arrays
    picked = rows[batch_indices(key, step, batch_size, num_groups)]
    return jax.lax.complex(*jnp.moveaxis(picked.reshape(batch_size, 2, *shape), 1, 0))

  # Flat and real: XLA for TPUs pads a last axis of 32 to 128, and splits complex arrays.
  rows = np.stack([csi.real, csi.imag], 1).reshape(num_groups, -1)
  return CsiSource((rows, key), batch, num_groups)


def validation_groups(config: ExperimentConfig) -> np.ndarray | None:
  """At most 1,000 groups [n, batch, ue, N_a, N_t] of the `val` split, in n equal batches.

  None where `config.data.path` is no data set folder with such a split.

  Raises:
    InputError: as `training_source`.
  """
  path = config.data.path
  if not path or not Path(path).is_dir() or not read_manifest(Path(path)).get('val'):
    return None
  csi = read_groups(config, path, 'val', config.num_ues)[:_NUM_VALIDATION_GROUPS]
  size = min(_VALIDATION_BATCH, len(csi))
  csi = csi[:len(csi) // size * size]
  return csi.reshape(-1, size, *csi.shape[1:])


def config_site(config: ExperimentConfig) -> Any:
  """The environment of `data.seed`, at the time that `config.data` says; None in `fresh` mode."""
  if config.csi.mode == 'fresh':
    return None
  # Jitted: the training and the test program must see the very same site.
  sample = jax.jit(functools.partial(sample_site, config=config.csi))
  site, data = sample(stream_key(config.data.seed, Stream.SITE)), config.data
  if not data.is_changed:
    return site
  return jax.jit(at_another_time)(
      stream_key(data.seed, Stream.SITE_CHANGE), site, data.moved_scatterers, data.redrawn_ground)


def iter_groups(config: ExperimentConfig, path: str, split: str) -> Iterator[CsiGroups]:
  """The groups of a file or data set folder in chunks, of the config's array sizes.

  Raises:
    InputError: see `rca_jax.data.files`; or other array sizes.
  """
  expected = (config.csi.num_delay_taps, config.csi.num_tx_antennas)
  for groups in iter_csi(
      path, GUESSED if Path(path).is_dir() else config.data.layout, split=split, config=config.csi,
      allow_silent=config.data.allow_silent):
    found = groups.csi.shape
    if found[2:] != expected:
      raise InputError(
          f'{path}: csi has shape {found}; expected [group, ue, {expected[0]}, {expected[1]}]. '
          f'For this file give --config.csi.num_delay_taps={found[2]} '
          f'--config.csi.num_tx_antennas={found[3]}.')
    yield groups


def read_groups(config: ExperimentConfig, path: str, split: str, num_ues: int) -> np.ndarray:
  """The first `num_ues` UEs of all groups of a file, of the config's array sizes.

  Raises:
    InputError: as `iter_groups`; or too few UEs.
  """
  csi = np.concatenate([groups.csi for groups in iter_groups(config, path, split)])
  if csi.shape[1] < num_ues:
    raise InputError(
        f'{path}: its groups have {csi.shape[1]} UEs, num_ues={num_ues} needs at least as many '
        '(`rca convert --num_ues` gathers single UEs by position).')
  csi = csi[:, :num_ues]
  if config.data.allow_silent:
    csi = csi[csi.any((-3, -2, -1))]  # groups where every UE is silent teach nothing
  if not len(csi):
    raise InputError(f'{path}: none of the first {num_ues} UEs of any group has power.')
  return csi
