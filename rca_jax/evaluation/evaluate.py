"""A network on test groups: scores per sample, then means with their intervals."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.csi import from_features, to_features
from rca_jax.evaluation.metrics import bootstrap_ci95, cosine_similarity, nmse, sgcs


class Scores(NamedTuple):
  """One value per sample (group), each already the mean over its UEs; float32 [samples]."""

  nmse: np.ndarray  # linear
  rho: np.ndarray
  sgcs: np.ndarray


def evaluate(
    model: nn.Module, params: Any, csi: np.ndarray, snr_db: float, key: jax.Array,
    batch_size: int) -> Scores:
  """Scores of every group of `csi` [G, M, N_a, N_t] complex64 at one SNR for all UEs.

  The noise follows from the key and the group's place alone where `batch_size` stays the same.
  """
  parts = []
  for start in range(0, len(csi), batch_size):
    batch = csi[start:start + batch_size]
    # The last batch is filled up with copies of its own, to run the same compiled program.
    filled = batch[np.arange(batch_size) % len(batch)]
    scores = _score(model, params, filled, snr_db, jax.random.fold_in(key, start))
    parts.append([np.asarray(score)[:len(batch)] for score in scores])
  return Scores(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def summarise(scores: Scores, seed: int) -> dict[str, Any]:
  """The measured part of a results row: means and 95 % bootstrap intervals [low, high].

  `seed` is that of the bootstrap.
  """
  mean_db = 10 * np.log10(np.mean(scores.nmse, dtype=np.float64))
  return {
      'nmse_db': float(mean_db),
      'nmse_ci95_db': list(bootstrap_ci95(scores.nmse, seed, in_db=True)),
      'rho': float(np.mean(scores.rho, dtype=np.float64)),
      'rho_ci95': list(bootstrap_ci95(scores.rho, seed, in_db=False)),
      'sgcs': float(np.mean(scores.sgcs, dtype=np.float64)),
      'sgcs_ci95': list(bootstrap_ci95(scores.sgcs, seed, in_db=False)),
      'num_samples': len(scores.nmse),
  }


@partial(jax.jit, static_argnums=0)
def _score(
    model: nn.Module, params: Any, csi: jax.Array, snr_db: jax.Array, key: jax.Array) -> Scores:
  snr_db = jnp.full(csi.shape[:2], snr_db, jnp.float32)
  features_hat = model.apply({'params': params}, to_features(csi), snr_db, key)
  csi_hat = from_features(features_hat.astype(jnp.float32))
  return Scores(nmse(csi, csi_hat), cosine_similarity(csi, csi_hat), sgcs(csi, csi_hat))
