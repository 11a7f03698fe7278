"""Sends the CSI of a file through feedback: its reports, and the CSI that the BS recovers.

  rca feedback --weights=rca_munet_cr16 --input=h.npz --array=H \\
      --axes=group,ue,antenna,subcarrier --out=runs/feedback --snr_db=10
  rca feedback --workdir=runs/small --input=data/uma --out=runs/feedback --snr_db=10
  rca feedback --map=site.map --config=demo --input=csi.npz --out=runs/feedback --snr_db=10
  rca feedback --described --config=rca_munet:cr=1/16 --input=uma.mat \\
      --out=runs/feedback --snr_db=10

FOLDER gets csi_hat.npy, in the order, scale and domain of the file, reports.npy, the scores of
every UE, feedback.json with their means, and feedback.png with typical and worst UEs
(docs/deploy.md). UEs are grouped as in the file; single ones are decoded alone (`rca convert`
gathers them). Killed and run again it goes on.
"""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from launch.layout import define_layout
from launch.main import (
    chosen_way,
    count,
    define_config,
    devices,
    experiment_config,
    only_with,
    run,
    say,
    warn_of_length,
)
from launch.table import define_format, print_table
from rca_jax.config import ExperimentConfig, stage_name, stages
from rca_jax.terminal import Bar

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run of `rca train`.')
_WEIGHTS = flags.DEFINE_string(
    'weights', None, 'Instead of --workdir: the name of weights that `rca export` wrote.')
_FOLDER = flags.DEFINE_string(
    'folder', None, 'Where these weights are; default: those of the package.')
_MAP = flags.DEFINE_string('map', None, 'Instead: a file of `rca map`, with --config.')
_JOINT = flags.DEFINE_bool('joint', False, 'Instead: joint Bayes, with --config.')
_DESCRIBED = flags.DEFINE_bool(
    'described', False, 'Instead: described profiles (docs/described.md), with --config.')
_CONFIG = define_config(required=False)
_STAGE = flags.DEFINE_enum(
    'stage', 'pretrain', ['pretrain', 'finetune'],
    'Whose weights of --workdir; finetune: those fine-tuned at --snr_db.')
_INPUT = flags.DEFINE_string('input', None, 'File, or data set folder.', required=True)
_LAYOUT = define_layout()
_SPLIT = flags.DEFINE_string('split', 'test', 'Of a data set folder: train, val or test.')
_OUT = flags.DEFINE_string('out', None, 'Folder of what comes out.', required=True)
_SNR_DB = flags.DEFINE_float('snr_db', None, 'Of every report, in dB.', required=True)
_NUM_SYMBOLS = flags.DEFINE_integer(
    'num_symbols', 0, 'Of a report of a network only the first symbols are sent: how many; 0: all.')
_DOWNLINK_SNR_DB = flags.DEFINE_float(
    'downlink_snr_db', None, 'Also the sum rate of each group that is precoded with what the BS '
    'recovers; dB of the power of all antennas to the noise of a UE.')
_ALLOW_SILENT = flags.DEFINE_bool(
    'allow_silent', False, 'Mask UEs without power, as data.allow_silent does.')
_FORMAT = define_format()
_HEAD = {'UEs': 'd', 'symbols': 'd', 'SNR dB': 'g', 'NMSE dB': '.2f', '95 % from': '.2f',
         'to': '.2f', 'rho': '.4f', 'SGCS': '.4f', 'subband SGCS': '.4f', 'beam gain': '.4f',
         'groups': 'd'}
_RATES = dict.fromkeys(('ZF bit/s/Hz', 'perfect', 'RZF bit/s/Hz', 'perfect '), '.2f')


