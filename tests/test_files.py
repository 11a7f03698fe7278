import hashlib
import json
import pathlib

import numpy as np
import pytest

from rca_jax.config import Layout
from rca_jax.data.files import content_hash, read_csi
from rca_jax.errors import InputError


def save(path, **arrays):
  np.savez(path, **arrays)
  return path


def normalised(csi):
  return csi / np.sqrt(np.mean(np.abs(csi)**2, (-2, -1), keepdims=True))


def changed(csi, index, value):
  csi = csi.copy()
  csi[index] = value
  return csi


def test_reads_what_a_file_holds(tmp_path, random_csi):
  groups = read_csi(save(
      tmp_path / 'a.npz', csi=random_csi.astype(np.complex128), los=np.ones((12, 3), bool), norm=1))
  np.testing.assert_allclose(groups.csi, normalised(random_csi), rtol=1e-6)
  assert groups.csi.dtype == np.complex64 and groups.los.all() and groups.positions is None


@pytest.mark.parametrize('change, message', [
    (lambda csi: csi[0], r'shape \(3, 4, 8\)'),
    (lambda csi: csi[:0], r'shape \(0, 3, 4, 8\)'),
    (lambda csi: csi.real, 'type float32'),
    (lambda csi: changed(csi, (7, 1, 2, 3), np.nan), r'csi\[7, 1, 2, 3\] is \(?nan'),
    (lambda csi: changed(csi, (7, 2, 0, 3), 1j * np.inf), r'csi\[7, 2, 0, 3\] is'),
    (lambda csi: changed(csi, (5, 2), 0), r'csi\[5, 2\] is all zeros'),
])
def test_unusable_csi_is_one_line(tmp_path, random_csi, change, message):
  path = save(tmp_path / 'bad.npz', csi=change(random_csi))
  with pytest.raises(InputError, match=message) as error:
    read_csi(path)
  assert str(error.value).startswith(f'{path}: csi') and '\n' not in str(error.value)


def test_unusable_files_are_one_line(tmp_path, random_csi):
  whole = save(tmp_path / 'whole.npz', csi=random_csi).read_bytes()
  cases = {
      'cut.npz': whole[:len(whole) // 2],
      'flipped.npz': whole[:999] + bytes([whole[999] ^ 1]) + whole[1000:],
      'empty.npz': b'',
      'text.npz': b'not an npz\nat all',
  }
  for name, content in cases.items():
    (tmp_path / name).write_bytes(content)
  save(tmp_path / 'pickled.npz', csi=np.array([{'a': 1}], dtype=object))
  for name in [*cases, 'pickled.npz']:
    with pytest.raises(InputError, match='not a readable') as error:
      read_csi(tmp_path / name)
    assert '\n' not in str(error.value)
  with pytest.raises(InputError, match='no such file'):
    read_csi(tmp_path / 'none.npz')
  with pytest.raises(InputError, match='its arrays: h .12, 3, 4, 8., x .*--array=h --axes='):
    read_csi(save(tmp_path / 'other.npz', h=random_csi, x=1))


def test_a_data_set_is_named_by_its_content(tmp_path, random_csi):
  first = save(tmp_path / 'a.npz', csi=random_csi)
  (tmp_path / 'b.npz').write_bytes(first.read_bytes())
  other = save(tmp_path / 'c.npz', csi=2 * random_csi)
  assert content_hash(first) == content_hash(tmp_path / 'b.npz') != content_hash(other)
  by_axes = {content_hash(first, Layout('csi', axes)) for axes in ('', 'group,ue,delay,antenna')}
  assert len({content_hash(first), *by_axes}) == 3  # read differently it is other data
  (tmp_path / 'manifest.json').write_text('{}')
  assert content_hash(tmp_path) == hashlib.sha256(b'{}').hexdigest()
  with pytest.raises(InputError, match='none.npz: cannot be read'):
    content_hash(tmp_path / 'none.npz')


@pytest.fixture
def dataset(tmp_path, random_csi):
  """A folder with 12 training groups in two shards and 4 test groups in one."""
  splits = {'train': [], 'test': []}
  for split, name, groups in [
      ('train', 'train_0.npz', random_csi[:8]), ('train', 'train_1.npz', random_csi[8:]),
      ('test', 'test_0.npz', random_csi[:4])]:
    save(tmp_path / name, csi=groups)
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    splits[split].append({'file': name, 'num_groups': len(groups), 'sha256': digest})
  (tmp_path / 'manifest.json').write_text(json.dumps({'seed': 0, 'splits': splits}))
  return tmp_path


def test_dataset_joins_the_shards_of_a_split(dataset, random_csi):
  csi = normalised(random_csi)
  np.testing.assert_allclose(read_csi(dataset, split='train').csi, csi, rtol=1e-6)
  np.testing.assert_allclose(read_csi(dataset, split='test').csi, csi[:4], rtol=1e-6)
  with pytest.raises(InputError, match="split 'val' .its splits: train, test"):
    read_csi(dataset, split='val')


def test_a_shard_that_was_cut_changed_or_lost_is_named(dataset, random_csi):
  shard = dataset / 'train_1.npz'
  whole = shard.read_bytes()
  shard.write_bytes(whole[:-100])
  with pytest.raises(InputError, match='train_1.npz: shard is cut or damaged, its SHA-256'):
    read_csi(dataset, split='train')
  save(shard, csi=random_csi[:4])
  with pytest.raises(InputError, match='train_1.npz: shard is cut or damaged, its SHA-256'):
    read_csi(dataset, split='train')
  shard.unlink()
  with pytest.raises(InputError, match='train_1.npz: cannot be read .No such file.*write or copy'):
    read_csi(dataset, split='train')
  assert len(read_csi(dataset, split='test').csi) == 4


def test_a_manifest_that_promises_other_groups_is_refused(dataset):
  manifest = json.loads((dataset / 'manifest.json').read_text())
  manifest['splits']['train'][1]['num_groups'] = 5
  (dataset / 'manifest.json').write_text(json.dumps(manifest))
  with pytest.raises(InputError, match='has 4 groups, the manifest promises 5'):
    read_csi(dataset, split='train')


def test_a_missing_or_damaged_manifest_is_one_line(dataset):
  (dataset / 'manifest.json').write_text('{"splits": {"train": [{"file": "a"')
  with pytest.raises(InputError, match='manifest.json: not a readable manifest'):
    read_csi(dataset, split='train')
  (dataset / 'manifest.json').write_text('{"splits": {"train": [{"file": "a"}]}}')
  with pytest.raises(InputError, match="not a readable manifest .KeyError: 'num_groups'"):
    read_csi(dataset, split='train')
  (dataset / 'manifest.json').unlink()
  with pytest.raises(InputError, match='has no manifest.json'):
    read_csi(dataset, split='train')


def test_a_folder_that_may_not_be_read_is_not_called_damaged(dataset, monkeypatch):

  def refuse(*args, **kwargs):
    raise PermissionError(13, 'Permission denied')

  for name in ('read_bytes', 'open'):  # the manifest, a shard
    with monkeypatch.context() as patch:
      patch.setattr(pathlib.Path, name, refuse)
      with pytest.raises(InputError, match=r'cannot be read \(Permission denied\).$'):
        read_csi(dataset)
