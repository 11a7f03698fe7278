"""Paths -> CSI: steering vectors, delay rows, truncation, normalisation.

Deviation: the DFT over subcarriers is the inverse one (e^{+j}) where the paper writes F_d, since
h(f) = sum a e^{-j 2 pi f tau} must put its energy into the first rows. Both DFTs are unitary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rca_jax.channel import uma
from rca_jax.channel.site import Paths, polar
from rca_jax.config import CsiConfig

_FINE = 8  # antennas whose steering is multiplied out, see `taps`


class Taps(NamedTuple):
  """Paths as a receiver's tool writes them: L delays with one coefficient per BS antenna."""

  delay_s: jax.Array  # [..., L]
  coefficient: jax.Array  # [..., L, N_t] complex64


def steering(sine: jax.Array, num_tx_antennas: int) -> jax.Array:
  """a_t below eq. (1): exp(-j pi n sine), sine [...] -> [..., N_t] complex64."""
  return polar(jnp.float32(1), -jnp.pi * jnp.arange(num_tx_antennas) * sine[..., None])


def taps(paths: Paths, num_tx_antennas: int) -> Taps:
  """Sums the rays of every sub-cluster over the array (TR 38.901 eq. (7.5-22)).

  The array lies along y, so its phase is that of sin(zenith) sin(azimuth). The LOS path comes last.
  """
  sine = jnp.sin(paths.zenith) * jnp.sin(paths.azimuth)
  # Antenna n = FINE * i + j: the steering vector is an outer product of two short ones, so the
  # sum over rays needs N_t products a ray and only N_t / FINE + FINE exponentials.
  num_coarse = -(-num_tx_antennas // _FINE)
  fine = steering(sine, _FINE)
  coarse = paths.gain[..., None] * steering(_FINE * sine, num_coarse)

  def subcluster(start: int, end: int) -> jax.Array:
    total = sum(coarse[..., ray, :, None] * fine[..., ray, None, :] for ray in range(start, end))
    return total.reshape(*total.shape[:-2], -1)[..., :num_tx_antennas]

  bounds = zip(uma.SUBCLUSTER_ENDS[:-1], uma.SUBCLUSTER_ENDS[1:], strict=True)
  subclusters = jnp.stack([subcluster(start, end) for start, end in bounds], -2)
  los_sine = jnp.sin(paths.los_zenith) * jnp.sin(paths.los_azimuth)
  los = paths.los_gain[..., None] * steering(los_sine, num_tx_antennas)
  batch = paths.los.shape
  return Taps(
      jnp.concatenate([paths.delay_s.reshape(*batch, -1), jnp.zeros((*batch, 1))], -1),
      jnp.concatenate([subclusters.reshape(*batch, -1, num_tx_antennas), los[..., None, :]], -2))


def _dirichlet(x: jax.Array, num_points: int) -> jax.Array:
  """sum_k exp(j 2 pi k x / N), k = 0..N-1, closed form; x [...] float32 -> [...] complex64."""
  near_zero = jnp.abs(x) < 1e-4
  safe = jnp.where(near_zero, 1e-4, x)  # both branches finite, so that gradients are
  ratio = jnp.sin(jnp.pi * safe) / jnp.sin(jnp.pi * safe / num_points)
  ratio = jnp.where(near_zero, num_points, ratio)
  return ratio * jnp.exp(1j * jnp.pi * x * (num_points - 1) / num_points)


def delay_angle(taps: Taps, config: CsiConfig) -> jax.Array:
  """Angular-delay CSI, first N_a rows: [..., N_a, N_t] complex64, not normalised.

  Row d is the delay d / bandwidth, column b peaks at b = (N_t / 2) sin(azimuth) sin(zenith).
  """
  return jnp.fft.ifft(delay_rows(taps.delay_s, config) @ taps.coefficient, norm='ortho')


def delay_rows(delay_s: jax.Array, config: CsiConfig) -> jax.Array:
  """What a unit path of every delay leaves in the first N_a rows: [..., L] to [..., N_a, L]."""
  rows = jnp.arange(config.num_delay_taps)
  x = rows[:, None] - config.bandwidth_hz * delay_s[..., None, :]
  return _dirichlet(x, config.num_subcarriers) / jnp.sqrt(config.num_subcarriers)


def total_energy(taps: Taps, config: CsiConfig) -> jax.Array:
  """Energy of all N_c subcarriers and N_t antennas, [...]; what `delay_angle` keeps a part of.

  Parseval: the energy over subcarriers from the correlations of the taps, no DFT needed.
  """
  gram = jnp.einsum('...in,...jn->...ij', taps.coefficient, taps.coefficient.conj())
  difference = config.bandwidth_hz * (taps.delay_s[..., :, None] - taps.delay_s[..., None, :])
  kernel = _dirichlet(-difference, config.num_subcarriers)
  return jnp.real((gram * kernel).sum((-1, -2)))


def normalise(csi: jax.Array) -> jax.Array:
  """Scales each UE to mean |h|^2 = 1 over its N_a x N_t entries. Zero CSI stays zero."""
  energy = jnp.mean(jnp.abs(csi) ** 2, (-1, -2), keepdims=True)
  return csi * jax.lax.rsqrt(jnp.maximum(energy, 1e-30))


def to_features(csi: jax.Array) -> jax.Array:
  """csi [..., N_a, N_t] complex -> features [..., N_t, 2 N_a] float32, real parts first."""
  tokens = jnp.swapaxes(csi, -1, -2)
  return jnp.concatenate([tokens.real, tokens.imag], -1).astype(jnp.float32)


def from_features(features: jax.Array) -> jax.Array:
  """The inverse of `to_features`: [..., N_t, 2 N_a] -> [..., N_a, N_t] complex64."""
  real, imag = jnp.split(features.astype(jnp.float32), 2, -1)
  return jnp.swapaxes(jax.lax.complex(real, imag), -1, -2)
