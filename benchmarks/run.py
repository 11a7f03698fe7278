"""Speed of this machine, beside the same network in PyTorch, as one table and one JSON file.

  python -m benchmarks.run              # one CPU core
  python -m benchmarks.run --cores=0    # everything there is: all cores, or the accelerator

Needs the `bench` extra (`make bench` installs it). Ours and PyTorch's calls take turns.
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

RESULTS = pathlib.Path(__file__).parent / 'results'
BATCH_SIZES = (16, 64, 256)


def main() -> None:
  args = _parse_arguments()
  _use_cores(args.cores)
  # Only now: XLA looks at the cores it may use when jax starts.
  rows, start = [], time.monotonic()
  for row in _measure(args.cores, args.batch_size):
    print(f'[{time.monotonic() - start:4.0f} s] {row["case"]}, {row["groups"]} groups', flush=True)
    rows.append(row)
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
  os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'  # compiling is one of the figures
  os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'  # PyTorch needs some of the memory
  if not num_cores:
    return
  if not hasattr(os, 'sched_setaffinity'):
    sys.exit('error: this system cannot bind a program to cores; use --cores=0.')
  os.environ |= {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}  # PyTorch's too
  free = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, free[-num_cores:])


def _measure(num_cores: int, batch_size: int) -> Iterator[dict[str, Any]]:
  import jax
  import torch

  from benchmarks import cases
  from rca_jax.config import CsiConfig

  torch.set_num_threads(num_cores or os.cpu_count())
  on_cpu = jax.default_backend() == 'cpu'
  config = functools.partial(_config, 'float32' if on_cpu else 'bfloat16')
  yield cases.matmul_peak(2048 if on_cpu else 8192, 'float32')
  if not on_cpu:
    yield cases.matmul_peak(8192, 'bfloat16')
  yield from cases.generator(CsiConfig(), BATCH_SIZES)
  yield from cases.generator(CsiConfig(mode='fresh'), BATCH_SIZES[1:2])
  yield cases.train_step_beside_peer('full size', config('', batch_size))
  yield cases.train_step_beside_peer('small', config('small', batch_size))
  for factor in (1, 4):
    yield cases.train_step('full size, CSI generated', config('', factor * batch_size))
  for num_devices in range(2, len(jax.devices()) + 1, 2):
    yield cases.train_step(
        f'full size, {num_devices} devices', config('', batch_size * num_devices), num_devices)
  yield from cases.inference_beside_peer(config('', batch_size), 4 * batch_size)
  yield from cases.decoder_by_ues(config('', batch_size), (2, 4, 8, 16))


def _config(dtype: str, variant: str, batch_size: int) -> Any:
  from configs import rca_munet
  from rca_jax.config import ExperimentConfig, from_dict

  config = rca_munet.get_config(variant)
  config.training.batch_size = batch_size
  config.model.dtype = dtype
  config.training.pretrain.optimizer.name = 'adam'  # of both sizes, as the peer's
  return from_dict(ExperimentConfig, config.to_dict())


def _describe_machine(num_cores: int) -> dict[str, str]:
  import flax
  import jax
  import jaxlib
  import torch

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
      'torch': torch.__version__,
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
  table = Table(title=f'{machine["device"]}, jax {machine["jax"]}, torch {machine["torch"]}')
  table.add_column('case', no_wrap=True)
  for name in ('groups', 'ms', 'p99', 'groups/s', 'GFLOP/s', '% of matmul', 'PyTorch ms', 'p99',
               'speed to PyTorch', 'compile s', 'MiB'):
    table.add_column(name, justify='right')
  peak = max(row['flops_per_s'] for row in results['rows'] if not row['groups'])
  for row in results['rows']:
    rate = row['flops_per_s']
    table.add_row(
        row['case'], _number(row['groups']), _number(row['seconds'], 1e3, 2),
        _number(row.get('p99_seconds'), 1e3, 2), _number(row['groups_per_s']),
        _number(rate, 1e-9, 1), _number(rate, 100 / peak), _number(row.get('peer_seconds'), 1e3, 2),
        _number(row.get('peer_p99_seconds'), 1e3, 2), _number(row.get('speed_to_peer'), 1, 2),
        _number(row.get('compile_seconds'), 1, 1), _number(row.get('memory_bytes'), 2**-20))
  Console(width=150).print(table)


def _number(value: float | None, factor: float = 1, digits: int = 0) -> str:
  return f'{factor * value:.{digits}f}' if value else '-'


if __name__ == '__main__':
  main()
