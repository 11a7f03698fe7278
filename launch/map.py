"""Fits the site map of generated CSI: where power comes from, for every cell of the ground.

  python -m launch.map --config=configs/demo.py --out=site.map
  python -m launch.map --config=configs/rca_munet.py:cr=1/16 --out=uma.map --side_m=1.2 --num_ues=5

The site is that of the config's data.seed. Killed and run again it goes on. Then:
  python -m launch.references --config=configs/demo.py --methods='PCA/KLT,site map' \\
      --config.site_map=site.map
"""

import os
import shutil
from pathlib import Path

# The matrices of a cell are small: threads of BLAS only wait for each other, up to 50 times longer.
# It is read when scipy is first imported.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

from absl import flags

from launch.main import count, define_config, devices, experiment_config, run, say
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_OUT = flags.DEFINE_string('out', None, 'File of the map.', required=True)
_SIDE_M = flags.DEFINE_float('side_m', 1.2, 'Side of a square cell.', lower_bound=0.1)
_NUM_UES = flags.DEFINE_integer('num_ues', 8, 'UEs that a cell is fitted from.', lower_bound=3)


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import
  if config.csi.mode != 'site' or config.data.path:
    raise InputError(
        'a map is of one generated site: --config.csi.mode=site, and no --config.data.path.')

  from rca_jax.bayes.site_map import fit_map, save_map, squares
  from rca_jax.data.source import config_site
  from rca_jax.durable import writing
  from rca_jax.evaluation.rows import config_hash
  from rca_jax.keys import Stream, stream_key
  from rca_jax.report.site_map import figure

  out, total = Path(_OUT.value), len(squares(config.csi, _SIDE_M.value))
  # What another map would be made of goes into the name: parts are of one map only.
  parts = out.with_name(
      f'{out.name}.{config_hash(config)}-{_SIDE_M.value!r}m-{_NUM_UES.value}ues.parts')
  say(f'map: {count(total, "cell")} of {_SIDE_M.value:g} m, {_NUM_UES.value} UEs each, '
      f'{devices()}; to {out}')
  with Bar('map', total, 'cells', doing='compiling') as bar:
    found = fit_map(
        stream_key(config.data.seed, Stream.SITE_MAP), config_site(config), _SIDE_M.value,
        _NUM_UES.value, parts, lambda done: bar.update(done, doing=''))
    save_map(out, found, config.csi)
  shutil.rmtree(parts)
  picture = out.with_name(f'{out.name}.png')
  with writing(picture):
    figure(found, config.csi).savefig(picture, dpi=120)
  say(f'done: {len(found.los):,} entries, {out.stat().st_size / 1e6:.1f} MB in {out}, drawn in '
      f'{picture}; measure it: python -m launch.references --config=... '
      f"--methods='PCA/KLT,site map' --config.site_map={out}")


if __name__ == '__main__':
  run(main, stopped='stopped; the cells so far are kept, the same command goes on')
