import errno
import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from fuzz import FUZZ

from rca_jax.errors import InputError
from rca_jax.training import checkpoint
from rca_jax.training.sharding import data_mesh, replicated
from rca_jax.training.step import TrainState, init_state

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))


def new_state(width=4) -> TrainState:
  params = {'dense': {'kernel': jnp.full((3, width), 0.5), 'bias': jnp.arange(float(width))}}
  return init_state(params, OPTIMIZER)


@jax.jit
def step(state: TrainState) -> TrainState:
  """A step whose gradient depends on the step, as `training.step`'s does."""
  key = jax.random.fold_in(jax.random.key(0), state.step)
  gradient = jax.tree.map(lambda x: x * jax.random.normal(key, x.shape), state.params)
  updates, opt_state = OPTIMIZER.update(gradient, state.opt_state)
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


@pytest.fixture
def folder(tmp_path):
  """Holds the checkpoints of steps 1 and 2, keeping two."""
  folder = checkpoint.checkpoint_folder(tmp_path, 'pretrain')
  state = new_state()
  with checkpoint.open_for_writing(folder, 2) as manager:
    checkpoint.save(manager, state)
    for _ in range(2):
      state = step(state)
      checkpoint.save(manager, state)
  return folder


def restore(folder, width=4, mesh=None) -> TrainState:
  with checkpoint.open_for_reading(folder) as manager:
    abstract = jax.eval_shape(lambda: new_state(width))
    return checkpoint.restore(manager, abstract, replicated(mesh or data_mesh()))


def test_four_steps_are_two_saved_and_restored_and_two(folder, one_device):
  expected = new_state()
  for _ in range(4):
    expected = step(expected)
  for mesh in (one_device, data_mesh()):  # a checkpoint moves between numbers of devices
    state = restore(folder, mesh=mesh)
    assert int(state.step) == 2 and state.step.dtype == jnp.int32
    chex.assert_trees_all_equal(step(step(state)), expected)
    assert jax.tree.structure(state) == jax.tree.structure(expected)


def test_only_the_newest_are_kept(folder):
  assert sorted(path.name for path in folder.iterdir()) == ['1', '2']


def test_reading_changes_nothing(folder):
  before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
  with checkpoint.open_for_reading(folder) as manager:
    params = checkpoint.restore_params(
        manager, jax.eval_shape(new_state).params, replicated(data_mesh()))
  chex.assert_trees_all_equal(params, restore(folder).params)
  assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before


def test_another_model_is_refused_by_its_first_parameter(folder):
  with pytest.raises(
      InputError, match=r'parameter dense/bias has shape \(4,\) there, \(5,\) in this config'):
    restore(folder, width=5)


def cut(checkpoint):
  """All of its arrays."""
  for path in checkpoint.rglob('d/*'):
    path.write_bytes(path.read_bytes()[:10])


def test_a_damaged_checkpoint_is_refused_in_one_line(folder):
  cut(folder / '2')
  with pytest.raises(InputError, match='2: checkpoint is cut or damaged') as error:
    restore(folder)
  assert '\n' not in str(error.value)


def flip_a_bit(folder):
  """In the weights themselves, if they are `large`: half of a small file is unused."""
  files = [path for path in (folder / 'params').rglob('*') if path.is_file()]
  path = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.fixture
def large(tmp_path):
  """Steps 1 and 2 of weights too large for orbax to keep beside its own, checked, tables."""
  folder = checkpoint.checkpoint_folder(tmp_path, 'pretrain')
  state = new_state(2000)
  kernel = jax.random.normal(jax.random.key(0), state.params['dense']['kernel'].shape)
  state.params['dense']['kernel'] = kernel
  with checkpoint.open_for_writing(folder, 2) as manager:
    for _ in range(2):
      state = step(state)
      checkpoint.save(manager, state)
  return folder


def restore_for_writing(folder, on_damaged):
  with checkpoint.open_for_writing(folder, 2) as manager:
    abstract = jax.eval_shape(lambda: new_state(2000))
    state = checkpoint.restore(manager, abstract, replicated(data_mesh()), on_damaged)
    if int(state.step) == 1:
      checkpoint.save(manager, step(state))
    return state


def test_a_flipped_bit_stops_or_goes_back(large, capsys):
  whole = restore_for_writing(large, 'stop')
  flip_a_bit(large / '2')
  with pytest.raises(InputError, match=r'2: .* damaged .*step 1 is whole.*_checkpoint=previous'):
    restore_for_writing(large, 'stop')
  with checkpoint.open_for_reading(large) as manager:
    with pytest.raises(InputError, match=r'2: .* damaged .*continue the training'):
      checkpoint.restore_params(
          manager, jax.eval_shape(lambda: new_state(2000)).params, replicated(data_mesh()))
  assert capsys.readouterr().err == ''
  names = ['1', '2']
  for _ in range(2):
    assert int(restore_for_writing(large, 'previous').step) == 1
    warning = capsys.readouterr().err
    assert warning.startswith('warning: ') and warning.count('\n') == 1 and 'step 1' in warning
    names.append('2.damaged' + ('1' if '2.damaged' in names else ''))  # no copy is deleted
    assert sorted(path.name for path in large.iterdir()) == names
    chex.assert_trees_all_equal(restore_for_writing(large, 'stop'), whole)
    flip_a_bit(large / '2')


