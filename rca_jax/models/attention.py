"""Attention functions and embedding sources: the ablation API, a few pure functions a variant.

An attention function maps query, key, value and the query's own inputs, each
[..., N_t, heads, head_dim], to the same shape. A source maps embeddings [..., ue, N_t, d] and
`active` [..., ue] (None: all) to the embeddings that queries (or keys and values) are made of,
same shape. Concatenating heads is a reshape, so subtracting head by head is exactly eq. (7).

Pass module-level functions: a lambda or a partial made anew is a new compilation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.errors import InputError

AttentionFn = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
Source = Callable[[jax.Array, jax.Array | None], jax.Array]


def dot_product(
    query: jax.Array, key: jax.Array, value: jax.Array, inputs_q: jax.Array) -> jax.Array:
  """softmax(Q K^T / sqrt(head_dim)) V of each head, eq. (2).

  Deviation: eq. (2) divides by sqrt(d) and eq. (6) applies it to heads of width d/h;
  we divide by the root of the width that is summed over, as in [13].

  Args:
    query, key, value: [..., N_t, heads, head_dim].
    inputs_q: what the query was projected from; not used here.

  Returns:
    [..., N_t, heads, head_dim], dtype of `value`.
  """
  del inputs_q
  # Heads first make these plain batched matmuls: on CPUs some 4 times as fast as
  # an einsum over the middle axis.
  query, key, value = (jnp.swapaxes(x, -3, -2) for x in (query, key, value))
  logits = jnp.matmul(
      query, jnp.swapaxes(key, -1, -2), preferred_element_type=jnp.float32)
  weights = jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
  return jnp.swapaxes(jnp.matmul(weights.astype(value.dtype), value), -3, -2)


def residual_cut(
    query: jax.Array, key: jax.Array, value: jax.Array, inputs_q: jax.Array) -> jax.Array:
  """X_2 - Attention(Q, K, V), eq. (4) and (7): what X_2 adds to the attended UE.

  Shapes as `dot_product`; `inputs_q` is X_2, cut into heads like the query.
  """
  return inputs_q - dot_product(query, key, value, inputs_q)


def own_embedding(embeddings: jax.Array, active: jax.Array | None = None) -> jax.Array:
  """Each UE's own embedding, X_1; arguments as of `mean_of_other_ues`."""
  del active
  return embeddings


def mean_of_other_ues(embeddings: jax.Array, active: jax.Array | None = None) -> jax.Array:
  """X_2 = (sum_m X_m - X_1) / (M - 1): the mean embedding of all other active UEs.

  Args:
    embeddings: [..., ue, N_t, d].
    active: [..., ue] bool, UEs that count; None for all. A UE without any active other falls back
      to its own embedding.

  Raises:
    InputError: there are fewer than two UEs.
  """
  num_ues = embeddings.shape[-3] if embeddings.ndim >= 3 else 1
  if num_ues < 2:
    raise InputError(
        f'num_ues={num_ues}: cross-attention needs at least 2 UEs; '
        "pass more UEs or use attention='self'.")
  if active is None:
    active = jnp.ones((num_ues,), bool)
  active = active[..., None, None]
  present = jnp.where(active, embeddings, 0).astype(jnp.float32)
  total = jnp.sum(present, axis=-3, keepdims=True)
  num_others = jnp.sum(active, axis=-3, keepdims=True) - active
  # Times the reciprocal, as XLA would divide by a constant: then masked UEs change no bit.
  mean = (total - present) * (1 / jnp.maximum(num_others, 1).astype(jnp.float32))
  return jnp.where(num_others > 0, mean, embeddings).astype(embeddings.dtype)


class Variant(NamedTuple):
  """What makes one block of layers differ from another; none of it has parameters."""

  query_source: Source
  attention_fn: AttentionFn
  key_value_source: Source = own_embedding


ATTENTION: dict[str, Variant] = {
    'self': Variant(own_embedding, dot_product),  # BL1, and every plain layer
    'residual_self': Variant(own_embedding, residual_cut),  # BL5
    'cross': Variant(mean_of_other_ues, dot_product),  # BL4: the paper's block without the cut
    # BL4 as textbooks have it: the UE asks, the others answer.
    'textbook_cross': Variant(own_embedding, dot_product, mean_of_other_ues),
    'residual_cross': Variant(mean_of_other_ues, residual_cut),  # the paper's RCA
}


def resolve_attention(name: str) -> Variant:
  """The variant of a name in `ATTENTION`.

  Raises:
    InputError: the name is unknown.
  """
  if name not in ATTENTION:
    raise InputError(
        f'model.attention={name!r} is unknown; choose one of {", ".join(ATTENTION)}, or name the '
        'module that adds it: --import=MODULE.')
  return ATTENTION[name]
