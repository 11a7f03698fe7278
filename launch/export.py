"""Writes a run's newest weights of stage 1, or fine-tuned, for `rca_jax.load_pretrained`.

  python -m launch.export --workdir=runs/small --name=my_network --out=my_weights
  python -m launch.evaluate --weights=my_network --folder=my_weights --snr_db=0,10,20
"""

from absl import flags

from launch.main import run, say
from rca_jax.config import stage_name
from rca_jax.terminal import Bar

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a launch.train run.', required=True)
_NAME = flags.DEFINE_string('name', None, 'What `load_pretrained` is to find it by.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of weights.', required=True)
_FINETUNED_AT = flags.DEFINE_float(
    'finetuned_at_db', None, 'The weights fine-tuned at this SNR in dB; default: stage 1.')
_DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'float16'], 'Of the file.')


def main() -> None:
  from rca_jax.evaluation.run import load_params
  from rca_jax.training.pretrained import save_pretrained
  from rca_jax.training.workdir import read_config

  config, stage = read_config(_WORKDIR.value), stage_name(_FINETUNED_AT.value)
  say(f'export: {config.method}, {stage}, of {_WORKDIR.value} to {_OUT.value}')
  with Bar('export'):
    params, steps = load_params(_WORKDIR.value, config, stage)
    path = save_pretrained(_NAME.value, _OUT.value, config, params, stage, steps, _DTYPE.value)
  say(f'done: {path}, {steps} steps, {path.stat().st_size / 1e6:.1f} MB; measure it: python -m '
      f'launch.evaluate --weights={_NAME.value} --folder={_OUT.value}')


if __name__ == '__main__':
  run(main)
