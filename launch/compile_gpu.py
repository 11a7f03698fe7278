"""Compiles the train step for a GPU that is not there: kernels and memory traffic of its parts.

  pip install '.[gpu_compile]'
  python -m launch.compile_gpu --config=configs/rca_munet.py:cr=1/16 --config.model.dtype=bfloat16

Needs no GPU: XLA compiles for one by its figures, without trying out which kernels are fastest, so
a real GPU may get other ones. A minute or two.
"""

import jax
from absl import flags
from jax.experimental import topologies
from ml_collections import config_flags

from launch.main import experiment_config, run
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows
from rca_jax.report.gpu_cost import GPUS, cost_table, gpu_cost, target
from rca_jax.training.program import compile_step

_CONFIG = config_flags.DEFINE_config_file('config', help_string='FILE[:VARIANT]')
_GPU = flags.DEFINE_enum('gpu', 'h100', list(GPUS), 'What to compile for.')
_STEPS = 100  # of one call, so that what comes before and after them hardly counts
_OUT = flags.DEFINE_string('out', None, 'JSON file that the row is added to.')


def main() -> None:
  config = experiment_config(_CONFIG)
  jax.config.update('jax_platforms', 'cpu')  # CUDA must not look for a GPU of this machine
  jax.config.update('jax_enable_compilation_cache', False)  # it cannot load what no GPU made
  try:
    devices = topologies.get_topology_desc(
        _GPU.value, 'cuda', target_config=target(_GPU.value), topology='1x1x1').devices
  except RuntimeError as error:
    raise InputError(
        f'--gpu={_GPU.value}: {str(error).splitlines()[0]} (the compiler comes with '
        "pip install 'rca_jax[gpu_compile]').") from None
  compiled = compile_step(config, devices, _STEPS)
  row = gpu_cost(_GPU.value, compiled, _STEPS, config)
  if _OUT.value:
    append_rows(_OUT.value, [row])
  print(cost_table(row))


if __name__ == '__main__':
  run(main)
