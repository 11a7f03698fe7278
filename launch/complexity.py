"""Prints Table II: parameters and operations of the trained methods.

  python -m launch.complexity
  python -m launch.complexity --methods=RCA-MUNet --num_ues=2,4,8 --compression_ratios=1/8,1/16

Operations are those of one group: the paper's FLOPs by the count of Table II, in all and for one
UE, and all multiply-accumulates (MACs).
"""

import itertools

from absl import flags

from configs import rca_munet
from launch.main import run
from launch.table import define_format, print_table
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_METHODS = flags.DEFINE_list('methods', list(rca_munet.METHODS), 'Trained methods.')
_RATIOS = flags.DEFINE_list('compression_ratios', ['1/8'], 'Compression ratios.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2', '4'], 'Numbers of UEs in a group.')
_FORMAT = define_format()
_HEAD = {'method': '', 'CR': '', 'UEs': 'd', 'parameters': ',d', 'paper FLOPs': ',d',
         'of a UE': ',d', 'MACs': ',d'}


def main() -> None:
  configs = [_config(*cell) for cell in itertools.product(
      _METHODS.value, _RATIOS.value, _NUM_UES.value)]  # before what takes a second to import

  from rca_jax.evaluation.complexity import count_complexity

  rows = []
  with Bar('complexity', len(configs), 'networks', doing='counting', rate=False) as bar:
    for config in configs:
      parameters, flops, macs = count_complexity(config)
      rows.append([
          config.method, config.model.compression_ratio, config.num_ues, parameters, flops,
          flops // config.num_ues, macs])
      bar.update(len(rows))
  print_table(_HEAD, rows, _FORMAT.value)


def _config(method: str, ratio: str, num_ues: str) -> ExperimentConfig:
  if not num_ues.isdecimal():
    raise InputError(f'--num_ues: {num_ues!r} is no number of UEs.')
  return from_dict(ExperimentConfig, rca_munet.get_config(
      f'method={method},cr={ratio},users={num_ues}').to_dict())


if __name__ == '__main__':
  run(main)
