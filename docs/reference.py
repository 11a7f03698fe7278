"""A hook of mkdocs: the pages that are made of the source, so that they say what it does.

index.md is the README, reference/commands.md what `rca COMMAND --help` prints, reference/config.md
the dataclasses of a config, and the other pages of reference/ the docstrings of a part of rca_jax
each.
"""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from launch.__main__ import commands  # noqa: E402
from launch.help import fields  # noqa: E402
from rca_jax.config import ExperimentConfig  # noqa: E402

PARTS = (  # the line of the README
    'channel', 'data', 'uplink', 'models', 'bayes', 'baselines', 'training', 'evaluation', 'report')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
  reference = next(part['Reference'] for part in config.nav if 'Reference' in part)
  reference += [{f'rca_jax.{part}': f'reference/{part}.md'} for part in PARTS]
  return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
  pages = {'commands': _commands(), 'config': _config(), **{part: _part(part) for part in PARTS}}
  for name, text in pages.items():
    files.append(File.generated(config, f'reference/{name}.md', content=text))
  files.append(File.generated(config, 'index.md', content=_start()))
  return files


def on_page_content(html: str, **_) -> str:
  """Pictures open in their full size: many are too wide for a narrow screen."""
  return re.sub(r'<img [^>]*src="([^"]+)"[^>]*>', r'<a href="\1">\g<0></a>', html)


def _start() -> str:
  """The README, whose links are those of the repository."""
  text = (ROOT / 'README.md').read_text()
  return text.replace('](docs/', '](').replace('](CONTRIBUTING.md)', '](contributing.md)')


def _commands() -> str:
  """Side by side: each is a Python of its own."""
  started = {
      name: subprocess.Popen(
          [sys.executable, '-m', 'rca_jax', name, '--help'], cwd=ROOT, text=True,
          stdout=subprocess.PIPE)
      for name in commands()}
  parts = ['# Commands', '`rca COMMAND` is `python -m launch.COMMAND`; `rca` alone lists them.']
  for name, process in started.items():
    text, _ = process.communicate(timeout=120)
    if process.returncode:
      raise RuntimeError(f'rca {name} --help exits with {process.returncode}.')
    parts += [f'## rca {name}', f'```text\n{text}```']
  return '\n\n'.join(parts)


def _config() -> str:
  parts = [
      '# Config fields',
      'Any of them is a flag: `--config.csi.num_tx_antennas=16`. Defaults are those of '
      '`--config=rca_munet`; units stand at the end of names.']
  for field in fields(ExperimentConfig()):
    if field.value is None:  # a table of fields
      parts.append(f'\n## {field.path or "The experiment"}\n\n{field.comment}\n\n'
                   '| field | default | type | meaning |\n|---|---|---|---|')
    else:
      cells = (f'`{field.path}`', f'`{field.value!r}`', f'`{field.type}`', field.comment)
      parts.append('| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |')
  return '\n'.join(parts)


def _part(part: str) -> str:
  folder = ROOT / 'rca_jax' / part
  names = sorted(
      '.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in folder.rglob('*.py')
      if path.name != '__init__.py')
  return '\n\n'.join([f'# rca_jax.{part}', *(f'::: {name}' for name in names)])
