import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
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


MEASURED = {
    'cell': 'a' * 12, 'method': 'BL1', 'seed': 0, 'steps': 8, 'dtype': 'float32', 'num_ues': 2,
    'data': 'test.npz', 'data_hash': 'b' * 12, 'snr_db': 10.0, 'stage': 'pretrain'}


def test_a_row_that_is_measured_again_takes_the_place_of_the_older_one(tmp_path):
  path = tmp_path / 'results.json'
  append_rows(path, [MEASURED | {'nmse_db': -1.0}, MEASURED | {'snr_db': 20.0, 'nmse_db': -3.0}])
  append_rows(path, [MEASURED | {'nmse_db': -2.0, 'commit': 'new'}])
  assert read_rows(path) == [
      MEASURED | {'nmse_db': -2.0, 'commit': 'new'}, MEASURED | {'snr_db': 20.0, 'nmse_db': -3.0}]


@pytest.mark.parametrize('change', [
    {'data_hash': 'c' * 12}, {'steps': 16}, {'dtype': 'bfloat16'}, {'cell': 'd' * 12}, {'seed': 1},
    {'num_ues': 3}, {'snr_db': None}, {'stage': 'finetune_10db'}, {'channel': 'awgn'},
    {'num_lost': 1}, {'num_groups': 5}, {'distance_m': 1.0}])
def test_rows_of_something_else_stay(tmp_path, change):
  path = tmp_path / 'results.json'
  append_rows(path, [MEASURED | {'nmse_db': -1.0}])
  append_rows(path, [MEASURED | change | {'nmse_db': -2.0}])
  assert [row['nmse_db'] for row in read_rows(path)] == [-1.0, -2.0]


def test_errors_of_the_groups_lie_in_a_file_beside_the_rows(tmp_path):
  path, errors = tmp_path / 'results.json', np.float32([0.1, 0.2, 0.4])
  append_rows(path, [MEASURED | {'errors': errors}, MEASURED | {'snr_db': 0.0}])
  first, without = read_rows(path)
  found = np.load(tmp_path / 'errors' / first['errors'])
  np.testing.assert_array_equal(found, errors)
  assert found.dtype == np.float32 and 'errors' not in without
  # A row that takes another's place takes its file away too.
  append_rows(path, [MEASURED | {'errors': 2 * errors}])
  file, = (tmp_path / 'errors').iterdir()
  assert file.name == read_rows(path)[0]['errors']
  np.testing.assert_array_equal(np.load(file), 2 * errors)


@pytest.mark.parametrize('name', ['../results.json', '/etc/passwd', 'a.npy', 'A' * 16 + '.npy'])
def test_no_row_names_a_file_elsewhere(tmp_path, name):
  (tmp_path / 'results.json').write_text(json.dumps([MEASURED | {'errors': name}]))
  with pytest.raises(InputError, match='damaged: errors of row 0'):
    read_rows(tmp_path / 'results.json')


def test_two_writers_lose_nothing(tmp_path):
  path = tmp_path / 'results.json'
  code = (
      'import sys; from rca_jax.evaluation.results import append_rows\n'
      'for i in range(10): append_rows(sys.argv[1], [{"writer": sys.argv[2], "row": i}])')
  writers = [subprocess.Popen([sys.executable, '-c', code, str(path), name]) for name in 'ab']
  assert [writer.wait() for writer in writers] == [0, 0]
  rows = read_rows(path)
  for name in 'ab':
    assert [row['row'] for row in rows if row['writer'] == name] == list(range(10))


def test_a_damaged_file_is_reported_and_kept(tmp_path):
  path = tmp_path / 'results.json'
  path.write_text('[{"snr_db": ')
  with pytest.raises(InputError, match='not a readable results file'):
    append_rows(path, [{}])
  assert path.read_text() == '[{"snr_db": '
  path.write_text('{}')
  with pytest.raises(InputError, match='holds no list'):
    read_rows(path)


def test_an_unwritable_folder_is_an_input_error(tmp_path):
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
