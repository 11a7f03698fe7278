import json
import subprocess
import sys

import pytest

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


def test_commit_is_one_word():
  assert len(current_commit().split()) == 1
