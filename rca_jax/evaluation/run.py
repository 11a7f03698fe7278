"""A run's folder to results rows: its config, its newest checkpoint, its test groups."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rca_jax.config import ExperimentConfig, codeword_dim, stage_name
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Scores, evaluate, evaluate_bits, summarise
from rca_jax.evaluation.results import MAX_DB, current_commit
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.training import checkpoint
from rca_jax.training.pretrained import load_pretrained
from rca_jax.training.program import abstract_params
from rca_jax.training.workdir import read_config
from rca_jax.uplink.djscc import resolve_channel
from rca_jax.uplink.link import AnalogueLink
from rca_jax.uplink.sscc import num_symbols


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What one results row is measured with, besides the run itself."""

  snr_db: float | None  # None: noise-free, for the classical codes
  num_ues: int = 2
  stage: str = 'pretrain'  # whose weights, a name of `config.stages`
  channel: str = ''  # uplink instead of the run's own
  distance_m: float = 0.0  # pairs exactly so far apart instead of the run's groups
  snr_error_db: float = 0.0  # what a network that is told its SNR is told too much
  code_rate: float = 0.0  # SSCC: of the LDPC code; 0: no bits
  qam_order: int = 0  # SSCC: constellation points
  num_lost: int = 0  # reports of every group that do not arrive, those of the last UEs
  of_lost: bool = False  # whether these UEs are scored, and not those whose reports arrive

  def __post_init__(self):
    if self.snr_db is not None and not abs(self.snr_db) <= MAX_DB:
      raise InputError(f'snr_db={self.snr_db}: expected a number of dB, up to {MAX_DB:g}.')


def evaluate_run(
    workdir: str | Path, snrs_db: Sequence[float], nums_ues: Sequence[int] = (),
    stage: str = 'pretrain', num_groups: int | None = None, data: str = '',
    allow_silent: bool = False) -> Iterator[dict[str, Any]]:
  """`measure` at every pair of number of UEs and SNR.

  Args:
    nums_ues: by default those of the training.
    stage: `pretrain`, or `finetune` for the weights fine-tuned at each of `snrs_db`.
  """
  return measure(
      workdir, [
          Measurement(float(snr_db), num_ues, stage_name(snr_db if stage == 'finetune' else None))
          for num_ues in nums_ues or trained_ues(read_config(workdir)) for snr_db in snrs_db],
      num_groups, data, allow_silent)


def evaluate_weights(
    name: str, folder: str | Path, snrs_db: Sequence[float], nums_ues: Sequence[int] = (),
    num_groups: int | None = None, data: str = '', allow_silent: bool = False,
) -> Iterator[dict[str, Any]]:
  """`measure_weights` of a network of `launch.export`, as `evaluate_run` does with a training."""
  config, _, params, stage, steps = load_pretrained(name, folder)
  return measure_weights(
      config, {stage: (params, steps)}, [
          Measurement(float(snr_db), num_ues, stage)
          for num_ues in nums_ues or trained_ues(config) for snr_db in snrs_db],
      num_groups, data, allow_silent)


def measure(
    workdir: str | Path, measurements: Sequence[Measurement], num_groups: int | None = None,
    data: str = '', allow_silent: bool = False) -> Iterator[dict[str, Any]]:
  """`measure_weights` of a training's newest checkpoints; nothing in its workdir is changed.

  Raises:
    InputError: no run, no checkpoint, or as `measure_weights`.
  """
  config = read_config(workdir)
  weights = {item.stage: load_params(workdir, config, item.stage) for item in measurements}
  return measure_weights(config, weights, measurements, num_groups, data, allow_silent)


def measure_weights(
    config: ExperimentConfig, weights: dict[str, tuple[Any, int]],
    measurements: Sequence[Measurement], num_groups: int | None = None, data: str = '',
    allow_silent: bool = False) -> Iterator[dict[str, Any]]:
  """One results row a measurement, each as soon as it is known.

  Args:
    weights: parameters and the steps that led to them, by the stage of the measurements.
    num_groups: at most so many test groups; by default `data.num_test_groups`.
    data: an npz or data set folder to test on, instead of the config's own test groups.
    allow_silent: as `data.allow_silent`, which it overrules if set.

  Raises:
    InputError: unusable test data, fewer than 2 UEs, or a measurement that this network does not
      have.
  """
  for item in measurements:
    if item.num_ues < 2:
      raise InputError(f'num_ues={item.num_ues}: multi-user feedback needs at least 2 UEs.')
    if not item.of_lost <= item.num_lost <= item.num_ues - (not item.of_lost):
      raise InputError(
          f'num_lost={item.num_lost}, of_lost={item.of_lost}: of {item.num_ues} UEs none is left '
          'to be scored.')
  if allow_silent:
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, allow_silent=True))
  test_csi = functools.lru_cache(maxsize=1)(
      lambda num_ues, distance_m: load_test_csi(config, num_ues, num_groups, data, distance_m))
  with jax.default_matmul_precision(config.matmul_precision):
    for item in measurements:
      params, steps = weights[item.stage]
      scores = _scores(config, item, params, test_csi(item.num_ues, item.distance_m))
      yield results_row(config, item, scores, steps, data)


