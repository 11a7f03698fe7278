"""What is timed. Every case yields rows: see `_row`."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import durations_s
from rca_jax.channel import sample_groups, sample_site, to_features
from rca_jax.config import CsiConfig, ExperimentConfig, codeword_dim
from rca_jax.data.source import CsiSource, array_source, generator_source
from rca_jax.evaluation.complexity import matmul_macs
from rca_jax.models.build import build_model
from rca_jax.training.program import lower_call, make_program
from rca_jax.training.sharding import check_batch_size, data_mesh, replicate
from rca_jax.training.step import mse_loss

Row = dict[str, Any]
_STEPS_PER_CALL = 4
_LATENCY_CALLS = 300


def matmul_peak(size: int, dtype: str) -> Row:
  """Floating-point operations a second of one square matrix product: the machine's own peak."""
  a = jax.random.normal(jax.random.key(0), (size, size), dtype)
  with jax.default_matmul_precision('default'):
    multiply = jax.jit(jnp.matmul)
    seconds = durations_s([lambda i: multiply(a, a)]).min()
  as_computed = 'TF32' if dtype == 'float32' and jax.default_backend() == 'gpu' else dtype
  return _row(f'matmul {size} x {size}, {as_computed}', 0, seconds, flops=2 * size**3)


def generator(config: CsiConfig, batch_sizes: tuple[int, ...], num_ues: int = 4) -> Iterator[Row]:
  """`sample_groups` as training calls it, at several batch sizes: cost is linear in groups."""
  sample = jax.jit(sample_groups, static_argnames=('config', 'num_groups', 'num_ues'))
  site = None
  if config.mode == 'site':
    site = jax.jit(sample_site, static_argnames='config')(jax.random.key(0), config)
  for num_groups in batch_sizes:
    seconds = durations_s(
        [lambda i, n=num_groups: sample(jax.random.key(i), config, n, num_ues, site)]).min()
    yield _row(f'generator, {config.mode} mode, {num_ues} UEs', num_groups, seconds)


def train_step(name: str, config: ExperimentConfig, num_devices: int = 1) -> Row:
  """One optimizer step as in training, with new groups from the generator."""
  step, _ = _our_step(config, generator_source(config), num_devices)
  seconds = durations_s([step]).min() / _STEPS_PER_CALL
  return _row(
      f'train step, {name}', config.training.batch_size, seconds, _gradient_flops(config))


def train_step_beside_peer(name: str, config: ExperimentConfig) -> Row:
  """One optimizer step on CSI in memory, ours and the peer's."""
  from benchmarks import torch_peer

  csi = _random_csi(config)
  step, compiled = _our_step(
      config, array_source(csi, config.training.batch_size, jax.random.key(0)), 1)
  peer_step = torch_peer.train_step(config, _to_torch(to_features(csi)))
  ours, peer = durations_s([step, _torch_call(peer_step, _STEPS_PER_CALL)]).min(-1)
  return _row(
      f'train step, {name}', config.training.batch_size, ours / _STEPS_PER_CALL,
      _gradient_flops(config), peer_seconds=peer / _STEPS_PER_CALL, **compiled)


def inference_beside_peer(config: ExperimentConfig, num_groups: int) -> Iterator[Row]:
  """Encoder and decoder at work: many groups at once, then the latency of one group."""
  for groups, num_rounds in ((num_groups, 5), (1, _LATENCY_CALLS)):
    for side, call in _our_sides(config, groups).items():
      durations = durations_s([call, _peer_side(config, side, groups)], num_rounds)
      seconds, peer_seconds = durations.min(-1) if groups > 1 else np.median(durations, -1)
      more = {} if groups > 1 else dict(zip(
          ('p99_seconds', 'peer_p99_seconds'), np.quantile(durations, 0.99, axis=-1).tolist(),
          strict=True))
      label = f'{side}, {config.num_ues} UEs' + (', latency p50' if groups == 1 else '')
      yield _row(label, groups, seconds, peer_seconds=peer_seconds, **more)


def decoder_by_ues(config: ExperimentConfig, nums_ues: tuple[int, ...]) -> Iterator[Row]:
  """The decoder's cost as groups grow: linear in UEs."""
  for num_ues in nums_ues:
    groups = config.training.batch_size
    call = _our_sides(dataclasses.replace(config, num_ues=num_ues), groups)['decoder']
    yield _row(f'decoder of {num_ues} UEs', groups, durations_s([call]).min())


