"""Trains RCA-MUNet and its single-user twin on a small problem and writes one page of results.

  rca demo --out=demo

Two trainings of minutes, side by side on two cores; run again to continue or to redraw.
"""

import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from configs import demo as demo_config
from launch.main import run, say
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_OUT = flags.DEFINE_string('out', 'demo', 'Folder of the page and of the two runs.')
_STEPS = flags.DEFINE_integer('steps', None, 'Fewer training steps, for a first look.')

_METHODS = ('BL1', 'RCA-MUNet')  # the gain is over the first
_SNRS_DB = (0.0, 10.0, 20.0)


def main() -> None:
  from rca_jax.evaluation.results import append_rows
  from rca_jax.evaluation.run import evaluate_run
  from rca_jax.report import demo
  from rca_jax.report.runs import lines, nmse_table, read_runs, write_runs

  out = Path(_OUT.value).resolve()
  workdirs = {method: out / method for method in _METHODS}
  config = from_dict(ExperimentConfig, demo_config.get_config().to_dict())
  num_steps = _STEPS.value or config.training.pretrain.num_steps
  # Not `devices`: on a GPU this process would take the memory that the trainings need.
  say(f'demo: {" and ".join(_METHODS)}, {num_steps} steps each, side by side; to {_OUT.value}')
  with Bar('demo', num_steps * len(_METHODS), 'steps', doing='compiling', rate=False) as bar:
    _train(workdirs, num_steps, bar)
    bar.update(doing='measuring')
    site_map = Path(demo_config.__file__).with_name('demo.map')
    rows = demo.linear_rows(config, _SNRS_DB) + demo.site_map_rows(config, site_map, _SNRS_DB)
    (out / 'references.json').unlink(missing_ok=True)
    append_rows(out / 'references.json', rows)
    for folder in workdirs.values():
      append_rows(folder / 'results.json', [*evaluate_run(folder, _SNRS_DB, [config.num_ues])])
    bar.update(doing='drawing')
    runs = read_runs([*workdirs.values(), out / 'references.json'])
    write_runs(
        out, runs, 'Multi-user CSI feedback: what the neighbours are worth',
        demo.introduction(config))
  print(nmse_table(lines(runs)).markdown())
  say(f'done: open {Path(_OUT.value) / "report.html"}; train more: rca train --config=demo '
      '--workdir=FOLDER --config.training.pretrain.num_steps=6000')


def _train(workdirs: dict[str, Path], num_steps: int, bar: Bar) -> None:
  """Both methods at once, a process each; a run that is complete ends at once."""
  from rca_jax.training.writer import read_metrics

  processes, shown = {}, {}
  for method, folder in workdirs.items():
    with writing(folder, 'choose another --out'):
      folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'rca_jax', 'train', f'--workdir={folder}',
               f'--config=demo:method={method}',
               f'--config.training.pretrain.num_steps={num_steps}']
    with (folder / 'train.log').open('a') as log:
      processes[method] = subprocess.Popen(command, stdout=log, stderr=log)
  try:
    while any(process.poll() is None for process in processes.values()):
      time.sleep(1)
      steps = {method: ([0] + [line['step'] for line in read_metrics(folder)])[-1]
               for method, folder in workdirs.items()}
      if any(steps.values()) and steps != shown:
        # Of the slower one: steps are known by checkpoints, and two at once would look fast.
        bar.update(len(steps) * min(steps.values()), doing='  '.join(
            f'{method} {step}' for method, step in steps.items()))
        shown = steps
  finally:  # after Ctrl-C, which reaches them too, they save what they have
    for process in processes.values():
      process.wait()
  for method, process in processes.items():
    if process.returncode:
      log = workdirs[method] / 'train.log'
      raise InputError(
          f'{method}: training stopped, {log} ends with: '
          f'{(log.read_text().splitlines() or [""])[-1]} Or give another --out.')


if __name__ == '__main__':
  run(main, stopped='stopped; both runs are kept, the same command continues')
