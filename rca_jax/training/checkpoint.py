"""Checkpoints of a stage: parameters, optimizer state and step, one folder a stage.

The position in the data needs no saving: it follows from the step (see `training.data`).
"""

import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from rca_jax.errors import InputError
from rca_jax.training.step import TrainState


def checkpoint_folder(workdir: str | Path, stage: str) -> Path:
  """WORKDIR/checkpoints/STAGE, absolute as orbax demands."""
  return Path(os.path.abspath(workdir)) / 'checkpoints' / stage


def open_for_writing(folder: Path, num_kept: int) -> ocp.CheckpointManager:
  """A manager that keeps the newest `num_kept`. Close it, or use it as a context."""
  return _open(
      folder, preservation_policy=preservation_policy.LatestN(num_kept),
      cleanup_tmp_directories=True)


def open_for_reading(folder: Path) -> ocp.CheckpointManager:
  """A manager that changes nothing on disk, safe beside a running training.

  Raises:
    InputError: the folder holds no checkpoint.
  """
  manager = _open(folder, read_only=True, create=False) if folder.is_dir() else None
  if manager is None or manager.latest_step() is None:
    stages = sorted(path.name for path in folder.parent.glob('*')) or ['none']
    raise InputError(
        f'{folder}: holds no checkpoint (stages there: {", ".join(stages)}); train first.')
  return manager


def save(manager: ocp.CheckpointManager, state: TrainState) -> None:
  """Writes `state` under its step; a kill in between leaves no half checkpoint."""
  manager.save(int(state.step), force=True, args=ocp.args.Composite(
      params=ocp.args.StandardSave(state.params),
      opt_state=ocp.args.StandardSave(state.opt_state)))


def restore(
    manager: ocp.CheckpointManager, abstract_state: TrainState, sharding: Sharding) -> TrainState:
  """The newest state, in the structure of `abstract_state` and laid out by `sharding`.

  Raises:
    InputError: the checkpoint is of another model, or damaged.
  """
  step = manager.latest_step()
  items = _restore(
      manager, step, sharding, params=abstract_state.params, opt_state=abstract_state.opt_state)
  step = jax.device_put(abstract_state.step.dtype.type(step), sharding)
  return TrainState(step, items['params'], items['opt_state'])


def restore_params(manager: ocp.CheckpointManager, abstract_params: Any, sharding: Sharding) -> Any:
  """The newest parameters alone; raises as `restore`."""
  return _restore(manager, manager.latest_step(), sharding, params=abstract_params)['params']


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """The shape of every parameter under its path, e.g. encoder/embed/kernel."""
  leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, 'shape'))
  return {
      jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
      for path, leaf in leaves}


def check_same_model(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], path: Path) -> None:
  """Raises InputError that names the first parameter of `path` that does not fit."""
  for name in [*expected, *found]:
    if found.get(name) != expected.get(name):
      raise InputError(
          f'{path}: checkpoint of another model: parameter {name} has shape '
          f'{found.get(name, "none (absent)")} there, {expected.get(name, "none (absent)")} in '
          'this config; use the config it was trained with, or another workdir.')


def _open(folder: Path, **options: Any) -> ocp.CheckpointManager:
  # Not asynchronous: the next step donates the very buffers that would still be written.
  return ocp.CheckpointManager(
      folder, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False, **options),
      item_handlers={name: ocp.StandardCheckpointHandler() for name in ('params', 'opt_state')})


def _restore(
    manager: ocp.CheckpointManager, step: int, sharding: Sharding, **abstract: Any) -> Any:
  path = Path(manager.directory) / str(step)
  args = {
      name: ocp.args.StandardRestore(jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree))
      for name, tree in abstract.items()}
  try:
    saved = manager.item_metadata(step)['params']
    check_same_model(shapes(saved.tree), shapes(abstract['params']), path)
    return manager.restore(step, args=ocp.args.Composite(**args))
  except InputError:
    raise
  except Exception as error:  # orbax, tensorstore and json each have their own for damaged files
    raise InputError(
        f'{path}: checkpoint cannot be restored, it is cut or damaged '
        f'({type(error).__name__}: {(str(error).splitlines() or [""])[0][:200]}); remove that '
        'folder to continue from the checkpoint before it.') from error
