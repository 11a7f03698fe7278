"""The whole of a training: stages, checkpoints, resume, metrics."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from rca_jax.config import ExperimentConfig, Stage, StageConfig, stage_name, stages
from rca_jax.data.source import CsiSource, training_source
from rca_jax.durable import told_when_unwritable
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key
from rca_jax.training import checkpoint
from rca_jax.training.optimizer import make_schedule
from rca_jax.training.pretrained import WEIGHTS, load_pretrained
from rca_jax.training.program import Program, abstract_params, make_program
from rca_jax.training.progress import Progress
from rca_jax.training.sharding import (
  any_process,
  check_batch_size,
  check_same,
  data_mesh,
  refused_together,
  replicate,
  replicated,
)
from rca_jax.training.step import StepMetrics, TrainState
from rca_jax.training.workdir import claim, locked
from rca_jax.training.writer import MetricsWriter

# Where the disk fails.
_KEPT = 'checkpoints are kept: make room, or the folder writable, and run again'


class _Run(NamedTuple):
  """What all stages of a run share."""

  config: ExperimentConfig
  workdir: Path
  mesh: Mesh
  source: CsiSource
  stages: list[Stage]
  stop: threading.Event
  make_progress: Callable[..., Progress]
  on_damaged: str


def fit(
    config: ExperimentConfig, workdir: str | Path, mesh: Mesh | None = None,
    make_progress: Callable[..., Progress] = Progress, on_damaged: str = 'stop',
    until: str = '') -> bool:
  """Trains all stages, or what is left of them, into `workdir`.

  `make_progress` is called as `Progress` is, at the start of every stage; `on_damaged` is what
  `checkpoint.restore` does about a damaged checkpoint: stop | previous; `until` names the last
  stage for now.

  Returns:
    Whether these stages are complete; False after SIGTERM, which saves a checkpoint first.

  Raises:
    InputError: config, data, workdir or checkpoint do not fit, or the disk is full (see the
      functions called).
    FloatingPointError: the loss is not finite; nothing of that call was saved.
  """
  workdir = Path(os.path.abspath(workdir))
  mesh = data_mesh() if mesh is None else mesh
  check_batch_size(config.training.batch_size, mesh)
  todo = stages(config)
  for stage in todo:  # refused before the first stage runs
    make_schedule(stage.config.optimizer, config.model.model_dim, stage.config.num_steps)
  if until:
    todo = todo[:1 + [stage.name for stage in todo].index(until)]
  with contextlib.ExitStack() as stack:
    stack.enter_context(told_when_unwritable(workdir, _KEPT))
    # Around every call: the precision is part of what a compiled program is found by.
    stack.enter_context(jax.default_matmul_precision(config.matmul_precision))
    with refused_together(), told_when_unwritable(workdir, _KEPT):
      if jax.process_index() == 0:
        stack.enter_context(locked(workdir / '.lock'))
        claim(workdir, config)
      source = training_source(config)
    check_same('the training data', source.arrays)
    source = source._replace(arrays=replicate(source.arrays, mesh))
    stop = stack.enter_context(_set_by_sigterm())
    return _fit_stages(_Run(config, workdir, mesh, source, todo, stop, make_progress, on_damaged))


def _fit_stages(run: _Run) -> bool:

  @functools.cache  # fine-tunings share one compiled program: their SNR is an argument
  def program(stage: StageConfig) -> Program:
    return make_program(run.config, stage, run.source, run.mesh)

  pretrained = None
  for stage in run.stages:
    state = _fit_stage(run, stage, program(stage.config), pretrained)
    if int(state.step) < stage.config.num_steps:
      return False
    if stage.name == stage_name():
      pretrained = state.params
  return True


def _fit_stage(run: _Run, stage: Stage, program: Program, pretrained: Any) -> TrainState:
  """Runs a stage from its newest checkpoint, or from its first state, to its end or a SIGTERM.

  The first state has the parameters `pretrained`; if they are None, those that the config names.
  """
  training, num_steps = run.config.training, stage.config.num_steps
  folder = checkpoint.checkpoint_folder(run.workdir, stage.name)
  key = jax.random.fold_in(stream_key(run.config.seed, Stream.TRAINING), stage.index)
  key, snr_db_range = replicate((key, np.float32(stage.snr_db_range)), run.mesh)
  with checkpoint.open_for_writing(folder, training.num_checkpoints_kept) as manager:
    if manager.latest_step() is None:
      if pretrained is None:
        with refused_together():
          pretrained = _init_weights(run.config)
      state = program.first_state(pretrained)
    else:
      state = checkpoint.restore(
          manager, jax.eval_shape(program.first_state, None), replicated(run.mesh),
          run.on_damaged)
    done, per_call = int(state.step), training.steps_per_call
    if done == num_steps:
      return state
    with refused_together(), told_when_unwritable(run.workdir, _KEPT):
      log = _Log(run, stage, done, folder)
    with contextlib.closing(log):
      for step in range(done + per_call, num_steps + 1, per_call):
        state, metrics = program.call(state, run.source.arrays, key, snr_db_range)
        log.put(step, metrics)  # fetches the call before, while this one runs
        stopping = any_process(run.stop.is_set())  # all must save at the same step
        if stopping or step % training.checkpoint_every_steps == 0 or step == num_steps:
          with refused_together(), told_when_unwritable(run.workdir, _KEPT):
            log.drain()  # a NaN raises here: it is never saved
          checkpoint.save(manager, state)
        if stopping:
          break
  return state


def _init_weights(config: ExperimentConfig) -> Any:
  """The parameters that `training.init_weights` names; None for random ones."""
  if not config.training.init_weights:
    return None
  folder, _, name = config.training.init_weights.rpartition('/')
  found = load_pretrained(name, folder or WEIGHTS)
  # Before the shapes, since they do not tell all of them. Attentions may be exchanged.
  for field in ('compression_ratio', 'num_heads', 'shortcut'):
    there, here = (getattr(one.model, field) for one in (found.config, config))
    if there != here:
      raise InputError(
          f'{config.training.init_weights}: weights of another model: model.{field} is {there} '
          f'there, {here} in this config; add --config.model.{field}={there}.')
  checkpoint.check_same_model(
      checkpoint.shapes(found.params), checkpoint.shapes(abstract_params(config)),
      config.training.init_weights)
  return found.params


class _Log:
  """Metrics of the calls, one call late: fetching them does not hold up the device."""

  def __init__(self, run: _Run, stage: Stage, step: int, folder: Path):
    self._stage, self._folder, self._waiting = stage, folder, None
    self._writer = self._progress = None
    if jax.process_index() == 0:
      self._writer = MetricsWriter(run.workdir, stage.name, step)
      self._progress = run.make_progress(
          stage.name, step, stage.config.num_steps, run.config.training.batch_size)

  def put(self, step: int, metrics: StepMetrics) -> None:
    """Takes a call's metrics in, and writes those of the call before."""
    self._write()
    self._waiting = step, metrics

  def drain(self) -> None:
    """Writes what is waiting; returns once it is on disk."""
    self._write()
    if self._writer is not None:
      self._writer.flush()

  def close(self) -> None:
    if self._writer is not None:
      self._progress.close()
      self._writer.close()

  def _write(self) -> None:
    if self._waiting is None:
      return
    (step, metrics), self._waiting = self._waiting, None
    metrics = jax.device_get(metrics)
    self._check_finite(step, metrics)
    if self._writer is not None:
      nmse_db = float(10 * np.log10(metrics.nmse.mean()))
      learning_rate = float(metrics.learning_rate[-1])
      self._writer.write(step, {
          'loss': float(metrics.loss.mean()), 'nmse_db': nmse_db,
          'gradient_norm': float(metrics.gradient_norm.mean()), 'learning_rate': learning_rate})
      self._progress.update(step, nmse_db, learning_rate)

  def _check_finite(self, step: int, metrics: StepMetrics) -> None:
    finite = np.isfinite(metrics.loss) & np.isfinite(metrics.gradient_norm)
    if finite.all():
      return
    first = int(np.argmin(finite))
    saved = sorted(int(path.name) for path in self._folder.glob('*') if path.name.isdigit())
    raise FloatingPointError(
        f'{self._stage.name} diverged at step {step - len(finite) + first + 1}: loss '
        f'{metrics.loss[first]}, gradient norm {metrics.gradient_norm[first]}, learning rate '
        f'{metrics.learning_rate[first]:.3g}; last checkpoint at step '
        f'{saved[-1] if saved else "none"}; lower the learning rate or set optimizer.clip_norm.')


@contextlib.contextmanager
def _set_by_sigterm() -> Iterator[threading.Event]:
  event = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield event  # signals reach the main thread only
    return
  previous = signal.signal(signal.SIGTERM, lambda *_: event.set())
  try:
    yield event
  finally:
    signal.signal(signal.SIGTERM, previous)
