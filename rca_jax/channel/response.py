"""Paths -> CSI: steering vectors, delay rows, truncation, normalisation.

Deviation: the DFT over subcarriers is the inverse one (e^{+j}) where the paper writes F_d, since
h(f) = sum a e^{-j 2 pi f tau} must put its energy into the first rows. Both DFTs are unitary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

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


def to_angles(values: jax.Array, num_polarisations: int) -> jax.Array:
  """The unitary inverse DFT over the antennas of each polarisation, [..., N_t]."""
  split = values.reshape(*values.shape[:-1], num_polarisations, -1)
  return jnp.fft.ifft(split, norm='ortho').reshape(values.shape)


def taps(paths: Paths, config: CsiConfig) -> Taps:
  """Sums the rays of every sub-cluster over the array (TR 38.901 eq. (7.5-22)).

  The array lies along y, so its phase is that of sin(zenith) sin(azimuth). The LOS path comes last.
  UEs have one vertical antenna; with two polarisations the antennas of the BS are slanted by 45
  degrees (clause 7.3.2, model 2), first all of one slant.
  """
  if paths.cross is None:
    return _taps(paths, config.num_tx_antennas)
  root = 0.5 ** 0.5  # of half the power
  first, second = (
      _taps(paths._replace(
          gain=root * paths.gain * (1 + sign * paths.cross), los_gain=root * paths.los_gain),
            config.num_tx_antennas // 2) for sign in (1, -1))
  return Taps(
      first.delay_s, jnp.concatenate([first.coefficient, second.coefficient], -1))


def _taps(paths: Paths, num_tx_antennas: int) -> Taps:
  """Of one polarisation."""
  sine = jnp.sin(paths.zenith) * jnp.sin(paths.azimuth)
  # Antenna n = FINE * i + j: the steering vector is an outer product of two short ones, so the
  # sum over rays needs N_t products a ray and only N_t / FINE + FINE exponentials.
  num_coarse = -(-num_tx_antennas // _FINE)
  fine = steering(sine, _FINE)
  coarse = paths.gain[..., None] * steering(_FINE * sine, num_coarse)

  def subcluster(start: int, end: int) -> jax.Array:
    total = jnp.asarray(sum(
        coarse[..., ray, :, None] * fine[..., ray, None, :] for ray in range(start, end)))
    return total.reshape(*total.shape[:-2], -1)[..., :num_tx_antennas]

  first, *others = (
      subcluster(start, end)
      for start, end in zip(uma.SUBCLUSTER_ENDS[:-1], uma.SUBCLUSTER_ENDS[1:], strict=True))
  later = jnp.stack(others, -2)  # [..., C, S - 1, N_t]
  # Only the two strongest clusters are split in delay: of the others one tap each is enough.
  is_split = paths.delay_s[..., -1] > paths.delay_s[..., 0]
  first += jnp.where(is_split[..., None], 0, later.sum(-2))
  split = jax.lax.top_k(is_split.astype(jnp.float32), 2)[1]
  later = jnp.take_along_axis(
      jnp.where(is_split[..., None, None], later, 0), split[..., None, None], -3)
  later_s = jnp.take_along_axis(paths.delay_s[..., 1:], split[..., None], -2)

  los_sine = jnp.sin(paths.los_zenith) * jnp.sin(paths.los_azimuth)
  los = paths.los_gain[..., None] * steering(los_sine, num_tx_antennas)
  batch = paths.los.shape
  return Taps(
      jnp.concatenate([
          paths.delay_s[..., 0], later_s.reshape(*batch, -1),
          jnp.zeros((*batch, 1), jnp.float32)], -1),
      jnp.concatenate([
          first, later.reshape(*batch, -1, num_tx_antennas), los[..., None, :]], -2))


def delay_angle(taps: Taps, config: CsiConfig) -> jax.Array:
  """Angular-delay CSI, first N_a rows: [..., N_a, N_t] complex64, not normalised.

  Row d is the delay d / bandwidth, column b peaks at b = (N_t / 2) sin(azimuth) sin(zenith); of two
  polarisations each has half of the columns.
  """
  weight, cotangent = _delay_kernel(taps.delay_s, config)
  weighted = weight[..., None] * taps.coefficient
  # A real matrix product is half of a complex one.
  parts = cotangent @ jnp.concatenate([weighted.real, weighted.imag], -1)
  rows = jax.lax.complex(*jnp.split(parts, 2, -1)) - 1j * weighted.sum(-2, keepdims=True)
  return to_angles(rows, config.num_polarisations)


def delay_rows(delay_s: jax.Array, config: CsiConfig) -> jax.Array:
  """What a unit path of every delay leaves in the first N_a rows: [..., L] to [..., N_a, L]."""
  weight, cotangent = _delay_kernel(delay_s, config)
  return weight[..., None, :] * (cotangent - 1j)


def _delay_kernel(delay_s: jax.Array, config: CsiConfig) -> tuple[jax.Array, jax.Array]:
  """The Dirichlet kernel of `delay_rows` in two factors.

  With x = d - u, u = bandwidth * delay and row d, the sum of exp(j 2 pi k x / N) over the N
  subcarriers k is sin(pi x) exp(j pi x (N - 1) / N) / sin(pi x / N). As d is a whole number, that
  is w (cot(pi x / N) - j) with w = -sin(pi u) exp(-j pi u), which no longer depends on d.

  Returns:
    w / sqrt(N), [..., L] complex64, and the cotangents [..., N_a, L] float32.
  """
  num_points = config.num_subcarriers
  nearest = jnp.round(config.bandwidth_hz * delay_s)
  rest = config.bandwidth_hz * delay_s - nearest  # w has period 1
  rest = jnp.where(jnp.abs(rest) < 1e-9, 1e-9, rest)  # no 0 * infinity
  weight = polar(-jnp.sin(jnp.pi * rest) / num_points**0.5, -jnp.pi * rest)
  rows = jnp.arange(config.num_delay_taps, dtype=jnp.float32)
  x = rows[:, None] - nearest[..., None, :] - rest[..., None, :]
  return weight, 1 / jnp.tan(jnp.pi / num_points * x)


def total_energy(taps: Taps, config: CsiConfig) -> jax.Array:
  """Energy of all N_c subcarriers and N_t antennas, [...]; what `delay_angle` keeps a part of.

  Parseval: the energy over subcarriers from the correlations of the taps, no DFT needed.
  """
  num_points = config.num_subcarriers
  gram = jnp.einsum('...in,...jn->...ij', taps.coefficient, taps.coefficient.conj())
  x = config.bandwidth_hz * (taps.delay_s[..., None, :] - taps.delay_s[..., :, None])
  near_zero = jnp.abs(x) < 1e-4
  safe = jnp.where(near_zero, 1e-4, x)  # both branches finite, so that gradients are
  kernel = jnp.where(
      near_zero, num_points, jnp.sin(jnp.pi * safe) / jnp.sin(jnp.pi * safe / num_points))
  angle = jnp.pi * (num_points - 1) / num_points * x
  # The real part of gram * kernel * exp(j angle).
  return (kernel * (gram.real * jnp.cos(angle) - gram.imag * jnp.sin(angle))).sum((-1, -2))


def normalise(csi: jax.Array) -> jax.Array:
  """Scales each UE's CSI [..., N_a, N_t] to mean |h|^2 = 1 over its entries; zero stays zero."""
  energy = jnp.mean(jnp.abs(csi) ** 2, (-1, -2), keepdims=True)
  return csi * jax.lax.rsqrt(jnp.maximum(energy, 1e-30))


def to_features(csi: ArrayLike) -> jax.Array:
  """csi [..., N_a, N_t] complex -> features [..., N_t, 2 N_a] float32, real parts first."""
  tokens = jnp.swapaxes(csi, -1, -2)
  return jnp.concatenate([tokens.real, tokens.imag], -1).astype(jnp.float32)


def from_features(features: jax.Array) -> jax.Array:
  """The inverse of `to_features`: [..., N_t, 2 N_a] -> [..., N_a, N_t] complex64."""
  real, imag = jnp.split(features.astype(jnp.float32), 2, -1)
  return jnp.swapaxes(jax.lax.complex(real, imag), -1, -2)
