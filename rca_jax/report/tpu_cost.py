"""What one compiled train step costs every chip of a TPU slice, and its share of communication."""

import math
import re
from typing import Any, NamedTuple

import jax

from rca_jax.errors import InputError
from rca_jax.report.hlo import collective_bytes


class Chip(NamedTuple):
  """Published figures of a TPU generation (Cloud TPU documentation, system architecture)."""

  flops_per_s: float  # bfloat16
  hbm_bytes: float
  hbm_bytes_per_s: float
  ici_bytes_per_s: float  # one direction, all links of the chip together
  torus_axis: int  # slices whose axes are multiples of this wrap around


CHIPS = {
    'v5e': Chip(197e12, 16e9, 819e9, 200e9, 16),
    'v5p': Chip(459e12, 95e9, 2765e9, 600e9, 4),
    'v6e': Chip(918e12, 32e9, 1638e9, 400e9, 16),
}
_HOP_LATENCY_S = 1e-6


def parse_topology(topology: str) -> tuple[Chip, tuple[int, ...]]:
  """`v5e:16x16` to the chip's figures and the slice's axes.

  Raises:
    InputError: the name has another form, or no figures of this chip are known.
  """
  match = re.fullmatch(r'(\w+):(\d+(?:x\d+)*)', topology)
  if not match or match[1] not in CHIPS:
    raise InputError(
        f'topology {topology!r} is unknown; expected CHIP:AxB or CHIP:AxBxC with a chip of '
        f'{", ".join(CHIPS)}, e.g. v5e:4x4.')
  return CHIPS[match[1]], tuple(int(n) for n in match[2].split('x'))


def chip_cost(topology: str, compiled: jax.stages.Compiled, num_groups: int) -> dict[str, Any]:
  """One row of the scaling table: a program of one train step, per chip.

  Times follow from the chip's published figures. Computing takes at least its operations at
  peak, and at most the bytes that XLA counts at the speed of HBM: most of them stay in the
  chip's fast memory. An all-reduce of V bytes over n chips moves 2 V (n - 1) / n through every
  chip, after a latency of 1 us a hop; nothing is taken to overlap.

  Args:
    topology: e.g. v5e:16x16, what `compiled` was compiled for.
    num_groups: of the global batch.

  Raises:
    InputError: see `parse_topology`; or the compiler says no cost.
  """
  chip, axes = parse_topology(topology)
  num_chips = math.prod(axes)
  cost, memory, text = compiled.cost_analysis(), compiled.memory_analysis(), compiled.as_text()
  if cost is None or memory is None or text is None:
    raise InputError(f'{topology}: its compiler does not say what the program costs.')
  memory_bytes = (
      memory.argument_size_in_bytes + memory.temp_size_in_bytes
      + memory.generated_code_size_in_bytes)
  by_kind = collective_bytes(text)
  volume = sum(by_kind.values())
  least_s = cost['flops'] / chip.flops_per_s
  most_s = max(least_s, cost['bytes accessed'] / chip.hbm_bytes_per_s)
  wraps = all(axis % chip.torus_axis == 0 for axis in axes)
  bandwidth = chip.ici_bytes_per_s * (1 if wraps else 0.5)  # without wrap-around half the links
  communication_s = (
      2 * volume * (num_chips - 1) / num_chips / bandwidth + _HOP_LATENCY_S * sum(axes))
  return {
      'topology': topology,
      'chips': num_chips,
      'groups': num_groups,
      'flops': cost['flops'],
      'bytes_accessed': cost['bytes accessed'],
      'memory_bytes': memory_bytes,
      'memory_share': memory_bytes / chip.hbm_bytes,
      'collective_bytes': by_kind,
      'compute_s': [least_s, most_s],
      'communication_s': communication_s,
      'communication_share': [
          communication_s / (compute_s + communication_s) for compute_s in (most_s, least_s)],
  }


def cost_table(rows: list[dict[str, Any]]) -> tuple[dict[str, str], list[list[Any]]]:
  """`chip_cost` rows as a table: the columns, each with the format of its numbers, and the rows."""
  head = {
      'slice': '', 'chips': 'd', 'batch': 'd', 'GFLOP': '.2f', 'MB accessed': '.0f',
      'memory MB': '.0f', 'memory %': '.1f', 'collectives MB': '', 'compute ms': '',
      'communication ms': '.3f', 'communication %': ''}
  return head, [[
      row['topology'], row['chips'], row['groups'], row['flops'] / 1e9,
      row['bytes_accessed'] / 1e6, row['memory_bytes'] / 1e6, 100 * row['memory_share'],
      ', '.join(f'{name} {size / 1e6:.2f}' for name, size in row['collective_bytes'].items()),
      ' to '.join(f'{1e3 * seconds:.3f}' for seconds in row['compute_s']),
      1e3 * row['communication_s'],
      ' to '.join(f'{100 * part:.0f}' for part in row['communication_share'])] for row in rows]
