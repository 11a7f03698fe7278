"""Draws runs side by side: one page with its pictures inside, and one CSV file.

  rca report runs/small
  rca report runs/small runs/bl1 --out=comparison
  rca report 'runs/*' runs/references.json
  rca report --paper runs/paper/results.json --out=runs/paper/report

RUN is a folder of `rca train`, a file of rows, or a pattern of them. The others are compared with
the first one: learning curves, NMSE against SNR, gains on the same test groups, configs.
With --paper: the tables and figures of the paper, from the rows of `rca reproduce`; Table II needs
no rows, it is counted, and what was not run is left out or "-". Rows of several data sets have
tables and figures of their own.
"""

import glob
from pathlib import Path

from absl import flags

from configs import rca_munet
from launch.main import count, run, say
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_OUT = flags.DEFINE_string(
    'out', None, 'Folder of the report; by default `report` in the folder of the first RUN.')
_PAPER = flags.DEFINE_bool('paper', False, "The paper's tables and figures.")
_DATA = flags.DEFINE_list('data', [], 'Names or hashes of data sets; default all.')
_STEPS = flags.DEFINE_list('steps', [], 'Training lengths, of networks; default all.')
_DTYPE = flags.DEFINE_list('dtype', [], 'What networks computed in; default all.')
_WITHOUT_CELLS = flags.DEFINE_list('without_cells', [], 'Cells (ids of rows) to leave out.')


def main(*words: str) -> None:
  from rca_jax.report.levels import choose
  from rca_jax.report.reproduction import write_report
  from rca_jax.report.runs import read_runs, write_runs

  paths = [path for word in words for path in _found(word)]
  if not paths:
    raise InputError('name a RUN: a folder of `rca train`, or a file of rows.')
  chosen = _DATA.value, _steps(), _DTYPE.value, _WITHOUT_CELLS.value
  folder = paths[0] if paths[0].is_dir() else paths[0].parent
  out = Path(_OUT.value or folder / 'report')
  runs = read_runs(paths)
  say(f'report: {count(sum(len(run.rows) for run in runs), "row")} of '
      f'{", ".join(map(str, paths))} to {out}')
  with Bar('report', doing='drawing'):
    if _PAPER.value:
      rows = choose([row for run in runs for row in run.rows], *chosen)
      written = write_report(out, rows, _table2_configs())
    else:
      written = write_runs(out, [run._replace(rows=choose(run.rows, *chosen)) for run in runs])
  print('\n'.join(map(str, written)))
  say(f'done: open {out / "report.html"}')


def _found(word: str) -> list[Path]:
  """The run of a name, or those that fit a pattern."""
  if not glob.has_magic(word) or Path(word).exists():
    return [Path(word)]
  found = [Path(path) for path in sorted(glob.glob(word))]
  found = [path for path in found if path.suffix == '.json' or (path / 'config.json').exists()]
  if not found:
    raise InputError(f'{word}: no run fits this pattern.')
  return found


def _table2_configs() -> list[ExperimentConfig]:
  return [
      from_dict(ExperimentConfig, rca_munet.get_config(
          f'method={method},cr=1/8,users={num_ues}').to_dict())
      for method in rca_munet.METHODS
      for num_ues in ((2, 4) if method in ('RCA-MUNet', 'BL3') else (2,))]


def _steps() -> list[int]:
  try:
    return [int(text) for text in _STEPS.value]
  except ValueError:
    raise InputError(
        f'--steps={",".join(_STEPS.value)}: expected whole numbers, e.g. --steps=2000,2200.'
    ) from None


if __name__ == '__main__':
  run(main, takes_words=True)
