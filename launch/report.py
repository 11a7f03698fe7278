"""Renders the rows of `rca reproduce`: tables and figures beside the paper's.

  rca report --results=runs/small_matrix/results.json --out=runs/small_matrix/report

Several files, with commas between, make one report. Table II needs no rows: it is counted. What was
not run shows as "-" or is left out. Rows of several data sets have tables and figures of their own;
the flags below choose among the rows.
"""

from pathlib import Path

from absl import flags

from configs import rca_munet
from launch.main import count, run, say
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_RESULTS = flags.DEFINE_list('results', None, 'Files of rows.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of the report.', required=True)
_DATA = flags.DEFINE_list('data', [], 'Names or hashes of data sets; default all.')
_STEPS = flags.DEFINE_list('steps', [], 'Training lengths, of networks; default all.')
_DTYPE = flags.DEFINE_list('dtype', [], 'What networks computed in; default all.')
_WITHOUT_CELLS = flags.DEFINE_list('without_cells', [], 'Cells (ids of rows) to leave out.')


def main() -> None:
  from rca_jax.evaluation.results import read_rows
  from rca_jax.report.levels import choose, with_errors
  from rca_jax.report.page import write_report

  paths = [Path(path) for path in _RESULTS.value]
  for path in paths:
    if not path.is_file():
      raise InputError(f'--results={path}: no such file; `rca reproduce` writes it.')
  configs = [
      from_dict(ExperimentConfig, rca_munet.get_config(
          f'method={method},cr=1/8,users={num_ues}').to_dict())
      for method in rca_munet.METHODS
      for num_ues in ((2, 4) if method in ('RCA-MUNet', 'BL3') else (2,))]
  rows = choose(
      [row for path in paths for row in with_errors(read_rows(path), path.parent)], _DATA.value,
      _steps(), _DTYPE.value, _WITHOUT_CELLS.value)
  say(f'report: {count(len(rows), "row")} of {", ".join(map(str, paths))} to {_OUT.value}')
  with Bar('report', doing='drawing'):
    written = write_report(Path(_OUT.value), rows, configs)
  print('\n'.join(map(str, written)))
  say(f'done: open {Path(_OUT.value) / "report.html"}')


def _steps() -> list[int]:
  try:
    return [int(text) for text in _STEPS.value]
  except ValueError:
    raise InputError(
        f'--steps={",".join(_STEPS.value)}: expected whole numbers, e.g. --steps=2000,2200.'
    ) from None


if __name__ == '__main__':
  run(main)
