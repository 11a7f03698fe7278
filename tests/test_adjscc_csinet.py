import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rca_jax.channel import to_features
from rca_jax.config import ModelConfig
from rca_jax.errors import InputError
from rca_jax.models.adjscc_csinet import AttentionFeature, Conv
from rca_jax.models.build import build_model

pytestmark = pytest.mark.usefixtures('quick_compilation')


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, *args):
  return module.apply(params, *args)


@pytest.fixture(scope='module')
def network(tiny_config):
  config = dataclasses.replace(tiny_config, model=ModelConfig(
      network='adjscc_csinet', attention='self', compression_ratio='1/2'))
  model = build_model(config)
  features = jax.random.normal(jax.random.key(0), (2, 3, 8, 8))
  params = jax.jit(model.init)(jax.random.key(1), features, 10.0, jax.random.key(2))
  return model, params, features


def test_it_has_no_shortcut():
  with pytest.raises(InputError, match='model.shortcut=True has no place in .*adjscc_csinet'):
    ModelConfig(network='adjscc_csinet', attention='self', shortcut=True)


@pytest.mark.parametrize('size, channels', [(3, 1), (5, 3), (7, 2)])
def test_convolution_is_that_of_flax(size, channels):
  image = jax.random.normal(jax.random.key(0), (2, 6, 5, channels))
  ours, theirs = Conv(4, size), nn.Conv(4, (size, size))
  params = ours.init(jax.random.key(1), image)
  params['params']['bias'] = jnp.arange(4.0)
  np.testing.assert_allclose(ours.apply(params, image), theirs.apply(params, image), atol=1e-5)


def test_attention_feature_scales_channels_between_0_and_1_by_means_and_snr():
  module = AttentionFeature()
  image = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
  params = module.init(jax.random.key(1), image, jnp.zeros(2))
  scale = module.apply(params, image, jnp.zeros(2)) / image
  np.testing.assert_allclose(scale, np.broadcast_to(scale[:, :1, :1], scale.shape), rtol=1e-5)
  assert (scale > 0).all() and (scale < 1).all()
  # Moving entries about keeps the means; another SNR changes the scale.
  np.testing.assert_allclose(
      module.apply(params, image[:, ::-1], jnp.zeros(2)) / image[:, ::-1], scale, rtol=1e-4)
  other = module.apply(params, image, jnp.full(2, 10.0)) / image
  assert jnp.abs(other - scale).max() > 1e-3


def test_every_ue_stands_alone(network):
  model, params, features = network
  changed = features.at[:, 0].add(1.0)
  first, second = (
      apply(model, params, x, 10.0, jax.random.key(3)) for x in (features, changed))
  np.testing.assert_array_equal(first[:, 1:], second[:, 1:])
  assert jnp.abs(first[:, 0] - second[:, 0]).max() > 1e-4


def test_the_snr_it_is_given_does_not_change_the_uplink(network):
  model, params, features = network
  key = jax.random.key(3)
  right = apply(model, params, features, 10.0, key)
  wrong = apply(model.clone(snr_error_db=3.0), params, features, 10.0, key)
  elsewhere = apply(model, params, features, 13.0, key)
  assert jnp.abs(right - wrong).max() > 1e-5
  assert jnp.abs(wrong - elsewhere).max() > 1e-5  # given the same SNR, but with other noise


def test_image_rows_are_delays_and_columns_antennas(network, random_csi):
  model, params, _ = network
  csi = random_csi[:2]

  @jax.jit
  def encoder_input(features):
    seen = []

    def record(next_function, args, kwargs, context):
      if context.module.name == 'encoder' and context.method_name == '__call__':
        seen.append(args[0])
      return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
      model.apply(params, features, 10.0, jax.random.key(3))
    return seen[0]

  image = encoder_input(to_features(csi)).reshape(2, 3, 4, 8, 2)
  np.testing.assert_array_equal(image[..., 0] + 1j * image[..., 1], csi)


@pytest.mark.slow
def test_learns_a_batch(network):
  model, params, features = network
  optimizer = optax.adam(1e-2)

  @jax.jit
  def train(params):
    def loss(params):
      return jnp.mean((model.apply(params, features, 20.0, jax.random.key(3)) - features) ** 2)

    def step(carry, _):
      params, state = carry
      value, gradient = jax.value_and_grad(loss)(params)
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(params, updates), state), value

    return jax.lax.scan(step, (params, optimizer.init(params)), length=80)[1]

  losses = train(params)
  assert np.isfinite(losses).all() and losses[-1] < 0.5 * jnp.mean(features**2)


def test_wrong_features_are_input_errors(network):
  model, params, features = network
  with pytest.raises(InputError, match='features have shape'):
    model.apply(params, features[..., :-1], 10.0, jax.random.key(3))
