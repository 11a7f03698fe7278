"""Writes CSI of any format of docs/data.md as a data set; run again on the same folder to continue.

  rca convert --input=uma.mat --out=data/uma --num_ues=4 --max_distance_m=10 \\
      --test_share=0.2
  rca convert --input=DATA_Htestin.mat --out=data/cost2100_test --test_share=1
  rca convert --input=H.npz --out=data/h --array=H --axes=ue,antenna,subcarrier
"""

from pathlib import Path

from absl import flags

from launch.layout import define_layout
from launch.main import run, say
from rca_jax.config import CsiConfig
from rca_jax.terminal import Bar

_INPUT = flags.DEFINE_string('input', None, 'File, or data set folder.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of the data set.', required=True)
_LAYOUT = define_layout()
_BANDWIDTH_HZ = flags.DEFINE_float(
    'bandwidth_hz', CsiConfig.bandwidth_hz, 'Of formats that hold paths.')
_NUM_SUBCARRIERS = flags.DEFINE_integer(
    'num_subcarriers', CsiConfig.num_subcarriers, 'Of formats that hold paths.')
_NUM_DELAY_TAPS = flags.DEFINE_integer(
    'num_delay_taps', CsiConfig.num_delay_taps, 'Delay rows that are kept of a response.')
_NUM_UES = flags.DEFINE_integer(
    'num_ues', 0, 'UEs per group; 0: as many as the source has.', lower_bound=0)
_MAX_DISTANCE_M = flags.DEFINE_float(
    'max_distance_m', 10.0, 'Of UEs of a group, and between splits.')
_VAL_SHARE = flags.DEFINE_float('val_share', 0.0, 'Share of the ground for the split val.')
_TEST_SHARE = flags.DEFINE_float('test_share', 0.0, 'Share of the ground for the split test.')
_DROP_SILENT = flags.DEFINE_bool(
    'drop_silent', False, 'Leave out groups in which a UE has no power.')
_SHARD_SIZE = flags.DEFINE_integer('shard_size', 1000, 'Groups per shard.', lower_bound=1)


def main() -> None:
  from rca_jax.data.convert import Conversion, convert

  config = CsiConfig(
      bandwidth_hz=_BANDWIDTH_HZ.value, num_subcarriers=_NUM_SUBCARRIERS.value,
      num_delay_taps=_NUM_DELAY_TAPS.value)
  conversion = Conversion(
      _NUM_UES.value, _MAX_DISTANCE_M.value, _VAL_SHARE.value, _TEST_SHARE.value,
      _DROP_SILENT.value, _SHARD_SIZE.value)
  say(f'convert: {_INPUT.value} to {_OUT.value}')
  with Bar('convert', unit='groups', doing='reading and grouping') as bar:
    counts = convert(
        Path(_INPUT.value), Path(_OUT.value), _LAYOUT(), config, conversion,
        lambda done: bar.update(done, doing=''))
  left_out = ', '.join(f'{counts[name]} {name}' for name in sorted(+counts) if name != 'groups')
  say(f'done: {counts["groups"]:,} groups in {_OUT.value}; left out: {left_out or "none"}; train '
      f'on them: rca train --config=rca_munet --config.data.path={_OUT.value} --workdir=FOLDER')


if __name__ == '__main__':
  run(main, stopped='stopped; the shards so far are kept, the same command continues')
