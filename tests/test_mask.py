"""Groups that are not full, and reports that do not arrive."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import evaluate
from rca_jax.evaluation.rows import Measurement
from rca_jax.models.attention import ATTENTION, mean_of_other_ues
from rca_jax.models.build import build_model
from rca_jax.models.rca_munet import RCAMUNet

pytestmark = pytest.mark.usefixtures('quick_compilation')
CROSS = [name for name, variant in ATTENTION.items() if mean_of_other_ues in variant]
NETWORKS = [
    ('rca_munet', 'residual_cross'), ('rca_munet', 'textbook_cross'), ('summation_fusion', 'self'),
    ('adjscc_csinet', 'self')]
NUM_UES = 3


@pytest.fixture(scope='module')
def tiny_config(tiny_config):
  """Lost reports are the decoder's affair."""
  return dataclasses.replace(
      tiny_config, model=dataclasses.replace(tiny_config.model, num_encoder_layers=0))


@pytest.fixture(scope='module', params=NETWORKS, ids=lambda param: '-'.join(param))
def network(request, tiny_config):
  """(model, params) for groups of three."""
  name, attention = request.param
  config = dataclasses.replace(
      tiny_config, num_ues=NUM_UES,
      model=dataclasses.replace(tiny_config.model, network=name, attention=attention))
  model = build_model(config)
  features, snr_db = draw()
  return model, jax.jit(model.init)(jax.random.key(1), features, snr_db, jax.random.key(2))


def draw(num_ues=NUM_UES):
  features = jax.random.normal(jax.random.key(0), (4, num_ues, 8, 8))
  return features, jnp.full((4, num_ues), 10.0)


def decode(model, params, codeword, active):
  """The BS side alone: [batch, ue, k] to features_hat."""
  return run(model.decoder, {'params': params['params']['decoder']}, codeword, active)


@functools.partial(jax.jit, static_argnums=0)
def run(module, params, *args):
  return module.apply(params, *args)


def codewords(num_ues=NUM_UES, batch=4):
  return jax.random.normal(jax.random.key(3), (batch, num_ues, 32))


@pytest.mark.parametrize('attention', ['residual_cross', 'textbook_cross'])
def test_absent_ues_change_no_bit_of_the_others(tiny_config, attention):
  config = dataclasses.replace(
      tiny_config, model=dataclasses.replace(tiny_config.model, attention=attention))
  model = build_model(config)
  params = jax.jit(model.init)(jax.random.key(1), *draw(), jax.random.key(2))
  for present, absent in ((2, 6), (4, 4)):
    # As many UEs in all with padding as without: CPUs multiply matrices of other sizes in another
    # order, and the last bit would be theirs.
    few = 6
    many = few * (present + absent) // present
    codeword = codewords(present, many)
    alone = decode(model, params, codeword, jnp.ones((many, present), bool))[:few]
    for filling in (0.0, jnp.nan):
      padded = jnp.pad(
          codeword[:few], ((0, 0), (0, absent), (0, 0)), constant_values=filling)
      active = jnp.broadcast_to(jnp.arange(present + absent) < present, padded.shape[:2])
      np.testing.assert_array_equal(decode(model, params, padded, active)[:, :present], alone)
    np.testing.assert_allclose(decode(model, params, codeword, None)[:few], alone, atol=1e-5)


def test_whatever_is_lost_the_others_get_what_their_own_group_would(network, tiny_config):
  model, params = network
  if not isinstance(model, RCAMUNet) or model.decoder.fused_ues:
    pytest.skip('serves one number of UEs, or each UE alone')
  codeword = codewords()
  for size in (2, 3):
    for heard in itertools.combinations(range(NUM_UES), size):
      active = jnp.zeros((4, NUM_UES), bool).at[:, list(heard)].set(True)
      found = decode(model, params, codeword, active)[:, list(heard)]
      smaller = decode(model, params, codeword[:, list(heard)], jnp.ones((4, size), bool))
      np.testing.assert_allclose(found, smaller, atol=1e-5)


def test_no_loss_raises_or_leaves_a_number_that_is_none(network):
  model, params = network
  features, snr_db = draw()
  whole = run(model, params, features, snr_db, jax.random.key(4))
  for pattern in itertools.product((False, True), repeat=NUM_UES):
    active = jnp.broadcast_to(jnp.array(pattern), (4, NUM_UES))
    found = run(model, params, features, snr_db, jax.random.key(4), active)
    assert np.isfinite(found).all()
    if all(pattern):
      np.testing.assert_allclose(found, whole, atol=1e-5)


def test_lost_reports_change_nothing(network):
  model, params = network
  features, snr_db = draw()
  active = jnp.array([[True, False, True]] * 4)
  found = run(model, params, features, snr_db, jax.random.key(4), active)
  other = run(model, params, features.at[:, 1].add(1.0), snr_db, jax.random.key(4), active)
  np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize('attention', CROSS)
def test_a_lost_ue_is_estimated_from_its_neighbours(tiny_config, attention):
  config = dataclasses.replace(
      tiny_config, model=dataclasses.replace(tiny_config.model, attention=attention))
  model = build_model(config)
  features, snr_db = draw()
  params = jax.jit(model.init)(jax.random.key(1), features, snr_db, jax.random.key(2))
  active = jnp.array([[True, False, True]] * 4)
  found = decode(model, params, codewords(), active)
  changed = decode(model, params, codewords().at[:, 0].add(1.0), active)
  assert np.abs(found[:, 1] - changed[:, 1]).max() > 1e-3


def test_a_ue_alone_falls_back_to_its_own_embedding():
  embeddings = jax.random.normal(jax.random.key(0), (2, 3, 4, 6))
  active = jnp.array([[True, False, False], [True, True, False]])
  found = mean_of_other_ues(embeddings, active)
  np.testing.assert_array_equal(found[0, 0], embeddings[0, 0])
  np.testing.assert_allclose(found[1, 0], embeddings[1, 1], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found[1, 2], embeddings[1, :2].mean(0), rtol=1e-5, atol=1e-6)
  # Everyone lost: nobody is another's neighbour.
  nobody = mean_of_other_ues(embeddings, jnp.zeros((2, 3), bool))
  np.testing.assert_array_equal(nobody, embeddings)


def test_scores_are_those_of_the_ues_asked_for(random_csi):
  gains = np.array([0.9, 0.8, 0.5])[:, None, None]

  def nmse(num_lost, of_lost=False):
    return evaluate(
        lambda csi, keys, active: gains * csi, random_csi, jax.random.key(0), num_lost,
        of_lost).nmse

  np.testing.assert_allclose(nmse(0), (0.01 + 0.04 + 0.25) / 3, rtol=1e-4)
  np.testing.assert_allclose(nmse(1), (0.01 + 0.04) / 2, rtol=1e-4)
  np.testing.assert_allclose(nmse(1, of_lost=True), 0.25, rtol=1e-4)
  with pytest.raises(InputError, match='none is left to be scored'):
    Measurement(10.0, 2, num_lost=2)
