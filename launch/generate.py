"""Writes a data set of generated CSI; run again on the same folder to continue.

  rca generate --out=data/uma
  rca generate --out=data/los --csi.scenario=uma_los --num_train=1000 --num_val=0 \\
      --num_test=500

The default is the paper's 80,000 / 20,000 / 10,000 groups of 4 UEs: 3.6 GB. With the same --seed
as a run's data.seed, the data set and the run's generator share their site, but no group.
"""

from pathlib import Path

from absl import flags

from launch.main import define_csi, devices, run, say
from rca_jax.config import MAX_SEED, CsiConfig, from_dict
from rca_jax.terminal import Bar

_CSI = define_csi()
_OUT = flags.DEFINE_string('out', None, 'Folder of the data set.', required=True)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Of the site and the groups.', lower_bound=0, upper_bound=MAX_SEED)
_NUM_UES = flags.DEFINE_integer('num_ues', 4, 'UEs per group.', lower_bound=1)
_SHARD_SIZE = flags.DEFINE_integer('shard_size', 1000, 'Groups per shard.', lower_bound=1)
_SIZES = {
    split: flags.DEFINE_integer(f'num_{split}', size, f'Groups in {split}.', lower_bound=0)
    for split, size in (('train', 80_000), ('val', 20_000), ('test', 10_000))}


def main() -> None:
  config = from_dict(CsiConfig, _CSI.value.to_dict(), 'csi')  # before what takes a second to import

  import jax

  from rca_jax.channel import sample_site
  from rca_jax.data.dataset import write_dataset
  from rca_jax.keys import Stream, stream_key

  sizes = {split: flag.value for split, flag in _SIZES.items()}
  total = sum(sizes.values())
  say(f'generate: {total:,} groups of {_NUM_UES.value} UEs, {config.scenario} {config.mode} '
      f'{_SEED.value}, {devices()}; to {_OUT.value}')
  with Bar('generate', total, 'groups', doing='compiling') as bar:
    site = None
    if config.mode == 'site':
      site = jax.jit(sample_site, static_argnums=1)(stream_key(_SEED.value, Stream.SITE), config)
    write_dataset(
        Path(_OUT.value), stream_key(_SEED.value, Stream.DATA_SET), site, {'seed': _SEED.value},
        config, sizes, _NUM_UES.value, _SHARD_SIZE.value,
        lambda done: bar.update(done, doing=''))
  say(f'done: {total:,} groups in {_OUT.value}; train on them: rca train '
      f'--config=rca_munet --config.data.path={_OUT.value} --workdir=FOLDER')


if __name__ == '__main__':
  run(main, stopped='stopped; the shards so far are kept, the same command continues')
