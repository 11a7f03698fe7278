import dataclasses
import json

import chex
import jax
import numpy as np
import pytest

import rca_jax
from rca_jax.channel import sample_groups, to_features
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.training.pretrained import WEIGHTS, load_pretrained, save_pretrained
from rca_jax.training.program import abstract_params

pytestmark = pytest.mark.usefixtures('quick_compilation')
PUBLISHED = sorted(json.loads((WEIGHTS / 'manifest.json').read_text()))


@pytest.fixture(scope='module')
def params(tiny_config):
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), abstract_params(tiny_config))


@pytest.fixture
def saved(tiny_config, params, tmp_path):
  return save_pretrained('tiny', tmp_path, tiny_config, params, 'pretrain', 8)


def test_what_was_saved_is_loaded(saved, tiny_config, params):
  loaded = load_pretrained('tiny', saved.parent)
  assert (loaded.config, loaded.stage, loaded.steps) == (tiny_config, 'pretrain', 8)
  chex.assert_trees_all_equal(loaded.params, params)
  features = np.ones((2, 3, 8, 8), np.float32)
  assert loaded.model.apply(
      {'params': loaded.params}, features, 10.0, jax.random.key(0)).shape == features.shape


def test_half_the_size_is_half_the_precision(tiny_config, params, tmp_path):
  path = save_pretrained('half', tmp_path, tiny_config, params, 'pretrain', 8, 'float16')
  full = save_pretrained('full', tmp_path, tiny_config, params, 'pretrain', 8)
  assert path.stat().st_size < 0.6 * full.stat().st_size
  loaded = load_pretrained('half', tmp_path).params
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))
  chex.assert_trees_all_close(loaded, params, rtol=2**-11, atol=1e-7)
  for wrong in (7e4, np.nan):
    large = jax.tree.map(lambda leaf, wrong=wrong: leaf + leaf.dtype.type(wrong), params)
    with pytest.raises(InputError, match='does not fit into float16'):
      save_pretrained('large', tmp_path, tiny_config, large, 'pretrain', 8, 'float16')
  assert not (tmp_path / 'large.safetensors').exists()


def test_a_name_is_never_given_to_other_weights(saved, tiny_config, params):
  save_pretrained('tiny', saved.parent, tiny_config, params, 'pretrain', 8)  # the same again
  other = jax.tree.map(lambda leaf: leaf + 1, params)
  with pytest.raises(InputError, match='holds other weights'):
    save_pretrained('tiny', saved.parent, tiny_config, other, 'pretrain', 8)
  chex.assert_trees_all_equal(load_pretrained('tiny', saved.parent).params, params)


@pytest.mark.parametrize('damage, message', [
    (lambda content: content[:-1], 'its SHA-256 is'),
    (lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], 'its SHA-256 is'),
    (lambda content: b'', 'its SHA-256 is'),
    (None, 'cannot be read .No such file'),
])
def test_damaged_files_are_named_in_one_line(saved, damage, message):
  content = saved.read_bytes()
  saved.unlink()
  if damage is not None:
    saved.write_bytes(damage(content))
  with pytest.raises(InputError, match=message) as error:
    load_pretrained('tiny', saved.parent)
  assert '\n' not in str(error.value)


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path, tiny_config, params):
  wider = dataclasses.replace(
      tiny_config, model=dataclasses.replace(tiny_config.model, mlp_dim=64))
  save_pretrained('wrong', tmp_path, wider, params, 'pretrain', 8)
  with pytest.raises(InputError, match='another model: parameter .* shape'):
    load_pretrained('wrong', tmp_path)


def test_unknown_names_and_folders_are_refused(saved, tmp_path):
  with pytest.raises(InputError, match='large: no such weights in .*; there are tiny'):
    load_pretrained('large', saved.parent)
  with pytest.raises(InputError, match='manifest.json: cannot be read'):
    load_pretrained('tiny', tmp_path / 'nowhere')
  (saved.parent / 'manifest.json').write_text('{"tiny": ')
  with pytest.raises(InputError, match='not a readable manifest'):
    load_pretrained('tiny', saved.parent)


@pytest.fixture(scope='module')
def new_csi():
  """Groups in new environments [16, 4, 32, 32]."""
  config = dataclasses.replace(CsiConfig(), mode='fresh')
  return np.asarray(jax.jit(lambda key: sample_groups(key, config, 16).csi)(jax.random.key(987)))


@pytest.mark.parametrize('name', [
    name if name == 'rca_munet_cr16' else pytest.param(name, marks=pytest.mark.slow)
    for name in PUBLISHED])
def test_published_weights_estimate_groups_they_have_never_seen(name, new_csi):
  """Better than nothing said (0 dB) by 1.5 dB, of 2 and of 4 UEs in new environments."""
  config, model, params, *_ = rca_jax.load_pretrained(name)
  assert config.csi == dataclasses.replace(CsiConfig(), mode='fresh')
  estimate = jax.jit(lambda csi: model.apply(
      {'params': params}, to_features(csi), np.full(csi.shape[:2], 10.0), jax.random.key(1)))
  for csi in (new_csi[:, :2], new_csi):
    features = to_features(csi)
    error = np.square(estimate(csi) - features).sum((-1, -2)) / np.square(features).sum((-1, -2))
    assert 10 * np.log10(error.mean()) < -1.5
