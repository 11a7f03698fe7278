"""No two purposes share a random number; slow: all keys that small runs use, recorded."""

import collections
import dataclasses
import functools
import sys

import jax
import pytest

from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.run import Measurement, evaluate_run
from rca_jax.keys import Stream, stream_key
from rca_jax.training.loop import fit

pytestmark = pytest.mark.usefixtures('quick_compilation')
DRAWS = ('bernoulli', 'bits', 'normal', 'permutation', 'randint', 'uniform')


@pytest.fixture
def record(monkeypatch):
  """Runs a function; returns how often each key was used in which (way, place of the code)."""
  uses = []

  def recorded(name, function):
    way = 'draw' if name in DRAWS else name

    @functools.wraps(function)
    def wrapped(key, *args, **kwargs):
      frame = sys._getframe(1)
      while frame and '/rca_jax/' not in frame.f_code.co_filename:
        frame = frame.f_back
      if frame and '/models/' not in frame.f_code.co_filename:  # there Flax folds in names
        use = way, f'{frame.f_code.co_filename}:{frame.f_lineno}'
        jax.debug.callback(
            lambda data: uses.append((data.tobytes(), use)), jax.random.key_data(key))
      return function(key, *args, **kwargs)

    return wrapped

  for name in (*DRAWS, 'split', 'fold_in'):
    monkeypatch.setattr(jax.random, name, recorded(name, getattr(jax.random, name)))

  def record(function, *args):
    uses.clear()
    function(*args)
    jax.effects_barrier()
    found = collections.defaultdict(collections.Counter)
    for key, use in uses:
      found[key][use] += 1
    return found

  jax.clear_caches()
  yield record
  jax.clear_caches()  # of programs that record


def test_streams_have_keys_of_their_own():
  keys = {jax.random.key_data(key).tobytes() for key in (
      jax.random.key(7), *(stream_key(7, stream) for stream in Stream))}
  assert len(keys) == 1 + len(Stream.__members__)


@pytest.mark.slow
def test_every_key_is_used_in_one_way_and_training_shares_none(
    tiny_config, one_device, tmp_path, record):
  training = dataclasses.replace(
      tiny_config.training, report_loss=0.25, checkpoint_every_steps=4,
      pretrain=dataclasses.replace(tiny_config.training.pretrain, num_steps=4))
  model = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = dataclasses.replace(tiny_config, model=model, training=training)
  linear = dataclasses.replace(config, method='PCA/KLT')
  genie = dataclasses.replace(config, method='genie')
  runs = {
      'training': record(fit, config, tmp_path, one_device),
      'references': record(reference_rows, linear, [Measurement(10.0)]),
      'genie': record(reference_rows, genie, [Measurement(10.0)]),
      'evaluation': record(lambda: list(evaluate_run(tmp_path, [10.0], [2]))),
      'pairs': record(functools.partial(load_test_csi, distance_m=5.0), config, 2)}
  site = jax.random.key_data(stream_key(config.data.seed, Stream.SITE)).tobytes()
  of_streams = {jax.random.key_data(jax.random.key(seed)).tobytes()
                for seed in (config.seed, config.data.seed)}
  for name, found in runs.items():
    assert site in found
    assert len(found) >= 4
    for key in set(found) - {site} - of_streams:
      assert len(found[key]) == 1, f'{name}: one key is used in several ways: {found[key]}'
      ((way, place), count), = found[key].items()
      assert way == 'fold_in' or count == 1, f'{name}: {place} uses one key {count} times'
  for name in ('references', 'genie', 'evaluation', 'pairs'):
    assert set(runs['training']) & set(runs[name]) <= {site} | of_streams, name


@pytest.mark.slow
def test_jax_sees_no_reuse(tiny_config, one_device, tmp_path):
  model = dataclasses.replace(tiny_config.model, num_encoder_layers=0, num_decoder_layers=0)
  config = dataclasses.replace(tiny_config, model=model)
  linear = dataclasses.replace(config, method='PCA/KLT')
  with jax.debug_key_reuse(True):
    fit(config, tmp_path, one_device)
    reference_rows(linear, [Measurement(10.0)])
