"""The two halves of a network or code as functions of real arrays, as other programs call them.

A complex number is a last axis of length 2. The UE half is of single UEs, the BS half of groups.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.bayes import joint, paid_code, random_code
from rca_jax.bayes.random_code import RandomCode
from rca_jax.bayes.site_code import Known, SiteCode
from rca_jax.channel import from_features, to_features
from rca_jax.config import CsiConfig, ExperimentConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.build import build_model
from rca_jax.uplink.djscc import from_symbols, noise_variance, to_symbols, unit_power
from rca_jax.uplink.known import Uplink

NAMES = ('ue', 'bs')
_CSI = 'delay row x angle column x (real, imaginary), mean |h|^2 = 1 over the entries of a UE'
_RECEIVED = 's + n, n of variance N_0 a complex symbol, SNR = 1 / N_0'


class Port(NamedTuple):
  """An input or an output."""

  name: str
  shape: tuple[int | str, ...]  # a name where any length is taken
  dtype: str
  meaning: str


class Half(NamedTuple):
  """One side: a pure function of its inputs in their order."""

  name: str
  function: Callable[..., jax.Array]
  inputs: tuple[Port, ...]
  output: Port


class Itself(NamedTuple):
  """A network or code as it is used here: its halves are compared with it."""

  encode: Callable[..., jax.Array]  # CSI [batch, ue, N_a, N_t], SNR in dB [batch, ue] to symbols
  decode: Callable[..., jax.Array]  # what is received, SNR, who is active [batch, ue] to CSI
  max_error: float = 1e-5  # root of the squares' sums
  snr_db: float = 10.0  # of the comparison
  share: float = 1.0  # of the UEs, or of the groups, that must agree
  reason: str = 'rounding in float32'  # of the error


def network_itself(config: ExperimentConfig, params: Any) -> Itself:
  """In float32."""
  model, variables = build_model(_in_float32(config)), {'params': params}
  encode, decode = (
      jax.jit(functools.partial(model.apply, variables, method=name)) for name in (
          'encode', 'decode'))
  return Itself(
      lambda csi, snr_db: to_symbols(encode(to_features(csi), snr_db)),
      lambda received, *known: from_features(decode(from_symbols(received), *known)))


def joint_itself(code: RandomCode) -> Itself:
  """Joint Bayes that is not trained; of 9 comparisons at 10 dB none was off by more than 2e-5."""
  return Itself(
      _precise(lambda csi, snr_db: random_code.encode(code, csi)),
      _precise(lambda received, snr_db, active: joint.decode(
          code, received, noise_variance(snr_db), active)[0]),
      1e-4, reason='EM steps amplify rounding, the more the less noise there is')


def map_itself(code: SiteCode, snr_db: float) -> Itself:
  """The code of a site map, its labels paid.

  Its symbols differ by 3e-4 at 20 dB on the demo's map, by 2e-3 with 1024 entries and 64 symbols; 1
  of 512 UEs sends another label, as good.
  """
  uplink = Uplink(snr_db)

  def encode(csi: jax.Array, snr_db: np.ndarray) -> jax.Array:
    keys = jax.random.split(jax.random.key(0), csi.shape[:2])  # of noise that nobody sees
    return jnp.asarray(code.transmit(np.asarray(csi), keys, uplink)[0])

  def decode(received: jax.Array, snr_db: np.ndarray, active: np.ndarray) -> jax.Array:
    return jnp.asarray(code.recover(np.asarray(received), uplink))

  return Itself(
      _precise(encode), _precise(decode), 1e-2, snr_db, 0.9,
      'directions of nearly the same power turn with the rounding, and of labels that are as good '
      'another may be chosen: a tenth of the UEs, rounded up, is left out, those that differ most')


def map_halves(known: Known, config: CsiConfig) -> dict[str, Half]:
  """Both of a site map's linear code with a paid label, by name; both are of single UEs."""

  def encode(csi: jax.Array) -> jax.Array:
    return _parts(paid_code.encode(known, _complex(csi)))

  def decode(received: jax.Array) -> jax.Array:
    return _parts(paid_code.decode(known, _complex(received)))

  entries = config.num_delay_taps, config.num_tx_antennas, 2
  symbols = 'batch', known.num_symbols, 2
  csi = Port('csi', ('batch', *entries), 'float32', _CSI)
  ue = Half('ue', _precise(encode), (csi,), Port(
      'symbols', symbols, 'float32',
      '(real, imaginary) of the symbols to send; mean |s|^2 = 1 over the map, twice that at most'))
  bs = Half(
      'bs', _precise(decode), (Port('received', symbols, 'float32', _RECEIVED),),
      csi._replace(name='csi_hat', meaning='as csi of the UE half'))
  return {half.name: half for half in (ue, bs)}


