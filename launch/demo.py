"""Trains RCA-MUNet and its single-user twin on a small problem and writes one page of results.

  python -m launch.demo --out=demo

Two trainings of minutes, side by side on two cores; run again to continue or to redraw.
"""

import subprocess
import sys
import time
from pathlib import Path

import rich.progress
from absl import flags

from configs import demo as demo_config
from launch.main import run
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.durable import told_when_unwritable
from rca_jax.errors import InputError
from rca_jax.evaluation.results import append_rows
from rca_jax.evaluation.run import evaluate_run
from rca_jax.report import demo
from rca_jax.training.writer import read_metrics

_OUT = flags.DEFINE_string('out', 'demo', 'Folder of the page and of the two runs.')
_STEPS = flags.DEFINE_integer('steps', None, 'Fewer training steps, for a first look.')

_METHODS = ('RCA-MUNet', 'BL1')
_SNRS_DB = (0.0, 10.0, 20.0)


def main() -> None:
  out = Path(_OUT.value).resolve()
  workdirs = {method: out / method for method in _METHODS}
  config = from_dict(ExperimentConfig, demo_config.get_config().to_dict())
  _train(workdirs, _STEPS.value or config.training.pretrain.num_steps)

  rows = [row for folder in workdirs.values()
          for row in evaluate_run(folder, _SNRS_DB, [config.num_ues])]
  rows += demo.linear_rows(config, _SNRS_DB)
  (out / 'results.json').unlink(missing_ok=True)
  append_rows(out / 'results.json', rows)
  demo.write_page(out, config, workdirs, rows)
  print(f'\n{demo.table(rows)}\n{out / "report.md"}')


def _train(workdirs: dict[str, Path], num_steps: int) -> None:
  """Both methods at once, a process each; a run that is complete ends at once."""
  processes = {}
  for method, folder in workdirs.items():
    with told_when_unwritable(folder, 'choose another --out'):
      folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'launch.train', f'--workdir={folder}',
               f'--config=configs/demo.py:method={method}',
               f'--config.training.pretrain.num_steps={num_steps}']
    with (folder / 'train.log').open('a') as log:
      processes[method] = subprocess.Popen(command, stdout=log, stderr=log)
  with rich.progress.Progress() as bar:
    tasks = {method: bar.add_task(method, total=num_steps) for method in processes}
    while any(process.poll() is None for process in processes.values()):
      time.sleep(1)
      for method, task in tasks.items():
        lines = read_metrics(workdirs[method])
        bar.update(task, completed=lines[-1]['step'] if lines else 0)
  for method, process in processes.items():
    if process.returncode:
      log = workdirs[method] / 'train.log'
      raise InputError(
          f'{method}: training stopped, {log} ends with: '
          f'{(log.read_text().splitlines() or [""])[-1]} Or give another --out.')


if __name__ == '__main__':
  run(main)
