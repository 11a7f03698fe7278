"""How much power a report may have."""

import jax
import numpy as np

MOST_POWER = 2.0  # where 1 is expected


def limiting(power: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
  """The factor by which UEs shrink what has too much power, of any shape; the BS is not told."""
  return (MOST_POWER / power.clip(MOST_POWER)) ** 0.5
