"""What recovered CSI is worth to the downlink: precoders that are made of it, on the true channel.

A precoder is one vector for a subband, made of directions alone, as the report of a codebook has no
scale: [batch, ue, subband, N_t], see `channel.subbands.dominant_direction`. Responses are
`channel.subbands.subband_response` of true CSI with mean |h|^2 = 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.channel.subbands import dominant_direction, subband_response
from rca_jax.errors import InputError

_ZERO_FORCING = 1e-6  # in place of 0, so that UEs in one direction have precoders too


class Rates(NamedTuple):
  """Sum rates of groups in bit/s/Hz, [batch]; regularised zero-forcing is `rzf`."""

  zf_rate: jax.Array
  zf_rate_perfect: jax.Array  # of perfect CSI
  rzf_rate: jax.Array
  rzf_rate_perfect: jax.Array


def beamforming_gain(
    response: jax.Array, direction: jax.Array, direction_hat: jax.Array) -> jax.Array:
  """Power that a UE gets alone from recovered directions, to that from its true ones.

  Linear, from 0 to 1; the mean over UEs, [batch]. A UE without power gives NaN.

  Args:
    response: [batch, ue, subband, carrier, N_t].
    direction, direction_hat: true and recovered, [batch, ue, subband, N_t].

  Raises:
    InputError: the shapes do not fit.
  """

  def power(of: jax.Array) -> jax.Array:
    _check_shapes(response, of)
    gain = jnp.einsum('buscn,busn->busc', response, of.conj(), precision='highest')
    return jnp.sum(jnp.square(jnp.abs(gain)), (-2, -1))

  return jnp.mean(jnp.minimum(power(direction_hat) / power(direction), 1.0), axis=-1)


def sum_rate(
    response: jax.Array, direction: jax.Array, snr_db: float, is_regularised: bool) -> jax.Array:
  """Of a group that is served at once: sum over UEs of log2(1 + SINR), mean over carriers, [batch].

  Zero-forcing of the directions V [ue, N_t]: rows of (V V^H)^-1 V, each scaled to the same power;
  regularised: of (V V^H + M / (snr N_t) I)^-1 V. A UE without power, whose direction is zero,
  counts neither in M nor in the sum.

  Args:
    response: [batch, ue, subband, carrier, N_t].
    direction: that the BS knows, [batch, ue, subband, N_t].
    snr_db: of the downlink: the power of all antennas to the noise of a UE, at |h|^2 = 1.

  Returns:
    bit/s/Hz.

  Raises:
    InputError: the shapes do not fit.
  """
  _check_shapes(response, direction)
  num_ues, num_tx = direction.shape[1], direction.shape[-1]
  snr_of_ue = 10 ** (snr_db / 10) / jnp.maximum(response.any((2, 3, 4)).sum(1), 1)[:, None, None]
  v = jnp.swapaxes(direction, 1, 2)
  gram = jnp.einsum('bsmn,bskn->bsmk', v, v.conj(), precision='highest')
  load = 1 / (snr_of_ue * num_tx) if is_regularised else _ZERO_FORCING
  precoder = jnp.linalg.solve(gram + jnp.asarray(load)[..., None] * jnp.eye(num_ues), v)
  norm = jnp.linalg.norm(precoder, axis=-1, keepdims=True)
  precoder = precoder / jnp.where(norm == 0, 1.0, norm)
  gain = jnp.einsum('bmscn,bskn->bscmk', response, precoder.conj(), precision='highest')
  power = snr_of_ue[..., None, None] * jnp.square(jnp.abs(gain))
  signal = jnp.diagonal(power, axis1=-2, axis2=-1)
  return jnp.mean(jnp.sum(jnp.log2(1 + signal / (1 + power.sum(-1) - signal)), -1), (1, 2))


@jax.jit
def sum_rates(csi: jax.Array, csi_hat: jax.Array, snr_db: float) -> Rates:
  """`sum_rate` with recovered and with perfect CSI, both [batch, ue, N_a, N_t] complex64."""
  response = subband_response(csi)
  directions = [dominant_direction(x) for x in (subband_response(csi_hat), response)]
  return Rates(*(
      sum_rate(response, direction, snr_db, is_regularised)
      for is_regularised in (False, True) for direction in directions))


def _check_shapes(response: jax.Array, direction: jax.Array) -> None:
  if response.ndim != 5 or (*response.shape[:3], response.shape[-1]) != direction.shape:
    raise InputError(
        f'directions have shape {list(direction.shape)} and the response '
        f'{list(response.shape)}; expected [batch, ue, subband, N_t] and '
        '[batch, ue, subband, carrier, N_t].')
