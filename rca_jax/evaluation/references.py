"""Results rows of what is not trained: linear and sparse codes, and the genie's bound."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from rca_jax.baselines import cdl_op, pca
from rca_jax.baselines.genie import genie_nmse
from rca_jax.channel import from_features, to_features
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.data.source import training_source
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Scores, score
from rca_jax.evaluation.run import Measurement, results_row
from rca_jax.keys import Stream, stream_key

_FIT_REPORTS_PER_DIMENSION = 12  # training reports that the linear code is fitted to
_NUM_FIT_ROWS = 40_000  # frequency rows the dictionary is fitted to
_NUM_GENIE_POSITIONS = 1000


def reference_rows(
    config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
  """One row a measurement of `config.method`, a name of `REFERENCES`.

  Codes are fitted to groups of the training's own source and tested on the network's test groups.

  Raises:
    InputError: the method is none of them, or a measurement is none it has.
  """
  if config.method not in REFERENCES:
    raise InputError(
        f'method={config.method!r} is not trained, and none of {", ".join(REFERENCES)}.')
  for item in measurements:
    if item != Measurement(item.snr_db, item.num_ues):
      raise InputError(f'{item}: of a reference only snr_db and num_ues can be chosen.')
  return REFERENCES[config.method](config, measurements)


def _pca_rows(config: ExperimentConfig, measurements: Sequence[Measurement]):
  dim = 2 * config.csi.num_delay_taps * config.csi.num_tx_antennas
  k = codeword_dim(config.model, config.csi)
  train = to_features(_training_csi(config, _FIT_REPORTS_PER_DIMENSION * dim))
  code = pca.fit(np.asarray(train).reshape(-1, dim), k)
  key = stream_key(config.data.seed, Stream.REFERENCE_NOISE)
  rows = []
  for item in measurements:
    csi = load_test_csi(config, item.num_ues)
    test = to_features(csi)
    flat = test.reshape(*csi.shape[:2], dim)
    hat = (pca.reconstruct(code, flat) if item.snr_db is None
           else pca.transmit(key, code, flat, item.snr_db))
    scores = _numpy(score(csi, from_features(hat.reshape(test.shape))))
    rows.append(results_row(config, item, scores, 0))
  return rows


def _cdl_op_rows(config: ExperimentConfig, measurements: Sequence[Measurement]):
  """The reports are noise-free, as in the paper: a measurement with an SNR is refused."""
  num_tx = config.csi.num_tx_antennas
  num_atoms = Fraction(config.model.compression_ratio) * num_tx
  if num_atoms.denominator != 1:
    raise InputError(
        f'model.compression_ratio={config.model.compression_ratio} of {num_tx} atoms is '
        f'{num_atoms}; CDL-OP keeps a whole number of them.')
  num_atoms = int(num_atoms)
  train = np.asarray(cdl_op.frequency_rows(
      _training_csi(config, -(-_NUM_FIT_ROWS // config.csi.num_delay_taps))))
  dictionary = cdl_op.fit(train.reshape(-1, num_tx), num_atoms)
  rows = []
  for item in measurements:
    if item.snr_db is not None:
      raise InputError(f'CDL-OP is measured without noise (snr_db=None), not at {item.snr_db} dB.')
    csi = load_test_csi(config, item.num_ues)
    hat = cdl_op.reconstruct(dictionary, cdl_op.frequency_rows(csi), num_atoms)
    scores = _numpy(score(csi, cdl_op.from_frequency_rows(hat)))
    rows.append(results_row(config, item, scores, 0))
  return rows


def _genie_rows(config: ExperimentConfig, measurements: Sequence[Measurement]):
  snrs_db = [item.snr_db for item in measurements]
  if None in snrs_db:
    raise InputError('the genie needs an uplink with noise: snr_db=None leaves no error.')
  num_positions = min(_NUM_GENIE_POSITIONS, config.data.num_test_groups)
  nmse = genie_nmse(config, snrs_db, num_positions)  # [snr, position]
  return [
      results_row(config, item, Scores(values), 0)
      for item, values in zip(measurements, nmse, strict=True)]


REFERENCES: dict[str, Callable] = {
    'PCA/KLT': _pca_rows, 'CDL-OP': _cdl_op_rows, 'genie': _genie_rows}


def _training_csi(config: ExperimentConfig, num_reports: int) -> np.ndarray:
  """Training CSI [n, N_a, N_t] of UEs with power; n at least `num_reports` if all have some."""
  source = training_source(config)
  draw = jax.jit(source.batch)
  groups = config.training.batch_size * config.num_ues
  keys = jax.random.split(
      stream_key(config.seed, Stream.REFERENCE_FIT), -(-num_reports // groups))
  csi = np.concatenate([
      np.asarray(draw(source.arrays, key, step)) for step, key in enumerate(keys)])
  csi = csi.reshape(-1, *csi.shape[-2:])
  return csi[csi.any((-2, -1))]


def _numpy(scores: Scores) -> Scores:
  return Scores(*(np.asarray(values) for values in scores))
