"""The frozen benchmark: one generated test set, and one line of LEADERBOARD.md for a method.

1,000 groups of 2 UEs, each in a new environment, AWGN of 0, 10 and 20 dB with fixed noise. Its seed
is its own: what was developed in this project was measured on other groups.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rca_jax.config import CsiConfig, DataConfig, ExperimentConfig, TrainingConfig
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.complexity import (
    Step,
    described_steps,
    joint_bayes_steps,
    network_steps,
    pca_steps,
)
from rca_jax.evaluation.references import BAYES, described_code, reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.evaluation.run import Weights, measure

CSI = CsiConfig(mode='fresh')
DATA = DataConfig(seed=19465, num_test_groups=1000)
NUM_UES, SNRS_DB = 2, (0.0, 10.0, 20.0)
CSI_HASH = '8fcd31392ee1'
# Not trained.
METHODS = ('PCA/KLT', *(name for name in BAYES if 'genie' not in name))
HEAD = (
    'name', 'method', 'CR', *(f'{snr_db:g} dB' for snr_db in SNRS_DB), 'parameters',
    'products, UE', 'products, BS', 'config', 'commit')
_COUNTED_DB = 10.0  # SNR at which the clusters of a described profile are counted


def _described_steps(config: ExperimentConfig) -> list[Step]:
  plan = described_code(config).plan(10 ** (-_COUNTED_DB / 10))
  return described_steps(config, plan.num_clusters)


_STEPS = {
    'PCA/KLT': pca_steps, 'joint Bayes': joint_bayes_steps,
    'described profile': _described_steps, 'described profile (folded)': _described_steps}


def check_test_set() -> None:
  """Raises InputError unless this program generates the test set of everybody else."""
  found = csi_hash(load_test_csi(ExperimentConfig(csi=CSI, data=DATA), NUM_UES))
  if found != CSI_HASH:
    raise InputError(
        f'the test set has the hash {found}, that of the benchmark is {CSI_HASH}: the generator '
        'was changed; what is measured here cannot stand beside other lines.')


def csi_hash(csi: np.ndarray) -> str:
  """12 hexadecimal digits of CSI [G, M, N_a, N_t]: of its mean power by delay and by antenna.

  Not of its bytes, which differ between CPUs: phases are thousands of turns in float32, and without
  fused multiply-add entries change by some per cent. These powers change by 2e-4; they are rounded
  to 0.1, and none of the benchmark's is within 1e-3 of where that goes the other way.
  """
  tenths = np.rint(10 * mean_powers(csi)).astype('<i8')
  return hashlib.sha256(tenths.tobytes()).hexdigest()[:12]


def mean_powers(csi: np.ndarray) -> np.ndarray:
  """Of CSI [G, M, N_a, N_t] by delay, then by antenna: [N_a + N_t] float64."""
  power = np.abs(csi.astype(np.complex128)) ** 2
  return np.concatenate([power.mean((0, 1, 3)), power.mean((0, 1, 2))])


def network_rows(
    config: ExperimentConfig, weights: Weights, stages: Sequence[str]) -> Iterator[dict[str, Any]]:
  """Results rows of a trained network on the benchmark.

  Args:
    stages: whose weights, for each of `SNRS_DB`.

  Raises:
    InputError: it is of another size of CSI, or as `measure`.
  """
  sizes = [(csi.num_delay_taps, csi.num_tx_antennas) for csi in (config.csi, CSI)]
  if sizes[0] != sizes[1]:
    raise InputError('this network is of CSI {} x {}, the benchmark of {} x {}.'.format(
        *sizes[0], *sizes[1]))
  measurements = [
      Measurement(snr_db, NUM_UES, stage, 'awgn')
      for snr_db, stage in zip(SNRS_DB, stages, strict=True)]
  return measure(dataclasses.replace(config, csi=CSI, data=DATA), weights, measurements)


def method_rows(config: ExperimentConfig) -> list[dict[str, Any]]:
  """The same of `config.method`, one of `METHODS`, fitted to groups of other environments."""
  return reference_rows(
      dataclasses.replace(config, csi=CSI, data=DATA),
      [Measurement(snr_db, NUM_UES) for snr_db in SNRS_DB])


def line(name: str, config: ExperimentConfig, rows: Sequence[dict[str, Any]], words: str) -> str:
  """The cells of `HEAD`: NMSE in dB, and real multiplications of matrix products for one UE.

  Args:
    words: that name the config of a training; '' where nothing is trained.
  """
  steps = _STEPS.get(config.method, network_steps if words else lambda _: ())(
      dataclasses.replace(config, num_ues=NUM_UES, training=TrainingConfig()))
  macs = [sum(step.macs for step in steps if step.side == side) for side in ('UE', 'BS')]
  cells = [
      name, config.method, config.model.compression_ratio,
      *('{nmse_db:.2f} [{0:.2f}, {1:.2f}]'.format(*row['nmse_ci95_db'], **row) for row in rows),
      f'{sum(step.num_bytes for step in steps) // 4:,}' if words else '-',
      *(f'{number:,}' if steps else '-' for number in macs), words or '-', rows[0]['commit']]
  return f'| {" | ".join(cells)} |'
