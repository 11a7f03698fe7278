"""RCA-MUNet as in the letter, or a reduced problem; its ablations by `attention=`.

  python -m launch.train --config=configs/rca_munet.py --workdir=runs/full
  python -m launch.train --config=configs/rca_munet.py:cr=1/16,users=4 --workdir=runs/cr16_4ues
  python -m launch.train --config=configs/rca_munet.py:small --workdir=runs/small
  python -m launch.train --config=configs/rca_munet.py:small,attention=self --workdir=runs/bl1

Full size, the default, is the letter's schedule: 625,000 steps of 256 groups (2000 epochs of
80,000), a job for accelerators; the letter's fine-tuning follows for every SNR that is named in
--config.training.finetune_snr_db=0,10,20. `small` is a reduced problem (16 antennas x 16 delay
rows, a cell of 60 m) for 2 CPU cores: minutes, not days.
"""

import ml_collections

from rca_jax.config import (
    CsiConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TrainingConfig,
    to_dict,
)
from rca_jax.errors import InputError

_KEYS = 'cr=RATIO, users=NUMBER, attention=NAME, small'
_METHODS = {
    'residual_cross': 'RCA-MUNet', 'self': 'BL1', 'cross': 'BL4', 'residual_self': 'BL5'}


def get_config(variant: str = '') -> ml_collections.ConfigDict:
  """`variant`: comma-separated cr=1/16, users=2, attention=self, small.

  Raises:
    InputError: an unknown key, or a value that makes no experiment.
  """
  options = _parse(variant)
  attention = options.get('attention', 'residual_cross')
  small = 'small' in options
  config = ExperimentConfig(
      method=_METHODS.get(attention, f'RCA-MUNet ({attention})'),
      num_ues=options.get('users', 2),
      csi=_small_csi() if small else CsiConfig(),
      data=DataConfig(num_test_groups=1000 if small else 10_000),
      model=(_small_model if small else ModelConfig)(
          attention=attention, compression_ratio=options.get('cr', '1/8')),
      training=_small_training() if small else TrainingConfig())
  return ml_collections.ConfigDict(to_dict(config))


def _parse(variant: str) -> dict[str, str | int]:
  options = {}
  for item in filter(None, variant.split(',')):
    name, equals, value = item.partition('=')
    if name not in ('cr', 'users', 'attention', 'small') or bool(equals) == (name == 'small'):
      raise InputError(f'config variant {item!r} is unknown; the keys are {_KEYS}.')
    if name == 'users':
      if not value.isdecimal():
        raise InputError(f'config variant {item!r}: users must be a number from 2 on.')
      value = int(value)
    options[name] = value
  return options


def _small_csi() -> CsiConfig:
  return CsiConfig(
      num_delay_taps=16, num_tx_antennas=16, cell_size_m=60.0, min_bs_distance_m=10.0)


def _small_model(**chosen: str) -> ModelConfig:
  return ModelConfig(
      model_dim=96, num_heads=4, mlp_dim=384, num_encoder_layers=2, num_decoder_layers=1,
      num_rca_blocks=2, **chosen)


def _small_training() -> TrainingConfig:
  muon = OptimizerConfig(
      name='muon', schedule='cosine', learning_rate=2e-2, warmup_steps=20, b2=0.98, eps=1e-8)
  return TrainingConfig(
      batch_size=64, pretrain=StageConfig(num_steps=1000, optimizer=muon),
      finetune=StageConfig(num_steps=300, optimizer=muon),
      steps_per_call=20, checkpoint_every_steps=200)
