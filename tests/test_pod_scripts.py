"""The scripts for clusters, with the cluster's commands replaced by ones that write down."""

import os
import pathlib
import shlex
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parents[1] / 'launch'


@pytest.fixture
def run(tmp_path):
  """Runs a script; returns the process and every command line that reached the cluster."""
  log = tmp_path / 'log'
  for name in ('gcloud', 'srun', 'scontrol'):
    command = tmp_path / name
    command.write_text(
        f'#!/usr/bin/env bash\n(printf "%q " {name} "$@"; echo) >> {shlex.quote(str(log))}\n'
        f'[ {name} != srun ] || exit "${{SRUN_STATUS:-0}}"\n')
    command.chmod(0o755)

  def call(script, *arguments, **environment):
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    process = subprocess.run(
        ['bash', str(LAUNCH / script), *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, 'PATH': path, **environment})
    lines = log.read_text().splitlines() if log.exists() else []
    return process, [shlex.split(line) for line in lines]

  return call


def test_tpu_pod_starts_the_same_training_on_every_host(run):
  flags = ['--config=configs/rca_munet.py:cr=1/16,users=4', '--workdir=/mnt/a run/$x']
  process, commands = run('tpu_pod.sh', 'train', *flags, TPU='slice', ZONE='zone-a')
  assert process.returncode == 0, process.stderr
  (gcloud,) = commands
  assert gcloud[:6] == ['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', 'slice']
  assert {'--worker=all', '--zone=zone-a'} <= set(gcloud)
  # What the hosts' shells read is what was given here.
  (command,) = [word.partition('=')[2] for word in gcloud if word.startswith('--command=')]
  words = shlex.split(command)
  assert words[-len(flags):] == flags
  assert words[words.index('-m') + 1:-len(flags)] == ['launch.train', '--multihost']


@pytest.mark.parametrize('arguments, environment, said', [
    (('train',), {}, 'export TPU='),
    ((), {'TPU': 'a', 'ZONE': 'b'}, 'usage:'),
])
def test_tpu_pod_says_what_is_missing(run, arguments, environment, said):
  process, commands = run('tpu_pod.sh', *arguments, **environment)
  assert process.returncode != 0 and said in process.stderr and not commands


@pytest.mark.parametrize('status, requeued', [(0, False), (143, True), (2, False)])
def test_slurm_queues_itself_again_after_a_sigterm_only(run, status, requeued):
  process, commands = run(
      'slurm.sbatch', '--workdir=a b', SRUN_STATUS=str(status), SLURM_JOB_ID='7')
  assert process.returncode == status
  assert commands[0] == [
      'srun', '.venv/bin/python', '-m', 'launch.train', '--multihost', '--workdir=a b']
  assert commands[1:] == ([['scontrol', 'requeue', '7']] if requeued else [])


def test_every_slurm_task_sees_the_gpus_of_its_node():
  """Else JAX, which picks that of its local id, finds but one."""
  options = [line for line in (LAUNCH / 'slurm.sbatch').read_text().splitlines()
             if line.startswith('#SBATCH')]
  assert '#SBATCH --gpus-per-node=4' in options
  assert not [option for option in options if 'gpus-per-task' in option]
