"""Measures a trained network on test groups: a run, or published weights.

  python -m launch.evaluate --workdir=runs/small --snr_db=0,10,20 --num_ues=2,3,4
  python -m launch.evaluate --weights=rca_munet_cr16 --snr_db=0,10,20 --data=test.npz

Rows are appended to WORKDIR/results.json, or --out, as they are measured. Reads checkpoints only,
so it may run beside the training. With --stage=finetune each SNR is measured with the weights that
were fine-tuned at it.
"""

from pathlib import Path

import jax
from absl import flags
from rich.console import Console
from rich.table import Table

from launch.main import run
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows
from rca_jax.evaluation.run import evaluate_run, evaluate_weights
from rca_jax.training.pretrained import WEIGHTS

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a launch.train run; or:')
_WEIGHTS = flags.DEFINE_string('weights', None, 'Name of weights that launch.export wrote.')
_FOLDER = flags.DEFINE_string('folder', str(WEIGHTS), 'Where these weights are.')
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB.')
_NUM_UES = flags.DEFINE_list('num_ues', [], 'Numbers of UEs; default: those of the training.')
_STAGE = flags.DEFINE_enum('stage', 'pretrain', ['pretrain', 'finetune'], 'Whose weights.')
_NUM_GROUPS = flags.DEFINE_integer(
    'num_groups', None, 'At most so many test groups; default data.num_test_groups.', lower_bound=1)
_DATA = flags.DEFINE_string(
    'data', '', 'Test on this data set folder or file (docs/data.md) instead.')
_ALLOW_SILENT = flags.DEFINE_bool(
    'allow_silent', False, 'Mask test UEs without power, as data.allow_silent does.')
_OUT = flags.DEFINE_string('out', None, 'Append rows here; default WORKDIR/results.json, if any.')


def main() -> None:
  if (_WORKDIR.value is None) == (_WEIGHTS.value is None):
    raise InputError('give --workdir=FOLDER of a run or --weights=NAME, one of them.')
  measured_on = (
      _numbers('snr_db', _SNR_DB.value, float), _numbers('num_ues', _NUM_UES.value, int))
  files = _NUM_GROUPS.value, _DATA.value, _ALLOW_SILENT.value
  if _WEIGHTS.value is None:
    rows = evaluate_run(_WORKDIR.value, *measured_on, _STAGE.value, *files)
    out = _OUT.value or Path(_WORKDIR.value).resolve() / 'results.json'
  else:
    rows = evaluate_weights(_WEIGHTS.value, _FOLDER.value, *measured_on, *files)
    out = _OUT.value
  if out is not None:
    append_rows(out, [])  # told now if it cannot be written, not behind the first measurement
  table = Table('UEs', 'SNR dB', 'NMSE dB', '95 %', 'rho', 'SGCS', 'groups')
  for row in rows:
    low, high = row['nmse_ci95_db']
    table.add_row(
        str(row['num_ues']), f'{row["snr_db"]:g}', f'{row["nmse_db"]:.2f}',
        f'{low:.2f} .. {high:.2f}', f'{row["rho"]:.4f}', f'{row["sgcs"]:.4f}',
        str(row['num_samples']))
    if out is not None:
      append_rows(out, [row])
  Console().print(table)
  if out is not None:
    print(f'{table.row_count} rows appended to {out} ({jax.default_backend()})')


def _numbers(name: str, texts: list[str], to_number: type) -> list:
  try:
    return [to_number(text) for text in texts]
  except ValueError:
    raise InputError(f'--{name}={",".join(texts)}: expected numbers, e.g. --{name}=2,4.') from None


if __name__ == '__main__':
  run(main)