def results_row(
    config: ExperimentConfig, measurement: Measurement, scores: Scores, steps: int,
    data: str = '') -> dict[str, Any]:
  """A row of results.json: what was measured on which network, and how."""
  item = dataclasses.asdict(measurement)
  unusual = {'dtype': config.model.dtype} if config.model.dtype != 'float32' else {}
  if config.training.init_weights:
    unusual['init_weights'] = config.training.init_weights
  return {
      'method': config.method, 'compression_ratio': config.model.compression_ratio,
      'num_ues': item.pop('num_ues'), 'snr_db': item.pop('snr_db'),
      'data': data_name(config, data), 'seed': config.seed,
      **summarise(scores, config.data.seed), 'steps': steps, 'commit': current_commit(),
      'device': jax.devices()[0].device_kind,
      'trained_ues': trained_ues(config),
      'overhead': _overhead(config, measurement),
      **{name: value for name, value in item.items() if value}, **unusual}


def trained_ues(config: ExperimentConfig) -> list[int]:
  """The numbers of UEs in a training's groups."""
  return list(config.training.group_sizes or (config.num_ues,))


def load_params(
    workdir: str | Path, config: ExperimentConfig, stage: str = 'pretrain') -> tuple[Any, int]:
  """The newest parameters of a stage, and the steps that led to them, pretraining included.

  Those that led to `training.init_weights` are not counted.

  Raises:
    InputError: there is no such checkpoint, or it is damaged or of another model.
  """
  with checkpoint.open_for_reading(checkpoint.checkpoint_folder(workdir, stage)) as manager:
    steps = manager.latest_step() + (
        0 if stage == stage_name() else config.training.pretrain.num_steps)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return checkpoint.restore_params(manager, abstract_params(config), sharding), steps


def data_name(config: ExperimentConfig, path: str = '') -> str:
  """What stands under `data` in a results row: the file's name, or scenario, mode and seed."""
  path = path or config.data.test_path or config.data.path
  if path:
    return Path(path).name
  return f'{config.csi.scenario} {config.csi.mode} {config.data.seed}'


def _overhead(config: ExperimentConfig, item: Measurement) -> int:
  """Complex uplink symbols of one report."""
  k = codeword_dim(config.model, config.csi)
  if config.uplink.quantiser_bits:
    return num_symbols(k * config.uplink.quantiser_bits, item.code_rate, item.qam_order)
  return k // 2


def _scores(
    config: ExperimentConfig, item: Measurement, params: Any, csi: np.ndarray) -> Scores:
  model = _model(config, item)
  key = stream_key(config.data.seed, Stream.EVALUATION)
  if not item.qam_order:
    return evaluate(
        model, params, csi, item.snr_db, key, config.training.batch_size, item.num_lost,
        item.of_lost)
  return evaluate_bits(
      model, params, csi, item.snr_db, config.uplink.quantiser_bits, item.code_rate,
      item.qam_order, config.data.seed, config.training.batch_size)


def _model(config: ExperimentConfig, item: Measurement) -> nn.Module:
  model = build_model(config)
  if item.channel:
    if config.uplink.quantiser_bits:
      raise InputError(
          f'channel={item.channel!r} carries analogue symbols; this network sends bits.')
    model = model.clone(link=AnalogueLink(resolve_channel(item.channel)))
  if item.num_lost and config.uplink.quantiser_bits:
    raise InputError('num_lost: lost reports are measured with analogue symbols only.')
  if bool(item.qam_order) != bool(config.uplink.quantiser_bits):
    raise InputError(
        f'qam_order={item.qam_order}, uplink.quantiser_bits={config.uplink.quantiser_bits}: a '
        'network that sends bits is measured with code_rate and qam_order, another one without.')
  if item.snr_error_db:
    if config.model.network != 'adjscc_csinet':
      raise InputError(
          f'snr_error_db={item.snr_error_db:g}: model.network={config.model.network!r} is not told '
          'its SNR.')
    model = model.clone(snr_error_db=item.snr_error_db)
  return model
