"""What README and docs tell to type can be typed, and what they name is there.

Blocks that run in minutes are run as a whole: tests/test_readme.py, test_use.py, test_deploy.py.
"""

import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from rca_jax.evaluation.references import BAYES, REFERENCES, WITH_MAP

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


@pytest.mark.parametrize('find, at_least', [(commands, 70), (parts_of_commands, 8)])
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
