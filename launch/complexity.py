"""Prints Table II: parameters and operations of the trained methods.

  python -m launch.complexity
  python -m launch.complexity --methods=RCA-MUNet --num_ues=2,4,8 --compression_ratios=1/8,1/16
"""

from absl import flags
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from configs import rca_munet
from launch.main import run
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError
from rca_jax.evaluation.complexity import count_complexity

_METHODS = flags.DEFINE_list('methods', list(rca_munet.METHODS), 'Trained methods.')
_RATIOS = flags.DEFINE_list('compression_ratios', ['1/8'], 'Compression ratios.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2', '4'], 'UEs in a group.')


def main() -> None:
  table = Table(title='What one group costs, by the count of Table II and in MACs', box=SIMPLE)
  for name in ('method', 'CR', 'UEs', 'parameters', 'paper FLOPs', 'of a UE', 'MACs'):
    table.add_column(name, justify='left' if name == 'method' else 'right', no_wrap=True)
  for method in _METHODS.value:
    for ratio in _RATIOS.value:
      for num_ues in _NUM_UES.value:
        if not num_ues.isdecimal():
          raise InputError(f'--num_ues: {num_ues!r} is no number of UEs.')
        config = from_dict(ExperimentConfig, rca_munet.get_config(
            f'method={method},cr={ratio},users={num_ues}').to_dict())
        parameters, flops, macs = count_complexity(config)
        counts = (parameters, flops, flops // int(num_ues), macs)
        table.add_row(method, ratio, num_ues, *(f'{count:,}' for count in counts))
  Console().print(table)


if __name__ == '__main__':
  run(main)
