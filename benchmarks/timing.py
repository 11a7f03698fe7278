"""How long a compiled function takes."""

import time
from collections.abc import Callable
from typing import Any

import jax


def fastest_call_s(call: Callable[[int], Any], num_calls: int = 5) -> float:
  """Seconds of the fastest of `num_calls` calls `call(i)`, the compiling first one not counted.

  The fastest, because other programs on a machine only ever add to the time.
  """
  jax.block_until_ready(call(0))
  durations = []
  for i in range(1, num_calls + 1):
    start = time.perf_counter()
    jax.block_until_ready(call(i))
    durations.append(time.perf_counter() - start)
  return min(durations)
