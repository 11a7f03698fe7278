"""Measures what is not trained, on the data of a config: linear code, sparse code, genie.

  python -m launch.references --config=configs/rca_munet.py:cr=1/16
  python -m launch.references --config=configs/rca_munet.py:cr=1/8 --methods=CDL-OP \
      --config.data.path=train.npz --config.data.test_path=test.npz --out=results.json
"""

import dataclasses

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.table import Table

from launch.main import experiment_config, run
from rca_jax.errors import InputError
from rca_jax.evaluation.references import REFERENCES, reference_rows
from rca_jax.evaluation.results import append_rows
from rca_jax.evaluation.run import Measurement

_CONFIG = config_flags.DEFINE_config_file('config', help_string='FILE[:VARIANT]')
_METHODS = flags.DEFINE_list('methods', list(REFERENCES), 'Which of them.')
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB; CDL-OP has none.')
_OUT = flags.DEFINE_string('out', '', 'Append the rows to this file.')


def main() -> None:
  config = experiment_config(_CONFIG)
  try:
    noisy = [Measurement(float(snr_db), config.num_ues) for snr_db in _SNR_DB.value]
  except ValueError:
    raise InputError(f'--snr_db={",".join(_SNR_DB.value)}: expected numbers.') from None
  noise_free = [Measurement(None, config.num_ues)]
  measured_at = {'PCA/KLT': noisy + noise_free, 'CDL-OP': noise_free, 'genie': noisy}
  table = Table('method', 'CR', 'SNR dB', 'NMSE dB', '95 %', 'samples')
  for method in _METHODS.value:
    rows = reference_rows(
        dataclasses.replace(config, method=method), measured_at.get(method, noisy))
    for row in rows:
      low, high = row['nmse_ci95_db']
      table.add_row(
          method, row['compression_ratio'],
          'noise-free' if row['snr_db'] is None else f'{row["snr_db"]:g}',
          f'{row["nmse_db"]:.2f}', f'{low:.2f} .. {high:.2f}', str(row['num_samples']))
    if _OUT.value:
      append_rows(_OUT.value, rows)
  Console().print(table)


if __name__ == '__main__':
  run(main)
