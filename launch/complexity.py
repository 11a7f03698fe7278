"""Prints Table II: parameters and operations of RCA-MUNet.

  python -m launch.complexity
  python -m launch.complexity --num_ues=2,4,8 --compression_ratios=1/8,1/16
"""

import dataclasses

from absl import flags
from rich.console import Console
from rich.table import Table

from launch.main import run
from rca_jax.config import ExperimentConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.evaluation.complexity import count_complexity

_RATIOS = flags.DEFINE_list(
    'compression_ratios', ['1/4', '1/8', '1/16', '1/32'], 'Compression ratios.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2', '4'], 'UEs in a group.')


def main() -> None:
  table = Table(title='RCA-MUNet; operations to feed back one group')
  for name in ('CR', 'UEs', 'parameters', "FLOPs, the letter's count", 'multiply-accumulates'):
    table.add_column(name, justify='right')
  for ratio in _RATIOS.value:
    for num_ues in _NUM_UES.value:
      if not num_ues.isdecimal():
        raise InputError(f'--num_ues: {num_ues!r} is no number of UEs.')
      config = dataclasses.replace(
          ExperimentConfig(model=ModelConfig(compression_ratio=ratio)), num_ues=int(num_ues))
      found = count_complexity(config)
      table.add_row(ratio, num_ues, *(f'{count:,}' for count in found))
  Console().print(table)


if __name__ == '__main__':
  run(main)
