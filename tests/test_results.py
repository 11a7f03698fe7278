import json
import pathlib
import shutil
import subprocess
import sys

import pytest

import rca_jax
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows, current_commit, read_rows


def test_rows_are_appended(tmp_path):
  path = tmp_path / 'results.json'
  assert read_rows(path) == []
  append_rows(path, [{'snr_db': 0.0}, {'snr_db': 10.0}])
  append_rows(path, [{'snr_db': 20.0}])
  assert json.loads(path.read_text()) == read_rows(path) == [
      {'snr_db': 0.0}, {'snr_db': 10.0}, {'snr_db': 20.0}]


def test_two_writers_lose_nothing(tmp_path):
  path = tmp_path / 'results.json'
  code = (
      'import sys; from rca_jax.evaluation.results import append_rows\n'
      'for i in range(20): append_rows(sys.argv[1], [{"writer": sys.argv[2], "row": i}])')
  writers = [subprocess.Popen([sys.executable, '-c', code, str(path), name]) for name in 'ab']
  assert [writer.wait() for writer in writers] == [0, 0]
  rows = read_rows(path)
  for name in 'ab':
    assert [row['row'] for row in rows if row['writer'] == name] == list(range(20))


def test_a_damaged_file_is_told_and_kept(tmp_path):
  path = tmp_path / 'results.json'
  path.write_text('[{"snr_db": ')
  with pytest.raises(InputError, match='not a readable results file'):
    append_rows(path, [{}])
  assert path.read_text() == '[{"snr_db": '
  path.write_text('{}')
  with pytest.raises(InputError, match='holds no list'):
    read_rows(path)


def test_an_unwritable_folder_is_told(tmp_path):
  with pytest.raises(InputError, match='cannot be written'):
    append_rows(tmp_path / 'none' / 'results.json', [{}])


def test_nothing_is_written_that_could_not_be_read(tmp_path):
  path = tmp_path / 'results.json'
  append_rows(path, [])
  assert not path.exists()
  for row in ({'snr_db': float('inf')}, {'nmse_db': float('nan')}, {'method': '$x$'}):
    with pytest.raises(InputError, match='cannot stand in a results row'):
      append_rows(path, [{'snr_db': 0.0}, row])
  assert not path.exists()
  for folder in (tmp_path, '', '.'):
    with pytest.raises(InputError, match='is a folder'):
      append_rows(folder, [])


def test_the_commit_of_a_tree_that_it_is_only_installed_in_is_none_of_ours(tmp_path):
  package = tmp_path / 'site-packages' / 'rca_jax'
  shutil.copytree(pathlib.Path(rca_jax.__file__).parent, package, ignore=lambda *_: ['weights'])
  (tmp_path / '.gitignore').write_text('site-packages\n')
  identity = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
  for arguments in (['init', '-q'], ['add', '.gitignore'], [*identity, 'commit', '-qm', 'theirs']):
    subprocess.run(['git', *arguments], cwd=tmp_path, check=True)
  code = 'from rca_jax.evaluation.results import current_commit; print(current_commit())'
  done = subprocess.run(
      [sys.executable, '-c', code], cwd=package.parent, text=True, stdout=subprocess.PIPE)
  assert done.stdout == 'unknown\n'


def test_commit_is_one_word():
  assert len(current_commit().split()) == 1