def _our_step(
    config: ExperimentConfig, source: CsiSource,
    num_devices: int) -> tuple[Callable[[int], Any], dict[str, float]]:
  """A call of `_STEPS_PER_CALL` steps; and what its program took to compile and needs."""
  mesh, stage = data_mesh(jax.devices()[:num_devices]), config.training.pretrain
  check_batch_size(config.training.batch_size, mesh)
  program = make_program(config, stage, source, mesh)
  arrays, key, snr_db_range = replicate(
      (source.arrays, jax.random.key(1), np.float32([stage.snr_db_min, stage.snr_db_max])), mesh)
  state = program.first_state(None)
  start = time.perf_counter()
  with jax.default_matmul_precision(config.matmul_precision):
    compiled = lower_call(program, source, mesh, _STEPS_PER_CALL).compile()
  compile_seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()

  def call(i: int) -> Any:
    nonlocal state  # donated: every call continues from the last one's state
    state, metrics = compiled(state, arrays, key, snr_db_range)
    return metrics

  return call, {
      'compile_seconds': compile_seconds,
      'memory_bytes': memory.argument_size_in_bytes + memory.temp_size_in_bytes}


def _our_sides(config: ExperimentConfig, num_groups: int) -> dict[str, Callable[[int], Any]]:
  model, (features, codeword) = build_model(config), _inputs(config, num_groups)
  params = jax.jit(model.init)(
      jax.random.key(0), jnp.asarray(features), 10.0, jax.random.key(1))['params']
  sides = {'encoder': (model.encoder, features), 'decoder': (model.decoder, codeword)}

  def call_of(side: str) -> Callable[[int], Any]:
    module, inputs = sides[side]
    apply, inputs = jax.jit(module.apply), jnp.asarray(inputs)
    return lambda i: apply({'params': params[side]}, inputs)

  return {side: call_of(side) for side in sides}


def _peer_side(config: ExperimentConfig, side: str, num_groups: int) -> Callable[[int], Any]:
  import torch

  from benchmarks import torch_peer

  features, codeword = map(_to_torch, _inputs(config, num_groups))
  inputs = features.flatten(0, 1) if side == 'encoder' else codeword
  module = getattr(torch_peer.RCAMUNet(config), side).to(inputs.device).eval()
  on_gpu = inputs.device.type == 'cuda'
  module = torch.compile(module, dynamic=False) if on_gpu else module

  def forward() -> Any:
    with torch.inference_mode(), torch.autocast(
        inputs.device.type, torch.bfloat16, enabled=on_gpu):
      return module(inputs)

  return _torch_call(forward, 1)


def _inputs(config: ExperimentConfig, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
  """Features [num_groups, ue, N_t, 2 N_a] and codewords [num_groups, ue, k]."""
  config = _with_training(config, batch_size=num_groups)
  codeword_shape = (num_groups, config.num_ues, codeword_dim(config.model, config.csi))
  codeword = np.random.default_rng(1).standard_normal(codeword_shape, np.float32)
  return np.asarray(to_features(_random_csi(config))), codeword


def _random_csi(config: ExperimentConfig) -> np.ndarray:
  """One batch [batch, ue, N_a, N_t] of unit mean power; its statistics do not matter here."""
  csi = config.csi
  shape = (
      config.training.batch_size, config.num_ues, csi.num_delay_taps, csi.num_tx_antennas, 2)
  parts = np.random.default_rng(0).standard_normal(shape, np.float32) / np.sqrt(2)
  return (parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)


def _to_torch(x: Any) -> Any:
  import torch

  return torch.from_numpy(np.array(x)).to('cuda' if jax.default_backend() == 'gpu' else 'cpu')


def _torch_call(function: Callable[[], Any], times: int) -> Callable[[int], Any]:
  import torch

  def call(i: int) -> None:
    for _ in range(times):
      function()
    if torch.cuda.is_available():
      torch.cuda.synchronize()

  return call


@functools.cache
def _gradient_flops(config: ExperimentConfig) -> float:
  """Operations of the matrix products in the network's loss and its gradient, by their shapes."""
  model = build_model(config)

  def loss(params: Any, features: jax.Array) -> jax.Array:
    snr_db = jnp.zeros(features.shape[:2])
    return mse_loss(model.apply({'params': params}, features, snr_db, jax.random.key(0)),
                    features)[0]

  csi = config.csi
  features = jax.ShapeDtypeStruct(
      (config.training.batch_size, config.num_ues, csi.num_tx_antennas, 2 * csi.num_delay_taps),
      jnp.float32)
  params = jax.eval_shape(
      model.init, jax.random.key(0), features, 10.0, jax.random.key(0))['params']
  return 2.0 * sum(matmul_macs(jax.value_and_grad(loss), params, features))


def _with_training(config: ExperimentConfig, **fields: int) -> ExperimentConfig:
  return dataclasses.replace(config, training=dataclasses.replace(config.training, **fields))


def _row(
    case: str, groups: int, seconds: float, flops: float = 0.0, peer_seconds: float | None = None,
    **more: float) -> Row:
  """`seconds` of the fastest call, or the median where `p99_seconds` is given; ratio > 1: faster
  than the peer."""
  row = {
      'case': case,
      'groups': groups,
      'seconds': float(seconds),
      'groups_per_s': float(groups / seconds),
      'flops_per_s': float(flops / seconds),
  }
  if peer_seconds is not None:
    row |= {'peer_seconds': float(peer_seconds), 'speed_to_peer': float(peer_seconds / seconds)}
  return row | more
