"""RCA-MUNet as in the paper, or a reduced problem; its rivals by `method=`.

  rca train --config=rca_munet --workdir=runs/full
  rca train --config=rca_munet:cr=1/16,users=4 --workdir=runs/cr16_4ues
  rca train --config=rca_munet:small --workdir=runs/small
  rca train --config=rca_munet:small,method=BL1 --workdir=runs/bl1

Full size, the default, is the paper's schedule: 625,000 steps of 256 groups (2000 epochs of
80,000), a job for accelerators; the paper's fine-tuning follows for every SNR that is named in
--config.training.finetune_snr_db=0,10,20. `method` is one of METHODS; `attention` swaps the
attention of the last blocks and nothing else. Two sizes for CPUs, both with a network of d = 96:
`small` is a reduced problem (16 antennas x 16 delay rows, LOS, a cell of 30 m, UEs within 2 m),
some minutes; `light` is the paper's CSI, a new environment for every group, an hour or so.
"""

import dataclasses

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

# The trained methods of Table I, as fields of ModelConfig.
METHODS = {
    'RCA-MUNet': {},
    'BL1': {'attention': 'self', 'final_norm': True},
    'BL2': {'attention': 'self', 'network': 'adjscc_csinet'},
    'BL3': {'attention': 'self', 'network': 'summation_fusion'},
    'BL4': {'attention': 'cross'},
    'BL4-textbook': {'attention': 'textbook_cross'},
    'BL5': {'attention': 'residual_self'},
}
# What may follow the file's name and a colon, with commas between.
WORDS = {
    'cr=RATIO': 'compression ratio, default 1/8',
    'users=NUMBER': 'UEs in a group, from 2 on, default 2',
    'method=NAME': f'one of {", ".join(METHODS)}',
    'attention=NAME': "instead of method: that of RCA-MUNet's last blocks, a name of "
                      'rca_jax.models.attention.ATTENTION',
    'small': 'a reduced problem, some minutes on 2 CPU cores',
    'light': "the paper's CSI and a small network, an hour or so on 2 CPU cores",
}


def get_config(variant: str = '') -> ml_collections.ConfigDict:
  """`variant`: some of `WORDS`, with commas between.

  Raises:
    InputError: an unknown word, or a value that makes no experiment.
  """
  options = _parse(variant)
  method, size = options.get('method', 'RCA-MUNet'), options.get('size', 'full')
  chosen = METHODS[method] | {'compression_ratio': options.get('cr', '1/8')}
  if 'attention' in options:
    method, chosen['attention'] = f'RCA-MUNet ({options["attention"]})', options['attention']
  config = ExperimentConfig(
      method=method,
      num_ues=options.get('users', 2),
      csi=_CSI[size],
      data=DataConfig(num_test_groups=10_000 if size == 'full' else 1000),
      model=(ModelConfig if size == 'full' else _small_model)(**chosen),
      training=_TRAINING[size])
  return ml_collections.ConfigDict(to_dict(config))


def _parse(variant: str) -> dict[str, str | int]:
  options = {}
  for item in filter(None, variant.split(',')):
    name, equals, value = item.partition('=')
    is_size = name in ('small', 'light')
    known = is_size or name in ('cr', 'users', 'method', 'attention')
    if not known or bool(equals) == is_size:
      raise InputError(f'config variant {item!r} is unknown; the words are {", ".join(WORDS)}.')
    if is_size:
      name, value = 'size', name
    if name in options:
      raise InputError(f'config variant {variant!r} gives its {name} twice.')
    if name == 'users':
      if not value.isdecimal():
        raise InputError(f'config variant {item!r}: users must be a number from 2 on.')
      value = int(value)
    if name == 'method' and value not in METHODS:
      raise InputError(f'config variant {item!r} is unknown; methods are {", ".join(METHODS)}.')
    options[name] = value
  if {'method', 'attention'} <= options.keys():
    raise InputError(f'config variant {variant!r}: give method or attention, not both.')
  return options


def _small_model(**chosen: str) -> ModelConfig:
  return ModelConfig(
      model_dim=96, num_heads=4, mlp_dim=384, num_encoder_layers=2, num_decoder_layers=1,
      num_rca_blocks=2, **chosen)


def _small_training(num_steps: int, learning_rate: float) -> TrainingConfig:
  muon = OptimizerConfig(
      name='muon', schedule='cosine', learning_rate=learning_rate, warmup_steps=20, b2=0.98,
      eps=1e-8)
  return TrainingConfig(
      batch_size=64, pretrain=StageConfig(num_steps=num_steps, optimizer=muon),
      finetune=StageConfig(
          num_steps=200, optimizer=dataclasses.replace(muon, learning_rate=5e-3)),
      steps_per_call=20, checkpoint_every_steps=200)


_CSI = {
    'full': CsiConfig(),
    'small': CsiConfig(
        scenario='uma_los', num_delay_taps=16, num_tx_antennas=16, cell_size_m=30.0,
        min_bs_distance_m=5.0, max_ue_distance_m=2.0),
    'light': CsiConfig(mode='fresh'),
}
_TRAINING = {
    'full': TrainingConfig(),
    'small': _small_training(2000, 2e-2),
    'light': _small_training(4000, 5e-3),
}
