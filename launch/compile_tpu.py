"""Compiles the train step for TPU slices that are not there: OUT, one row a slice.

  pip install '.[tpu]'
  rca compile_tpu --config=rca_munet:cr=1/16 \\
      --config.model.dtype=bfloat16 --topology=v5e:2x2,v5e:16x16
  rca compile_tpu --config=rca_munet:cr=1/16 \\
      --config.model.dtype=bfloat16 --groups_per_chip=64    # weak scaling

Needs no TPU: libtpu compiles for slices by their name. Some minutes a slice. The global batch is
the config's, or --groups_per_chip times the chips.
"""

import dataclasses
import os

from absl import flags

from launch.main import count, define_config, experiment_config, run, say
from launch.table import define_format, print_table
from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_TOPOLOGY = flags.DEFINE_list(
    'topology', ['v5e:2x2', 'v5e:16x16', 'v5p:4x4x4', 'v6e:16x16'], 'CHIP:AxB[xC] each.')
_GROUPS_PER_CHIP = flags.DEFINE_integer(
    'groups_per_chip', None, 'Instead of the global batch of the config.', lower_bound=1)
_OUT = flags.DEFINE_string('out', None, 'JSON file that rows are added to.')
_FORMAT = define_format()


def main() -> None:
  import jax

  from rca_jax.evaluation.results import append_rows
  from rca_jax.report.tpu_cost import cost_table, parse_topology

  config = experiment_config(_CONFIG)
  for topology in _TOPOLOGY.value:
    parse_topology(topology)
  jax.config.update('jax_platforms', 'cpu')  # libtpu must not look for a TPU of this machine
  # Nor for a cloud around it, whose absence it would report.
  os.environ.update(
      TPU_SKIP_MDS_QUERY='1', TPU_ACCELERATOR_TYPE='v5litepod-4', TPU_WORKER_HOSTNAMES='localhost',
      TPU_WORKER_ID='0', ALLOW_MULTIPLE_LIBTPU_LOAD='1')
  say(f'compile_tpu: the train step of {config.method} for {", ".join(_TOPOLOGY.value)}; rows go '
      f'to {_OUT.value or "the screen only"}')
  rows = []
  with Bar('compile_tpu', len(_TOPOLOGY.value), 'slices', rate=False) as bar:
    for topology in _TOPOLOGY.value:
      bar.update(len(rows), doing=f'compiling for {topology}')
      rows.append(_row(topology, config))
      if _OUT.value:
        append_rows(_OUT.value, rows[-1:])
  print_table(*cost_table(rows), _FORMAT.value)
  say(f'done: {count(len(rows), "slice")}'
      + (f', rows written to {_OUT.value}' if _OUT.value else '; --out=FILE keeps the rows'))


def _row(topology: str, config: ExperimentConfig) -> dict:
  from jax.experimental import topologies

  from rca_jax.report.tpu_cost import chip_cost
  from rca_jax.training.program import compile_step

  try:
    devices = topologies.get_topology_desc(topology, platform='tpu').devices
  except RuntimeError as error:
    raise InputError(
        f'--topology={topology}: {str(error).splitlines()[0]} (libtpu comes with '
        "pip install 'rca_jax[tpu]').") from None
  groups_per_chip, batch_size = _GROUPS_PER_CHIP.value, config.training.batch_size
  if groups_per_chip:
    batch_size = groups_per_chip * len(devices)
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, batch_size=batch_size))
  return chip_cost(topology, compile_step(config, devices), batch_size)


if __name__ == '__main__':
  run(main)
