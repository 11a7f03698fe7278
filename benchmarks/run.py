"""Speed of this machine, as one table and one JSON file.

  python -m benchmarks.run              # one CPU core
  python -m benchmarks.run --cores=0    # everything there is: all cores, or the accelerator
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
from typing import Any

RESULTS = pathlib.Path(__file__).parent / 'results'
BATCH_SIZES = (16, 64, 256)


def main() -> None:
  args = _parse_arguments()
  _use_cores(args.cores)
  # Only now: XLA looks at the cores it may use when jax starts.
  rows = list(_measure(args.batch_size))
  results = {'machine': _describe_machine(args.cores), 'rows': rows}
  _print_table(results)
  RESULTS.mkdir(exist_ok=True)
  name = re.sub(r'[^a-z0-9]+', '-', results['machine']['device'].lower()).strip('-')
  path = RESULTS / f'{name}.json'
  path.write_text(json.dumps(results, indent=2) + '\n')
  print(f'written to {os.path.relpath(path)}')


def _parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description='Speed of this machine.')
  parser.add_argument('--cores', type=int, default=1, help='CPU cores to use; 0: no limit')
  parser.add_argument(
      '--batch_size', type=int, default=16, help='groups in a train step (training itself: 256)')
  return parser.parse_args()


def _use_cores(num_cores: int) -> None:
  if not num_cores:
    return
  if not hasattr(os, 'sched_setaffinity'):
    sys.exit('error: this system cannot bind a program to cores; use --cores=0.')
  os.environ['JAX_PLATFORMS'] = 'cpu'
  free = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, free[-num_cores:])


def _measure(batch_size: int) -> Any:
  import jax

  from benchmarks import cases
  from configs import rca_munet
  from rca_jax.config import CsiConfig, ExperimentConfig, from_dict

  on_cpu = jax.default_backend() == 'cpu'
  yield cases.matmul_peak(2048 if on_cpu else 8192, 'float32')
  if not on_cpu:
    yield cases.matmul_peak(8192, 'bfloat16')
  yield from cases.generator(CsiConfig(), BATCH_SIZES)
  yield from cases.generator(CsiConfig(mode='fresh'), BATCH_SIZES[1:2])
  for name, variant in (('full size', ''), ('small', 'small')):
    config = rca_munet.get_config(variant)
    config.training.batch_size = batch_size
    yield cases.train_step(name, from_dict(ExperimentConfig, config.to_dict()))


def _describe_machine(num_cores: int) -> dict[str, str]:
  import flax
  import jax
  import jaxlib

  device = jax.devices()[0].device_kind
  if jax.default_backend() == 'cpu':
    device = f'{_cpu_model()}, {num_cores or os.cpu_count()} of {os.cpu_count()} cores'
  commit = subprocess.run(
      ['git', 'describe', '--always', '--dirty', '--exclude=*'], capture_output=True, text=True,
      check=False)
  return {
      'device': device,
      'python': platform.python_version(),
      'jax': jax.__version__,
      'jaxlib': jaxlib.__version__,
      'flax': flax.__version__,
      'commit': commit.stdout.strip(),
      'command': ' '.join(['python -m benchmarks.run', *sys.argv[1:]]),
  }


def _cpu_model() -> str:
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  found = re.search(r'model name\s*: (.*)', cpuinfo.read_text()) if cpuinfo.exists() else None
  return found[1] if found else platform.processor() or platform.machine()


def _print_table(results: dict[str, Any]) -> None:
  from rich.console import Console
  from rich.table import Table

  machine = results['machine']
  table = Table(title=f'{machine["device"]}, jax {machine["jax"]}')
  table.add_column('case', no_wrap=True)
  for name in ('groups', 'ms', 'groups/s', 'GFLOP/s', '% of matmul'):
    table.add_column(name, justify='right')
  peak = max(row['flops_per_s'] for row in results['rows'] if not row['groups'])
  for row in results['rows']:
    rate = row['flops_per_s']
    table.add_row(
        row['case'], f'{row["groups"]}' if row['groups'] else '-', f'{1e3 * row["seconds"]:.1f}',
        f'{row["groups_per_s"]:.0f}' if row['groups'] else '-',
        f'{rate / 1e9:.1f}' if rate else '-', f'{100 * rate / peak:.0f}' if rate else '-')
  Console().print(table)


if __name__ == '__main__':
  main()
