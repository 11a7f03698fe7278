"""A network on test groups: scores per sample, then means with their intervals."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import from_features, to_features
from rca_jax.evaluation.metrics import bootstrap_ci95, cosine_similarity, nmse, sgcs
from rca_jax.uplink import sscc
from rca_jax.uplink.quantiser import from_bits, from_levels, to_bits, to_levels


class Scores(NamedTuple):
  """One value per sample (group), each already the mean over its UEs; float32 [samples].

  A bound names a distortion and no estimate: it has neither rho nor SGCS.
  """

  nmse: np.ndarray  # linear
  rho: np.ndarray | None = None
  sgcs: np.ndarray | None = None


def evaluate(
    model: nn.Module, params: Any, csi: np.ndarray, snr_db: float, key: jax.Array,
    batch_size: int, num_lost: int = 0, of_lost: bool = False) -> Scores:
  """Scores of every group of `csi` [G, M, N_a, N_t] complex64 at one SNR for all UEs.

  The noise follows from the key and the group's place alone where `batch_size` stays the same.
  UEs without power report nothing and are not scored; groups of none but these are left out.

  Args:
    num_lost: the last so many UEs' reports do not arrive.
    of_lost: score these UEs and not those whose reports arrive.
  """
  silent = not csi.any((-2, -1)).all()
  scores = _in_batches(
      lambda start, batch: _score(
          model, params, batch, snr_db, jax.random.fold_in(key, start), num_lost, of_lost, silent),
      batch_size, csi)
  counted = csi[:, _scored(csi.shape[1], num_lost, of_lost)].any((-3, -2, -1))
  return Scores(*(values[counted] for values in scores))


def evaluate_bits(
    model: nn.Module, params: Any, csi: np.ndarray, snr_db: float, num_bits: int,
    code_rate: float, qam_order: int, seed: int, batch_size: int) -> Scores:
  """As `evaluate` for an SSCC network, whose reports go as coded bits through `uplink.sscc`.

  Args:
    num_bits: q, bits an entry.
    code_rate, qam_order: of the LDPC code and the constellation.
    seed: of the uplink's noise.

  Raises:
    InputError: as `uplink.sscc.transmit`.
  """
  (levels,) = _in_batches(
      lambda start, batch: (_levels(model, params, batch, num_bits),), batch_size, csi)
  bits = np.asarray(to_bits(levels.reshape(-1, levels.shape[-1]), num_bits))
  received = sscc.transmit(bits, code_rate, qam_order, snr_db, seed)
  codeword_hat = from_levels(from_bits(received, num_bits), num_bits).reshape(levels.shape)
  present = csi.any((-2, -1))
  mask = () if present.all() else (present,)
  (features_hat,) = _in_batches(
      lambda start, *batches: (_decode(model, params, *batches),), batch_size, codeword_hat, *mask)
  return Scores(*map(np.asarray, score(csi, from_features(features_hat))))


@jax.jit
def score(csi: jax.Array, csi_hat: jax.Array) -> Scores:
  """Scores of estimates, both [G, M, N_a, N_t] complex64; UEs without power do not count."""
  # Every UE as a sample of its own.
  each = [x.reshape(-1, 1, *x.shape[2:]) for x in (csi, csi_hat)]
  present = csi.any(axis=(-2, -1))
  return Scores(*(
      jnp.mean(metric(*each).reshape(present.shape), axis=-1, where=present)
      for metric in (nmse, cosine_similarity, sgcs)))


def summarise(scores: Scores, seed: int) -> dict[str, Any]:
  """The measured part of a results row: means and 95 % bootstrap intervals [low, high].

  `seed` is that of the bootstrap.
  """
  summary = {
      'nmse_db': float(10 * np.log10(np.mean(scores.nmse, dtype=np.float64))),
      'nmse_ci95_db': list(bootstrap_ci95(scores.nmse, seed, in_db=True))}
  for name in ('rho', 'sgcs'):
    values = getattr(scores, name)
    if values is not None:
      summary |= {
          name: float(np.mean(values, dtype=np.float64)),
          f'{name}_ci95': list(bootstrap_ci95(values, seed, in_db=False))}
  return summary | {'num_samples': len(scores.nmse)}


def _in_batches(function: Callable, batch_size: int, *inputs: np.ndarray) -> list[np.ndarray]:
  """`function(start, *batches)` of one batch after the other, its outputs joined."""
  parts, num_samples = [], len(inputs[0])
  for start in range(0, num_samples, batch_size):
    size = min(batch_size, num_samples - start)
    # The last batch is filled up with copies of its own, to run the same compiled program.
    filled = start + np.arange(batch_size) % size
    outputs = function(start, *(values[filled] for values in inputs))
    parts.append([np.asarray(output)[:size] for output in outputs])
  return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _scored(num_ues: int, num_lost: int, of_lost: bool) -> slice:
  """Which UEs: the last `num_lost`, or the others."""
  return slice(num_ues - num_lost, None) if of_lost else slice(num_ues - num_lost)


@partial(jax.jit, static_argnums=(0, 5, 6, 7))
def _score(
    model: nn.Module, params: Any, csi: jax.Array, snr_db: jax.Array, key: jax.Array,
    num_lost: int, of_lost: bool, silent: bool) -> Scores:
  snr_db = jnp.full(csi.shape[:2], snr_db, jnp.float32)
  active = (jnp.arange(csi.shape[1]) < csi.shape[1] - num_lost) & csi.any(axis=(-2, -1))
  mask = (active,) if num_lost or silent else ()
  features_hat = model.apply({'params': params}, to_features(csi), snr_db, key, *mask)
  scored = _scored(csi.shape[1], num_lost, of_lost)
  csi_hat = from_features(features_hat.astype(jnp.float32))
  return score(csi[:, scored], csi_hat[:, scored])


@partial(jax.jit, static_argnums=(0, 3))
def _levels(model: nn.Module, params: Any, csi: jax.Array, num_bits: int) -> jax.Array:
  codeword = model.encoder.apply({'params': params['encoder']}, to_features(csi))
  return to_levels(codeword, num_bits)


@partial(jax.jit, static_argnums=0)
def _decode(
    model: nn.Module, params: Any, codeword_hat: jax.Array, *active: jax.Array) -> jax.Array:
  return model.decoder.apply({'params': params['decoder']}, codeword_hat, *active)
