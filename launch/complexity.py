"""Prints Table II: parameters and operations of the trained methods.

  rca complexity
  rca complexity --methods=RCA-MUNet --num_ues=2,4,8 --compression_ratios=1/8,1/16
  rca complexity --compression_ratios=1/16 --num_ues=8 --steps
  rca complexity --compression_ratios=1/16 --site_map=site.map

Operations are those of one group: the paper's FLOPs by the count of Table II, in all and for one
UE, and all multiply-accumulates (MACs). With --steps: what each step of a report costs one UE or
the BS, in real multiplications and bytes, of RCA-MUNet's encoder and decoder, joint Bayes, and the
code of a site map if there is one; of the first --num_ues.
"""

import itertools
from pathlib import Path

from absl import flags

from configs import rca_munet
from launch.main import only_with, run
from launch.table import define_format, print_table
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_METHODS = flags.DEFINE_list('methods', list(rca_munet.METHODS), 'Trained methods.')
_RATIOS = flags.DEFINE_list('compression_ratios', ['1/8'], 'Compression ratios.')
_NUM_UES = flags.DEFINE_list('num_ues', ['2', '4'], 'Numbers of UEs in a group.')
_SITE_MAP = flags.DEFINE_string('site_map', '', 'File of `rca map`, whose code is counted.')
_STEPS = flags.DEFINE_bool('steps', False, 'Count the steps of a report; a site map implies it.')
_FORMAT = define_format()
_HEAD = {'method': '', 'CR': '', 'UEs': 'd', 'parameters': ',d', 'paper FLOPs': ',d',
         'of a UE': ',d', 'MACs': ',d'}
_STEPS_HEAD = {'step': '', 'side': '', 'CR': '', 'MACs': ',d', 'bytes': ',d'}
_SNR_DB = 10.0  # at which the label's length is


def main() -> None:
  is_of_steps = bool(_SITE_MAP.value or _STEPS.value)
  only_with(_METHODS, not is_of_steps, 'whole networks, neither --steps nor --site_map')
  if is_of_steps:
    _print_steps()
    return
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


def _print_steps() -> None:
  configs = [_config('RCA-MUNet', ratio, num_ues) for ratio, num_ues in itertools.product(
      _RATIOS.value, _NUM_UES.value[:1])]

  from rca_jax.bayes.site_map import load_map
  from rca_jax.evaluation.complexity import joint_bayes_steps, network_steps, site_map_steps

  rows = []
  for config in configs:
    steps = network_steps(config) + joint_bayes_steps(config)
    if _SITE_MAP.value:
      steps += site_map_steps(config, load_map(Path(_SITE_MAP.value), config.csi), _SNR_DB)
    rows += [
        [step.name, step.side, config.model.compression_ratio, step.macs, step.num_bytes]
        for step in steps]
  print_table(_STEPS_HEAD, rows, _FORMAT.value)


def _config(method: str, ratio: str, num_ues: str) -> ExperimentConfig:
  if not num_ues.isdecimal():
    raise InputError(f'--num_ues: {num_ues!r} is no number of UEs.')
  return from_dict(ExperimentConfig, rca_munet.get_config(
      f'method={method},cr={ratio},users={num_ues}').to_dict())


if __name__ == '__main__':
  run(main)
