"""Checkpoints of a stage: parameters, optimizer state and step, one folder a stage.

The position in the data needs no saving: it follows from the step (see `data.source`).

A checkpoint holds the SHA-256 of its arrays, as orbax does not see when a bit of them flips on
disk. It is written in the same rename that makes the checkpoint appear.
"""

import hashlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from rca_jax.durable import sync_tree
from rca_jax.errors import InputError
from rca_jax.training.sharding import any_process
from rca_jax.training.step import TrainState

ON_DAMAGED = ('stop', 'previous')
# What tensorstore says where the machine is to blame, not the files.
_OUTSIDE = 'PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|CANCELLED'


class DamagedError(InputError):
  """A checkpoint is not what was saved; another one may be."""


def checkpoint_folder(workdir: str | Path, stage: str) -> Path:
  """WORKDIR/checkpoints/STAGE, absolute as orbax demands."""
  return Path(os.path.abspath(workdir)) / 'checkpoints' / stage


def open_for_writing(folder: Path, num_kept: int) -> ocp.CheckpointManager:
  """A manager that keeps the newest `num_kept`. Close it, or use it as a context."""
  manager = _open(
      folder, preservation_policy=preservation_policy.LatestN(num_kept),
      cleanup_tmp_directories=True)
  for step in manager.all_steps()[:-num_kept]:  # a kill while orbax deleted it left some of it
    manager.delete(step)
  return manager


def open_for_reading(folder: Path) -> ocp.CheckpointManager:
  """A manager that changes nothing on disk, safe beside a running training.

  Raises:
    InputError: the folder holds no checkpoint.
  """
  # Not read_only, of which orbax warns at every opening: nothing here saves or deletes.
  manager = _open(folder, create=False) if folder.is_dir() else None
  if manager is None or manager.latest_step() is None:
    stages = sorted(path.name for path in folder.parent.glob('*')) or ['none']
    raise InputError(
        f'{folder}: holds no checkpoint (stages there: {", ".join(stages)}); train first.')
  return manager


def save(manager: ocp.CheckpointManager, state: TrainState) -> None:
  """Writes `state` under its step; a kill in between leaves no half checkpoint.

  On return it is on disk; older ones that are too many are gone a moment before.

  Raises:
    InputError: the disk is full, or the folder cannot be written.
  """
  items = {'params': state.params, 'opt_state': state.opt_state}
  try:
    manager.save(
        int(state.step), force=True, args=ocp.args.Composite(**{
            name: ocp.args.StandardSave(tree) for name, tree in items.items()}),
        custom_metadata={'sha256': {name: _sha256(tree) for name, tree in items.items()}})
    # Tensorstore syncs the arrays; orbax neither its own files nor the renames.
    sync_tree(Path(manager.directory) / str(int(state.step)))
  except (OSError, ValueError) as error:  # ValueError: tensorstore's, its reason comes last
    reason = error.strerror if isinstance(error, OSError) else str(error).rsplit(': ', 1)[-1]
    raise InputError(
        f'{manager.directory}: the checkpoint of step {state.step} cannot be written ({reason}); '
        f'the last one is of step {manager.latest_step()}: make room, or the folder writable, and '
        'run again.') from error


def restore(
    manager: ocp.CheckpointManager, abstract_state: TrainState, sharding: Sharding,
    on_damaged: str = 'stop') -> TrainState:
  """The newest state, in the structure of `abstract_state` and laid out by `sharding`.

  With on_damaged='previous' the newest that is whole: damaged ones are renamed to STEP.damaged,
  with a warning on stderr.

  Raises:
    InputError: the checkpoint is of another model or precision, or cannot be read; or it is
      damaged, and that is to stop or no other is whole.
  """
  damaged = {}
  for step in sorted(manager.all_steps(), reverse=True):
    items: Any = None
    error = None
    try:
      items = _restore(
          manager, step, sharding, params=abstract_state.params,
          opt_state=abstract_state.opt_state)
    except DamagedError as found:
      error = found
    if not any_process(error is not None):  # all go on from the same step
      break
    damaged[step] = error or DamagedError(
        f'{manager.directory}/{step}: checkpoint is cut or damaged for another process')
  else:
    raise InputError(
        f'{damaged[max(damaged)]}; no checkpoint before it is whole; move {manager.directory} '
        'away to start the stage again.')
  if damaged and on_damaged == 'stop':
    raise InputError(
        f'{damaged[max(damaged)]}; the checkpoint of step {step} is whole: add '
        '--on_damaged_checkpoint=previous to go on from there.')
  for error in damaged.values():
    if jax.process_index() == 0:
      print(f'warning: {error}; going on from step {step}.', file=sys.stderr)
  _set_aside(manager, list(damaged))
  step = jax.device_put(abstract_state.step.dtype.type(step), sharding)
  return TrainState(step, items['params'], items['opt_state'])


