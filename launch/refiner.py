"""Trains what the BS asks after a map: which part of its cell's power profile a UE really has.

  rca refiner --config=rca_munet:light,cr=1/16 --out=my_refiner.safetensors

On cells of ever new environments, so for any site. Killed and run again it goes on. Then:
  rca references --config=rca_munet:cr=1/16 --config.site_map=uma.map \\
      --methods='site map (joint),site map (joint refined)' \\
      --config.refiner=my_refiner.safetensors
"""

import shutil
from pathlib import Path

from absl import flags

from launch.main import define_config, devices, experiment_config, run, say
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_OUT = flags.DEFINE_string('out', None, 'File of the weights.', required=True)
_STEPS = flags.DEFINE_integer('steps', 2400, 'Of 32 reports; a multiple of 32.')


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import
  if config.csi.mode != 'fresh' or config.data.path:
    raise InputError(
        'a refiner is trained on environments that are drawn anew: --config.csi.mode=fresh, and no '
        '--config.data.path.')

  from rca_jax.config import codeword_dim
  from rca_jax.evaluation.rows import config_hash
  from rca_jax.keys import Stream, stream_key
  from rca_jax.models.refiner import RefinerConfig
  from rca_jax.training.refiner import STEPS_A_ROUND, save_refiner, train

  out, num_steps = Path(_OUT.value), -(-_STEPS.value // STEPS_A_ROUND) * STEPS_A_ROUND
  folder = out.with_name(f'{out.name}.{config_hash(config)}-{num_steps}steps.parts')
  say(f'refiner: {num_steps} steps, {devices()}; to {out}')
  num_symbols = codeword_dim(config.model, config.csi) // 2
  with Bar('refiner', num_steps, 'steps', doing='compiling') as bar:
    params = train(
        stream_key(config.seed, Stream.REFINER), config.csi, num_symbols, RefinerConfig(),
        num_steps, folder,
        lambda step, gain_db: bar.update(step, doing=f'gains {gain_db:.2f} dB'))
  save_refiner(out, params, RefinerConfig(), config.csi, num_symbols, num_steps)
  shutil.rmtree(folder)
  say(f'done: {out.stat().st_size / 1e3:.0f} kB in {out}; measure it: rca references --config=... '
      f"--methods='site map (joint refined)' --config.site_map=FILE --config.refiner={out}")


if __name__ == '__main__':
  run(main, stopped='stopped; the last round is kept, the same command goes on')