def main() -> None:
  ways = {'--workdir': _WORKDIR.value, '--weights': _WEIGHTS.value, '--map': _MAP.value,
          '--joint': _JOINT.value, '--described': _DESCRIBED.value}
  given = chosen_way(ways, ('--map', '--joint', '--described'), _CONFIG)
  only_with(_FOLDER, given == '--weights', '--weights')
  only_with(_STAGE, given == '--workdir', '--workdir')
  only_with(
      _NUM_SYMBOLS, _CONFIG.value is None, 'a network; codes have --config.model.compression_ratio')
  only_with(_SPLIT, not Path(_INPUT.value).is_file(), 'a data set folder')
  config = None if _CONFIG.value is None else experiment_config(_CONFIG)

  import numpy as np

  from rca_jax.evaluation.feedback import Job, examples, feed_back
  from rca_jax.evaluation.precoding import Rates
  from rca_jax.evaluation.results import SHARES
  from rca_jax.report.feedback import figure

  out = Path(_OUT.value)
  say(f'feedback: {_INPUT.value} by {given.removeprefix("--")} '
      f'{"" if ways[given] is True else ways[given]}, {devices()}; to {out}')
  with Bar('feedback', unit='groups', doing='preparing') as bar:
    sender = _sender(config)
    job = Job(sender, _SNR_DB.value, Path(_INPUT.value), _LAYOUT(), _SPLIT.value,
              _ALLOW_SILENT.value, _DOWNLINK_SNR_DB.value)
    before = []

    def show(done: int, total: int) -> None:
      if not before:  # groups of an earlier process are neither work nor speed
        before.append(done)
        if done:
          bar.say(f'{count(done, "group")} were done before')
        bar.update(total=total - done, doing='compiling')
      else:
        bar.update(done - before[0], doing='')

    found = feed_back(job, out, show)
    bar.update(doing='drawing')
    nmse = np.load(out / 'nmse.npy')
    title = f'{sender.name}, {found["num_symbols"]} symbols, {job.snr_db:g} dB: {found["input"]}'
    figure(examples(job, out), nmse, title).savefig(out / 'feedback.png', dpi=110)
  rates = [found[name] for name in Rates._fields if name in found]
  print_table(_HEAD | (_RATES if rates else {}), [[
      found['num_ues'], found['num_symbols'], found['snr_db'], found['nmse_db'],
      *found['nmse_ci95_db'], *(found[name] for name in SHARES), found['num_samples'], *rates]],
      _FORMAT.value)
  cut = f'; with the delay rows that are cut {found["nmse_with_cut_db"]:.2f} dB' \
      if 'nmse_with_cut_db' in found else ''
  layers = f'; SGCS of layers {", ".join(f"{x:.4f}" for x in found["layer_sgcs"])}' \
      if 'layer_sgcs' in found else ''
  say(f'done: {count(found["num_groups"], "group")} in {out}: csi_hat.npy [{found["axes"]}], '
      f'reports.npy, scores, feedback.json, feedback.png{cut}{layers}')


def _sender(config: ExperimentConfig | None) -> Any:
  """Of the flags; with a warning where its weights did not see this SNR."""
  from rca_jax.evaluation.feedback import (
      described_sender,
      joint_sender,
      map_sender,
      network_sender,
  )
  from rca_jax.evaluation.run import load_params
  from rca_jax.training.pretrained import WEIGHTS, load_pretrained
  from rca_jax.training.workdir import read_config

  snr_db = _SNR_DB.value
  if _JOINT.value:
    return joint_sender(config, snr_db)
  if _DESCRIBED.value:
    return described_sender(config, snr_db)
  if _MAP.value:
    return map_sender(dataclasses.replace(config, site_map=_MAP.value), snr_db)
  if _WEIGHTS.value:
    config, _, params, stage, _ = load_pretrained(_WEIGHTS.value, _FOLDER.value or WEIGHTS)
  else:
    config = read_config(_WORKDIR.value)
    stage = stage_name(snr_db if _STAGE.value == 'finetune' else None)
    params, _ = load_params(_WORKDIR.value, config, stage)
  sender = network_sender(config, params, snr_db, _NUM_SYMBOLS.value)
  warn_of_length(config, _NUM_SYMBOLS.value)
  low, high = next(item.snr_db_range for item in stages(config) if item.name == stage)
  if not low <= snr_db <= high:
    say(f'warning: --snr_db={snr_db:g}: these weights were trained for {low:g} to {high:g} dB.')
  return sender


if __name__ == '__main__':
  run(main, stopped='stopped; the groups so far are kept, the same command goes on')
