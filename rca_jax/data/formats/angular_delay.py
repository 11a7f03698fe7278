"""Paths and frequency responses of other tools -> CSI as `rca_jax.channel.response` makes it.

numpy in double precision: path gains of 1e-17 are common, and files are read once.
"""

import numpy as np

from rca_jax.config import CsiConfig
from rca_jax.errors import InputError

# Numbers of damaged files overflow; whoever reads them looks for what is not finite.
quiet = np.errstate(over='ignore', invalid='ignore', divide='ignore')


@quiet
def frequency_response(
    coefficient: np.ndarray, delay_s: np.ndarray, config: CsiConfig) -> np.ndarray:
  """H[k, n] = sum_l c[l, n] exp(-j 2 pi k tau[l, n] B / N_c), k = 0..N_c-1.

  Args:
    coefficient: [..., L, N_t] complex.
    delay_s: [..., L, N_t], or [..., L, 1] where the antennas share it.

  Returns:
    [..., N_c, N_t] complex128.
  """
  num_carriers = config.num_subcarriers
  # k = fine * i + j: N_c exponentials are products of two short ones, and the sum a matmul.
  fine = int(np.ceil(np.sqrt(num_carriers)))
  phase = -2j * np.pi * config.bandwidth_hz / num_carriers * np.swapaxes(delay_s, -1, -2)
  steps = np.exp(phase[..., None] * np.arange(fine))  # [..., N_t, L, j]
  strides = np.exp(phase[..., None, :] * fine * np.arange(-(-num_carriers // fine))[:, None])
  response = np.swapaxes(coefficient, -1, -2)[..., None, :] * strides @ steps  # [..., N_t, i, j]
  return np.swapaxes(response.reshape(*response.shape[:-2], -1)[..., :num_carriers], -1, -2)


@quiet
def delays_and_angles(values: np.ndarray, of_carriers: bool, of_antennas: bool) -> np.ndarray:
  """Inverse DFTs (e^{+j}, unitary) over the carriers and antennas that there are, [..., row, N_t].

  Raises:
    InputError: there is a single carrier.
  """
  if of_carriers and values.shape[-2] == 1:
    raise InputError(
        'has a single subcarrier, which has no delays (DeepMIMO computes only that one by default: '
        'selected_subcarriers=np.arange(1)); write all of them.')
  axes = [axis for axis, present in ((-2, of_carriers), (-1, of_antennas)) if present]
  return np.fft.ifftn(values.astype(np.complex128), axes=axes, norm='ortho') if axes else values


@quiet
def first_rows(
    delays: np.ndarray, config: CsiConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The first N_a delay rows [..., N_a, N_t] complex64, mean |h|^2 = 1.

  Beside them the share of the power that they have, and the scale that was divided out. All are
  zero where the CSI is. Fewer rows stay as many.
  """
  num_rows = min(config.num_delay_taps, delays.shape[-2])
  power = np.sum(np.square(np.abs(delays), dtype=np.float64), axis=-1)  # [..., row]
  kept, total = power[..., :num_rows].sum(-1), power.sum(-1)
  scale = np.sqrt(kept / (num_rows * delays.shape[-1]))
  csi = delays[..., :num_rows, :] / np.where(kept > 0, scale, np.inf)[..., None, None]
  share = (kept / np.where(total > 0, total, 1)).astype(np.float32)
  return csi.astype(np.complex64), share, scale
