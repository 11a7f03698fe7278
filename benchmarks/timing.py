"""How long calls take."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def durations_s(calls: list[Callable[[int], Any]], num_rounds: int = 5) -> np.ndarray:
  """Seconds of each `calls[j](i)`, in turns, as [calls, num_rounds].

  In turns, so that what else the machine does meets all of them; a first round, which
  compiles, is not counted. A call returns arrays of JAX, or has finished when it returns.
  """
  found = np.zeros((len(calls), num_rounds))
  for i in range(-1, num_rounds):
    for j, call in enumerate(calls):
      start = time.perf_counter()
      jax.block_until_ready(call(i + 1))
      if i >= 0:
        found[j, i] = time.perf_counter() - start
  return found
