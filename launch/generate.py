"""Writes a data set of generated CSI; run again on the same folder to continue.

  python -m launch.generate --out=data/uma
  python -m launch.generate --out=data/los --csi.scenario=uma_los --num_train=1000 --num_val=0 \
      --num_test=500

The default is the paper's 80,000 / 20,000 / 10,000 groups of 4 UEs: 3.6 GB. With the same --seed
as a run's data.seed, the data set and the run's generator share their site, but no group.
"""

from pathlib import Path

import jax
import rich.progress
from absl import flags

from launch.main import define_fields, run
from rca_jax.channel import sample_site
from rca_jax.config import MAX_SEED, CsiConfig, from_dict, to_dict
from rca_jax.data.dataset import write_dataset
from rca_jax.keys import Stream, stream_key

_CSI = define_fields('csi', to_dict(CsiConfig()), 'Fields of CsiConfig.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the data set.', required=True)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Of the site and the groups.', lower_bound=0, upper_bound=MAX_SEED)
_NUM_UES = flags.DEFINE_integer('num_ues', 4, 'UEs per group.', lower_bound=1)
_SHARD_SIZE = flags.DEFINE_integer('shard_size', 1000, 'Groups per shard.', lower_bound=1)
_SIZES = {
    split: flags.DEFINE_integer(f'num_{split}', size, f'Groups in {split}.', lower_bound=0)
    for split, size in (('train', 80_000), ('val', 20_000), ('test', 10_000))}


def main() -> None:
  config = from_dict(CsiConfig, _CSI.value.to_dict(), 'csi')
  sizes = {split: flag.value for split, flag in _SIZES.items()}
  site = None
  if config.mode == 'site':
    site = jax.jit(sample_site, static_argnums=1)(stream_key(_SEED.value, Stream.SITE), config)
  with rich.progress.Progress(
      *rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn()) as bar:
    task = bar.add_task('groups', total=sum(sizes.values()))
    write_dataset(
        Path(_OUT.value), stream_key(_SEED.value, Stream.DATA_SET), site, {'seed': _SEED.value},
        config, sizes, _NUM_UES.value, _SHARD_SIZE.value,
        lambda done: bar.update(task, completed=done))
  print(f'{sum(sizes.values())} groups in {_OUT.value}')


if __name__ == '__main__':
  run(main)
