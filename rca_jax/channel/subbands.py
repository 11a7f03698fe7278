"""The band in subbands, as codebooks and their scores see it, and directions for each.

A direction stands for one layer. UEs with one antenna have one, with several as many.
"""

import jax
import jax.numpy as jnp
import numpy as np

NUM_SUBBANDS = 13  # of equal width: 8 resource blocks each of 20 MHz at 15 kHz, 4 at 30 kHz
CARRIERS_PER_SUBBAND = 8


def subband_response(csi: jax.Array, num_subbands: int = NUM_SUBBANDS) -> jax.Array:
  """Frequency response at equally spaced carriers of the whole band.

  Args:
    csi: [..., N_a, N_t] complex, rows of delay; columns are antennas or angles.

  Returns:
    [..., subband, carrier, N_t] complex64; where mean |csi|^2 is 1, it is 1 over the band too.
  """
  num_rows, num_carriers = csi.shape[-2], num_subbands * CARRIERS_PER_SUBBAND
  cycles = np.outer(np.arange(num_carriers), np.arange(num_rows)) / num_carriers
  dft = (np.exp(-2j * np.pi * cycles) / num_rows**0.5).astype(np.complex64)
  response = jnp.einsum('cd,...dn->...cn', dft, csi, precision='highest')
  return response.reshape(*csi.shape[:-2], num_subbands, CARRIERS_PER_SUBBAND, csi.shape[-1])


def dominant_direction(response: jax.Array) -> jax.Array:
  """The dominant right singular vector of each subband, as the rows of the response have it.

  Its conjugate, as a precoder of power 1, gives a UE the most power that one precoder for the whole
  subband can. Arguments and errors as `layer_directions`; returns [..., N_t].
  """
  return layer_directions(response, 1)[..., 0, :]


def layer_directions(response: jax.Array, num_layers: int) -> jax.Array:
  """The first right singular vectors of each subband, of the largest singular value first.

  Args:
    response: [..., row, N_t] complex64; the rows are the carriers of all antennas of a UE.
    num_layers: how many, up to that of the rows.

  Returns:
    [..., layer, N_t] complex64 of norm 1 and any phase; zero where the response is.
  """
  gram = jnp.einsum('...cn,...dn->...cd', response, response.conj(), precision='highest')
  left = jnp.flip(jnp.linalg.eigh(gram)[1], -1)[..., :num_layers]
  direction = jnp.einsum('...cl,...cn->...ln', left.conj(), response, precision='highest')
  norm = jnp.linalg.norm(direction, axis=-1, keepdims=True)
  return direction / jnp.where(norm == 0, 1.0, norm)
