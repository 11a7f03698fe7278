"""The whole of a training: stages, checkpoints, resume, metrics."""

import contextlib
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rca_jax.channel import to_features
from rca_jax.config import ExperimentConfig, Stage, StageConfig, stage_name, stages
from rca_jax.data.source import CsiSource, training_source, validation_groups
from rca_jax.durable import writing
from rca_jax.errors import InputError, Stopped
from rca_jax.keys import Stream, stream_key
from rca_jax.training import checkpoint
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
from rca_jax.training.stop import StopRequest, stop_request
from rca_jax.training.workdir import claim, locked
from rca_jax.training.writer import MetricsWriter


class _Run(NamedTuple):
  """What all stages of a run share."""

  config: ExperimentConfig
  workdir: Path
  mesh: Mesh
  source: CsiSource
  validation: jax.Array | None  # features [n, batch, ue, N_t, 2*N_a]
  stop: StopRequest
  make_progress: Callable[..., Progress]
  on_damaged: str


def fit(
    config: ExperimentConfig, workdir: str | Path, mesh: Mesh | None = None,
    make_progress: Callable[..., Progress] = Progress, on_damaged: str = 'stop',
    until: str = '') -> None:
  """Trains all stages, or what is left of them, into `workdir`.

  `make_progress` is called as `Progress` is, at the start of every stage; `on_damaged` is what
  `checkpoint.restore` does about a damaged checkpoint: stop | previous; `until` names the last
  stage for now.

  Raises:
    InputError: config, data, workdir or checkpoint do not fit, or the disk is full (see the
      functions called).
    Stopped: SIGTERM or Ctrl-C; a checkpoint was saved.
    BrokenPipeError: nobody reads what `make_progress` prints any more; a checkpoint was saved.
    FloatingPointError: the loss is not finite; nothing of that call was saved.
  """
  workdir = Path(os.path.abspath(workdir))
  mesh = data_mesh() if mesh is None else mesh
  check_batch_size(config.training.batch_size, mesh)
  todo = stages(config)
  if until:
    todo = todo[:1 + [stage.name for stage in todo].index(until)]
  with contextlib.ExitStack() as stack:
    # Around every call: the precision is part of what a compiled program is found by.
    stack.enter_context(jax.default_matmul_precision(config.matmul_precision))
    stop = stack.enter_context(stop_request())
    with refused_together():
      if jax.process_index() == 0:
        stack.enter_context(locked(workdir / '.lock'))
        with writing(workdir, 'choose another --workdir'):
          claim(workdir, config)
      source, validation = training_source(config), validation_groups(config)
    check_same('the training data', (source.arrays, validation))
    if validation is not None:
      validation = replicate(np.asarray(to_features(jnp.asarray(validation))), mesh)
    source = source._replace(arrays=replicate(source.arrays, mesh))
    _fit_stages(
        _Run(config, workdir, mesh, source, validation, stop, make_progress, on_damaged), todo)


def _fit_stages(run: _Run, todo: list[Stage]) -> None:

  @functools.cache  # fine-tunings share one compiled program: their SNR is an argument
  def program(stage: StageConfig) -> Program:
    return make_program(run.config, stage, run.source, run.mesh)

  pretrained = None
  for stage in todo:
    state = _fit_stage(run, stage, program(stage.config), pretrained)
    if stage.name == stage_name():
      pretrained = state.params


def _fit_stage(run: _Run, stage: Stage, program: Program, pretrained: Any) -> TrainState:
  """Runs a stage from its newest checkpoint, or from its first state, to its end.

  The first state has the parameters `pretrained`; if they are None, those that the config names.

  Raises:
    Stopped, BrokenPipeError: see `fit`; a checkpoint was saved.
  """
  training, num_steps = run.config.training, stage.config.num_steps
  folder = checkpoint.checkpoint_folder(run.workdir, stage.name)
  key, val_key = (
      jax.random.fold_in(stream_key(run.config.seed, stream), stage.number)
      for stream in (Stream.TRAINING, Stream.VALIDATION))
  key, val_key, snr_db_range = replicate(
      (key, val_key, np.asarray(stage.snr_db_range, np.float32)), run.mesh)
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
    step, every = int(jax.device_get(state.step)), training.checkpoint_every_steps
    if step == num_steps:
      return state
    with refused_together():
      log = _Log(run, stage, step, folder)
    with contextlib.closing(log):
      while step < num_steps:
        length = min(training.steps_per_call, num_steps - step)
        state, metrics = program.call(state, run.source.arrays, key, snr_db_range, length)
        before, step = step, step + length
        due = step // every > before // every or step == num_steps
        val_nmse = None
        if due and run.validation is not None:
          val_nmse = program.validate(state.params, run.validation, val_key, snr_db_range)
        log.put(step, metrics, val_nmse)  # fetches the call before, while this one runs
        stopping = any_process(bool(run.stop))  # all must save at the same step
        if due or stopping:
          with refused_together():
            log.drain()  # a NaN raises here: it is never saved
          checkpoint.save(manager, state)
        if stopping and step < num_steps:
          _raise_stopped(run.stop, stage, step)
  return state


