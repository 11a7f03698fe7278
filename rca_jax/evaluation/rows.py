"""What one results row says: what was measured, on which network and data; then how well."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from rca_jax.config import (
    ABSENT_MEANS,
    GENERATOR_VERSION,
    ExperimentConfig,
    codeword_dim,
    to_dict,
    without_folders,
)
from rca_jax.data.files import content_hash
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Scores, summarise
from rca_jax.evaluation.results import MAX_DB, check_row, current_commit
from rca_jax.foreign import sha256
from rca_jax.uplink import sscc


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What one results row is measured with, besides the run itself.

  Raises:
    InputError: fewer than 2 UEs, an SNR that is no number, or no UE is left to be scored.
  """

  snr_db: float | None  # None: noise-free, for the classical codes
  num_ues: int = 2
  stage: str = 'pretrain'  # whose weights, a name of `config.stages`
  channel: str = ''  # uplink instead of the run's own
  distance_m: float = 0.0  # 2 UEs exactly so far apart, more in a disc so wide; 0: the run's groups
  snr_error_db: float = 0.0  # added to the SNR that a method is given, not to the uplink's
  snr_spread_db: float = 0.0  # SNRs of a group's UEs go evenly from snr_db - this to snr_db + this
  code_rate: float = 0.0  # SSCC: of the LDPC code; 0: no bits
  qam_order: int = 0  # SSCC: constellation points
  num_symbols: int = 0  # of a report, the first ones, that are sent; 0: all
  num_lost: int = 0  # reports of every group that do not arrive, those of the last UEs
  of_lost: bool = False  # whether these UEs are scored, and not those whose reports arrive

  def __post_init__(self):
    if self.snr_db is not None and not abs(self.snr_db) <= MAX_DB:
      raise InputError(f'snr_db={self.snr_db}: expected a number of dB, up to {MAX_DB:g}.')
    if self.num_ues < 2:
      raise InputError(f'num_ues={self.num_ues}: multi-user feedback needs at least 2 UEs.')
    if self.num_symbols < 0:
      raise InputError(f'num_symbols={self.num_symbols} must not be negative.')
    if not self.of_lost <= self.num_lost <= self.num_ues - (not self.of_lost):
      raise InputError(
          f'num_lost={self.num_lost}, of_lost={self.of_lost}: of {self.num_ues} UEs none is left '
          'to be scored.')

  @property
  def noisy_snr_db(self) -> float:
    """`snr_db`. Raises InputError: it is noise-free."""
    if self.snr_db is None:
      raise InputError('snr_db=None: this is measured over an uplink with noise only.')
    return self.snr_db

  @property
  def snrs_db(self) -> np.ndarray:
    """Of every UE of a group, [M] float."""
    return self.noisy_snr_db + self.snr_spread_db * np.linspace(-1, 1, self.num_ues)


class TestData(NamedTuple):
  """Which test groups were used: a name to read, and 12 hexadecimal digits of the content."""

  name: str
  hash: str


def test_data(config: ExperimentConfig, path: str = '') -> TestData:
  """The test groups of `path`, by default those of the config.

  Raises:
    InputError: the file cannot be read.
  """
  path = path or config.data.test_path or config.data.path
  if path:
    return TestData(Path(path).absolute().name, content_hash(path, config.data.layout)[:12])
  csi, data = config.csi, config.data
  said = {'seed': data.seed, 'moved_scatterers': data.moved_scatterers,
          'redrawn_ground': data.redrawn_ground}
  return TestData(
      f'{csi.scenario} {csi.mode} {data.seed}' + ' at another time' * data.is_changed,
      _digest({'csi': to_dict(csi), 'data': said}))


def describe(
    config: ExperimentConfig, measurement: Measurement, steps: int, data: TestData,
    num_groups: int | None = None) -> dict[str, Any]:
  """The part of a row that is known before the measurement.

  Args:
    steps: of the training that led to the weights.
    num_groups: at most so many test groups instead of `data.num_test_groups`.

  Raises:
    InputError: a value cannot stand in a row, or `uplink.sscc` has no such code.
  """
  item = dataclasses.asdict(measurement)
  row = {
      'method': config.method, 'compression_ratio': config.model.compression_ratio,
      'num_ues': item.pop('num_ues'), 'snr_db': item.pop('snr_db'),
      'data': data.name, 'data_hash': data.hash, 'seed': config.seed, 'steps': steps,
      'dtype': config.model.dtype, 'cell': config_hash(config),
      'trained_ues': trained_ues(config), 'overhead': overhead(config, measurement),
      **{name: value for name, value in item.items() if value}}
  if config.training.init_weights:
    row['init_weights'] = without_folders(config).training.init_weights
  if config.site_map:
    row['site_map'] = sha256(Path(config.site_map))[:12]
  if config.refiner:
    row['refiner'] = sha256(Path(config.refiner))[:12]
  if num_groups is not None:
    row['num_groups'] = num_groups
  check_row(row)
  return row


def result_row(description: dict[str, Any], scores: Scores, seed: int) -> dict[str, Any]:
  """`describe`'s row with what was measured; `errors` is the NMSE of every group [num_samples].

  A bound has no `errors`: its samples are not the test groups. `seed` is that of the bootstrap.
  """
  errors = {} if scores.rho is None else {'errors': scores.nmse}
  return description | summarise(scores, seed) | {
      'commit': current_commit(), 'device': jax.devices()[0].device_kind} | errors


def trained_ues(config: ExperimentConfig) -> list[int]:
  """The numbers of UEs in a training's groups."""
  return list(config.training.group_sizes or (config.num_ues,))


def overhead(config: ExperimentConfig, item: Measurement) -> int:
  """Complex uplink symbols of one report."""
  k = codeword_dim(config.model, config.csi)
  if config.uplink.quantiser_bits:
    return sscc.num_symbols(k * config.uplink.quantiser_bits, item.code_rate, item.qam_order)
  return item.num_symbols or k // 2


def config_hash(config: ExperimentConfig) -> str:
  """12 hexadecimal digits of the whole resolved config, defaults too, and of the generator."""
  return _digest(to_dict(without_folders(config)))


def _digest(fields: dict[str, Any]) -> str:
  flat = traverse_util.flatten_dict(fields, sep='.')
  said = {
      name: value for name, value in flat.items()
      if name not in ABSENT_MEANS or value != ABSENT_MEANS[name]}
  text = json.dumps(said | {'generator': GENERATOR_VERSION}, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]
