"""Eight CPU devices for every test, a cache of compiled programs, and a tiny experiment."""
# ruff: noqa: E402

import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
from collections.abc import Callable, Iterator

# Before JAX is imported, and for the processes that tests start: one compilation a program.
os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR', str(pathlib.Path(__file__).parents[1] / '.pytest_cache' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')

import launch  # noqa: F401, I001  sets how many threads there are, as for every command

import jax
import numpy as np
import pytest
from absl import flags

from rca_jax.channel import Site, sample_site
from rca_jax.config import (
    CsiConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TrainingConfig,
)
from rca_jax.training import loop, program
from rca_jax.training.sharding import data_mesh

flags.FLAGS.mark_as_parsed()
# A shell starts what runs in its background deaf to Ctrl-C, and so all that this starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update('jax_num_cpu_devices', 8)  # before anything starts the backend


@contextlib.contextmanager
def _quick_compilation() -> Iterator[None]:
  before = 'JAX_DISABLE_MOST_OPTIMIZATIONS' in os.environ
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    jax.config.update('jax_disable_most_optimizations', True)
    yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='module')
def quick_compilation():
  """For tests that compile much and compute little: XLA's optimizations off, processes too."""
  with _quick_compilation():
    yield


@pytest.fixture(scope='session')
def _programs():
  return {}


@pytest.fixture(scope='module')
def shared_programs(_programs):
  """Runs whose configs differ in nothing that is compiled share their compiled programs."""

  def make_program(config, stage, source, mesh):
    compiled = dataclasses.replace(stage, snr_db_min=0.0, snr_db_max=0.0)  # an argument
    training = dataclasses.replace(
        config.training, pretrain=compiled, finetune=compiled, finetune_snr_db=(), init_weights='',
        steps_per_call=1, checkpoint_every_steps=1, num_checkpoints_kept=1)
    key = dataclasses.replace(config, training=training), mesh
    if key not in _programs:
      _programs[key] = program.make_program(config, stage, source, mesh)
    return _programs[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, 'make_program', make_program)
    yield


@pytest.fixture(scope='session')
def tiny_config() -> ExperimentConfig:
  """N_t=8, N_a=4, d=16, one layer each; change it with `dataclasses.replace`."""
  optimizer = OptimizerConfig(schedule='cosine', learning_rate=3e-3, warmup_steps=2)
  stage = StageConfig(num_steps=8, optimizer=optimizer)
  return ExperimentConfig(
      csi=CsiConfig(
          num_subcarriers=64, num_delay_taps=4, num_tx_antennas=8, cell_size_m=60.0,
          min_bs_distance_m=10.0),
      data=DataConfig(num_test_groups=20),
      model=ModelConfig(
          compression_ratio='1/2', model_dim=16, num_heads=2, mlp_dim=32, num_encoder_layers=1,
          num_decoder_layers=1, num_rca_blocks=1),
      training=TrainingConfig(
          batch_size=8, pretrain=stage, finetune=stage,  # alike, so compiled once
          steps_per_call=2, checkpoint_every_steps=4))


@pytest.fixture(scope='session')
def make_site() -> Callable[..., Site]:
  """One draw of fields a correlation; the scenario only says how they are read."""
  config = CsiConfig(num_delay_taps=8, num_tx_antennas=8)

  @functools.cache
  def sampled(correlation: str) -> Site:
    chosen = dataclasses.replace(config, correlation=correlation)
    return jax.jit(sample_site, static_argnums=1)(jax.random.key(3), chosen)

  def make_site(scenario: str = 'uma', correlation: str = 'stock') -> Site:
    return sampled(correlation).replace(
        config=dataclasses.replace(config, correlation=correlation, scenario=scenario))

  return make_site


@pytest.fixture(scope='session')
def random_csi() -> np.ndarray:
  """[12, 3, 4, 8] complex64, of any scale."""
  rng = np.random.default_rng(0)
  shape = (12, 3, 4, 8)
  return 5 * (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.fixture(scope='session')
def one_device() -> jax.sharding.Mesh:
  return data_mesh(jax.devices()[:1])


@pytest.fixture(scope='session')
def file_config(tiny_config, random_csi, tmp_path_factory) -> ExperimentConfig:
  """Pretraining and two fine-tunings on a file; no layers but the RCA-Block."""
  path = tmp_path_factory.mktemp('data') / 'groups.npz'
  np.savez(path, csi=random_csi)
  return dataclasses.replace(
      tiny_config, data=dataclasses.replace(tiny_config.data, path=str(path), test_path=str(path)),
      model=dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0),
      training=dataclasses.replace(tiny_config.training, finetune_snr_db=(10.0, 2.5)))


@pytest.fixture(scope='session')
def finished(file_config, one_device, tmp_path_factory) -> pathlib.Path:
  """The folder of an uninterrupted run of `file_config`; to be read only."""
  workdir = tmp_path_factory.mktemp('finished')
  with _quick_compilation():
    loop.fit(file_config, workdir, one_device)
  return workdir