def test_nothing_is_taken_where_nothing_is_whole(large):
  flip_a_bit(large / '1')
  flip_a_bit(large / '2')
  for on_damaged in checkpoint.ON_DAMAGED:
    with pytest.raises(InputError, match='2: .* damaged .*no checkpoint before it is whole'):
      restore_for_writing(large, on_damaged)
  assert sorted(path.name for path in large.iterdir()) == ['1', '2']


def test_a_checkpoint_without_its_sum_is_refused(folder):
  path = folder / '2' / '_CHECKPOINT_METADATA'
  path.write_text(path.read_text().replace('sha256', 'sha1'))
  with pytest.raises(InputError, match='its params are saved without their SHA-256'):
    restore(folder)


class Tensorstore(ValueError):
  """What it raises for whatever goes wrong."""


@pytest.mark.parametrize('error, message', [
    (OSError(errno.EIO, 'Input/output error'), 'OSError: .Errno 5. Input/output error'),
    (PermissionError(errno.EACCES, 'Permission denied'), 'Permission denied'),
    (MemoryError(), 'MemoryError'),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory'), 'Out of memory'),
    (Tensorstore('Error reading "d/1": RESOURCE_EXHAUSTED: Too many open files'),
     'RESOURCE_EXHAUSTED')])
def test_what_is_no_damage_is_named_and_nothing_is_moved(folder, monkeypatch, error, message):

  def fails(*_, **__):
    raise ValueError('orbax says this') from error

  monkeypatch.setattr(ocp.CheckpointManager, 'restore', fails)
  for on_damaged in checkpoint.ON_DAMAGED:
    with checkpoint.open_for_writing(folder, 2) as manager:
      with pytest.raises(InputError, match=f'2: .* cannot be read .*{message}') as found:
        checkpoint.restore(
            manager, jax.eval_shape(new_state), replicated(data_mesh()), on_damaged)
    assert not re.search('damaged|remove|move', str(found.value))
    assert '\n' not in str(found.value)
  assert sorted(path.name for path in folder.iterdir()) == ['1', '2']


def test_a_file_that_may_not_be_read_is_no_damage(folder, monkeypatch):
  """Tests may run as root, who may read all: the system's refusal is imitated."""
  name = next(path for path in folder.glob('2/params/d/*'))
  read_bytes = pathlib.Path.read_bytes

  def refuses(path):
    if path == name:
      raise PermissionError(errno.EACCES, 'Permission denied', str(path))
    return read_bytes(path)

  cut(folder / '2')  # so that tensorstore fails, without a reason of the system's
  monkeypatch.setattr(pathlib.Path, 'read_bytes', refuses)
  with pytest.raises(InputError, match='2: the checkpoint cannot be read .*: Permission denied'):
    restore(folder)


def test_another_precision_is_named(folder):
  abstract = jax.eval_shape(new_state)
  abstract = abstract.replace(opt_state=jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16 if x.ndim else x.dtype),
      abstract.opt_state))
  with checkpoint.open_for_reading(folder) as manager:
    with pytest.raises(
        InputError, match='2: holds .*/(bias|kernel) as float32, this run has it as bfloat16'):
      checkpoint.restore(manager, abstract, replicated(data_mesh()), 'previous')


@pytest.mark.slow
def test_no_flipped_bit_in_any_file_goes_unseen(large):
  rng = np.random.default_rng(0)
  whole, found = restore_for_writing(large, 'stop'), {'refused': 0, 'same': 0}
  files = sorted(path for path in (large / '2').rglob('*') if path.is_file())
  for _ in range(100 * FUZZ):
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(damaged)
    try:
      chex.assert_trees_all_equal(restore_for_writing(large, 'stop'), whole)
      found['same'] += 1
    except InputError as error:
      assert '\n' not in str(error)
      found['refused'] += 1
    path.write_bytes(content)
  assert min(found.values()) > 15, found


def test_what_a_kill_left_of_an_old_checkpoint_goes(folder):
  (folder / '0' / 'params').mkdir(parents=True)
  with checkpoint.open_for_writing(folder, 2):
    assert sorted(path.name for path in folder.iterdir()) == ['1', '2']


def test_a_checkpoint_that_lost_a_file_is_refused(folder):
  (folder / '2' / 'params' / '_METADATA').unlink()
  with pytest.raises(InputError, match='2: checkpoint is cut or damaged'):
    restore(folder)


def test_no_checkpoint_names_the_stages(folder):
  with pytest.raises(InputError, match='holds no checkpoint .stages there: pretrain'):
    checkpoint.open_for_reading(folder.parent / 'finetune_10db')
  assert not (folder.parent / 'finetune_10db').exists()


def test_a_save_that_was_cut_is_not_seen(folder):
  np.testing.assert_array_equal(restore(folder).step, 2)
  (folder / '3.orbax-checkpoint-tmp').mkdir()
  np.testing.assert_array_equal(restore(folder).step, 2)
  with checkpoint.open_for_writing(folder, 2) as manager:
    assert manager.latest_step() == 2
