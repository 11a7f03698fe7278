"""Joint Bayes with a learned prior: what profiles look like, on any site.

Reports are random projections, and the BS looks for the profile c that the UEs of a group share, in
the EM steps of `bayes.joint`. After each of the last steps a small network corrects log c: it sees,
as pictures over the delay-angle grid, what the step found at every atom. Its last layer begins at
zero, so training begins at the decoder that is not trained. Training goes through the last steps,
not through the first ones.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.bayes.grid import Grid
from rca_jax.bayes.joint import HALF_NOISE, NUM_STEPS, with_prior
from rca_jax.bayes.random_code import (
    Projections,
    by_delay,
    code_grid,
    invert,
    outer,
    pack,
    random_projections,
    seen_atoms,
)
from rca_jax.channel import from_features, sample_groups, to_features
from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.keys import Stream, stream_key
from rca_jax.models.adjscc_csinet import Conv
from rca_jax.models.encoder import check_features_shape
from rca_jax.uplink.djscc import from_symbols, noise_variance
from rca_jax.uplink.link import Link

_NUM_PRIOR_GROUPS = 250  # whose mean power by delay the prior begins at
_PATCH = 2  # atoms by atoms that are one place for the network
_MOST = 8.0  # correction of log c


class LearnedJoint(nn.Module):
  """Random projections, uplink, and the learned decoder of a group.

  `model_dim` is the width of the networks, `num_decoder_layers` how many steps have one. The BS
  knows the SNR; `snr_error_db` is added to what it knows, never to the uplink's own.
  """

  model: ModelConfig
  csi: CsiConfig
  link: Link
  seed: int  # of the projections
  snr_error_db: float = 0.0

  def __call__(
      self, features: jax.Array, snr_db: jax.Array, key: jax.Array,
      active: jax.Array | None = None) -> jax.Array:
    """As `RCAMUNet.__call__`, from one UE on; a report that is not finite is one that is lost."""
    codeword_hat = self.link(key, self.encode(features, snr_db), snr_db)
    return self.decode(codeword_hat, snr_db, active)

  def encode(self, features: jax.Array, snr_db: jax.Array) -> jax.Array:
    """As `RCAMUNet.encode`; without parameters."""
    del snr_db
    check_features_shape(features, self.csi)
    return from_symbols(self._projections()(from_features(features)))

  @nn.compact
  def decode(
      self, codeword_hat: jax.Array, snr_db: jax.Array, active: jax.Array | None = None,
  ) -> jax.Array:
    """As `RCAMUNet.decode`."""
    projections = self._projections()
    num_symbols = len(projections.kept)
    received = jax.lax.complex(*jnp.split(codeword_hat.astype(jnp.float32), 2, -1))
    heard = jnp.isfinite(received).all(-1)
    heard = heard if active is None else heard & active
    received = jnp.where(heard[..., None], received, 0)
    noise = jnp.broadcast_to(noise_variance(snr_db + self.snr_error_db), heard.shape)

    grid = code_grid(self.csi)
    log_prior = self.param('log_prior', _log_prior, self.csi)
    view = _view(seen_atoms(projections, grid))
    prior = jnp.repeat(jnp.exp(log_prior), grid.shape[1])
    prior *= num_symbols / (prior @ (jnp.abs(view.atoms) ** 2).sum(-1))
    group = _Group(received, noise, heard)
    power = jnp.broadcast_to(prior, (received.shape[0], prior.size))
    for _ in range(NUM_STEPS - self.model.num_decoder_layers):
      power = _step(view, prior, power, group)[0]
    power = jax.lax.stop_gradient(power)
    for i in range(self.model.num_decoder_layers):
      stepped, factor, told = _step(view, prior, power, group)
      exponent = self.param(f'exponent_{i}', nn.initializers.ones, ())
      # What the step starts from, its factor, how much the reports tell, and where it ends.
      pictures = jnp.stack([
          jnp.log(power / prior + 1e-6) / 3, jnp.clip(jnp.log(factor + 1e-4), -5, 5) / 2,
          10 * told, jnp.log(stepped / prior + 1e-6) / 3], -1)
      added = Correction(self.model.model_dim, name=f'correction_{i}')(
          pictures.reshape(power.shape[0], *grid.shape, -1), _known(group))
      log_power = exponent * jnp.log(stepped + 1e-9) + (1 - exponent) * jnp.log(power + 1e-9)
      power = jnp.exp(
          log_power + jnp.clip(added.reshape(power.shape), -_MOST, _MOST))
    return to_features(_estimate(view, grid, power, group))

  def _projections(self) -> Projections:
    num_symbols = codeword_dim(self.model, self.csi) // 2
    return random_projections(stream_key(self.seed, Stream.PROJECTIONS), num_symbols, self.csi)


class Correction(nn.Module):
  """What is added to log c, by pictures of the grid; angles are a circle, delays are not."""

  width: int

  @nn.compact
  def __call__(self, pictures: jax.Array, known: jax.Array) -> jax.Array:
    """Pictures [n, P, Q, channels] and numbers of the whole group [n, .] to [n, P, Q]."""
    num, num_delays, num_angles, _ = pictures.shape
    x = _patches(jnp.pad(pictures, ((0, 0), (0, -num_delays % _PATCH), (0, 0), (0, 0))))
    place = self.param('place', nn.initializers.zeros, (x.shape[1], 1, self.width))
    x = _Circular(self.width, name='in')(x) + place
    x = nn.silu(x + nn.Dense(self.width, name='known')(known)[:, None, None])
    y = _Circular(self.width, name='hidden_0')(nn.silu(_normalise(x)))
    x = x + _Circular(self.width, name='hidden_1')(nn.silu(y))
    x = nn.Dense(_PATCH**2, kernel_init=nn.initializers.zeros, name='out')(
        nn.silu(_normalise(x)))
    x = x.reshape(*x.shape[:3], _PATCH, _PATCH).swapaxes(2, 3)
    return x.reshape(num, -1, num_angles)[:, :num_delays]


class _Circular(nn.Module):
  """A 3 x 3 convolution whose last image axis is a circle."""

  width: int

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    image = jnp.concatenate([image[:, :, -1:], image, image[:, :, :1]], 2)
    return Conv(self.width, 3, name='conv')(image)[:, :, 1:-1]


class _Group(NamedTuple):
  """Reports of the UEs of a batch of groups."""

  received: jax.Array  # [batch, M, S], zero where none is heard
  noise: jax.Array  # N_0 [batch, M]
  heard: jax.Array  # [batch, M] bool


class _View(NamedTuple):
  """The atoms as reports show them."""

  atoms: jax.Array  # F a [K, S]
  outer: jax.Array  # their packed outer products [K, S * S]
  turned: jax.Array  # [S * S, K]: products from either side are fast


def _view(atoms: jax.Array) -> _View:
  return jax.lax.stop_gradient(_View(atoms, outer(atoms), _outer_turned(atoms)))


def _outer_turned(atoms: jax.Array) -> jax.Array:
  """The transpose of `outer`, made as such: XLA would fold `.T` into each product, a slow one."""
  real, imag = atoms.real.T, atoms.imag.T
  return (
      (real + imag)[:, None] * real[None] + (imag - real)[:, None] * imag[None]
  ).reshape(-1, len(atoms))


@jax.custom_vjp
def _product(left: jax.Array, right: jax.Array, turned: jax.Array) -> jax.Array:
  """left @ right, where `right` is no parameter; `turned` is its transpose."""
  del turned
  return left @ right


_product.defvjp(
    lambda left, right, turned: (left @ right, (right, turned)),
    lambda kept, cotangent: (
        cotangent @ kept[1], jnp.zeros_like(kept[0]), jnp.zeros_like(kept[1])))


def _inverse(view: _View, power: jax.Array, noise: jax.Array) -> jax.Array:
  """R_m^-1 = (F A diag(c) A^H F^H + N_0 I)^-1, [batch, M, S, S]."""
  num_symbols = view.atoms.shape[-1]
  packed = _product(power, view.outer, view.turned)
  return invert(packed.reshape(-1, 1, num_symbols, num_symbols), noise)[0]


def _step(
    view: _View, prior: jax.Array, power: jax.Array, group: _Group,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`bayes.joint`'s step with its prior: c [batch, K] anew, MacKay's factor, c a^H R^-1 a."""
  inverse = _inverse(view, power, group.noise)
  solved = (inverse @ group.received[..., None])[..., 0]
  explained = (jnp.abs(solved @ view.atoms.conj().T) ** 2).sum(1)
  total = pack(jnp.where(group.heard[..., None, None], inverse, 0).sum(1))
  expected = _product(total.reshape(total.shape[0], -1), view.turned, view.outer)
  factor = explained / jnp.maximum(expected, 1e-12)
  reports = _reports(group)
  stepped = with_prior(prior, power * factor, reports)
  count = jnp.maximum(group.heard.sum(-1, keepdims=True), 1)
  return stepped, factor, power * expected / count