def halves(config: ExperimentConfig, params: Any) -> dict[str, Half]:
  """Both, by name, in float32.

  Raises:
    InputError: the network sends bits.
  """
  if config.uplink.quantiser_bits:
    raise InputError(
        f'uplink.quantiser_bits={config.uplink.quantiser_bits}: this network sends bits; only '
        'halves with analogue symbols are functions of their own.')
  model = build_model(_in_float32(config))
  num_symbols = codeword_dim(config.model, config.csi) // 2
  num_ues = config.num_ues if config.model.network == 'summation_fusion' else 'ue'

  def encode(csi: jax.Array, snr_db: jax.Array | float = 0.0) -> jax.Array:
    snr_db = jnp.broadcast_to(snr_db, csi.shape[:1])[:, None]
    codeword = cast(jax.Array, model.apply(
        {'params': params}, _to_features(csi)[:, None], snr_db, method='encode'))
    return jnp.stack(jnp.split(unit_power(codeword[:, 0]), 2, -1), -1)

  def decode(
      received: jax.Array, active: jax.Array, snr_db: jax.Array | float = 0.0) -> jax.Array:
    snr_db = jnp.broadcast_to(snr_db, active.shape)
    codeword_hat = jnp.concatenate([received[..., 0], received[..., 1]], -1)
    return _from_features(cast(jax.Array, model.apply(
        {'params': params}, codeword_hat, snr_db, active, method='decode')))

  needs_snr, at_ue = config.model.uses_snr, config.model.network != 'learned_joint'
  return _of_groups(
      encode, decode, config.csi, num_symbols, num_ues, needs_snr and at_ue, needs_snr)


def joint_halves(code: RandomCode, config: CsiConfig) -> dict[str, Half]:
  """Both of joint Bayes that is not trained, by name."""

  def encode(csi: jax.Array) -> jax.Array:
    return _parts(random_code.encode(code, _complex(csi)))

  def decode(received: jax.Array, active: jax.Array, snr_db: jax.Array) -> jax.Array:
    csi_hat, _ = joint.decode_at_once(code, _complex(received), noise_variance(snr_db), active)
    return _parts(csi_hat)

  return _of_groups(
      _precise(encode), _precise(decode), config, len(code.projections.kept), 'ue',
      snr_at_ue=False, snr_at_bs=True)


def _of_groups(
    encode: Callable, decode: Callable, csi: CsiConfig, num_symbols: int, num_ues: int | str,
    snr_at_ue: bool, snr_at_bs: bool) -> dict[str, Half]:
  entries = csi.num_delay_taps, csi.num_tx_antennas, 2
  snr = Port('snr_db', ('batch',), 'float32', 'uplink SNR 10 log10(1 / N_0) in dB')
  ue = Half(
      'ue', encode, (
          Port('csi', ('batch', *entries), 'float32', _CSI),
          *[snr] * snr_at_ue),
      Port('symbols', ('batch', num_symbols, 2), 'float32',
           '(real, imaginary) of the symbols to send, mean |s|^2 = 1'))
  bs = Half(
      'bs', decode, (
          Port('received', ('batch', num_ues, num_symbols, 2), 'float32', _RECEIVED),
          Port('active', ('batch', num_ues), 'bool',
               'whether the UE is there and its report arrived'),
          *[snr._replace(shape=('batch', num_ues))] * snr_at_bs),
      Port('csi_hat', ('batch', num_ues, *entries), 'float32', 'as csi of the UE half'))
  return {half.name: half for half in (ue, bs)}


def to_parts(values: np.ndarray) -> np.ndarray:
  """Complex [...] to real [..., 2] float32."""
  return np.stack([values.real, values.imag], -1).astype(np.float32)


def _precise(function: Callable) -> Callable:
  """With matrix products in full precision, as rows of codes are measured."""

  @functools.wraps(function)
  def call(*args: Any) -> jax.Array:
    with jax.default_matmul_precision('highest'):
      return function(*args)

  return call


def _in_float32(config: ExperimentConfig) -> ExperimentConfig:
  return dataclasses.replace(config, model=dataclasses.replace(config.model, dtype='float32'))


def _complex(parts: jax.Array) -> jax.Array:
  return jax.lax.complex(parts[..., 0], parts[..., 1])


def _parts(values: jax.Array) -> jax.Array:
  return jnp.stack([values.real, values.imag], -1)


def _to_features(csi: jax.Array) -> jax.Array:
  """[..., N_a, N_t, 2] to [..., N_t, 2 N_a], as `channel.to_features` without complex numbers."""
  tokens = jnp.moveaxis(csi, -3, -1)
  return tokens.reshape(*tokens.shape[:-2], -1)


def _from_features(features: jax.Array) -> jax.Array:
  return jnp.moveaxis(features.reshape(*features.shape[:-1], 2, -1), -1, -3)
