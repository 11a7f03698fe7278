import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest

from launch.table import format_table

HEAD = {'a name to copy': '', 'groups': ',d', 'NMSE dB': '.2f'}
ROWS = [['RCA-MUNet-cr16-2ues-fixed_snr-seed0 ' * 3, 296222720, -12.3456], ['[b]BL1[/b]', 4, None]]


@pytest.mark.parametrize('columns', ['20', '60', '200'])
def test_text_is_whole_at_any_width(columns, monkeypatch):
  monkeypatch.setenv('COLUMNS', columns)
  head, _, first, second = format_table(HEAD, ROWS, 'text').splitlines()
  assert head.split() == ['a', 'name', 'to', 'copy', 'groups', 'NMSE', 'dB']
  assert first.startswith(ROWS[0][0]) and first.split()[-2:] == ['296,222,720', '-12.35']
  assert second.split() == ['[b]BL1[/b]', '4', '-']
  assert len(head) == len(first) == len(second)


def test_other_formats_hold_the_numbers_themselves():
  table = format_table(HEAD, ROWS, 'json')
  assert [list(row.values()) for row in json.loads(table)] == ROWS
  assert list(csv.reader(io.StringIO(format_table(HEAD, ROWS, 'csv')))) == [
      list(HEAD), [ROWS[0][0], '296222720', '-12.3456'], ['[b]BL1[/b]', '4', '']]
  assert format_table(HEAD, ROWS[1:], 'markdown').splitlines() == [
      '| a name to copy | groups | NMSE dB |', '| :-- | --: | --: |', '| [b]BL1[/b] | 4 | - |']


def test_every_digit_of_table_2_comes_through_a_pipe():
  done = subprocess.run(
      [sys.executable, '-m', 'launch.complexity', '--methods=RCA-MUNet', '--num_ues=2'],
      cwd=pathlib.Path(__file__).parents[1], env=os.environ | {'COLUMNS': '60'},
      capture_output=True, text=True, timeout=60, check=True)
  assert done.stdout.splitlines()[-1].split() == [
      'RCA-MUNet', '1/8', '2', '5,549,184', '289,827,840', '144,913,920', '296,222,720']
