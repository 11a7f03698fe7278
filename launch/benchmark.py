"""Measures on the frozen test set that everybody meets, and prints a line for LEADERBOARD.md.

  rca benchmark --weights=rca_munet_cr16
  rca benchmark --workdir=runs/mine --name='my network'
  rca benchmark --method='PCA/KLT' --compression_ratio=1/16

1,000 generated groups of 2 UEs, SNRs of 0, 10 and 20 dB; neither data nor noise can be chosen, and
a generator that makes other CSI is refused. Networks are of CSI of 32 x 32, however trained.
"""

from pathlib import Path

from absl import flags

from configs import joint_bayes, rca_munet
from launch.main import devices, only_with, run, say
from rca_jax.config import ExperimentConfig, ModelConfig, stage_name, to_dict, without_folders
from rca_jax.errors import InputError
from rca_jax.terminal import Bar
from rca_jax.training.workdir import flat, read_config

_WEIGHTS = flags.DEFINE_string('weights', None, 'The name of weights that `rca export` wrote.')
_FOLDER = flags.DEFINE_string(
    'folder', None, 'Where these weights are; default: those of the package.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run of `rca train`.')
_STAGE = flags.DEFINE_enum(
    'stage', 'pretrain', ['pretrain', 'finetune'], 'Whose weights of that run.')
_METHOD = flags.DEFINE_string('method', None, 'Instead: the name of a method without training.')
_RATIO = flags.DEFINE_string('compression_ratio', '1/16', 'Of that method.')
_NAME = flags.DEFINE_string('name', None, 'First cell of the line; by default what was measured.')


def main() -> None:
  given = [value for value in (_WEIGHTS.value, _WORKDIR.value, _METHOD.value) if value is not None]
  if len(given) != 1:
    raise InputError('give --weights=NAME, --workdir=FOLDER or --method=NAME, one of them.')
  only_with(_FOLDER, _WEIGHTS.value is not None, '--weights')
  only_with(_STAGE, _WORKDIR.value is not None, '--workdir')
  only_with(_RATIO, _METHOD.value is not None, '--method')

  from rca_jax.evaluation.benchmark import (
      METHODS,
      NUM_UES,
      SNRS_DB,
      check_test_set,
      line,
      method_rows,
      network_rows,
  )
  from rca_jax.evaluation.run import load_weights
  from rca_jax.training.pretrained import WEIGHTS, load_pretrained

  if _METHOD.value is not None:
    if _METHOD.value not in METHODS:
      raise InputError(f'{_METHOD.value}: expected one of {", ".join(METHODS)}.')
    config = ExperimentConfig(
        method=_METHOD.value, num_ues=NUM_UES, model=ModelConfig(compression_ratio=_RATIO.value))
    words, rows = '', lambda: method_rows(config)
  else:
    if _WEIGHTS.value is not None:
      config, _, params, stage, steps = load_pretrained(_WEIGHTS.value, _FOLDER.value or WEIGHTS)
      stages, weights = [stage] * len(SNRS_DB), {stage: (params, steps)}
    else:
      config = read_config(_WORKDIR.value)
      stages = [
          stage_name(snr_db if _STAGE.value == 'finetune' else None) for snr_db in SNRS_DB]
      weights = load_weights(_WORKDIR.value, config, set(stages))
    words, rows = config_words(config), lambda: network_rows(config, weights, stages)
  name = _NAME.value or (Path(given[0]).name if _WORKDIR.value else given[0])
  say(f'benchmark: {config.method} of {given[0]}, {devices()}')
  with Bar('benchmark', doing='generating and measuring'):
    check_test_set()
    measured = list(rows())
  print(line(name, config, measured, words))
  say('done: the line is for LEADERBOARD.md.')


def config_words(config: ExperimentConfig) -> str:
  """What to type after --config= for this config: of the files here, that with fewest changes."""
  ratio = f'cr={config.model.compression_ratio}'
  method = f'method={config.method}' if config.method in rca_munet.METHODS else (
      f'attention={config.model.attention}')
  method = '' if config.method == 'RCA-MUNet' else method
  users = f'users={config.num_ues}' if config.num_ues > 2 else ''
  known = {f'joint_bayes:{ratio}': joint_bayes.get_config(ratio)}
  for size in ('', 'light'):
    words = ','.join(filter(None, (size, ratio, users, method)))
    known[f'rca_munet:{words}'] = rca_munet.get_config(words)
  said = flat(to_dict(without_folders(config)))
  changes = {
      words: [f'--{name}={value}' for name, value in said.items() if there[name] != value]
      for words, there in ((words, flat(there.to_dict())) for words, there in known.items())}
  words = min(changes, key=lambda words: len(changes[words]))
  return ' '.join([words, *changes[words]])


if __name__ == '__main__':
  run(main)
