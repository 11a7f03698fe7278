"""Runs the cells of the paper's tables and figures; run again to continue.

  rca reproduce --preset=tiny --out=runs/tiny
  rca reproduce --preset=small --out=runs/small_matrix --only=table1,fig4
  rca reproduce --preset=paper --out=runs/paper --cells='RCA-MUNet-cr16-*,BL1-cr16-*'
  rca reproduce --preset=small --list

What stands in OUT/results.json is not done again; runs live under OUT/runs. Several processes or
machines may share OUT if their --cells differ. `rca report` draws the rows. SSCC (fig4) needs the
extra `sscc`.

Exit codes as those of `rca train`.
"""

from pathlib import Path

from absl import flags

from launch.main import devices, only_with, run, say
from launch.table import define_format, print_table
from rca_jax.errors import InputError

_EXPERIMENTS = (
    'table1', 'fig3', 'fig4', 'distance', 'uplink', 'schedule', 'length', 'shortcut', 'data',
    'loss')
_PRESET = flags.DEFINE_enum('preset', 'tiny', ['tiny', 'small', 'paper'], 'Sizes.')
_OUT = flags.DEFINE_string('out', None, 'Folder of rows and runs.')
_ONLY = flags.DEFINE_list('only', [], f'Experiments, of {", ".join(_EXPERIMENTS)}; default all.')
_CELLS = flags.DEFINE_list('cells', [], 'Shell-style patterns of cell names or ids; default all.')
_PRETRAIN_STEPS = flags.DEFINE_integer('pretrain_steps', None, 'Another length of stage 1.')
_FINETUNE_STEPS = flags.DEFINE_integer('finetune_steps', None, 'Another length of stage 2.')
_DTYPE = flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'bfloat16'], 'What networks compute in, docs/scale.md.')
_LIST = flags.DEFINE_bool('list', False, 'Show the cells and what they lack, run nothing.')

_FORMAT = define_format()
_HEAD = {'cell': '', 'id': '', 'groups to train on': ',d', 'rows': 'd', 'missing': 'd'}


def main() -> None:
  if not _LIST.value and _OUT.value is None:
    raise InputError('--out is missing: the folder of rows and runs.')
  only_with(_FORMAT, _LIST.value, '--list')

  from configs.reproduce import get_cells
  from rca_jax.evaluation.matrix import missing, run_matrix, select
  from rca_jax.evaluation.results import read_rows

  cells = select(
      get_cells(
          _PRESET.value, _ONLY.value, _PRETRAIN_STEPS.value, _FINETUNE_STEPS.value, _DTYPE.value),
      _CELLS.value)
  out = Path(_OUT.value or '.')
  rows = read_rows(out / 'results.json')
  if _LIST.value:
    print_table(
        _HEAD, [[cell.name, cell.id, cell.num_groups, len(cell.measurements),
                 len(missing(cell, rows))] for cell in cells], _FORMAT.value)
    return
  todo = sum(bool(missing(cell, rows)) for cell in cells)
  say(f'reproduce: {_PRESET.value}, {todo} of {len(cells)} cells to do, {devices()}; rows go to '
      f'{out / "results.json"}')
  run_matrix(cells, out.resolve())
  say(f'done: all rows are in {out / "results.json"}; tables and figures of them: '
      f'rca report --paper {out / "results.json"}')


if __name__ == '__main__':
  run(main, stopped='stopped; rows and checkpoints are kept, the same command continues')
