"""The demo's problem: noise-limited feedback of 4 UEs within a metre, minutes on 2 cores.

  rca train --config=demo --workdir=runs/demo
  rca train --config=demo:method=BL1 --workdir=runs/demo_bl1

LOS cell of 60 m, 16 antennas x 16 delay rows, k = 32 (16 symbols, CR 1/16). Each UE's report is
short and noisy, its neighbours' reports speak of nearly the same paths: where joint decoding pays.
Both methods have `model.shortcut`: minutes of training pass the linear code sooner with it.
"""

import dataclasses

import ml_collections

from configs import rca_munet
from rca_jax.config import (
    CsiConfig,
    ExperimentConfig,
    OptimizerConfig,
    StageConfig,
    TrainingConfig,
    from_dict,
    to_dict,
)
from rca_jax.errors import InputError

WORDS = {word: rca_munet.WORDS[word] for word in ('method=NAME', 'attention=NAME')}


def get_config(variant: str = '') -> ml_collections.ConfigDict:
  """`variant`: one of `WORDS`, as in configs/rca_munet.py.

  Raises:
    InputError: another word; the demo's sizes are its own.
  """
  for part in filter(None, variant.split(',')):
    if part.partition('=')[0] not in ('method', 'attention'):
      raise InputError(f'variant {part!r}: the words of the demo are {", ".join(WORDS)}.')
  base = from_dict(ExperimentConfig, rca_munet.get_config(variant).to_dict())
  config = dataclasses.replace(
      base,
      num_ues=4,
      csi=CsiConfig(
          scenario='uma_los', num_delay_taps=16, num_tx_antennas=16, cell_size_m=60.0,
          min_bs_distance_m=10.0, max_ue_distance_m=1.0),
      data=dataclasses.replace(base.data, num_test_groups=1000),
      model=dataclasses.replace(
          base.model, compression_ratio='1/16', model_dim=96, num_heads=4, mlp_dim=384,
          num_encoder_layers=2, num_decoder_layers=1, num_rca_blocks=2, shortcut=True),
      training=TrainingConfig(
          batch_size=32,
          pretrain=StageConfig(
              num_steps=600,
              optimizer=OptimizerConfig(
                  name='muon', schedule='cosine', learning_rate=2e-2, warmup_steps=20)),
          steps_per_call=20, checkpoint_every_steps=100))
  return ml_collections.ConfigDict(to_dict(config))
