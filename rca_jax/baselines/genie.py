"""The genie reference: how well CSI could be fed back if all but the rays' phases were known.

Both sides know the site and the UE's position. What is left are the phases of the rays
(the LOS path's too): CSI is then close to complex Gaussian with a covariance that the generator
knows, and reverse water-filling over its eigenvalues at the uplink's capacity gives the least
distortion. A network that has learned its site can come near to it; without the site's help none
will. It is a reference, not a strict bound: real phases are uniform, not Gaussian.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import paths, sample_positions, sample_site
from rca_jax.channel.response import delay_rows, steering, to_angles
from rca_jax.channel.uma import NUM_RAYS, SUBCLUSTER_ENDS
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key


def genie_nmse(
    config: ExperimentConfig, snrs_db: Sequence[float], num_positions: int) -> np.ndarray:
  """Linear NMSE of an ideal code of the report's length, [SNR, position] float32.

  Its rate is (k/2) log2(1 + SNR) bits, the capacity of the k/2 symbols.

  Raises:
    InputError: CSI comes from a file, whose paths nobody knows.
  """
  _require_generated(config)
  num_symbols = codeword_dim(config.model, config.csi) // 2
  bits = num_symbols * np.log2(1 + 10 ** (np.asarray(snrs_db, np.float64) / 10))
  found = np.empty((len(bits), num_positions), np.float32)
  rows, steer, amplitude = _rays(config, num_positions)
  for i in range(num_positions):
    eigenvalues = _eigenvalues(rows[i], steer[i], amplitude[i])
    found[:, i] = [reverse_water_filling(eigenvalues, rate) for rate in bits]
  return found


def known_covariance_nmse(
    config: ExperimentConfig, projections: np.ndarray, snrs_db: Sequence[float],
    num_positions: int) -> np.ndarray:
  """Linear NMSE of reports F h at the genie's positions, decoded with the true covariance.

  Args:
    projections: F [S, N_a, N_t]; reports have unit power on average over the phases.

  Returns:
    [SNR, position] float32.

  Raises:
    InputError: CSI comes from a file, whose paths nobody knows.
  """
  _require_generated(config)
  noise = 10 ** (-np.asarray(snrs_db, np.float64) / 10)
  found = np.empty((len(noise), num_positions), np.float32)
  for i, (rows, steer, amplitude) in enumerate(zip(*_rays(config, num_positions), strict=True)):
    rows, steer = rows.astype(np.complex128), np.asarray(
        to_angles(steer, config.csi.num_polarisations), np.complex128)
    gram = amplitude[:, None] * (rows.conj().T @ rows) * (steer.conj() @ steer.T) * amplitude
    seen = amplitude * np.einsum('sda,dl,la->sl', projections, rows, steer, optimize=True)
    covariance, told = seen @ seen.conj().T, seen @ gram @ seen.conj().T
    power = np.trace(covariance).real / len(seen)
    for j, one in enumerate(noise):
      solved = np.linalg.solve(covariance + one * power * np.eye(len(seen)), told)
      found[j, i] = 1 - np.trace(solved).real / np.trace(gram).real
  return found


def site_variances(config: ExperimentConfig, num_positions: int) -> np.ndarray:
  """Of the true covariance at random positions: [n, rays], largest first, sum N_a N_t."""
  rays = zip(*_rays(config, num_positions), strict=True)
  found = np.sort([_eigenvalues(*ray) for ray in rays], axis=-1)[:, ::-1]
  size = config.csi.num_delay_taps * config.csi.num_tx_antennas
  return found / found.sum(-1, keepdims=True) * size


def reverse_water_filling(variances: np.ndarray, bits: float) -> float:
  """Least relative distortion of independent complex Gaussians at a total rate.

  D / sum(lambda) with D = sum min(lambda_i, theta) and sum log2(max(1, lambda_i / theta)) = bits
  (Cover and Thomas, theorem 10.3.3, for complex variables).

  Args:
    variances: lambda [n], any order, not all zero.
  """
  ordered = np.sort(variances)[::-1]
  return float(np.minimum(ordered, water_level(ordered, bits)).sum() / ordered.sum())


def water_level(variances: np.ndarray, bits: np.ndarray | float) -> np.ndarray:
  """theta [...] with sum log2(max(1, lambda_i / theta)) = bits.

  Args:
    variances: lambda [..., n], largest first, not all zero.
    bits: at least 0, broadcasts to [...].
  """
  num_active = np.arange(1, variances.shape[-1] + 1)
  logs = np.log2(np.maximum(variances, np.finfo(float).tiny))
  levels = (np.cumsum(logs, -1) - np.asarray(bits)[..., None]) / num_active
  # Variances descend, so the last one above its own level closes the active set.
  last = np.where(logs > levels, num_active, 1).max(-1, keepdims=True) - 1
  return 2.0 ** np.take_along_axis(levels, last, -1)[..., 0]


def _require_generated(config: ExperimentConfig) -> None:
  if config.data.path or config.data.test_path:
    raise InputError('the genie knows the paths of generated CSI only; data.path is set.')
  if config.data.is_changed:
    raise InputError(
        'the genie knows the site at its first time only; leave out data.moved_scatterers and '
        'data.redrawn_ground.')


def _rays(config: ExperimentConfig, num_positions: int) -> tuple[np.ndarray, ...]:
  """Delay rows [n, N_a, L], steering [n, L, N_t] and amplitudes [n, L] of every ray, LOS last.

  With two polarisations what comes from theta to theta and from phi to theta are two rays: the
  genie does not know the phase of either.
  """
  csi = config.csi
  # The ray's place within its cluster says which sub-cluster it is in.
  subcluster = np.searchsorted(SUBCLUSTER_ENDS[1:], np.arange(NUM_RAYS), 'right')

  def at(site, position):
    found = paths(site, position)
    delay_s = found.delay_s[..., subcluster].reshape(*found.los.shape, -1)
    sine = (jnp.sin(found.zenith) * jnp.sin(found.azimuth)).reshape(*found.los.shape, -1)
    los_sine = jnp.sin(found.los_zenith) * jnp.sin(found.los_azimuth)
    gain = found.gain.reshape(*found.los.shape, -1)
    cross = 0 * gain if found.cross is None else gain * found.cross.reshape(gain.shape)
    return tuple(
        jnp.concatenate([rays, los[..., None]], -1) for rays, los in (
            (delay_s, jnp.zeros_like(los_sine)), (sine, los_sine),
            (jnp.abs(gain), jnp.abs(found.los_gain)), (jnp.abs(cross), jnp.zeros_like(los_sine))))

  @jax.jit
  def draw(genie_key, site_key):
    position_key, fresh_key = jax.random.split(genie_key)
    positions = sample_positions(position_key, csi, num_positions, 1)
    if csi.mode == 'fresh':
      keys = jax.random.split(fresh_key, num_positions)
      return jax.vmap(lambda k, p: at(sample_site(k, csi), p))(keys, positions)
    return at(sample_site(site_key, csi), positions)

  seed = config.data.seed
  delay_s, sine, amplitude, cross = (leaf[:, 0] for leaf in draw(
      stream_key(seed, Stream.GENIE), stream_key(seed, Stream.SITE)))
  respond = jax.jit(functools.partial(delay_rows, config=csi))
  steer = jax.jit(functools.partial(
      steering, num_tx_antennas=csi.num_tx_antennas // csi.num_polarisations))
  rows, steered, amplitude = map(np.asarray, (respond(delay_s), steer(sine), amplitude))
  if csi.num_polarisations == 1:
    return rows, steered, amplitude
  slants = np.concatenate([
      np.concatenate([steered, sign * steered], -1) for sign in (1, -1)], 1) / np.sqrt(2)
  return (np.concatenate([rows, rows], -1), slants.astype(steered.dtype),
          np.concatenate([amplitude, cross], -1))


def _eigenvalues(rows: np.ndarray, steer: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
  """Of the covariance of sum_l amplitude_l e^{j phase_l} rows_l (x) steer_l over random phases.

  Its non-zero ones are those of the Gram matrix of the rays, which factors into delay and angle;
  or of the covariance itself where that is the smaller of the two.
  """
  rows, steer = rows.astype(np.complex128), steer.astype(np.complex128)
  num_rays = len(amplitude)
  if num_rays <= rows.shape[0] * steer.shape[1]:
    gram = (rows.conj().T @ rows) * (steer.conj() @ steer.T)
    matrix = amplitude[:, None] * gram * amplitude
  else:
    vectors = (rows.T[:, :, None] * steer[:, None, :]).reshape(num_rays, -1)
    vectors = amplitude[:, None] * vectors
    matrix = vectors.T @ vectors.conj()
  return np.maximum(np.linalg.eigvalsh(matrix), 0)
