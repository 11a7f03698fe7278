"""Trains what a config describes; run again on the same workdir to continue.

  rca train --config=rca_munet:small --workdir=runs/small
  rca train --config=rca_munet:cr=1/16,users=2 --workdir=runs/cr16 \\
      --config.training.batch_size=512

Exit codes: 0 all stages complete, 1 diverged, 2 wrong input, damaged checkpoint or full disk,
130 stopped by Ctrl-C and 143 by SIGTERM after a checkpoint, 141 where nobody reads the output any
more (docs/reliability.md).
On several hosts start it once on each with --multihost and the same workdir on shared storage.
"""

import contextlib

from absl import flags

from launch.main import define_config, devices, experiment_config, only_with, run, say
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
_ON_DAMAGED = flags.DEFINE_enum(
    'on_damaged_checkpoint', 'stop', ['stop', 'previous'],
    'Whether to go on from the checkpoint before one that is damaged.')
_MULTIHOST = flags.DEFINE_bool('multihost', False, 'One of several processes of a run.')
_COORDINATOR = flags.DEFINE_string(
    'coordinator_address', None, 'HOST:PORT of process 0; not needed on Cloud TPU and Slurm.')
_NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes', None, 'Processes of the run; not needed on Cloud TPU and Slurm.')
_PROCESS_ID = flags.DEFINE_integer(
    'process_id', None, 'Which of them this is, from 0; not needed on Cloud TPU and Slurm.')


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import

  for flag in _COORDINATOR, _NUM_PROCESSES, _PROCESS_ID:
    only_with(flag, _MULTIHOST.value, '--multihost')

  import jax

  from rca_jax.training.loop import fit
  from rca_jax.training.program import num_parameters
  from rca_jax.training.progress import Progress

  if _MULTIHOST.value:
    _join_hosts()
  workdir = _WORKDIR.value
  trained = []
  with contextlib.ExitStack() as stack:
    preparing, first = Bar('train', doing='preparing'), jax.process_index() == 0
    if first:
      say(f'train: {config.method}, {num_parameters(config):,} parameters, {devices()}, '
          f'{config.data.path or "generated CSI"}; to {workdir}')
      stack.enter_context(preparing)

    def progress(stage: str, *more) -> Progress:
      preparing.stop()
      trained.append(stage)
      return Progress(stage, *more)

    fit(config, workdir, make_progress=progress, on_damaged=_ON_DAMAGED.value)
  if first:
    done = f'done: {", ".join(trained)}' if trained else 'finished before, nothing was left to do'
    say(f'{done}; {workdir} holds checkpoints, metrics and TensorBoard events; measure it: '
        f'rca evaluate --workdir={workdir}')


def _join_hosts() -> None:
  import jax
  try:
    jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  except (ValueError, RuntimeError) as error:
    raise InputError(
        f'--multihost: no coordinator ({str(error).splitlines()[0]}); give --coordinator_address='
        'HOST:PORT, --num_processes=N and --process_id=I, the same address on every host.'
    ) from error


if __name__ == '__main__':
  run(main, stopped='stopped; the same command continues from the last checkpoint')
