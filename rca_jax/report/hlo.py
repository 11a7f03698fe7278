"""Bytes that devices exchange, from the text of a compiled program; XLA's own counts lack them."""

import math
import re

_BYTES = {
    'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8,
    'u64': 8, 'f64': 8, 'c64': 8}
_ARRAY = re.compile(rf'\b({"|".join(_BYTES)})\[([\d,]*)\]')
_COLLECTIVE = re.compile(
    r' = (?P<type>.*?) (?P<name>all-reduce|all-gather|reduce-scatter|all-to-all|'
    r'collective-permute|collective-broadcast|ragged-all-to-all)(-start)?\(')


def collective_bytes(hlo: str) -> dict[str, int]:
  """Bytes of the results of each kind of collective, on one device."""
  found: dict[str, int] = {}
  for match in _COLLECTIVE.finditer(hlo):
    found[match['name']] = found.get(match['name'], 0) + _array_bytes(match['type'])
  return found


def _array_bytes(types: str) -> int:
  """Of all arrays in an instruction's type, e.g. `(f32[192]{0}, bf16[64,192]{1,0})`."""
  return sum(
      _BYTES[dtype] * math.prod(int(n) for n in dims.split(',') if n)
      for dtype, dims in _ARRAY.findall(types))
