"""What a loss of power may take: nothing that was reported as written."""

import os
import pathlib

import jax.numpy as jnp
import pytest

from rca_jax.durable import write_atomically
from rca_jax.training import checkpoint
from rca_jax.training.step import TrainState


@pytest.fixture
def calls(monkeypatch):
  """The paths that are synced and the renames, in their order."""
  found = []
  fsync, replace = os.fsync, os.replace

  def record_fsync(descriptor):
    found.append(pathlib.Path(f'/proc/self/fd/{descriptor}').resolve())
    fsync(descriptor)

  def record_replace(source, target):
    found.append((source, target))
    replace(source, target)

  monkeypatch.setattr(os, 'fsync', record_fsync)
  monkeypatch.setattr(os, 'replace', record_replace)
  return found


@pytest.mark.parametrize('content', ['text', b'bytes', memoryview(b'view')])
def test_a_file_is_synced_before_its_rename_and_its_folder_after(calls, tmp_path, content):
  path, partial = tmp_path / 'file.json', tmp_path / 'file.json.tmp'
  write_atomically(path, content)
  assert calls == [partial, (partial, path), tmp_path]
  assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))


def test_a_write_that_fails_leaves_the_old_content(monkeypatch, tmp_path):
  path = tmp_path / 'file.json'
  write_atomically(path, 'old')

  def full(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='No space left'):
    write_atomically(path, 'new')
  assert path.read_text() == 'old'


def test_all_of_a_checkpoint_is_on_disk_once_it_is_saved(calls, tmp_path):
  folder = checkpoint.checkpoint_folder(tmp_path, 'pretrain')
  state = TrainState(jnp.int32(1), {'kernel': jnp.ones((3, 4))}, {'mean': jnp.zeros(3)})
  with checkpoint.open_for_writing(folder, 2) as manager:
    checkpoint.save(manager, state)
    assert {folder, folder / '1', *(folder / '1').rglob('*')} <= set(calls)
