"""Measures a trained network on test groups: a run, or published weights.

  python -m launch.evaluate --workdir=runs/small --snr_db=0,10,20 --num_ues=2,3,4
  python -m launch.evaluate --weights=rca_munet_cr16 --snr_db=0,10,20 --data=test.npz

Rows are appended to WORKDIR/results.json, or --out. Reads checkpoints only, so it may run beside
the training. With --stage=finetune each SNR is measured with the weights that were fine-tuned at
it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import rich.console
import rich.table
from absl import flags

from launch.main import run
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows
from rca_jax.evaluation.run import Measurement, evaluate_run, measure_weights
from rca_jax.training.pretrained import WEIGHTS, load_pretrained

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a launch.train run; or:')
_WEIGHTS = flags.DEFINE_string('weights', None, 'Name of weights that launch.export wrote.')
_FOLDER = flags.DEFINE_string('folder', str(WEIGHTS), 'Where these weights are.')
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2'], 'Numbers of UEs.')
_STAGE = flags.DEFINE_enum('stage', 'pretrain', ['pretrain', 'finetune'], 'Whose weights.')
_NUM_GROUPS = flags.DEFINE_integer(
    'num_groups', None, 'At most so many test groups; default data.num_test_groups.', lower_bound=1)
_DATA = flags.DEFINE_string('data', '', 'Test on this npz or data set folder instead.')
_ALLOW_SILENT = flags.DEFINE_bool(
    'allow_silent', False, 'Mask test UEs without power, as data.allow_silent does.')
_OUT = flags.DEFINE_string('out', None, 'Append rows here; default WORKDIR/results.json, if any.')


def main() -> None:
  if (_WORKDIR.value is None) == (_WEIGHTS.value is None):
    raise InputError('give --workdir=FOLDER of a run or --weights=NAME, one of them.')
  out = _OUT.value
  if out is None and _WORKDIR.value is not None:
    out = Path(_WORKDIR.value).resolve() / 'results.json'
  rows = []
  table = rich.table.Table('UEs', 'SNR dB', 'NMSE dB', '95 %', 'rho', 'SGCS', 'groups')
  for row in _measured():
    low, high = row['nmse_ci95_db']
    table.add_row(
        str(row['num_ues']), f'{row["snr_db"]:g}', f'{row["nmse_db"]:.2f}',
        f'{low:.2f} .. {high:.2f}', f'{row["rho"]:.4f}', f'{row["sgcs"]:.4f}',
        str(row['num_samples']))
    rows.append(row)
  rich.console.Console().print(table)
  if out is not None:
    append_rows(out, rows)
    print(f'{len(rows)} rows appended to {out} ({jax.default_backend()})')


def _measured() -> Iterator[dict[str, Any]]:
  snrs_db = _numbers('snr_db', _SNR_DB.value, float)
  nums_ues = _numbers('num_ues', _NUM_UES.value, int)
  if _WEIGHTS.value is None:
    return evaluate_run(
        _WORKDIR.value, snrs_db, nums_ues, _STAGE.value, _NUM_GROUPS.value, _DATA.value,
        _ALLOW_SILENT.value)
  config, _, params, stage, steps = load_pretrained(_WEIGHTS.value, _FOLDER.value)
  measurements = [Measurement(snr_db, num_ues, stage) for num_ues in nums_ues for snr_db in snrs_db]
  return measure_weights(
      config, {stage: (params, steps)}, measurements, _NUM_GROUPS.value, _DATA.value,
      _ALLOW_SILENT.value)


def _numbers(name: str, texts: list[str], to_number: type) -> list:
  try:
    return [to_number(text) for text in texts]
  except ValueError:
    raise InputError(f'--{name}={",".join(texts)}: expected numbers, e.g. --{name}=2,4.') from None


if __name__ == '__main__':
  run(main)
