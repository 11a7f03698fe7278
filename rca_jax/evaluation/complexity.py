"""What a network costs."""

import math
from typing import Any

import jax


def count_parameters(params: Any) -> int:
  """The number of scalars in a parameter tree (arrays, or shapes of `jax.eval_shape`)."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
