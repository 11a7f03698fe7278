"""Writes two small files of CSI to try the other commands on.

  rca sample --out=.
  rca evaluate --weights=rca_munet_cr16 --data=sample.npz
  rca convert --input=sample_quadriga.mat --out=sample_groups --num_ues=4 --test_share=0.5

sample.npz holds 50 groups of 4 UEs of a generated site, sample_quadriga.mat the same UEs one by
one, named as QuaDRiGa names its channels (docs/data.md has all formats).
"""

from pathlib import Path

from absl import flags

from launch.main import run, say
from rca_jax.terminal import Bar

_OUT = flags.DEFINE_string('out', None, 'Folder of the two files.', required=True)


def main() -> None:
  from rca_jax.data.sample import write_samples

  say(f'sample: 50 groups of 4 UEs to {_OUT.value}')
  with Bar('sample', doing='generating'):
    written = write_samples(Path(_OUT.value))
  print('\n'.join(map(str, written)))
  say(f'done; try them: rca evaluate --weights=rca_munet_cr16 --data={written[0]}')


if __name__ == '__main__':
  run(main)
