"""Writes a run's newest weights of stage 1, or fine-tuned, for `rca_jax.load_pretrained`.

  rca export --workdir=runs/small --name=my_network --out=my_weights
  rca evaluate --weights=my_network --folder=my_weights --snr_db=0,10,20

Or the UE's and the BS's half as files that need no rca_jax (docs/deploy.md); published weights too:
  rca export --weights=rca_munet_cr16 --format=onnx --out=halves
"""

from pathlib import Path

from absl import flags

from launch.main import count, run, say
from rca_jax.config import stage_name
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run of `rca train`.')
_WEIGHTS = flags.DEFINE_string(
    'weights', None, 'Instead of --workdir: the name of weights that `rca export` wrote.')
_FOLDER = flags.DEFINE_string(
    'folder', None, 'Where these weights are; default: those of the package.')
_NAME = flags.DEFINE_string(
    'name', None, 'What `load_pretrained` is to find it by, or how names of halves begin; default '
    'that of --weights.')
_OUT = flags.DEFINE_string('out', None, 'Folder of weights, or of halves.', required=True)
_FORMAT = flags.DEFINE_enum(
    'format', 'safetensors', ['safetensors', 'stablehlo', 'onnx'],
    'Weights, or halves that run elsewhere (pip install -e .[export]).')
_HALF = flags.DEFINE_enum('half', 'both', ['ue', 'bs', 'both'], 'Which, of stablehlo and onnx.')
_FINETUNED_AT = flags.DEFINE_float(
    'finetuned_at_db', None, 'The weights fine-tuned at this SNR in dB; default: stage 1.')
_DTYPE = flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'float16'], 'Of a file of weights; halves are float32.')


def main() -> None:
  is_weights, name = _FORMAT.value == 'safetensors', _NAME.value or _WEIGHTS.value
  if (_WORKDIR.value is None) == (_WEIGHTS.value is None):
    raise InputError('give --workdir=FOLDER of a run or --weights=NAME, one of them.')
  if is_weights and _WEIGHTS.value is not None:
    raise InputError('--weights are such a file already; give --format=onnx or stablehlo.')
  if _WEIGHTS.value is not None and _FINETUNED_AT.value is not None:
    raise InputError('--finetuned_at_db is of a run; leave it out with --weights.')
  if name is None:
    raise InputError('--name is missing: what the files are to be called.')

  from rca_jax.evaluation.export import export_half
  from rca_jax.evaluation.halves import NAMES, halves
  from rca_jax.evaluation.run import load_params
  from rca_jax.training.pretrained import WEIGHTS, load_pretrained, save_pretrained
  from rca_jax.training.workdir import read_config

  with Bar('export') as bar:
    if _WEIGHTS.value is not None:
      config, _, params, stage, steps = load_pretrained(_WEIGHTS.value, _FOLDER.value or WEIGHTS)
    else:
      config, stage = read_config(_WORKDIR.value), stage_name(_FINETUNED_AT.value)
      params, steps = load_params(_WORKDIR.value, config, stage)
    bar.say(f'export: {config.method}, {stage}, {count(steps, "step")}, to {_OUT.value}')
    if not is_weights:
      found, written = halves(config, params), []
      for half in NAMES if _HALF.value == 'both' else (_HALF.value,):
        bar.update(doing=f'the {half} half: converting, comparing with the model')
        written.append(export_half(
            Path(_OUT.value), name, _FORMAT.value, found[half], config, params,
            {'weights': {'name': name, 'stage': stage, 'steps': steps}}))
    else:
      path = save_pretrained(name, _OUT.value, config, params, stage, steps, _DTYPE.value)
  if is_weights:
    say(f'done: {path}, {steps} steps, {path.stat().st_size / 1e6:.1f} MB; measure it: '
        f'rca evaluate --weights={name} --folder={_OUT.value}')
  else:
    for path, error in written:
      say(f'done: {path}, {path.stat().st_size / 1e6:.1f} MB, {error:.1g} from the model; '
          f'{path.name}.json says what goes in and out')


if __name__ == '__main__':
  run(main)
