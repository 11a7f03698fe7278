"""What README and docs tell to type can be typed, and what they name is there.

Blocks that run in minutes are run as a whole: tests/test_readme.py, test_use.py, test_deploy.py.
"""

import importlib.util
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from launch.help import fields
from rca_jax.config import ExperimentConfig
from rca_jax.evaluation.references import BAYES, REFERENCES, WITH_MAP
from rca_jax.evaluation.results import SHARES

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (
    ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md')),
    ROOT / 'rca_jax' / 'weights' / 'README.md')}
COMMAND = re.compile(r'^\s*(?:\.venv/bin/)?(?:rca |python -m launch\.)(\w+)(.*)')


def commands(text):
  """(name, arguments) of every `rca` in blocks, with what their variables hold."""
  variables = {}
  for block in re.findall(r'```\n(.*?)```', text, re.DOTALL):
    for line in re.sub(r'\\\n', ' ', block).splitlines():
      if found := re.match(r'\s*([A-Z]+)="(.*)"$', line):
        variables[found[1]] = found[2]
      line = re.sub(r'\$([A-Z]+)', lambda name: variables.get(name[1], name[0]), line)
      if found := COMMAND.match(line):
        yield found[1], shlex.split(found[2], comments=True)


def parts_of_commands(text):
  """As `commands`, of those in sentences, which may leave out flags and values."""
  prose = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
  for code in re.findall(r'`([^`]+)`', prose):
    if (found := COMMAND.match(code.replace('\n', ' '))) and '--' in found[2]:
      yield found[1], shlex.split(found[2])


# A child for each command: what it needs is imported once, and JAX not at all.
PARSE = """
import importlib, json, os, sys
from launch.main import experiment_config, parse_flags
import configs.demo, configs.joint_bayes, configs.rca_munet
for name, arguments in json.load(sys.stdin):
  if not os.fork():
    sys.argv = [name, *arguments]
    try:
      module = importlib.import_module(f'launch.{name}')
      parse_flags(sys.argv, takes_words=True)
      if getattr(module, '_CONFIG', None) is not None and module._CONFIG.value is not None:
        experiment_config(module._CONFIG)
    except Exception as error:
      print(f'rca {name} {" ".join(arguments)}: {error}', flush=True)
    os._exit(0)
  os.wait()
"""


@pytest.mark.parametrize('find, at_least', [(commands, 60), (parts_of_commands, 8)])
def test_every_command_has_flags_and_a_config_that_are_known(tmp_path, find, at_least):
  there = [item for text in PAGES.values() for item in find(text)]
  assert len(there) > at_least
  done = subprocess.run(
      [sys.executable, '-c', PARSE], input=json.dumps(there), capture_output=True, text=True,
      cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=300)
  wrong = [line for line in done.stdout.splitlines()
           if find is commands or not re.search('is missing: |Missing value', line)]
  assert done.returncode == 0 and not wrong, wrong


def test_every_method_is_known():
  asked = {method for text in PAGES.values() for name, arguments in commands(text)
           if name == 'references' for flag in arguments if flag.startswith('--methods=')
           for method in flag.removeprefix('--methods=').split(',')}
  assert len(asked) > 10 and asked <= {*REFERENCES, *BAYES, *WITH_MAP}


def test_every_config_field_says_what_it_means():
  assert [field.path for field in fields(ExperimentConfig()) if not field.comment] == []


@pytest.mark.parametrize('page', PAGES)
def test_every_file_is_there(page):
  text = PAGES[page]
  for name in re.findall(r'`([a-z0-9_/]+\.(?:py|md|sh|sbatch))`', text):
    # A list of files says their folder once.
    assert any(any(ROOT.glob(folder + name)) for folder in ('', '*/', 'rca_jax/*/')), name
  for name in re.findall(r'`(results/[\w/.-]*)`', text):
    assert (ROOT / name).exists(), name
  for name in re.findall(r'python -m (benchmarks\.\w+)', text):
    assert importlib.util.find_spec(name), name
  made = (ROOT / 'Makefile').read_text()
  for target in re.findall(r'`?make ([a-z-]+)`', text):
    assert re.search(rf'^{target}:', made, re.MULTILINE), target


NUMBER = r'(-\d+\.\d\d)'
CELL = rf'{NUMBER}\**(?: \[[^]]*\])?'
# NMSE at 0, 10 and 20 dB: in one cell or sentence, and in the last three cells of a line.
TRIPLES = re.compile(
    rf'{NUMBER} / {NUMBER} / {NUMBER}|\| \**{CELL} \| \**{CELL} \| \**{CELL} \|$', re.MULTILINE)
# Those that no row of results/ holds, by page.
OF_NO_ROW = {
    'docs/joint_bayes.md': {
        # At -5, 5, 15 dB.
        (-1.11, -3.65, -5.59), (-0.98, -3.40, -5.32), (-1.41, -4.23, -6.29),
        # benchmarks.joint_calibration
        (-1.95, -4.48, -5.57), (-1.90, -4.44, -5.48), (-2.09, -4.72, -6.34), (-2.58, -5.32, -6.45),
        # benchmarks.joint_limits
        (-6.79, -12.02, -16.65), (-1.44, -1.88, -1.85), (-2.78, -3.88, -3.96),
        (-4.11, -6.94, -8.31)},
    'docs/site_map.md': {(-0.08, -0.47, -1.44), (-0.02, -0.13, -0.54)}}  # gains


def measured():
  """NMSE at 0, 10 and 20 dB in every file of rows: of one cell, of all its seeds, of all sites."""
  found = set()
  for path in (ROOT / 'results').rglob('*.json'):
    lines = {}
    for row in json.loads(path.read_text()):
      if 'nmse_db' in row:
        one = {name: str(item) for name, item in row.items() if not name.endswith('_ci95')
               and name not in ('snr_db', 'nmse_db', 'nmse_ci95_db', 'errors', 'commit', 'device',
                                'stage', 'num_samples', *SHARES)}
        for left_out in ((), ('seed', 'cell'), ('data', 'data_hash', 'site_map', 'cell')):
          key = str(sorted(item for item in one.items() if item[0] not in left_out))
          at = lines.setdefault((left_out, key), {}).setdefault(row['snr_db'], {})
          at.setdefault(row.get('stage', ''), []).append(row['nmse_db'])
    for at in lines.values():
      levels = [[10 * np.log10(np.mean(10 ** (np.array(stage) / 10)))
                 for stage in at.get(snr_db, {}).values()] for snr_db in (0.0, 10.0, 20.0)]
      found |= {tuple(np.round(triple, 2)) for triple in itertools.product(*levels)}
  return found


def test_every_nmse_is_that_of_rows():
  rows, count = measured(), 0
  for page, text in PAGES.items():
    for match in TRIPLES.finditer(text):
      triple = tuple(float(text) for text in match.groups() if text)
      count += 1
      assert triple in rows or triple in OF_NO_ROW.get(page, ()), (page, triple)
  assert count > 150


def test_no_sentence_stands_on_two_pages():
  pages = {}
  for page, text in PAGES.items():
    prose = re.sub(r'```[^`]*```|^\|[^\n]*$', '', text, flags=re.MULTILINE)
    words = re.findall(r'\w[\w.,-]*', prose.lower())
    for place in range(len(words) - 11):
      pages.setdefault(tuple(words[place:place + 12]), set()).add(page)
  assert [(words, on) for words, on in pages.items() if len(on) > 1] == []
