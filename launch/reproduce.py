"""Runs the cells behind the paper's tables and figures; run again to continue.

  python -m launch.reproduce --preset=tiny --out=runs/tiny
  python -m launch.reproduce --preset=small --out=runs/small_matrix --only=table1,fig4
  python -m launch.reproduce --preset=paper --out=runs/paper --cells='RCA-MUNet-cr16-*,BL1-cr16-*'
  python -m launch.reproduce --preset=small --list

What stands in OUT/results.json is not done again; runs live under OUT/runs. Several processes or
machines may share OUT if their --cells differ. launch.report draws the rows. SSCC (fig4) needs the
extra `sscc`.

Exit codes as launch.train.
"""

from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Column, Table

from configs.reproduce import EXPERIMENTS, PRESETS, get_cells
from launch.main import run
from rca_jax.errors import InputError
from rca_jax.evaluation.matrix import missing, run_matrix, select
from rca_jax.evaluation.results import read_rows

_PRESET = flags.DEFINE_enum('preset', 'tiny', list(PRESETS), 'Sizes.')
_OUT = flags.DEFINE_string('out', None, 'Folder of rows and runs.')
_ONLY = flags.DEFINE_list('only', [], f'Experiments, of {", ".join(EXPERIMENTS)}; default all.')
_CELLS = flags.DEFINE_list('cells', [], 'Shell-style patterns of cell names or ids; default all.')
_PRETRAIN_STEPS = flags.DEFINE_integer('pretrain_steps', None, 'Another length of stage 1.')
_FINETUNE_STEPS = flags.DEFINE_integer('finetune_steps', None, 'Another length of stage 2.')
_DTYPE = flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'bfloat16'], 'What networks compute in, docs/scale.md.')
_LIST = flags.DEFINE_bool('list', False, 'Show the cells and what they lack, run nothing.')

_EXIT_SIGTERM = 128 + 15


def main() -> int:
  cells = select(
      get_cells(
          _PRESET.value, _ONLY.value, _PRETRAIN_STEPS.value, _FINETUNE_STEPS.value, _DTYPE.value),
      _CELLS.value)
  if not _LIST.value and _OUT.value is None:
    raise InputError('--out is missing: the folder of rows and runs.')
  out = Path(_OUT.value or '.').resolve()
  if not _LIST.value:
    return 0 if run_matrix(cells, out) else _EXIT_SIGTERM
  rows = read_rows(out / 'results.json')
  table = Table(Column('cell', overflow='fold'), 'id', 'groups to train on', 'rows', 'missing')
  for cell in cells:
    table.add_row(
        cell.name, cell.id, f'{cell.num_groups:,}', str(len(cell.measurements)),
        str(len(missing(cell, rows))))
  Console().print(table)
  return 0


if __name__ == '__main__':
  run(main)
