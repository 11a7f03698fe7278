"""What one compiled train step asks of a GPU: its kernels, and the memory they read and write."""

import collections
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.evaluation.results import current_commit
from rca_jax.report.hlo import array_bytes


class Gpu(NamedTuple):
  """Published figures of a GPU (NVIDIA, data sheets of H100 SXM and H200 SXM)."""

  name: str  # as CUDA gives it
  memory_bytes: float
  memory_bytes_per_s: float


GPUS = {
    'h100': Gpu('NVIDIA H100 80GB HBM3', 80e9, 3350e9),
    'h200': Gpu('NVIDIA H200', 141e9, 4800e9),
}
# What XLA asks to know of a GPU that is not there; H100 and H200 are the same chip.
_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 l2_cache_size: 52428800
  memory_bandwidth: {bytes_per_s:.0f} device_memory_size: {bytes:.0f}
  cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 }}
device_description_str: "{name}"
"""
_KERNEL_S = 2e-6  # from the start of one kernel to the next, if it does next to nothing
_COMPUTATION = re.compile(r'(?P<entry>ENTRY )?%(?P<name>[\w.\-]+) \(.*\) -> .*\{')
_INSTRUCTION = re.compile(
    r'(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<type>.*?) (?P<op>[a-z][\w\-]*)\((?P<operands>.*?)\)(,|$)')
_NO_KERNEL = {
    'parameter', 'constant', 'get-tuple-element', 'tuple', 'bitcast', 'after-all', 'partition-id'}


class Kernel(NamedTuple):
  part: str  # of the train step
  bytes: int  # of its operands and results


def target(name: str) -> str:
  """The GPU as `topologies.get_topology_desc(target_config=)` wants it.

  Raises:
    InputError: no figures of it are known.
  """
  if name not in GPUS:
    raise InputError(f'GPU {name!r} is unknown; choose of {", ".join(GPUS)}.')
  gpu = GPUS[name]
  return _TARGET.format(
      name=gpu.name, bytes=gpu.memory_bytes, bytes_per_s=gpu.memory_bytes_per_s)


def kernels(hlo: str) -> list[Kernel]:
  """The kernels that a program compiled by XLA for GPUs starts, in their order, by its text."""
  computations, entry, current = {}, '', []
  for line in map(str.strip, hlo.splitlines()):
    if head := _COMPUTATION.fullmatch(line):
      current = computations[head['name']] = []
      entry = head['name'] if head['entry'] else entry
    elif instruction := _INSTRUCTION.match(line):
      current.append((instruction, line))
  return list(_kernels_of(entry, computations))


def _kernels_of(name: str, computations: dict[str, list]) -> Iterator[Kernel]:
  sizes = {}
  for instruction, line in computations[name]:
    size = sizes[instruction['name']] = array_bytes(instruction['type'])
    operation = instruction['op']
    if operation == 'while':
      times = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
      body = re.search(r'body=%([\w.\-]+)', line)[1]
      yield from [*_kernels_of(body, computations)] * int(times[1] if times else 1)
    elif operation not in _NO_KERNEL:
      operands = set(re.findall(r'%([\w.\-]+)', instruction['operands']))
      path = re.search(r'op_name="([^"]*)"', line)
      yield Kernel(
          _part(path[1] if path else ''), size + sum(sizes.get(name, 0) for name in operands))


def _part(path: str) -> str:
  """The part of a train step that an operation belongs to, by its names from the outside in."""
  scopes = path.split('/')
  for part in ('csi', 'optimizer'):
    if part in scopes:
      return part
  way = ', backward' if 'transpose(' in path else ', forward'
  if 'attention' in scopes:
    inside = scopes[scopes.index('attention') + 1:]
    projection = {'query', 'key', 'value', 'out'} & set(inside)
    return ('projections' if projection else 'attention scores') + way
  if any(scope.endswith('_norm') for scope in scopes):
    return 'LayerNorms' + way
  if any(scope.startswith('mlp') for scope in scopes):
    return 'MLP' + way
  return 'the rest'


def gpu_cost(
    gpu: str, compiled: jax.stages.Compiled, num_steps: int,
    config: ExperimentConfig) -> dict[str, Any]:
  """One row: a train step by its parts, as the mean of a program of `num_steps`.

  A kernel is taken to last as long as its operands and results take to come from memory and go
  there, and at least 2 us: an estimate, no measurement. It leaves out that the L2 cache keeps
  some of them, and the time of operations, which is less (the paper's network: an eighth).

  Args:
    gpu: of `GPUS`, what `compiled` was compiled for.
    config: of the step.
  """
  found = kernels(compiled.as_text())
  parts = collections.defaultdict(lambda: {'kernels': 0.0, 'bytes': 0.0, 'seconds': 0.0})
  for kernel in found:
    part = parts[kernel.part]
    part['kernels'] += 1 / num_steps
    part['bytes'] += kernel.bytes / num_steps
    part['seconds'] += max(_KERNEL_S, kernel.bytes / GPUS[gpu].memory_bytes_per_s) / num_steps
  memory = compiled.memory_analysis()
  return {
      'gpu': gpu, 'groups': config.training.batch_size, 'dtype': config.model.dtype,
      'optimizer': config.training.pretrain.optimizer.name,
      'compression_ratio': config.model.compression_ratio, 'num_ues': config.num_ues,
      'jax': jax.__version__, 'commit': current_commit(),
      'memory_bytes': memory.argument_size_in_bytes + memory.temp_size_in_bytes,
      'parts': dict(sorted(parts.items(), key=lambda item: -item[1]['seconds']))}


def cost_table(row: dict[str, Any]) -> str:
  """A `gpu_cost` row as Markdown."""
  whole = {name: sum(part[name] for part in row['parts'].values())
           for name in ('kernels', 'bytes', 'seconds')}
  lines = [
      f'{row["gpu"]}, {row["groups"]} groups, {row["dtype"]}, {row["optimizer"]}, '
      f'{row["memory_bytes"] / 1e6:.0f} MB of memory:', '',
      '| part | kernels | MB | estimated ms |', '|---|---|---|---|']
  for name, part in (*row['parts'].items(), ('a step', whole)):
    number, size, seconds = part.values()
    lines.append(f'| {name} | {number:.0f} | {size / 1e6:.0f} | {1e3 * seconds:.2f} |')
  return '\n'.join(lines)