def _reports(group: _Group) -> jax.Array:
  """How many reports of little noise there are, [batch, 1]."""
  return (group.heard / (1 + group.noise / HALF_NOISE)).sum(-1, keepdims=True)


def _known(group: _Group) -> jax.Array:
  """What a correction knows of a group, [batch, 3]."""
  count = group.heard.sum(-1, keepdims=True)
  log_noise = jnp.where(group.heard, jnp.log10(group.noise), 0).sum(-1, keepdims=True)
  return jnp.concatenate([
      log_noise / jnp.maximum(count, 1), jnp.log2(jnp.maximum(count, 1)) / 2,
      jnp.log(_reports(group) + 1e-2)], -1)


def _estimate(view: _View, grid: Grid, power: jax.Array, group: _Group) -> jax.Array:
  """Posterior means [batch, M, N_a, N_t], scaled so that CSI is expected to have mean power 1."""
  inverse = _inverse(view, power, group.noise)
  solved = (inverse @ group.received[..., None])[..., 0]
  amplitudes = power[:, None] * (solved @ view.atoms.conj().T)
  mean = jnp.einsum(
      'dp,bmpq,aq->bmda', grid.delay, amplitudes.reshape(*solved.shape[:2], *grid.shape),
      grid.angle)
  # The scale is no way to learn: its gradient would cost more than a step.
  power, inverse, fixed = jax.lax.stop_gradient((power, inverse, mean))
  by_atom = (power[..., None] * view.atoms.conj()).reshape(
      power.shape[0], *grid.shape, -1)
  cross = jnp.einsum('dp,bpqs,aq->bdas', grid.delay, by_atom, grid.angle)
  gram = jnp.einsum('bdas,bdat->bst', cross.conj(), cross)
  told = (pack(inverse) * pack(gram)[:, None]).sum((-2, -1))
  variance = jnp.maximum(power.sum(-1, keepdims=True) - told, 0)
  energy = (jnp.abs(fixed) ** 2).sum((-2, -1)) + variance
  return mean * jnp.sqrt(fixed[0, 0].size / energy)[..., None, None]


def _patches(pictures: jax.Array) -> jax.Array:
  """[n, P, Q, c] to [n, P / 2, Q / 2, 4 c]."""
  num, rows, columns, channels = pictures.shape
  x = pictures.reshape(num, rows // _PATCH, _PATCH, columns // _PATCH, _PATCH, channels)
  return x.swapaxes(2, 3).reshape(num, rows // _PATCH, columns // _PATCH, -1)


def _normalise(x: jax.Array) -> jax.Array:
  return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-2)


def _log_prior(key: jax.Array, csi: CsiConfig) -> jax.Array:
  """Log of the mean power by delay of generated CSI, [P]."""
  drawn = sample_groups(key, csi, _NUM_PRIOR_GROUPS, 1).csi
  return jnp.log(by_delay(drawn[:, 0], csi))
