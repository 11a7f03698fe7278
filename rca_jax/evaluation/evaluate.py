"""An estimate of test groups: scores per group, then means with their intervals."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel.subbands import dominant_direction, subband_response
from rca_jax.evaluation.metrics import (
    bootstrap_ci95,
    cosine_similarity,
    nmse,
    sgcs,
    subband_sgcs,
)
from rca_jax.evaluation.precoding import beamforming_gain

# (csi [batch, ue, N_a, N_t], keys [batch, ue], active [batch, ue] or None) -> csi_hat. A UE that
# is not active sent no report; None: all did.
Estimate = Callable[[np.ndarray, jax.Array, np.ndarray | None], jax.Array]

Array = np.ndarray | jax.Array
_GROUPS_AT_ONCE = 250  # bounds the memory; no number depends on it


class Scores(NamedTuple):
  """One value per sample (group), each already the mean over its UEs; float32 [samples].

  A bound is a distortion without an estimate: it has nothing but the NMSE.
  """

  nmse: Array  # linear
  rho: Array | None = None
  sgcs: Array | None = None
  subband_sgcs: Array | None = None
  beamforming_gain: Array | None = None  # linear, to that of perfect CSI


def evaluate(
    estimate: Estimate, csi: np.ndarray, key: jax.Array, num_lost: int = 0,
    of_lost: bool = False, beside: np.ndarray | None = None) -> Scores:
  """Scores of every group of `csi` [G, M, N_a, N_t] complex64.

  The noise of a report follows from the key, the place of its group and the place of the UE in
  it: it is the same for all methods, for more or fewer groups and for more or fewer UEs. UEs
  without power send no report and are not scored; a group without any UE to score is left out.

  Args:
    num_lost: the reports of the last so many UEs do not arrive.
    of_lost: score these UEs instead of those whose reports arrive.
    beside: what else `estimate` gets of each group, [G, ...]; known before the report, not sent.
  """
  num_groups, num_ues = csi.shape[:2]
  scored = slice(num_ues - num_lost, None) if of_lost else slice(num_ues - num_lost)
  present = np.any(csi, (-2, -1))
  active = present & (np.arange(num_ues) < num_ues - num_lost)
  size, parts = min(_GROUPS_AT_ONCE, num_groups), []
  for start in range(0, num_groups, size):
    # The last batch is filled up with copies of its own groups: one compiled program for all.
    num_new = min(size, num_groups - start)
    groups = start + np.arange(size) % num_new
    csi_hat = estimate(
        csi[groups], report_keys(key, groups, num_ues), None if active.all() else active[groups],
        *(() if beside is None else (beside[groups],)))
    scores = score(csi[groups][:, scored], csi_hat[:, scored])
    parts.append([np.asarray(values)[:num_new] for values in scores])
  counted = present[:, scored].any(-1)
  return Scores(*(np.concatenate(part)[counted] for part in zip(*parts, strict=True)))


@jax.jit
def score(csi: jax.Array, csi_hat: jax.Array) -> Scores:
  """Scores of estimates, both [G, M, N_a, N_t] complex64; UEs without power do not count."""
  # Every UE as a sample of its own.
  each = [x.reshape(-1, 1, *x.shape[2:]) for x in (csi, csi_hat)]
  responses = [subband_response(x) for x in each]
  directions = [dominant_direction(x) for x in responses]
  scores = (
      *(metric(*each) for metric in (nmse, cosine_similarity, sgcs)),
      subband_sgcs(*directions), beamforming_gain(responses[0], *directions))
  present = csi.any(axis=(-2, -1))
  return Scores(*(
      jnp.mean(values.reshape(present.shape), axis=-1, where=present) for values in scores))


def summarise(scores: Scores, seed: int) -> dict[str, Any]:
  """The measured part of a results row: means and 95 % bootstrap intervals [low, high].

  `seed` is that of the bootstrap.
  """
  summary = {
      'nmse_db': float(10 * np.log10(np.mean(scores.nmse, dtype=np.float64))),
      'nmse_ci95_db': list(bootstrap_ci95(scores.nmse, seed, in_db=True))}
  for name in Scores._fields[1:]:
    values = getattr(scores, name)
    if values is not None:
      summary |= {
          name: float(np.mean(values, dtype=np.float64)),
          f'{name}_ci95': list(bootstrap_ci95(values, seed, in_db=False))}
  return summary | {'num_samples': len(scores.nmse)}


@partial(jax.jit, static_argnums=2)
def report_keys(key: jax.Array, groups: jax.Array, num_ues: int) -> jax.Array:
  """A key for every report, [batch, ue]."""
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  return jax.vmap(fold, (0, None))(fold(key, groups), jnp.arange(num_ues))
