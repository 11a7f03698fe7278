"""What a network costs: parameters, multiplications, and the paper's own count of Table II."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from rca_jax.config import ExperimentConfig
from rca_jax.models.build import build_model


class Complexity(NamedTuple):
  """Of a whole network; operations are those of one group."""

  parameters: int
  paper_flops: int
  macs: int


def count_parameters(params: Any) -> int:
  """The number of scalars in a parameter tree (arrays, or shapes of `jax.eval_shape`)."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_complexity(config: ExperimentConfig) -> Complexity:
  """Parameters, and operations to feed back one group of `config.num_ues` UEs.

  `macs` are all multiply-accumulates of matrix products. `paper_flops` follow the rule that
  meets Table II to the digit: multiply-accumulates of linear layers, 4 an element for
  LayerNorm, 3 n - 1 for a softmax over n; Q K^T and A V are left out. For BL2, whose entry no
  rule was found to meet, they are the multiply-accumulates.
  """
  model, csi = build_model(config), config.csi
  features = jax.ShapeDtypeStruct(
      (1, config.num_ues, csi.num_tx_antennas, 2 * csi.num_delay_taps), jnp.float32)
  snr_db = jax.ShapeDtypeStruct(features.shape[:2], jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(model.init, key, features, snr_db, key)
  linear, batched = matmul_macs(model.apply, params, features, snr_db, key)
  if config.model.network == 'adjscc_csinet':
    return Complexity(count_parameters(params), linear, linear + batched)

  # Every LayerNorm runs on all tokens of the group, BL3's branches too.
  tokens = config.num_ues * csi.num_tx_antennas
  names = [path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  norms = names.count('scale')
  sides = params['params'].values()
  blocks = sum('attention' in block for side in sides for block in side.values())
  softmax_rows = blocks * config.model.num_heads * tokens
  paper_flops = (
      linear + 4 * norms * tokens * config.model.model_dim
      + softmax_rows * (3 * csi.num_tx_antennas - 1))
  return Complexity(count_parameters(params), paper_flops, linear + batched)


def matmul_macs(function: Callable, *args: Any) -> tuple[int, int]:
  """Multiply-accumulates of a function's matrix products, as it is traced.

  Args:
    args: arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    Those with a constant matrix (linear layers, our convolutions), and those of batched products
    (attention).
  """
  linear = batched = 0
  for equation in _equations(jax.make_jaxpr(function)(*args).jaxpr):
    if equation.primitive.name != 'dot_general':
      continue
    (contracting, _), (batch, _) = equation.params['dimension_numbers']
    shape = equation.invars[0].aval.shape
    macs = math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in contracting)
    linear, batched = (linear, batched + macs) if batch else (linear + macs, batched)
  return linear, batched


def _equations(jaxpr: Any) -> Iterator[Any]:
  """All equations, those of called functions too (the networks have no loops)."""
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
        equation.params, is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)):
      if isinstance(value, core.ClosedJaxpr):
        yield from _equations(value.jaxpr)
      elif isinstance(value, core.Jaxpr):
        yield from _equations(value)
