"""The learned decoder: where it begins, what may reach what, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rca_jax.bayes import joint, random_code
from rca_jax.channel import from_features, to_features
from rca_jax.config import ModelConfig
from rca_jax.errors import InputError
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.uplink.djscc import awgn

pytestmark = pytest.mark.usefixtures('quick_compilation')
NUM_UES, SNR_DB = 3, 10.0


@pytest.fixture(scope='module')
def config(tiny_config):
  return dataclasses.replace(tiny_config, model=ModelConfig(
      network='learned_joint', attention='self', compression_ratio='1/4', model_dim=8,
      num_decoder_layers=2))


@pytest.fixture(scope='module')
def network(config):
  model = build_model(config)
  csi = jax.random.normal(jax.random.key(0), (2, NUM_UES, 4, 8), jnp.complex64)
  falling = jnp.array([1, 0.5, 0.2, 0.1])[:, None]
  features = to_features(csi * falling / jnp.sqrt((falling**2).mean()))
  params = jax.jit(model.init)(jax.random.key(1), features, SNR_DB, jax.random.key(2))['params']
  return model, jax.jit(model.apply), params, features


def changed(params):
  """As after some training: no weight is zero."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(9), len(leaves))
  return tree.unflatten([
      leaf + 0.1 * jax.random.normal(key, leaf.shape)
      for leaf, key in zip(leaves, keys, strict=True)])


def test_it_begins_at_the_decoder_that_is_not_trained(config, network):
  model, apply, params, features = network
  key = jax.random.key(5)
  csi_hat = from_features(apply({'params': params}, features, SNR_DB, key))

  projections = random_code.random_projections(
      stream_key(config.seed, Stream.PROJECTIONS), 8, config.csi)
  code = random_code.make_code(projections, config.csi, np.ones((1, 4, 8), np.complex64))
  prior = jnp.repeat(jnp.exp(params['log_prior']), code.grid.shape[1])
  prior *= 8 / (prior @ (jnp.abs(code.seen) ** 2).sum(-1))
  received = awgn(key, random_code.encode(code, from_features(features)), SNR_DB)
  expected, _ = joint.decode(
      code._replace(prior=prior), received, jnp.full((2, NUM_UES), 0.1))
  np.testing.assert_allclose(csi_hat, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_permuted_ues_permute_what_is_recovered(network):
  model, _, params, features = network
  keys = jax.random.split(jax.random.key(3), (2, NUM_UES))
  snr_db = jnp.array([0.0, 10.0, 20.0])
  order = np.array([2, 0, 1])
  apply = jax.jit(model.apply)
  plain = apply({'params': changed(params)}, features, snr_db, keys)
  permuted = apply({'params': changed(params)}, features[:, order], snr_db[order], keys[:, order])
  np.testing.assert_allclose(permuted, plain[:, order], atol=1e-4)


def test_a_report_that_is_lost_or_not_finite_changes_nothing(network):
  model, apply, params, features = network
  params, key = changed(params), jax.random.split(jax.random.key(3), (2, NUM_UES))
  active = jnp.array([True, True, False])
  plain = apply({'params': params}, features, SNR_DB, key, active)
  for last in (-features[:, 2], jnp.full_like(features[:, 2], jnp.nan)):
    other = apply({'params': params}, features.at[:, 2].set(last), SNR_DB, key, active)
    np.testing.assert_array_equal(other[:, :2], plain[:, :2])
  assert not plain[:, 2].any()


def test_one_ue_alone_and_groups_of_any_size(network):
  _, apply, params, features = network
  for num_ues in (1, 2):
    found = apply({'params': params}, features[:, :num_ues], SNR_DB, jax.random.key(0))
    assert found.shape == features[:, :num_ues].shape and np.isfinite(found).all()


@pytest.mark.slow
def test_what_the_bs_is_told_of_the_snr_does_not_change_the_uplink(network):
  """A wrong SNR: the uplink of the true one, the decoder of the other."""
  model, _, params, features = network

  def recovered(link, snr_db, **changes):
    asked = model.clone(link=link, **changes)
    return asked.apply({'params': params}, features, snr_db, jax.random.key(0))

  def shifted_by_snr(_, codeword, snr_db):
    return codeword + snr_db

  def shifted_by_4(_, codeword, snr_db):
    return codeword + 4.0

  wrong = recovered(shifted_by_snr, 4.0, snr_error_db=6.0)
  np.testing.assert_array_equal(wrong, recovered(shifted_by_4, 10.0))
  assert jnp.abs(wrong - recovered(shifted_by_snr, 4.0)).max() > 1e-3


@pytest.mark.slow
def test_it_learns_a_batch(network):
  model, _, params, features = network

  def loss(params):
    hat = model.apply({'params': params}, features, SNR_DB, jax.random.key(0))
    return ((hat - features) ** 2).sum() / (features**2).sum()

  optimizer = optax.adam(3e-2)
  state = optimizer.init(params)
  step = jax.jit(jax.value_and_grad(loss))
  first, gradient = step(params)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert jnp.abs(gradient['correction_0']['out']['kernel']).max() > 0
  for _ in range(30):
    value, gradient = step(params)
    updates, state = optimizer.update(gradient, state)
    params = optax.apply_updates(params, updates)
  assert value < 0.9 * first


def test_wrong_input_is_one_line(config, network):
  model, _, params, features = network
  with pytest.raises(InputError, match='features have shape'):
    model.apply({'params': params}, features[..., :-1], SNR_DB, jax.random.key(0))
  with pytest.raises(InputError, match='model.shortcut=True has no place'):
    dataclasses.replace(config.model, shortcut=True)
  with pytest.raises(InputError, match="model.attention='cross' has no place"):
    dataclasses.replace(config.model, attention='cross')
