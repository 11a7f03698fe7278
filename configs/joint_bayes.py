"""Joint Bayes with a learned prior: every report the same random projections, one decoder.

  rca train --config=joint_bayes --workdir=runs/joint
  rca evaluate --workdir=runs/joint --num_ues=2,8 --snr_db=0,10,20

The CSI of `light`: a new environment for every group. An hour or two on a CPU core.
"""

import dataclasses

import ml_collections

from configs import rca_munet
from rca_jax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TrainingConfig,
    from_dict,
    to_dict,
)
from rca_jax.errors import InputError

WORDS = {'cr=RATIO': 'compression ratio, default 1/16'}


def get_config(variant: str = '') -> ml_collections.ConfigDict:
  """`variant`: '' or cr=RATIO.

  Raises:
    InputError: another word.
  """
  name, _, ratio = variant.partition('=')
  if name not in ('', 'cr'):
    raise InputError(f'variant {variant!r}: the word of joint Bayes is cr=RATIO.')
  base = from_dict(ExperimentConfig, rca_munet.get_config('light').to_dict())
  config = dataclasses.replace(
      base,
      method='joint Bayes (learned)',
      num_ues=4,
      model=ModelConfig(
          network='learned_joint', attention='self', compression_ratio=ratio or '1/16',
          model_dim=32, num_decoder_layers=3),
      training=TrainingConfig(
          batch_size=64,
          group_sizes=(2, 4),
          pretrain=StageConfig(
              num_steps=1100, snr_db_min=-2.0, snr_db_max=23.0,
              optimizer=OptimizerConfig(
                  schedule='cosine', learning_rate=8e-4, warmup_steps=50, b2=0.99, eps=1e-8,
                  clip_norm=0.3)),
          steps_per_call=2, checkpoint_every_steps=50))
  return ml_collections.ConfigDict(to_dict(config))
