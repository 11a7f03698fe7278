"""Writes a run's newest weights of stage 1, or fine-tuned, for `rca_jax.load_pretrained`.

  rca export --workdir=runs/small --name=my_network --out=my_weights
  rca evaluate --weights=my_network --folder=my_weights --snr_db=0,10,20

Or the UE's and the BS's half as files that need no rca_jax (docs/deploy.md); published weights too,
and two codes that have none, joint Bayes and the linear one of a file of `rca map`:
  rca export --weights=rca_munet_cr16 --format=onnx --out=halves
  rca export --joint --config=rca_munet:light,cr=1/16 --format=stablehlo --out=halves
  rca export --map=site.map --snr_db=10 --config=demo --format=stablehlo --out=halves
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

# Else a file of StableHLO names the folders of this computer. Read when JAX is first imported.
os.environ.setdefault('JAX_TRACEBACK_IN_LOCATIONS_LIMIT', '0')

from absl import flags

from launch.main import chosen_way, count, define_config, experiment_config, only_with, run, say
from rca_jax.config import ExperimentConfig, stage_name
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run of `rca train`.')
_WEIGHTS = flags.DEFINE_string(
    'weights', None, 'Instead of --workdir: the name of weights that `rca export` wrote.')
_FOLDER = flags.DEFINE_string(
    'folder', None, 'Where these weights are; default: those of the package.')
_JOINT = flags.DEFINE_bool('joint', False, 'Instead: joint Bayes, with --config.')
_MAP = flags.DEFINE_string(
    'map', None, 'Instead: a file of `rca map`, with --config and --snr_db.')
_SNR_DB = flags.DEFINE_float(
    'snr_db', None, 'The one SNR in dB that both halves of --map are made for.')
_CONFIG = define_config(required=False)
_NAME = flags.DEFINE_string(
    'name', None, 'What `load_pretrained` is to find it by, or how names of halves begin; default '
    'that of --weights, or of --map with the SNR, or joint_bayes.')
_OUT = flags.DEFINE_string('out', None, 'Folder of weights, or of halves.', required=True)
_FORMAT = flags.DEFINE_enum(
    'format', 'safetensors', ['safetensors', 'stablehlo', 'onnx'],
    'Weights, or halves that run elsewhere (pip install -e .[export]).')
_HALF = flags.DEFINE_enum('half', 'both', ['ue', 'bs', 'both'], 'Which, of stablehlo and onnx.')
_FINETUNED_AT = flags.DEFINE_float(
    'finetuned_at_db', None, 'The weights fine-tuned at this SNR in dB; default: stage 1.')
_CODES = '--joint', '--map'
_DTYPE = flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'float16'], 'Of a file of weights; halves are float32.')


def main() -> None:
  way = chosen_way({
      '--workdir': _WORKDIR.value, '--weights': _WEIGHTS.value, '--joint': _JOINT.value,
      '--map': _MAP.value}, _CODES, _CONFIG)
  is_weights, name = _FORMAT.value == 'safetensors', _NAME.value or _WEIGHTS.value
  if way in _CODES and _FORMAT.value != 'stablehlo':
    raise InputError(f'--format={_FORMAT.value}: {way} is written as --format=stablehlo only.')
  only_with(_SNR_DB, way == '--map', '--map')
  only_with(_FOLDER, way == '--weights', '--weights')
  only_with(_FINETUNED_AT, way == '--workdir', '--workdir')
  only_with(_DTYPE, is_weights, '--format=safetensors')
  only_with(_HALF, not is_weights, '--format=stablehlo or onnx')
  if way == '--map' and _SNR_DB.value is None:
    raise InputError('--map: give --snr_db too, both halves are made for it.')
  if way in _CODES:
    name = name or (
        f'{Path(_MAP.value).stem}_{_SNR_DB.value:g}db' if _MAP.value else 'joint_bayes')
  if is_weights and way == '--weights':
    raise InputError('--weights are such a file already; give --format=onnx or stablehlo.')
  if not name:
    raise InputError('--name is missing: what the files are to be called.')
  with Bar('export') as bar:
    if is_weights:
      lines = [_write_weights(name, bar)]
    else:
      lines = _write_halves(name, bar)
  for line in lines:
    say(f'done: {line}')


def _write_weights(name: str, bar: Bar) -> str:
  from rca_jax.training.pretrained import save_pretrained

  config, params, stage, steps = _trained(bar)
  path = save_pretrained(name, _OUT.value, config, params, stage, steps, _DTYPE.value)
  return (f'{path}, {steps} steps, {path.stat().st_size / 1e6:.1f} MB; measure it: '
          f'rca evaluate --weights={name} --folder={_OUT.value}')


def _write_halves(name: str, bar: Bar) -> list[str]:
  from rca_jax.evaluation.export import export_half
  from rca_jax.evaluation.halves import NAMES

  prepare = _joint if _JOINT.value else _site_map if _MAP.value else _network
  config, found, itself, origin = prepare(bar)
  with writing(Path(_OUT.value)):  # before minutes of conversion
    Path(_OUT.value).mkdir(parents=True, exist_ok=True)
  lines = []
  for half in NAMES if _HALF.value == 'both' else (_HALF.value,):
    bar.update(doing=f'the {half} half: converting, comparing')
    path, error = export_half(
        Path(_OUT.value), name, _FORMAT.value, found[half], itself, config, origin)
    lines.append(
        f'{path}, {path.stat().st_size / 1e6:.2g} MB, {error:.1g} from rca_jax; '
        f'{path.name}.json says what goes in and out')
  return lines


def _network(bar: Bar) -> tuple[ExperimentConfig, dict, Any, dict[str, Any]]:
  """What `export_half` needs, and what the card says of the weights."""
  from rca_jax.evaluation.halves import halves, network_itself

  config, params, stage, steps = _trained(bar)
  return (config, halves(config, params), network_itself(config, params),
          {'weights': {'name': _NAME.value or _WEIGHTS.value, 'stage': stage, 'steps': steps}})


def _joint(bar: Bar) -> tuple[ExperimentConfig, dict, Any, dict[str, Any]]:
  from rca_jax.evaluation.halves import joint_halves, joint_itself
  from rca_jax.evaluation.references import joint_code

  config = dataclasses.replace(experiment_config(_CONFIG), method='joint Bayes')
  bar.say(f'export: {config.method}, to {_OUT.value}')
  code = joint_code(config)
  return config, joint_halves(code, config.csi), joint_itself(code), {}


def _site_map(bar: Bar) -> tuple[ExperimentConfig, dict, Any, dict[str, Any]]:
  from rca_jax.evaluation.halves import map_halves, map_itself
  from rca_jax.evaluation.references import paid_map_code
  from rca_jax.evaluation.rows import Measurement
  from rca_jax.foreign import sha256

  path, snr_db = Path(_MAP.value), Measurement(_SNR_DB.value).noisy_snr_db
  config = dataclasses.replace(
      experiment_config(_CONFIG), method='site map', site_map=_MAP.value)
  bar.say(f'export: {config.method} {path}, {snr_db:g} dB, to {_OUT.value}')
  code = paid_map_code(config)
  known = code.known(10 ** (-snr_db / 10))
  return config, map_halves(known, config.csi), map_itself(code, snr_db), {
      'map': {'file': path.name, 'sha256': sha256(path)}, 'snr_db': snr_db,
      'label_symbols': known.words.shape[1]}


def _trained(bar: Bar) -> tuple[ExperimentConfig, Any, str, int]:
  """Config, parameters, their stage and its steps."""
  from rca_jax.evaluation.run import load_params
  from rca_jax.training.pretrained import WEIGHTS, load_pretrained
  from rca_jax.training.workdir import read_config

  if _WEIGHTS.value:
    config, _, params, stage, steps = load_pretrained(_WEIGHTS.value, _FOLDER.value or WEIGHTS)
  else:
    config, stage = read_config(_WORKDIR.value), stage_name(_FINETUNED_AT.value)
    params, steps = load_params(_WORKDIR.value, config, stage)
  bar.say(f'export: {config.method}, {stage}, {count(steps, "step")}, to {_OUT.value}')
  return config, params, stage, steps


if __name__ == '__main__':
  run(main)
