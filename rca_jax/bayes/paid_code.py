"""The linear code of a map whose label the report pays, as functions of JAX alone.

What `site_code.SiteCode` computes with numpy, for UEs of one known SNR that know nothing but their
CSI; one UE after another, so memory does not grow with their number.
"""

import jax
import jax.numpy as jnp

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import klt, label
from rca_jax.bayes.em import Profile
from rca_jax.bayes.power import limiting
from rca_jax.bayes.site_code import (
    FINE_ENTRIES,
    FLOOR,
    MIN_PROBABILITY,
    NUM_CANDIDATES,
    NUM_LABELS,
    SELDOM,
    Known,
    in_parts,
    linear_change,
    most_likely,
)

_LEAST_VARIANCE = 1e-12  # of a coefficient, so that ratios exist


def encode(known: Known, csi: jax.Array) -> jax.Array:
  """Reports [n, num_symbols] complex64 of CSI [n, N_a, N_t]."""
  return jax.lax.map(lambda one: _encode(known, one), csi)


def decode(known: Known, received: jax.Array) -> jax.Array:
  """CSI [n, N_a, N_t] complex64 of reports [n, num_symbols]."""
  return jax.lax.map(lambda one: _decode(known, one), received)


def _encode(known: Known, csi: jax.Array) -> jax.Array:
  num_sent = known.num_symbols - known.words.shape[1]
  labels = _candidates(known, jnp.abs(csi) ** 2)
  transforms = _transforms(known, labels)
  values = klt.coefficients(known.grid, transforms, csi)
  power = least_error_powers(transforms.variances[:, :num_sent], known.noise, num_sent)
  change = linear_change(
      transforms.variances, jnp.abs(values) ** 2, power, known.noise, limit=True)
  change = change.at[-1].add(SELDOM * ((jnp.abs(csi) ** 2).sum() + change[-1]))
  best = change.argmin()
  gain, _ = _gains(known, transforms.variances[best])
  sent = gain * values[best, :num_sent]
  sent = sent * limiting((jnp.abs(sent) ** 2).mean()) / known.excess ** 0.5
  return jnp.concatenate([jnp.asarray(known.words)[labels[best]], sent])


def _decode(known: Known, received: jax.Array) -> jax.Array:
  split = known.words.shape[1]
  likelihood = label.log_likelihood(known.words, received[:split], jnp.float32(known.noise))
  posterior = jax.nn.softmax(likelihood + known.log_prior)
  weights, labels = jax.lax.top_k(posterior, min(NUM_LABELS, len(known.log_prior)))
  weights = jnp.where(weights < MIN_PROBABILITY, 0, weights)
  transforms = _transforms(known, labels)
  _, lmmse = _gains(known, transforms.variances)
  values = lmmse * received[split:] * known.excess ** 0.5
  sent = transforms._replace(mixing=transforms.mixing[..., :values.shape[-1]])
  csi = (weights[:, None, None] * klt.synthesise(known.grid, sent, values)).sum(0)
  return csi / jnp.sqrt(jnp.maximum((jnp.abs(csi) ** 2).mean(), 1))


def _candidates(known: Known, energy: jax.Array) -> jax.Array:
  """Labels that the UE tries out, the reserved one last, by |h|^2 [N_a, N_t]."""
  num_fine = max(FINE_ENTRIES // energy.size, NUM_CANDIDATES)
  [fine] = most_likely(
      known.log_prior[None], known.coarse_powers + FLOOR, known.num_in_block,
      in_parts(energy)[None], 1, num_fine)
  powers = klt.mean_powers(known.grid, _profiles(known, fine)).reshape(len(fine), -1) + FLOOR
  [best] = most_likely(
      jnp.asarray(known.log_prior)[fine][None], powers, jnp.float32(1), energy.reshape(1, -1), 1,
      NUM_CANDIDATES)
  return jnp.append(fine[best], len(known.log_prior) - 1)


def _profiles(known: Known, labels: jax.Array) -> Profile:
  return Profile(
      jnp.asarray(known.index)[labels].astype(jnp.int32),
      jnp.asarray(known.power)[labels].astype(jnp.float32))


def _transforms(known: Known, labels: jax.Array) -> klt.Klt:
  found = klt.with_fixed_phases(klt.transform(known.grid, _profiles(known, labels), known.size))
  is_reserved = labels == len(known.log_prior) - 1
  return jax.tree.map(
      lambda leaf, reserved: jnp.where(
          jnp.expand_dims(is_reserved, tuple(range(1, leaf.ndim))), reserved, leaf),
      found, known.reserved)


def _gains(known: Known, variances: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Of the coefficients that are sent: at the UE, and at the BS."""
  num_sent, noise = known.num_symbols - known.words.shape[1], known.noise * known.excess
  variances = jnp.maximum(variances[..., :num_sent], _LEAST_VARIANCE)
  power = least_error_powers(variances, noise, num_sent)
  gain = jnp.sqrt(power / variances)
  return gain, gain * variances / (power + noise)
