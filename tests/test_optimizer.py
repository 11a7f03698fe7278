import jax
import jax.numpy as jnp
import numpy as np
import optax

from rca_jax.config import OptimizerConfig
from rca_jax.models.build import build_model
from rca_jax.training.optimizer import cosine, make_optimizer, noam
from rca_jax.training.step import init_params

PARAMS = {'kernel': jnp.ones((6, 4)), 'bias': jnp.ones(4)}
GRADIENT = {
    'kernel': jax.random.normal(jax.random.key(0), (6, 4)),
    'bias': jnp.array([1.0, -2.0, 3.0, -4.0])}


def test_noam_is_the_closed_form():
  schedule = noam(scale=2.0, model_dim=64, warmup_steps=100)
  peak = 2.0 / 8 / 10
  # The schedule is asked for step t by the t-1 steps made before it.
  np.testing.assert_allclose(schedule(0), peak / 100, rtol=1e-6)
  np.testing.assert_allclose(schedule(99), peak, rtol=1e-6)
  np.testing.assert_allclose(schedule(399), peak / 2, rtol=1e-6)
  assert int(jnp.argmax(schedule(jnp.arange(1000)))) == 99


def test_cosine_rises_linearly_and_ends_at_zero():
  rates = np.asarray(cosine(peak=0.5, warmup_steps=10, num_steps=50)(jnp.arange(51)))
  np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11), rtol=1e-6)
  assert np.all(np.diff(rates[11:]) < 0) and rates[49] > 0
  np.testing.assert_allclose(rates[[30, 50]], [0.25, 0], atol=1e-6)


def update(config: OptimizerConfig):
  optimizer = make_optimizer(config, model_dim=4, num_steps=10)
  return optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)[0]


def test_adam_follows_the_schedule():
  # Adam's first update is the sign of the gradient times the rate.
  updates = update(OptimizerConfig(learning_rate=1.0, warmup_steps=4))
  rate = 4**-0.5 * 4**-1.5
  np.testing.assert_allclose(updates['bias'], -rate * np.sign(GRADIENT['bias']), rtol=1e-4)


def test_muon_orthogonalises_kernels_and_leaves_vectors_to_adam():
  config = OptimizerConfig(
      name='muon', schedule='cosine', learning_rate=0.1, warmup_steps=1, b1=0.0, eps=1e-9,
      vector_scale=0.5)
  updates = update(config)
  singular = np.linalg.svd(np.asarray(updates['kernel']), compute_uv=False)
  assert np.all((0.06 < singular) & (singular < 0.13))  # five Newton-Schulz steps: roughly 1
  np.testing.assert_allclose(updates['bias'], -0.05 * np.sign(GRADIENT['bias']), rtol=1e-4)


def test_muon_of_stacked_matrices_is_muon_of_each():
  config = OptimizerConfig(
      name='muon', schedule='cosine', learning_rate=0.1, warmup_steps=1, vector_scale=0.5)
  schedule = cosine(0.1, 1, 10)
  ours, plain = make_optimizer(config, model_dim=4, num_steps=10), optax.contrib.muon(
      schedule, adam_b1=config.b1, adam_b2=config.b2, eps=config.eps,
      adam_learning_rate=lambda count: 0.5 * schedule(count))
  shapes = {'a': (6, 4), 'b': (4, 6), 'c': (4,), 'd': (6, 4), 'e': (4,), 'f': (2, 2, 3, 3)}
  params = {name: jnp.ones(shape) for name, shape in shapes.items()}
  states, rng = [ours.init(params), plain.init(params)], np.random.default_rng(0)
  for _ in range(3):
    gradient = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    (found, states[0]), (expected, states[1]) = (
        optimizer.update(gradient, state, params)
        for optimizer, state in zip((ours, plain), states, strict=True))
    for name in shapes:
      np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_every_kernel_of_the_network_is_a_matrix(tiny_config):
  shape = (1, 2, 8, 8)
  params = jax.eval_shape(
      lambda: init_params(build_model(tiny_config), jax.random.key(0), shape))
  ranks = {
      jax.tree_util.keystr(path): leaf.ndim
      for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
  assert {rank for name, rank in ranks.items() if 'kernel' in name} == {2}
  assert {rank for name, rank in ranks.items() if 'kernel' not in name} == {1}


def test_clipping_bounds_what_the_optimizer_sees():
  config = OptimizerConfig(clip_norm=1e-3, eps=1.0, b1=0.0, warmup_steps=1)
  # With eps far above the gradient, Adam's first update is the gradient times the rate / eps.
  np.testing.assert_allclose(optax.tree.norm(update(config)), 0.5 * 1e-3, rtol=1e-2)
