"""A run's folder to results rows: its config, its newest checkpoint, its test groups."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from rca_jax.config import ExperimentConfig
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import evaluate, summarise
from rca_jax.evaluation.results import current_commit
from rca_jax.models.rca_munet import build_model
from rca_jax.training import checkpoint
from rca_jax.training.data import load_test_csi
from rca_jax.training.keys import Stream, stream_key
from rca_jax.training.loop import stage_name
from rca_jax.training.program import abstract_params
from rca_jax.training.workdir import read_config


def evaluate_run(
    workdir: str | Path, snrs_db: Sequence[float], nums_ues: Sequence[int],
    stage: str = 'pretrain', num_groups: int | None = None, data: str = '',
) -> Iterator[dict[str, Any]]:
  """Results rows (one a pair of SNR and number of UEs), each as soon as it is measured.

  Args:
    workdir: of a training; nothing in it is changed.
    stage: `pretrain`, or `finetune` for the weights fine-tuned at each of `snrs_db`.
    num_groups: at most so many test groups; by default `data.num_test_groups`.
    data: an npz or data set folder to test on, instead of the run's own test groups.

  Raises:
    InputError: no run, no checkpoint, unusable test data, or fewer than 2 UEs.
  """
  config = read_config(workdir)
  for num_ues in nums_ues:
    if num_ues < 2:
      raise InputError(f'num_ues={num_ues}: multi-user feedback needs at least 2 UEs.')
  weights = [load_params(workdir, config, stage, snr_db) for snr_db in snrs_db]
  model = build_model(config)
  key = stream_key(config.data.seed, Stream.EVALUATION)
  with jax.default_matmul_precision(config.matmul_precision):
    for num_ues in nums_ues:
      csi = load_test_csi(config, num_ues, num_groups, data)
      for snr_db, (params, steps) in zip(snrs_db, weights, strict=True):
        scores = evaluate(model, params, csi, snr_db, key, config.training.batch_size)
        yield {
            'method': config.method, 'compression_ratio': config.model.compression_ratio,
            'num_ues': num_ues, 'snr_db': float(snr_db), 'data': data_name(config, data),
            'seed': config.seed, **summarise(scores, config.data.seed), 'steps': steps,
            'commit': current_commit()}


def load_params(
    workdir: str | Path, config: ExperimentConfig, stage: str = 'pretrain',
    snr_db: float | None = None) -> tuple[Any, int]:
  """The newest parameters of a stage, and the steps that led to them, pretraining included.

  Raises:
    InputError: there is no such checkpoint, or it is damaged or of another model.
  """
  name = stage_name(snr_db if stage == 'finetune' else None)
  with checkpoint.open_for_reading(checkpoint.checkpoint_folder(workdir, name)) as manager:
    steps = manager.latest_step() + (
        config.training.pretrain.num_steps if stage == 'finetune' else 0)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return checkpoint.restore_params(manager, abstract_params(config), sharding), steps


def data_name(config: ExperimentConfig, path: str = '') -> str:
  """What stands under `data` in a results row: the file's name, or scenario, mode and seed."""
  path = path or config.data.test_path or config.data.path
  if path:
    return Path(path).name
  return f'{config.csi.scenario} {config.csi.mode} {config.data.seed}'
