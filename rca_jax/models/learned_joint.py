"""Joint Bayes with a learned prior: what profiles look like, on any site.

Reports are random projections, and the BS looks for the profile c of every UE in the EM steps of
`bayes.joint`, with the reports of the others as far as they count. After each of the last steps a
small network corrects log c: it sees, as pictures over the delay-angle grid, what the step found at
every atom. Its last layer begins at zero, so training begins at the decoder that is not trained.
Training goes through the last steps, not through the first ones.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.bayes import joint
from rca_jax.bayes.random_code import (
    Projections,
    RandomCode,
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
    noise = jnp.atleast_1d(noise_variance(snr_db + self.snr_error_db))
    noise = jnp.broadcast_to(noise, (heard.shape[0], noise.shape[-1]))

    grid = code_grid(self.csi)
    log_prior = self.param('log_prior', _log_prior, self.csi)
    view = _view(seen_atoms(projections, grid))
    prior = jnp.repeat(jnp.exp(log_prior), grid.shape[1])
    prior *= num_symbols / (prior @ (jnp.abs(view.atoms) ** 2).sum(-1))
    power = jnp.broadcast_to(prior, (*heard.shape, prior.size))
    group = _Group(received, noise, jnp.eye(heard.shape[1]) * heard[:, None])
    for _ in range(joint.ALONE_STEPS):
      power = _step(view, prior, power, group)[0]
    group = group._replace(weights=_weights(view, prior, power, group))
    for _ in range(joint.NUM_STEPS - joint.ALONE_STEPS - self.model.num_decoder_layers):
      power = _step(view, prior, power, group)[0]
    power, group = jax.lax.stop_gradient((power, group))
    for i in range(self.model.num_decoder_layers):
      stepped, factor, told = _step(view, prior, power, group)
      exponent = self.param(f'exponent_{i}', nn.initializers.ones, ())
      # What the step starts from, its factor, how much the reports tell, and where it ends.
      pictures = jnp.stack([
          jnp.log(power / prior + 1e-6) / 3, jnp.clip(jnp.log(factor + 1e-4), -5, 5) / 2,
          10 * told, jnp.log(stepped / prior + 1e-6) / 3], -1)
      added = Correction(self.model.model_dim, name=f'correction_{i}')(
          pictures.reshape(heard.size, *grid.shape, -1), _known(group).reshape(heard.size, -1))
      log_power = exponent * jnp.log(stepped + 1e-9) + (1 - exponent) * jnp.log(power + 1e-9)
      power = jnp.exp(
          log_power + jnp.clip(added.reshape(power.shape), -_MOST, _MOST))
    inverse, _ = _inverse(view, power, noise)
    code = RandomCode(projections, grid, view.atoms, prior)
    found = joint.posterior_by(
        code, *(x.reshape(heard.size, *x.shape[2:]) for x in (power, inverse, received)))
    # The scale is no way to learn: its gradient would cost more than a step.
    csi_hat = found.mean * joint.scale(jax.lax.stop_gradient(found))
    return to_features(csi_hat.reshape(*heard.shape, *csi_hat.shape[1:]))

  def _projections(self) -> Projections:
    num_symbols = codeword_dim(self.model, self.csi) // 2
    return random_projections(stream_key(self.seed, Stream.PROJECTIONS), num_symbols, self.csi)


class Correction(nn.Module):
  """What is added to log c, by pictures of the grid; angles are a circle, delays are not."""

  width: int

  @nn.compact
  def __call__(self, pictures: jax.Array, known: jax.Array) -> jax.Array:
    """Pictures [n, P, Q, channels] and numbers of a profile's reports [n, .] to [n, P, Q]."""
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
  noise: jax.Array  # N_0 [batch, M], or [batch, 1] where it is one for all: M times fewer inverses
  weights: jax.Array  # how much each counts in the profile of each UE, [batch, M, M]


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


def _inverse(
    view: _View, power: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(F A diag(c) A^H F^H + N_0 I)^-1 of c [..., K], [..., S, S], and log det of what is inverted.

  The noise [...] broadcasts, as of many reports to one profile.
  """
  num_symbols = view.atoms.shape[-1]
  packed = _product(power.reshape(-1, power.shape[-1]), view.outer, view.turned)
  return invert(packed.reshape(*power.shape[:-1], num_symbols, num_symbols), noise)


def _step(
    view: _View, prior: jax.Array, power: jax.Array, group: _Group,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`bayes.joint`'s step with its prior: c [batch, M, K] anew, MacKay's factor, c a^H R^-1 a."""
  inverse, _ = _inverse(view, power[:, :, None], group.noise[:, None])  # of profiles and noises
  solved = _solve(inverse, group)
  explained = jnp.einsum(
      'bnm,bnmk->bnk', group.weights, jnp.abs(solved @ view.atoms.conj().T) ** 2)
  total = pack((group.weights[..., None, None] * inverse).sum(2))
  expected = _product(
      total.reshape(-1, view.outer.shape[1]), view.turned, view.outer).reshape(power.shape)
  factor = explained / jnp.maximum(expected, 1e-12)
  stepped = joint.with_prior(prior, power * factor, _reports(group))
  return stepped, factor, power * expected / _count(group)


def _weights(view: _View, prior: jax.Array, power: jax.Array, group: _Group) -> jax.Array:
  """As in `bayes.joint`, of profiles [batch, M, K] that each are of one report."""
  both = jnp.concatenate([power, jnp.broadcast_to(prior, (power.shape[0], 1, prior.size))], 1)
  inverse, log_det = _inverse(view, both[:, :, None], group.noise[:, None])
  evidence = -log_det - (group.received.conj()[:, None] * _solve(inverse, group)).real.sum(-1)
  heard = jnp.diagonal(group.weights, axis1=1, axis2=2)
  like = joint.likeness_by(evidence[:, :-1] - evidence[:, -1:])
  return jnp.maximum(group.weights, heard[:, :, None] * heard[:, None] * like)


def _solve(inverse: jax.Array, group: _Group) -> jax.Array:
  """R^-1 y of every profile and report, [batch, profiles, M, S]."""
  return (inverse @ group.received[:, None, ..., None])[..., 0]


def _over_reports(group: _Group, values: jax.Array) -> jax.Array:
  """The sum of values [batch, M or 1] of reports as they count for each UE, [batch, M, 1]."""
  return (group.weights * values[:, None]).sum(-1, keepdims=True)


def _count(group: _Group) -> jax.Array:
  """How many reports count in the profile of each UE, [batch, M, 1]; one at least."""
  return jnp.maximum(group.weights.sum(-1, keepdims=True), 1)


def _reports(group: _Group) -> jax.Array:
  """How many of these have little noise, [batch, M, 1]."""
  return _over_reports(group, 1 / (1 + group.noise / joint.HALF_NOISE))


def _known(group: _Group) -> jax.Array:
  """What a correction knows of the reports that count in a profile, [batch, M, 3]."""
  log_noise = _over_reports(group, jnp.log10(group.noise)) / _count(group)
  return jnp.concatenate([
      log_noise, jnp.log2(_count(group)) / 2, jnp.log(_reports(group) + 1e-2)], -1)


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
