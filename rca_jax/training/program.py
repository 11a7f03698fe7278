"""From a config to the programs of one training stage: its first state and its train call."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from rca_jax.config import ExperimentConfig, StageConfig
from rca_jax.data.source import CsiSource, training_source
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.training.optimizer import make_optimizer, make_schedule
from rca_jax.training.sharding import check_batch_size, data_mesh, replicated
from rca_jax.training.step import (
  TrainCall,
  TrainState,
  init_params,
  init_state,
  make_train_call,
  make_validation,
)
from rca_jax.uplink.djscc import resolve_channel
from rca_jax.uplink.link import CutLink


class Program(NamedTuple):
  """All compiled for one mesh, at their first use."""

  first_state: Callable[[Any], TrainState]  # from trained parameters; from None: from new ones
  call: TrainCall
  validate: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]


def make_program(
    config: ExperimentConfig, stage: StageConfig, source: CsiSource, mesh: Mesh) -> Program:
  """The programs of `stage`, on the groups of `source`."""
  model, model_dim = training_model(config), config.model.model_dim
  optimizer = make_optimizer(stage.optimizer, model_dim, stage.num_steps)
  schedule = make_schedule(stage.optimizer, model_dim, stage.num_steps)
  return Program(
      jax.jit(
          functools.partial(_first_state, config, model, optimizer),
          out_shardings=replicated(mesh)),
      make_train_call(
          model, optimizer, schedule, source, mesh, config.training.group_sizes,
          config.training.report_loss, config.data.allow_silent),
      make_validation(model, mesh, config.data.allow_silent))


def lower_call(
    program: Program, source: CsiSource, mesh: Mesh, num_steps: int) -> jax.stages.Lowered:
  """A call of `num_steps`, ready to compile for the devices of `mesh`; they need not be there."""
  arguments = jax.eval_shape(lambda: (
      program.first_state(None), source.arrays, jax.random.key(0), jnp.zeros(2, jnp.float32)))
  return program.call.lower(*jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
      arguments), num_steps)


def compile_step(
    config: ExperimentConfig, devices: Sequence[jax.Device]) -> jax.stages.Compiled:
  """One train step of stage 1, compiled for devices that need not be there.

  Raises:
    InputError: the batch cannot be divided among them; or see `training_source`.
  """
  mesh = data_mesh(devices)
  check_batch_size(config.training.batch_size, mesh)
  source = training_source(config)
  program = make_program(config, config.training.pretrain, source, mesh)
  with jax.default_matmul_precision(config.matmul_precision):
    return lower_call(program, source, mesh, num_steps=1).compile()


def abstract_params(config: ExperimentConfig) -> Any:
  """Shapes and types of the parameters, to restore them into."""
  return jax.eval_shape(functools.partial(_new_params, config, build_model(config)))


def num_parameters(config: ExperimentConfig) -> int:
  """Entries of all parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))


def training_model(config: ExperimentConfig) -> nn.Module:
  """The model with the uplink of its training."""
  model, least = build_model(config), config.training.min_symbols
  return model.clone(
      link=CutLink(resolve_channel(config.uplink.channel), least)) if least else model


def _first_state(
    config: ExperimentConfig, model: nn.Module, optimizer: optax.GradientTransformation,
    pretrained: Any) -> TrainState:
  # A copy: the state is donated, the pretrained weights serve every fine-tuning.
  params = (
      _new_params(config, model) if pretrained is None else jax.tree.map(jnp.copy, pretrained))
  return init_state(params, optimizer)


def _new_params(config: ExperimentConfig, model: nn.Module) -> Any:
  csi = config.csi
  shape = (1, config.num_ues, csi.num_tx_antennas, 2 * csi.num_delay_taps)
  return init_params(model, stream_key(config.seed, Stream.PARAMETERS), shape)