def restore_params(manager: ocp.CheckpointManager, abstract_params: Any, sharding: Sharding) -> Any:
  """The newest parameters alone.

  Raises:
    InputError: the checkpoint is of another model, damaged, or cannot be read.
  """
  try:
    return _restore(manager, manager.latest_step(), sharding, params=abstract_params)['params']
  except DamagedError as error:
    raise InputError(
        f'{error}; continue the training with --on_damaged_checkpoint=previous to write it anew.'
    ) from error


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """The shape of every parameter under its path, e.g. encoder/embed/kernel."""
  leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, 'shape'))
  return {
      jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
      for path, leaf in leaves}


def check_same_model(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]],
    path: str | Path) -> None:
  """Raises InputError that names the first parameter of `path` that does not fit."""
  for name in [*expected, *found]:
    if found.get(name) != expected.get(name):
      raise InputError(
          f'{path}: weights of another model: parameter {name} has shape '
          f'{found.get(name, "none (absent)")} there, {expected.get(name, "none (absent)")} in '
          'this config; use the config it was trained with, or another workdir.')


def _open(folder: Path, **options: Any) -> ocp.CheckpointManager:
  # Not asynchronous: on return it is on disk, and that costs little (docs/reliability.md).
  return ocp.CheckpointManager(
      folder, options=ocp.CheckpointManagerOptions(
          enable_async_checkpointing=False, lightweight_initialize=True, **options),
      item_handlers={name: ocp.StandardCheckpointHandler() for name in ('params', 'opt_state')})


def _restore(
    manager: ocp.CheckpointManager, step: int, sharding: Sharding, **abstract: Any) -> Any:
  path = Path(manager.directory) / str(step)
  args = {
      name: ocp.args.StandardRestore(jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree))
      for name, tree in abstract.items()}
  try:
    metadata = manager.metadata(step)
    expected = metadata.custom_metadata.get('sha256', {})
    check_same_model(
        shapes(metadata.item_metadata['params'].tree), shapes(abstract['params']), path)
    for name, tree in abstract.items():
      _check_same_precision(metadata.item_metadata[name].tree, tree, path)
    items = manager.restore(step, args=ocp.args.Composite(**args))
  except InputError:
    raise
  except Exception as error:  # orbax, tensorstore and json each have their own for damaged files
    reason = _reason_outside(error, path)
    if reason is not None:
      raise InputError(
          f'{path}: the checkpoint cannot be read ({reason}); nothing was changed, run again once '
          'that is mended.') from error
    raise DamagedError(
        f'{path}: checkpoint is cut or damaged ({type(error).__name__}: {_first_line(error)})'
    ) from error
  for name in abstract:
    if _sha256(items[name]) != expected.get(name):
      reason = 'not those that were saved' if name in expected else 'saved without their SHA-256'
      raise DamagedError(f'{path}: checkpoint is cut or damaged (its {name} are {reason})')
  return items


def _check_same_precision(found: Any, expected: Any, path: Path) -> None:
  """Raises InputError where an array was saved in another type than this run computes in."""
  found, expected = (
      {jax.tree_util.keystr(name, simple=True, separator='/'): np.dtype(leaf.dtype)
       for name, leaf in jax.tree_util.tree_leaves_with_path(
           tree, is_leaf=lambda x: hasattr(x, 'dtype'))}
      for tree in (found, expected))
  for name, dtype in found.items():
    if name in expected and dtype != expected[name]:
      raise InputError(
          f'{path}: holds {name} as {dtype}, this run has it as {expected[name]}; go on with '
          'the JAX_ENABLE_X64 and the versions that it was trained with.')


def _reason_outside(error: BaseException, path: Path) -> str | None:
  """Why a checkpoint is not read whose content may be right; None if its content is wrong."""
  cause: BaseException | None = error
  while cause is not None:
    missing = isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    if isinstance(cause, OSError | MemoryError | jax.errors.JaxRuntimeError) and not missing:
      return f'{type(cause).__name__}: {_first_line(cause)}'
    if found := re.search(_OUTSIDE, str(cause)):
      return found[0]
    cause = cause.__cause__ or cause.__context__
  try:  # tensorstore does not always say that it was the system
    for folder, _, names in os.walk(path, onerror=_raise):
      for name in names:
        (Path(folder) / name).read_bytes()
  except OSError as unreadable:
    return f'{unreadable.filename}: {unreadable.strerror}'
  return None


def _raise(error: OSError) -> None:
  raise error


def _sha256(tree: Any) -> str:
  """Of all arrays: their names, shapes, types and bytes."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(jax.device_get(leaf))
    digest.update(f'{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or [''])[0][:200]


def _set_aside(manager: ocp.CheckpointManager, steps: list[int]) -> None:
  """Renames their folders, so that the same steps can be saved again; nothing is deleted."""
  if not steps:
    return
  if jax.process_index() == 0:
    for step in steps:
      folder = Path(manager.directory) / str(step)
      names = (folder.with_name(f'{step}.damaged{i or ""}') for i in itertools.count())
      folder.rename(next(name for name in names if not name.exists()))
  multihost_utils.sync_global_devices('set aside damaged checkpoints')
  manager.reload()
