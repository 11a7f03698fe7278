"""Fits a site map: where power comes from, for every square of the ground or cluster of UEs.

  rca map --config=demo --out=site.map
  rca map --config=rca_munet:cr=1/16 --out=uma.map
  rca map --config=rca_munet:cr=1/16 --config.data.path=csi.npz --out=my.map

Of the generated site of the config's data.seed, or of a file. Without positions cells are clusters
of UEs that are alike. Killed and run again it goes on. Then:
  rca references --config=demo --methods='PCA/KLT,site map' \\
      --config.site_map=site.map
"""

import shutil
from pathlib import Path

from absl import flags

from launch.main import count, define_config, devices, experiment_config, run, say
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_OUT = flags.DEFINE_string('out', None, 'File of the map.', required=True)
_SIDE_M = flags.DEFINE_float(
    'side_m', None, 'Side of a square; by default 0.85 m, of files so that --num_ues holds.',
    lower_bound=0.1)
_NUM_UES = flags.DEFINE_float(
    'num_ues', None, 'UEs a square on average, by default 2.5, as squares share them; without '
    'positions UEs a cluster, by default 10.', lower_bound=0.1)
_POSITIONS = flags.DEFINE_bool(
    'positions', True, 'Cells by the positions of a file; --nopositions: clusters, as where it has '
    'none, e.g. of several sites.')
_SNR_DB = flags.DEFINE_float(
    'snr_db', None, 'Of the CSI; of generated CSI it is made so noisy. By default there is none.')
_POSITION_ERROR_M = flags.DEFINE_float(
    'position_error_m', 0.0, 'Of generated UEs: standard deviation of each coordinate.',
    lower_bound=0.0)
_GENERATED_SIDE_M = 0.85
_NUM_UES_OF_SQUARE, _NUM_UES_OF_CLUSTER = 2.5, 10.0


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import
  if config.csi.mode != 'site' and not config.data.path:
    raise InputError(
        'a map is of one site: --config.csi.mode=site, or a file by --config.data.path.')

  if config.data.path and _POSITION_ERROR_M.value:
    raise InputError('--position_error_m is of generated UEs; those of a file are where it says.')

  if not (config.data.path or _POSITIONS.value):
    raise InputError('--nopositions is of a file by --config.data.path; generated UEs have some.')

  import numpy as np

  from rca_jax.bayes.clusters import fit_clusters
  from rca_jax.bayes.map_fit import fit_map
  from rca_jax.bayes.samples import generated, noise_of, over_ground, stored
  from rca_jax.bayes.site_map import save_map
  from rca_jax.data.files import content_hash
  from rca_jax.data.source import config_site
  from rca_jax.durable import writing
  from rca_jax.evaluation.rows import config_hash
  from rca_jax.keys import Stream, stream_key
  from rca_jax.report.site_map import figure

  out = Path(_OUT.value)
  num_ues = _NUM_UES.value or (None if config.data.path else _NUM_UES_OF_SQUARE)
  # What another map would be made of goes into the name: parts are of one map only.
  content = content_hash(config.data.path)[:12] if config.data.path else ''
  parts = out.with_name(
      f'{out.name}.{config_hash(config)}{content}-{_SIDE_M.value!r}m-{num_ues!r}ues-'
      f'{_SNR_DB.value!r}dB-{_POSITION_ERROR_M.value!r}m'
      f'{"" if _POSITIONS.value else "-clusters"}.parts')
  say(f'map: of {config.data.path or "generated CSI"}, {devices()}; to {out}')
  with Bar('map', None, doing='looking where UEs are') as bar:

    def fitted(done: int, total: int) -> None:
      bar.update(done, total=total, doing='')

    ues = stored(config, parts) if config.data.path else None
    if ues is not None and (ues.place is None or not _POSITIONS.value):
      if _SIDE_M.value:
        raise InputError(
            f'--side_m={_SIDE_M.value:g}: without positions there are no squares; leave it out.')
      bar.say(f'without positions: clusters of {count(len(ues.los), "UE")}')
      bar.update(doing='looking for clusters')
      found = fit_clusters(
          stream_key(config.data.seed, Stream.CLUSTERS), ues.csi, config.csi,
          num_ues or _NUM_UES_OF_CLUSTER, noise_of(_SNR_DB.value), parts, fitted)
    else:
      num_ues = num_ues or _NUM_UES_OF_SQUARE
      ground = over_ground(ues, _SIDE_M.value, num_ues, _SNR_DB.value) if ues else generated(
          stream_key(config.data.seed, Stream.SITE_MAP), config_site(config),
          _SIDE_M.value or _GENERATED_SIDE_M, num_ues, _SNR_DB.value, _POSITION_ERROR_M.value)
      bar.say(f'{count(len(ground.squares), "square")} of {ground.side_m:.3g} m')
      bar.update(total=len(ground.squares), doing='compiling')
      found = fit_map(ground, config.csi, parts, fitted)
    save_map(out, found, config.csi)
  shutil.rmtree(parts)
  drawn = ''
  if np.isfinite(found.place).any():
    picture = out.with_name(f'{out.name}.png')
    with writing(picture):
      figure(found, config.csi).savefig(picture, dpi=120)
    drawn = f', drawn in {picture}'
  say(f'done: {len(found.los):,} entries, {out.stat().st_size / 1e6:.1f} MB in {out}{drawn}; '
      'measure it: rca references --config=... '
      f"--methods='PCA/KLT,site map' --config.site_map={out}")


if __name__ == '__main__':
  run(main, stopped='stopped; the cells so far are kept, the same command goes on')
