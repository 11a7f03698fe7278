"""Measures a trained network on test groups: a run, or published weights.

  rca evaluate --workdir=runs/small --snr_db=0,10,20 --num_ues=2,3,4
  rca evaluate --workdir=runs/any_cr --snr_db=0,10,20 --num_symbols=64,32,16
  rca evaluate --weights=rca_munet_cr16 --snr_db=0,10,20 --data=test.npz
  rca evaluate --weights=rca_munet_cr16 --data=H.npz --array=H \\
      --axes=group,ue,antenna,subcarrier

Rows go to WORKDIR/results.json, or --out, as they are measured; a row of the same measurement is
replaced. Reads checkpoints only,
so it may run beside the training. With --stage=finetune each SNR is measured with the weights that
were fine-tuned at it.
"""

from pathlib import Path

from absl import flags

from launch.layout import define_layout
from launch.main import count, devices, only_with, run, say, warn_of_length
from launch.table import define_format, print_table
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run of `rca train`.')
_WEIGHTS = flags.DEFINE_string(
    'weights', None, 'Instead of --workdir: the name of weights that `rca export` wrote.')
_FOLDER = flags.DEFINE_string(
    'folder', None, 'Where these weights are; default: those of the package.')
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB.')
_NUM_UES = flags.DEFINE_list('num_ues', [], 'Numbers of UEs; default: those of the training.')
_NUM_SYMBOLS = flags.DEFINE_list(
    'num_symbols', ['0'], 'Of a report only the first symbols are sent: how many; 0: all.')
_STAGE = flags.DEFINE_enum('stage', 'pretrain', ['pretrain', 'finetune'], 'Whose weights.')
_NUM_GROUPS = flags.DEFINE_integer(
    'num_groups', None, 'At most so many test groups; default data.num_test_groups.', lower_bound=1)
_DATA = flags.DEFINE_string(
    'data', '', 'Test on this data set folder or file (docs/data.md) instead.')
_ALLOW_SILENT = flags.DEFINE_bool(
    'allow_silent', False, 'Mask test UEs without power, as data.allow_silent does.')
_LAYOUT = define_layout()
_OUT = flags.DEFINE_string(
    'out', None, 'File that rows go to; default WORKDIR/results.json, none for weights.')
_FORMAT = define_format()
_HEAD = {'UEs': 'd', 'symbols': 'd', 'SNR dB': 'g', 'NMSE dB': '.2f', '95 % from': '.2f',
         'to': '.2f', 'rho': '.4f', 'SGCS': '.4f', 'subband SGCS': '.4f', 'beam gain': '.4f',
         'groups': 'd'}


def main() -> None:
  from rca_jax.training.workdir import read_config

  # First what needs no JAX, which takes a second to import.
  if (_WORKDIR.value is None) == (_WEIGHTS.value is None):
    raise InputError('give --workdir=FOLDER of a run or --weights=NAME, one of them.')
  only_with(_FOLDER, _WEIGHTS.value is not None, '--weights')
  only_with(_STAGE, _WORKDIR.value is not None, '--workdir')
  snrs_db = _numbers('snr_db', _SNR_DB.value, float)
  nums_ues = _numbers('num_ues', _NUM_UES.value, int)
  nums_symbols = _numbers('num_symbols', _NUM_SYMBOLS.value, int)
  config = None if _WORKDIR.value is None else read_config(_WORKDIR.value)

  from rca_jax.evaluation.results import SHARES, append_rows
  from rca_jax.evaluation.rows import test_data, trained_ues
  from rca_jax.evaluation.run import evaluate_run, evaluate_weights
  from rca_jax.training.pretrained import WEIGHTS, load_pretrained

  files = _NUM_GROUPS.value, _DATA.value, _ALLOW_SILENT.value, _LAYOUT(), nums_symbols
  if config is not None:
    what, out = _WORKDIR.value, _OUT.value or Path(_WORKDIR.value) / 'results.json'
    rows = evaluate_run(what, snrs_db, nums_ues, _STAGE.value, *files)
  else:
    what, out, folder = _WEIGHTS.value, _OUT.value, _FOLDER.value or WEIGHTS
    config = load_pretrained(what, folder).config
    rows = evaluate_weights(what, folder, snrs_db, nums_ues, *files)
  if out is not None:
    append_rows(out, [])  # refused here if it cannot be written, not after the first measurement
  nums_ues = nums_ues or trained_ues(config)
  total = len(nums_ues) * len(nums_symbols) * len(snrs_db)
  for num_symbols in nums_symbols:
    warn_of_length(config, num_symbols)
  say(f'evaluate: {config.method} of {what}, {count(total, "measurement")} on '
      f'{test_data(config, _DATA.value).name}, {devices()}; rows go to {out or "the screen only"}')
  measured = []
  try:
    with Bar('evaluate', total, 'rows', doing='compiling and measuring', rate=False) as bar:
      for row in rows:
        if out is not None:
          append_rows(out, [row])
        measured.append([
            row['num_ues'], row['overhead'], row['snr_db'], row['nmse_db'], *row['nmse_ci95_db'],
            *(row[name] for name in SHARES), row['num_samples']])
        bar.update(len(measured), doing='measuring')
  finally:  # what was measured is shown, whatever ended it
    if measured:
      print_table(_HEAD, measured, _FORMAT.value)
  if out is None:
    say('done; --out=FILE keeps the rows.')
  else:
    say(f'done: {count(total, "row")} written to {out}; tables and figures of them: '
        f'rca report {out if _OUT.value else _WORKDIR.value}')


def _numbers(name: str, texts: list[str], to_number: type) -> list:
  try:
    return [to_number(text) for text in texts]
  except ValueError:
    raise InputError(f'--{name}={",".join(texts)}: expected numbers, e.g. --{name}=2,4.') from None


if __name__ == '__main__':
  run(main, stopped='stopped; the rows so far are kept')
