"""Trained networks to results rows: config, weights and test groups."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.channel import from_features, to_features
from rca_jax.config import ExperimentConfig, Layout, codeword_dim, stage_name
from rca_jax.data.files import GUESSED
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Estimate, evaluate
from rca_jax.evaluation.rows import Measurement, describe, result_row, test_data, trained_ues
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.training import checkpoint
from rca_jax.training.pretrained import load_pretrained
from rca_jax.training.program import abstract_params
from rca_jax.training.workdir import read_config
from rca_jax.uplink import sscc
from rca_jax.uplink.djscc import resolve_channel
from rca_jax.uplink.link import AnalogueLink
from rca_jax.uplink.quantiser import from_bits, from_levels, to_bits, to_levels

Weights = dict[str, tuple[Any, int]]  # parameters and the steps that led to them, by stage


def evaluate_run(
    workdir: str | Path, snrs_db: Sequence[float], nums_ues: Sequence[int] = (),
    stage: str = 'pretrain', num_groups: int | None = None, data: str = '',
    allow_silent: bool = False, layout: Layout = GUESSED, nums_symbols: Sequence[int] = (0,),
) -> Iterator[dict[str, Any]]:
  """`measure` of a training's newest checkpoints: every number of UEs, of symbols and SNR.

  Args:
    nums_ues: by default those of the training.
    nums_symbols: of a report, the first ones, that are sent; 0: all.
    stage: `pretrain`, or `finetune` for the weights fine-tuned at each of `snrs_db`.

  Raises:
    InputError: no run, no checkpoint, or as `measure`.
  """
  config = read_config(workdir)
  measurements = [
      Measurement(
          float(snr_db), num_ues, stage_name(snr_db if stage == 'finetune' else None),
          num_symbols=num_symbols)
      for num_ues in nums_ues or trained_ues(config) for num_symbols in nums_symbols
      for snr_db in snrs_db]
  weights = load_weights(workdir, config, {item.stage for item in measurements})
  return measure(config, weights, measurements, num_groups, data, allow_silent, layout)


def evaluate_weights(
    name: str, folder: str | Path, snrs_db: Sequence[float], nums_ues: Sequence[int] = (),
    num_groups: int | None = None, data: str = '', allow_silent: bool = False,
    layout: Layout = GUESSED, nums_symbols: Sequence[int] = (0,),
) -> Iterator[dict[str, Any]]:
  """`measure` of a network of `rca export`, as `evaluate_run` does with a training."""
  config, _, params, stage, steps = load_pretrained(name, folder)
  measurements = [
      Measurement(float(snr_db), num_ues, stage, num_symbols=num_symbols)
      for num_ues in nums_ues or trained_ues(config) for num_symbols in nums_symbols
      for snr_db in snrs_db]
  weights = {stage: (params, steps)}
  return measure(config, weights, measurements, num_groups, data, allow_silent, layout)


def measure(
    config: ExperimentConfig, weights: Weights, measurements: Sequence[Measurement],
    num_groups: int | None = None, data: str = '', allow_silent: bool = False,
    layout: Layout = GUESSED) -> Iterator[dict[str, Any]]:
  """One results row a measurement, each as soon as it is known.

  Args:
    num_groups: at most so many test groups; by default `data.num_test_groups`.
    data: a file or data set folder to test on, instead of the config's own test groups.
    allow_silent: as `data.allow_silent`, which it overrules if set.
    layout: how `data` is read, if it is a file.

  Raises:
    InputError: unusable test data, a value that cannot stand in a row, or a measurement that this
      network does not have. What can be known beforehand is refused before the first measurement.
  """
  estimates = [_estimate(config, item, weights[item.stage][0]) for item in measurements]
  test_data_config = dataclasses.replace(
      config.data, allow_silent=config.data.allow_silent or allow_silent)
  if data:  # the layout of the training's files is not that of another
    test_data_config = dataclasses.replace(test_data_config, **dataclasses.asdict(layout))
  elif layout != GUESSED:
    raise InputError(f'{layout.flags()}: is of the file that --data names; give it.')
  test_config = dataclasses.replace(config, data=test_data_config)
  tested_on = test_data(test_config, data)
  descriptions = [
      describe(config, item, weights[item.stage][1], tested_on, num_groups)
      for item in measurements]
  test_csi = functools.lru_cache(maxsize=1)(
      lambda num_ues, distance_m: load_test_csi(test_config, num_ues, num_groups, data, distance_m))
  key = stream_key(config.data.seed, Stream.EVALUATION)
  for item, description, estimate in zip(measurements, descriptions, estimates, strict=True):
    csi = test_csi(item.num_ues, item.distance_m)
    # Not around the yield: a generator that is never finished would keep its precision.
    with jax.default_matmul_precision(config.matmul_precision):
      scores = evaluate(estimate, csi, key, item.num_lost, item.of_lost)
    yield result_row(description, scores, config.data.seed)


def load_weights(
    workdir: str | Path, config: ExperimentConfig, stages: Collection[str]) -> Weights:
  """`load_params` of several stages."""
  return {stage: load_params(workdir, config, stage) for stage in stages}


def load_params(
    workdir: str | Path, config: ExperimentConfig, stage: str = 'pretrain') -> tuple[Any, int]:
  """The newest parameters of a stage, and the steps that led to them, pretraining included.

  Those that led to `training.init_weights` are not counted. Nothing in the workdir is changed.

  Raises:
    InputError: there is no such checkpoint, or it is damaged or of another model.
  """
  with checkpoint.open_for_reading(checkpoint.checkpoint_folder(workdir, stage)) as manager:
    steps = manager.latest_step() + (
        0 if stage == stage_name() else config.training.pretrain.num_steps)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return checkpoint.restore_params(manager, abstract_params(config), sharding), steps


def check_measurement(config: ExperimentConfig, item: Measurement) -> None:
  """Raises InputError if the network of `config` does not have this measurement."""
  bits = config.uplink.quantiser_bits
  if item.channel and bits:
    raise InputError(
        f'channel={item.channel!r} carries analogue symbols; this network sends bits.')
  if item.num_lost and bits:
    raise InputError('num_lost: lost reports are measured with analogue symbols only.')
  if item.snr_spread_db and bits:
    raise InputError('snr_spread_db: is measured with analogue symbols only.')
  if bool(item.qam_order) != bool(bits):
    raise InputError(
        f'qam_order={item.qam_order}, uplink.quantiser_bits={bits}: a network that sends bits is '
        'measured with code_rate and qam_order, another one without.')
  check_num_symbols(config, item.num_symbols)
  if item.snr_error_db and not config.model.uses_snr:
    raise InputError(
        f'snr_error_db={item.snr_error_db:g}: model.network={config.model.network!r} does not use '
        'the SNR.')


def check_num_symbols(config: ExperimentConfig, num_symbols: int) -> None:
  """Raises InputError if the network of `config` has no such shorter report; 0: all symbols."""
  most = codeword_dim(config.model, config.csi) // 2
  if not 0 <= num_symbols <= most:
    raise InputError(f'num_symbols={num_symbols}: a report of this network has 1 to {most}.')
  if num_symbols and config.uplink.quantiser_bits:
    raise InputError(f'num_symbols={num_symbols}: this network sends bits, and all of them.')
  if num_symbols and config.model.network == 'learned_joint':
    raise InputError(
        f"num_symbols={num_symbols}: model.network='learned_joint' has reports of one length.")


def _estimate(config: ExperimentConfig, item: Measurement, params: Any) -> Estimate:
  """The network of `config` with its uplink as `item` says."""
  check_measurement(config, item)
  model = build_model(config)
  if item.channel or item.num_symbols:
    channel = resolve_channel(item.channel or config.uplink.channel)
    model = model.clone(link=AnalogueLink(channel, item.num_symbols))
  if item.snr_error_db:
    model = model.clone(snr_error_db=item.snr_error_db)
  if item.qam_order:
    return partial(_estimate_from_bits, model, params, config.uplink.quantiser_bits, item)
  snr_db = jnp.asarray(item.snrs_db if item.snr_spread_db else item.snr_db, jnp.float32)
  return lambda *groups: transmit(model, params, snr_db, *groups)[1]


@partial(jax.jit, static_argnums=0)
def transmit(
    model: nn.Module, params: Any, snr_db: jax.Array, csi: jax.Array, keys: jax.Array,
    active: jax.Array | None) -> tuple[jax.Array, jax.Array]:
  """Reports as sent [batch, ue, num_symbols] complex64, and csi_hat.

  `snr_db` broadcasts to [batch, ue]; one for all is cheaper for learned joint Bayes. Other
  arguments as of `evaluate.Estimate`.
  """
  variables = {'params': params}
  codeword = cast(
      jax.Array, model.apply(variables, to_features(csi), snr_db, method='encode'))
  codeword_hat = model.link(keys, codeword, snr_db)
  features_hat = cast(
      jax.Array, model.apply(variables, codeword_hat, snr_db, active, method='decode'))
  return model.link.sent(codeword), from_features(features_hat.astype(jnp.float32))


def _estimate_from_bits(
    model: nn.Module, params: Any, num_bits: int, item: Measurement, csi: np.ndarray,
    keys: jax.Array, active: np.ndarray | None) -> jax.Array:
  """As `_estimate`'s of symbols, for an SSCC network, whose coded bits go through `uplink.sscc`."""
  levels = _levels(model, params, csi, num_bits)
  bits = np.asarray(to_bits(levels.reshape(-1, levels.shape[-1]), num_bits))
  received = jnp.asarray(sscc.transmit(
      keys.reshape(-1), bits, item.code_rate, item.qam_order, item.noisy_snr_db))
  codeword_hat = from_levels(from_bits(received, num_bits), num_bits).reshape(levels.shape)
  return from_features(_decode(model, params, codeword_hat, active))


@partial(jax.jit, static_argnums=(0, 3))
def _levels(model: nn.Module, params: Any, csi: jax.Array, num_bits: int) -> jax.Array:
  codeword = model.encoder.apply({'params': params['encoder']}, to_features(csi))
  return to_levels(codeword, num_bits)


@partial(jax.jit, static_argnums=0)
def _decode(
    model: nn.Module, params: Any, codeword_hat: jax.Array,
    active: jax.Array | None) -> jax.Array:
  return model.decoder.apply({'params': params['decoder']}, codeword_hat, active)
