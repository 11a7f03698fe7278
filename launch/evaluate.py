"""Measures a trained network on test groups; appends rows to WORKDIR/results.json.

  python -m launch.evaluate --workdir=runs/small --snr_db=0,10,20 --num_ues=2,3,4

Reads checkpoints only, so it may run beside the training. With --stage=finetune each SNR is
measured with the weights that were fine-tuned at it.
"""

from pathlib import Path

import jax
import rich.console
import rich.table
from absl import flags

from launch.main import run
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows
from rca_jax.evaluation.run import evaluate_run

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a launch.train run.', required=True)
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2'], 'Numbers of UEs.')
_STAGE = flags.DEFINE_enum('stage', 'pretrain', ['pretrain', 'finetune'], 'Whose weights.')
_NUM_GROUPS = flags.DEFINE_integer(
    'num_groups', None, 'At most so many test groups; default data.num_test_groups.', lower_bound=1)
_DATA = flags.DEFINE_string('data', '', 'Test on this npz or data set folder instead.')


def main() -> None:
  workdir = Path(_WORKDIR.value).resolve()
  rows = []
  table = rich.table.Table('UEs', 'SNR dB', 'NMSE dB', '95 %', 'rho', 'SGCS', 'groups')
  for row in evaluate_run(
      workdir, _numbers('snr_db', _SNR_DB.value, float), _numbers('num_ues', _NUM_UES.value, int),
      _STAGE.value, _NUM_GROUPS.value, _DATA.value):
    low, high = row['nmse_ci95_db']
    table.add_row(
        str(row['num_ues']), f'{row["snr_db"]:g}', f'{row["nmse_db"]:.2f}',
        f'{low:.2f} .. {high:.2f}', f'{row["rho"]:.4f}', f'{row["sgcs"]:.4f}',
        str(row['num_samples']))
    rows.append(row)
  rich.console.Console().print(table)
  append_rows(workdir / 'results.json', rows)
  print(f'{len(rows)} rows appended to {workdir / "results.json"} ({jax.default_backend()})')


def _numbers(name: str, texts: list[str], to_number: type) -> list:
  try:
    return [to_number(text) for text in texts]
  except ValueError:
    raise InputError(f'--{name}={",".join(texts)}: expected numbers, e.g. --{name}=2,4.') from None


if __name__ == '__main__':
  run(main)
