"""What the demo shows besides its two runs: rows of codes that are not trained, and its words."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement

_LINEAR, _SITE_MAP = 'PCA/KLT', 'site map (joint)'


def linear_rows(config: ExperimentConfig, snrs_db: Sequence[float]) -> list[dict[str, Any]]:
  """Results rows of the best linear code of the network's length, and last noise-free (SNR None).

  It is fitted to groups of the training's own source and tested on the network's test groups.
  """
  linear = dataclasses.replace(config, method=_LINEAR)
  return reference_rows(
      linear, [Measurement(snr_db, config.num_ues) for snr_db in [*snrs_db, None]])


def site_map_rows(
    config: ExperimentConfig, site_map: Path, snrs_db: Sequence[float]) -> list[dict[str, Any]]:
  """Results rows of the code that knows its site by a map, on the network's test groups."""
  config = dataclasses.replace(config, method=_SITE_MAP, site_map=str(site_map))
  return reference_rows(config, [Measurement(snr_db, config.num_ues) for snr_db in snrs_db])


def introduction(config: ExperimentConfig) -> list[str]:
  """What was compared, in paragraphs."""
  csi, stage = config.csi, config.training.pretrain
  return [
      f'{config.num_ues} UEs within {csi.max_ue_distance_m:g} m of each other report their '
      f'downlink CSI ({csi.num_delay_taps} delay rows x {csi.num_tx_antennas} antennas, scenario '
      f'{csi.scenario}) in {codeword_dim(config.model, csi) // 2} noisy uplink symbols each.',
      'RCA-MUNet recovers all of them together. BL1 is the same network with plain '
      'self-attention, so that every UE stands alone. PCA/KLT is the best linear code of the same '
      'length. The site map is not trained: it knows from where power comes at every square of '
      'this cell, and each report says its square.'
      + config.model.shortcut * (
          " Both networks have a shortcut, which the paper's have not: their layers add to a "
          'linear code.'),
      f'Both networks were trained with {config.training.batch_size} groups a step, at uplink SNRs '
      f'uniform in [{stage.snr_db_min:g}, {stage.snr_db_max:g}] dB, and are tested on groups that '
      'neither has seen.']
