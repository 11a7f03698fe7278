"""Paths and frequency responses of other tools -> CSI as `rca_jax.channel.response` makes it.

numpy in double precision: path gains of 1e-17 are common, and files are read once.
"""

import numpy as np

from rca_jax.config import CsiConfig
from rca_jax.errors import InputError

# Numbers of damaged files overflow; whoever reads them looks for what is not finite.
_quiet = np.errstate(over='ignore', invalid='ignore', divide='ignore')


@_quiet
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


@_quiet
def angular_delay(response: np.ndarray, config: CsiConfig) -> tuple[np.ndarray, np.ndarray]:
  """Inverse DFTs (e^{+j}) over carriers and antennas, the first N_a delay rows.

  Args:
    response: [..., carrier, N_t] complex; the carriers span the bandwidth.

  Returns:
    csi [..., N_a, N_t] complex64 with mean |h|^2 = 1, and the share of the power in those rows,
    [...] float32. Both are zero where the response is.

  Raises:
    InputError: there are fewer than N_a carriers; or the power lies at negative delays.
  """
  num_rows, num_carriers = config.num_delay_taps, response.shape[-2]
  if num_carriers == 1:
    raise InputError(
        'has a single subcarrier, which has no delays (DeepMIMO computes only that one by default: '
        'selected_subcarriers=np.arange(1)); write all of them.')
  if num_carriers < num_rows:
    raise InputError(
        f'has {num_carriers} subcarriers; {num_rows} delay rows (num_delay_taps) need at least as '
        'many.')
  delays = np.fft.ifft2(response.astype(np.complex128), norm='ortho')
  power = np.sum(np.abs(delays) ** 2, axis=-1)  # [..., row]
  total = power.sum(-1)
  _check_sign(power.reshape(-1, num_carriers).sum(0), num_rows)
  kept = power[..., :num_rows].sum(-1)
  scale = np.sqrt(np.where(kept > 0, kept, np.inf) / (num_rows * response.shape[-1]))
  csi = delays[..., :num_rows, :] / scale[..., None, None]
  return csi.astype(np.complex64), (kept / np.where(total > 0, total, 1)).astype(np.float32)


def _check_sign(power: np.ndarray, num_rows: int) -> None:
  """Raises InputError if the rows of negative delays hold what the first rows should."""
  first, mirrored = (
      rows[:num_rows].sum() / max(power.sum(), 1e-300) for rows in (power, np.roll(power[::-1], 1)))
  if mirrored > 0.5 > first:
    raise InputError(
        f'the first {num_rows} delay rows hold {first:.0%} of the power, the last '
        f'{mirrored:.0%}: its carriers turn as e^(+j 2 pi f tau) or run from high to low; give '
        'the complex conjugate or turn them round.')
