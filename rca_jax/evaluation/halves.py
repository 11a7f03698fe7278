"""The two halves of a network as functions of real arrays, as other programs can call them.

A complex number is a last axis of length 2. The UE half is of single UEs, the BS half of groups.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.errors import InputError
from rca_jax.models.build import build_model
from rca_jax.uplink.djscc import unit_power

NAMES = ('ue', 'bs')


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


def halves(config: ExperimentConfig, params: Any) -> dict[str, Half]:
  """Both, by name, in float32.

  Raises:
    InputError: the network sends bits.
  """
  if config.uplink.quantiser_bits:
    raise InputError(
        f'uplink.quantiser_bits={config.uplink.quantiser_bits}: this network sends bits; only '
        'halves with analogue symbols are functions of their own.')
  model = build_model(dataclasses.replace(
      config, model=dataclasses.replace(config.model, dtype='float32')))
  csi, num_symbols = config.csi, codeword_dim(config.model, config.csi) // 2
  num_ues = config.num_ues if config.model.network == 'summation_fusion' else 'ue'
  entries = csi.num_delay_taps, csi.num_tx_antennas, 2
  snr = Port('snr_db', ('batch',), 'float32', 'uplink SNR 10 log10(1 / N_0) in dB')

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
  ue = Half(
      'ue', encode, (
          Port('csi', ('batch', *entries), 'float32',
               'delay row x angle column x (real, imaginary), mean |h|^2 = 1 over the entries of '
               'a UE'),
          *[snr] * (needs_snr and at_ue)),
      Port('symbols', ('batch', num_symbols, 2), 'float32',
           '(real, imaginary) of the symbols to send, mean |s|^2 = 1'))
  bs = Half(
      'bs', decode, (
          Port('received', ('batch', num_ues, num_symbols, 2), 'float32',
               's + n, n of variance N_0 a complex symbol, SNR = 1 / N_0'),
          Port('active', ('batch', num_ues), 'bool',
               'whether the UE is there and its report arrived'),
          *[snr._replace(shape=('batch', num_ues))] * needs_snr),
      Port('csi_hat', ('batch', num_ues, *entries), 'float32', 'as csi of the UE half'))
  return {half.name: half for half in (ue, bs)}


def to_parts(values: np.ndarray) -> np.ndarray:
  """Complex [...] to real [..., 2] float32."""
  return np.stack([values.real, values.imag], -1).astype(np.float32)


def _to_features(csi: jax.Array) -> jax.Array:
  """[..., N_a, N_t, 2] to [..., N_t, 2 N_a], as `channel.to_features` without complex numbers."""
  tokens = jnp.moveaxis(csi, -3, -1)
  return tokens.reshape(*tokens.shape[:-2], -1)


def _from_features(features: jax.Array) -> jax.Array:
  return jnp.moveaxis(features.reshape(*features.shape[:-1], 2, -1), -1, -3)
