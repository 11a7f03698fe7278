"""Speed of this machine, beside the same network in PyTorch, as one table and one JSON file.

  python -m benchmarks.run              # one CPU core
  python -m benchmarks.run --cores=0    # all of them
  python -m benchmarks.run --device     # the accelerator

Needs the `bench` extra (`make bench` installs it). Ours and PyTorch's calls take turns. Every row
is written as it is measured; --only measures a part, and what it gives takes the place of the same
rows in the file if the machine and the versions are still the same.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

RESULTS = pathlib.Path(__file__).parent / 'results'
BATCH_SIZES = (16, 64, 256)  # of the generator


def main() -> int:
  args = _parse_arguments()
  _use_cores(0 if args.device else args.cores, args.device)
  # Only now: XLA looks at the cores it may use when jax starts.
  machine, parts = _describe_machine(args), _parts(args)
  only = args.only.split(',') if args.only else list(parts)
  if unknown := set(only) - set(parts):
    sys.exit(f'error: --only={unknown.pop()}: unknown; choose of {", ".join(parts)}.')
  name = re.sub(r'[^a-z0-9]+', '-', machine['device'].lower()).strip('-')
  path = pathlib.Path(args.out or RESULTS / f'{name}.json')
  path.parent.mkdir(parents=True, exist_ok=True)
  rows, start, failed = _rows_so_far(path, machine, args.only), time.monotonic(), 0
  for part in only:
    try:
      for row in parts[part]():
        label = row['case'], row['groups']
        print(f'[{time.monotonic() - start:4.0f} s] {label[0]}, {label[1]} groups', flush=True)
        rows[label] = row
        path.write_text(json.dumps({'machine': machine, 'rows': [*rows.values()]}, indent=2) + '\n')
    except Exception as error:  # the other parts are measured all the same
      failed += 1
      print(f'{part} failed: {type(error).__name__}: {error}', file=sys.stderr, flush=True)
  if rows:
    _print_table(machine, [*rows.values()])
    print(f'written to {os.path.relpath(path)}')
  return 1 if failed else 0


def _parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description='Speed of this machine.')
  parser.add_argument('--cores', type=int, default=1, help='CPU cores to use; 0: no limit')
  parser.add_argument('--device', action='store_true', help='use the accelerator')
  parser.add_argument(
      '--batch_size', type=int, default=None,
      help='groups in a train step; default 16, with --device 256 as training has')
  parser.add_argument('--only', default='', help='parts to measure, with commas; default all')
  parser.add_argument('--out', default='', help='JSON file; default benchmarks/results/DEVICE.json')
  return parser.parse_args()


def _use_cores(num_cores: int, with_device: bool) -> None:
  os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'  # compiling is one of the figures
  os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'  # PyTorch needs some of the memory
  if not with_device:
    os.environ |= {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}  # PyTorch's too
  if not num_cores:
    return
  if not hasattr(os, 'sched_setaffinity'):
    sys.exit('error: this system cannot bind a program to cores; use --cores=0.')
  free = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, free[-num_cores:])


def _rows_so_far(
    path: pathlib.Path, machine: dict[str, str], only: str) -> dict[tuple[str, int], Any]:
  """Of the same machine and versions, by what was measured; a part replaces no other rows."""
  results = json.loads(path.read_text()) if path.exists() else {'machine': {}}
  same = all(results['machine'].get(name) == machine[name] for name in machine if name != 'command')
  if path.exists() and not same and only:
    sys.exit(f'error: {path} has rows of another machine, version or commit; give another --out.')
  return {(row['case'], row['groups']): row for row in results['rows']} if same else {}


def _parts(args: argparse.Namespace) -> dict[str, Callable[[], Iterable[dict[str, Any]]]]:
  """What can be measured; what matters most comes first."""
  import jax
  import torch

  from benchmarks import cases
  from rca_jax.config import CsiConfig

  torch.set_num_threads((not args.device and args.cores) or os.cpu_count())
  on_cpu = jax.default_backend() == 'cpu'
  if on_cpu == args.device:
    sys.exit('error: --device: JAX finds no accelerator on this machine.')
  batch_size = args.batch_size or (16 if on_cpu else 256)
  config = functools.partial(_config, 'float32' if on_cpu else 'bfloat16')
  peaks = [(2048, 'float32')] if on_cpu else [(8192, 'float32'), (8192, 'bfloat16')]
  return {
      'matmul': lambda: (cases.matmul_peak(*peak) for peak in peaks),
      'train_step': lambda: (
          cases.train_step_beside_peer(name or 'full size', config(name, batch_size))
          for name in ('', 'small')),
      'train_step_generated': lambda: (
          cases.train_step('full size, CSI generated', config('', factor * batch_size))
          for factor in (1, 4)),
      'generator': lambda: cases.generator(CsiConfig(), BATCH_SIZES),
      'generator_fresh': lambda: cases.generator(CsiConfig(mode='fresh'), BATCH_SIZES[1:2]),
      'inference': lambda: cases.inference_beside_peer(config('', batch_size), 4 * batch_size),
      'ues': lambda: cases.decoder_by_ues(config('', batch_size), (2, 4, 8, 16)),
      'devices': lambda: (
          cases.train_step(
              f'full size, {number} devices', config('', batch_size * number), number)
          for number in range(2, len(jax.devices()) + 1, 2)),
  }


def _config(dtype: str, variant: str, batch_size: int) -> Any:
  from configs import rca_munet
  from rca_jax.config import ExperimentConfig, from_dict

  config = rca_munet.get_config(variant)
  config.training.batch_size = batch_size
  config.model.dtype = dtype
  config.training.pretrain.optimizer.name = 'adam'  # of both sizes, as the peer's
  return from_dict(ExperimentConfig, config.to_dict())


def _describe_machine(args: argparse.Namespace) -> dict[str, str]:
  import flax
  import jax
  import jaxlib
  import torch

  from rca_jax.evaluation.results import current_commit

  device = jax.devices()[0].device_kind
  if jax.default_backend() == 'cpu':
    device = f'{_cpu_model()}, {args.cores or os.cpu_count()} of {os.cpu_count()} cores'
  return {
      'device': device,
      'python': platform.python_version(),
      'jax': jax.__version__,
      'jaxlib': jaxlib.__version__,
      'flax': flax.__version__,
      'torch': torch.__version__,
      'commit': current_commit(),
      'command': ' '.join(['python -m benchmarks.run', *sys.argv[1:]]),
  }


def _cpu_model() -> str:
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  found = re.search(r'model name\s*: (.*)', cpuinfo.read_text()) if cpuinfo.exists() else None
  return found[1] if found else platform.processor() or platform.machine()


def _print_table(machine: dict[str, str], rows: list[dict[str, Any]]) -> None:
  from rich.console import Console
  from rich.table import Table

  table = Table(title=f'{machine["device"]}, jax {machine["jax"]}, torch {machine["torch"]}')
  table.add_column('case', no_wrap=True)
  for name in ('groups', 'ms', 'p99', 'groups/s', 'GFLOP/s', '% of matmul', 'PyTorch ms', 'p99',
               'speed to PyTorch', 'compile s', 'MiB'):
    table.add_column(name, justify='right')
  peak = max((row['flops_per_s'] for row in rows if not row['groups']), default=math.inf)
  for row in rows:
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
  sys.exit(main())
