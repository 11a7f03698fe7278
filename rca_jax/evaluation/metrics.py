"""How good an estimate is: values per sample first, their mean next, dB last.

CSI is complex [batch, ue, N_a, N_t] in the truncated angular-delay domain; every metric
returns [batch] float32, already averaged over the UEs of a sample.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rca_jax.channel.subbands import layer_directions, subband_response
from rca_jax.errors import InputError


def nmse(csi: jax.Array, csi_hat: jax.Array) -> jax.Array:
  """||H - H_hat||^2 / ||H||^2 per UE, then the mean over UEs. Linear; see `to_db`.

  Mean of ratios, never a ratio of sums. Real features [batch, ue, N_t, 2 N_a] of both
  give the same value. All-zero CSI has no NMSE (NaN or infinity): drop it beforehand.

  Raises:
    InputError: the shapes differ or are not four-dimensional.
  """
  _check_shapes(csi, csi_hat)
  return jnp.mean(_energy(csi - csi_hat, (-2, -1)) / _energy(csi, (-2, -1)), axis=-1)


def to_db(linear: jax.Array) -> jax.Array:
  """10 log10 of power ratios of any shape; take means before, never after."""
  return 10.0 * jnp.log10(linear)


def cosine_similarity(
    csi: jax.Array, csi_hat: jax.Array, num_padded_rows: int = 257,
    num_carriers: int = 125) -> jax.Array:
  """rho in the definition of the CsiNet literature: mean over carriers of |cos|.

  Delay rows are zero-padded to `num_padded_rows`, transformed to frequency, and the first
  `num_carriers` are compared as vectors over the antennas. A zero estimate gives 0.

  Raises:
    InputError: shapes do not fit, there are more delay rows than `num_padded_rows`, or more
      carriers than those.
  """
  return jnp.mean(
      jnp.sqrt(_squared_cosine(csi, csi_hat, num_padded_rows, num_carriers)), axis=(-2, -1))


def cosine_similarity_to_response(
    response: jax.Array, csi_hat: jax.Array, num_padded_rows: int = 257) -> jax.Array:
  """rho as published tables have it: against the original, untruncated frequency response.

  `csi_hat` is padded and transformed as in `cosine_similarity`, to as many carriers as `response`
  [batch, ue, carrier, N_t] has (docs/data.md reads COST2100's).

  Raises:
    InputError: as `cosine_similarity`, or the two differ in another axis than the third.
  """
  _check_shapes(response[..., :1, :], csi_hat[..., :1, :])
  h_hat = _to_carriers(csi_hat, num_padded_rows, response.shape[-2])
  return jnp.mean(jnp.sqrt(_squared_cosine_of_carriers(response, h_hat)), axis=(-2, -1))


def sgcs(
    csi: jax.Array, csi_hat: jax.Array, num_padded_rows: int = 257,
    num_carriers: int = 125) -> jax.Array:
  """Squared generalised cosine similarity at one carrier per subband: mean of |cos|^2.

  Arguments and errors as `cosine_similarity`; not the square of its mean.
  """
  return jnp.mean(_squared_cosine(csi, csi_hat, num_padded_rows, num_carriers), axis=(-2, -1))


def subband_sgcs(direction: jax.Array, direction_hat: jax.Array) -> jax.Array:
  """SGCS of TR 38.843, one layer: mean over subbands of |v^H v_hat|^2 of unit vectors.

  Both [batch, ue, subband, N_t] complex, as `channel.subbands.dominant_direction` has them; any
  scale and phase count as none. Errors as `cosine_similarity`.
  """
  _check_shapes(direction, direction_hat)
  return jnp.mean(_squared_cosine_of_carriers(direction, direction_hat), axis=(-2, -1))


def layer_sgcs(csi: jax.Array, csi_hat: jax.Array, num_layers: int) -> jax.Array:
  """SGCS of TR 38.843 of every layer of UEs with several antennas, mean over subbands.

  Args:
    csi, csi_hat: [..., antenna of the UE, N_a, N_t] complex64; antennas keep their powers.
    num_layers: how many.

  Returns:
    [..., layer] float32, of the strongest layer first; 0 where there is no power.
  """
  directions = []
  for values in (csi, csi_hat):
    response = jnp.moveaxis(subband_response(values), -4, -3)  # antennas beside carriers
    rows = response.reshape(*response.shape[:-3], -1, response.shape[-1])
    directions.append(layer_directions(rows, num_layers))
  return jnp.mean(_squared_cosine_of_carriers(*directions), axis=-2)


def bootstrap_ci95(
    values: ArrayLike, seed: int, *, in_db: bool, num_resamples: int = 1000,
) -> tuple[float, float]:
  """95 % percentile bootstrap interval of the mean over samples, in dB for NMSE.

  Args:
    values: one linear value per sample, [n].
    seed: of the numpy Generator that draws the resamples.
    in_db: whether the interval is that of 10 log10(mean).
    num_resamples: how many samples of size n are drawn with replacement.

  Raises:
    InputError: `values` is empty or not one-dimensional.
  """
  means = _resampled_means(_samples(values), seed, num_resamples)
  low, high = np.quantile(10 * np.log10(means) if in_db else means, [0.025, 0.975])
  return float(low), float(high)


def paired_gain(
    ours: np.ndarray, baseline: np.ndarray, seed: int, num_resamples: int = 1000,
) -> tuple[float, tuple[float, float]]:
  """Decibels by which the mean NMSE of one method is below another's, with a 95 % interval.

  The bootstrap draws groups, and both methods' values of a group together: what makes a group
  hard for both is no part of the interval.

  Args:
    ours, baseline: linear NMSE of the same groups in the same order, [n] each.
    seed: of the numpy Generator that draws the resamples.
    num_resamples: how many samples of size n are drawn with replacement.

  Raises:
    InputError: one is empty or not one-dimensional, or they are not of as many groups.
  """
  ours, baseline = _samples(ours), _samples(baseline)
  if ours.shape != baseline.shape:
    raise InputError(
        f'{ours.size} and {baseline.size} groups cannot be paired; expected the same groups.')
  means = _resampled_means(np.stack([ours, baseline], -1), seed, num_resamples)
  gains_db = -10 * np.log10(means[:, 0] / means[:, 1])
  low, high = np.quantile(gains_db, [0.025, 0.975])
  return float(-10 * np.log10(ours.mean() / baseline.mean())), (float(low), float(high))


def _samples(values: ArrayLike) -> np.ndarray:
  found = np.asarray(values, np.float64)
  if found.ndim != 1 or not found.size:
    raise InputError(
        f'values have shape {list(found.shape)}; expected one value per sample, [n] with n > 0.')
  return found


def _resampled_means(values: np.ndarray, seed: int, num_resamples: int) -> np.ndarray:
  """Means over the first axis of `num_resamples` draws with replacement."""
  rng, n = np.random.default_rng(seed), len(values)
  return np.array([values[rng.integers(n, size=n)].mean(0) for _ in range(num_resamples)])


def _energy(x: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
  return jnp.sum(jnp.square(x.real) + jnp.square(x.imag), axis=axis)


def _squared_cosine(
    csi: jax.Array, csi_hat: jax.Array, num_padded_rows: int, num_carriers: int) -> jax.Array:
  """[batch, ue, carrier]."""
  _check_shapes(csi, csi_hat)
  return _squared_cosine_of_carriers(
      *(_to_carriers(x, num_padded_rows, num_carriers) for x in (csi, csi_hat)))


def _to_carriers(csi: jax.Array, num_padded_rows: int, num_carriers: int) -> jax.Array:
  num_rows = csi.shape[-2]
  if not num_rows <= num_padded_rows or not 1 <= num_carriers <= num_padded_rows:
    raise InputError(
        f'num_padded_rows={num_padded_rows} must be at least the N_a={num_rows} delay rows and '
        f'the num_carriers={num_carriers} (at least 1) carriers.')
  return jnp.fft.fft(csi, n=num_padded_rows, axis=-2)[..., :num_carriers, :]


def _squared_cosine_of_carriers(h: jax.Array, h_hat: jax.Array) -> jax.Array:
  inner = jnp.sum(jnp.conj(h_hat) * h, axis=-1)
  norms = _energy(h, -1) * _energy(h_hat, -1)
  is_zero = norms == 0
  squared = jnp.square(jnp.abs(inner)) / jnp.where(is_zero, 1.0, norms)
  return jnp.where(is_zero, 0.0, jnp.minimum(squared, 1.0))  # else above it by rounding


def _check_shapes(csi: jax.Array, csi_hat: jax.Array) -> None:
  if csi.ndim != 4 or csi.shape != csi_hat.shape:
    raise InputError(
        f'csi has shape {list(csi.shape)} and csi_hat {list(csi_hat.shape)}; expected the same '
        '[batch, ue, N_a, N_t] for both.')