def _raise_stopped(stop: StopRequest, stage: Stage, step: int) -> None:
  if stop.broken_pipe is not None:
    raise stop.broken_pipe
  raise Stopped(
      f'stopped at step {step} of {stage.config.num_steps} ({stage.name}); the same command goes '
      'on from there', stop.signum or signal.SIGTERM)  # None: another process has the signal


def _init_weights(config: ExperimentConfig) -> Any:
  """The parameters that `training.init_weights` names; None for random ones."""
  if not config.training.init_weights:
    return None
  folder, _, name = config.training.init_weights.rpartition('/')
  found = load_pretrained(name, folder or WEIGHTS)
  # Before the shapes, which do not show all of them. Attentions may be exchanged.
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
    self._stage, self._folder, self._stop = stage, folder, run.stop
    self._waiting: tuple[int, tuple[StepMetrics, jax.Array | None]] | None = None
    self._writer: MetricsWriter | None = None
    self._progress: Progress | None = None
    if jax.process_index() == 0:
      self._writer = MetricsWriter(run.workdir, stage.name, step)
      self._progress = run.make_progress(
          stage.name, step, stage.config.num_steps, run.config.training.batch_size,
          _about(run, stage))

  def put(self, step: int, metrics: StepMetrics, val_nmse: jax.Array | None) -> None:
    """Takes a call's metrics in, and writes those of the call before."""
    self._write()
    self._waiting = step, (metrics, val_nmse)

  def drain(self) -> None:
    """Writes what is waiting; returns once it is on disk."""
    self._write()
    if self._writer is not None:
      self._writer.flush()

  def close(self) -> None:
    for part in (self._progress, self._writer):
      if part is not None:
        part.close()

  def _write(self) -> None:
    if self._waiting is None:
      return
    (step, metrics), self._waiting = self._waiting, None
    metrics, val_nmse = jax.device_get(metrics)
    self._check_finite(step, metrics)
    if self._writer is None or self._progress is None:
      return
    line = {
        'loss': float(metrics.loss.mean()), 'nmse_db': _db(metrics.nmse.mean()),
        'gradient_norm': float(metrics.gradient_norm.mean()),
        'learning_rate': float(metrics.learning_rate[-1])}
    if val_nmse is not None:
      line['val_nmse_db'] = _db(val_nmse)
    self._writer.write(step, line)
    try:
      self._progress.update(
          step, line['nmse_db'], line['learning_rate'], line.get('val_nmse_db'))
    except BrokenPipeError as error:
      self._stop.broken_pipe = error

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


def _about(run: _Run, stage: Stage) -> str:
  """What a stage trains on, and what of it is not as the config says."""
  training, num_steps = run.config.training, stage.config.num_steps
  parts = ['new groups in every step']
  if run.source.num_groups is not None:
    epochs = num_steps * training.batch_size / run.source.num_groups
    parts = [f'{run.source.num_groups:,} groups of {run.config.data.path}, {epochs:,.4g} epochs']
    if run.validation is not None:
      count = run.validation.shape[0] * run.validation.shape[1]
      parts.append(f'{count:,} groups of its val split scored at every checkpoint')
  asked = training.finetune if stage.number else training.pretrain
  warmup_steps = stage.config.optimizer.warmup_steps
  if warmup_steps < asked.optimizer.warmup_steps:
    parts.append(f'warm-up shortened to {warmup_steps} steps')
  return '; '.join(parts)


def _db(value: float) -> float:
  return float(10 * np.log10(value))
