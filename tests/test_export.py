"""Halves of a network as files that other programs run. Most of it needs the extra `export`."""

import dataclasses
import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.channel import from_features, to_features
from rca_jax.errors import InputError
from rca_jax.evaluation import export
from rca_jax.evaluation.export import export_half
from rca_jax.evaluation.halves import halves, to_parts
from rca_jax.models.attention import ATTENTION, Variant, own_embedding
from rca_jax.models.build import build_model
from rca_jax.training.program import abstract_params
from rca_jax.uplink.djscc import from_symbols, to_symbols

pytestmark = pytest.mark.usefixtures('quick_compilation')
# By method: network and attention.
METHODS = {
    'RCA-MUNet': ('rca_munet', 'residual_cross'), 'BL1': ('rca_munet', 'self'),
    'BL3': ('summation_fusion', 'self'), 'BL4': ('rca_munet', 'cross'),
    'BL5': ('rca_munet', 'residual_self')}
WITH_SNR = {
    'BL2': ('adjscc_csinet', 'self'), 'joint Bayes': ('learned_joint', 'self'),
    'told': ('rca_munet', 'residual_cross')}


def network(tiny_config, method):
  """A config and weights."""
  name, attention = (METHODS | WITH_SNR)[method]
  config = dataclasses.replace(tiny_config, method=method, model=dataclasses.replace(
      tiny_config.model, network=name, attention=attention, final_norm=method == 'BL1',
      shortcut=method == 'RCA-MUNet', snr_input=method == 'told'))
  rng = np.random.default_rng(1)
  return config, jax.tree.map(
      lambda leaf: (rng.normal(size=leaf.shape) / 4).astype(np.float32), abstract_params(config))


def reports(rng, batch, num_ues, num_symbols):
  """Received symbols, and who is there."""
  parts = rng.normal(size=(batch, num_ues, num_symbols, 2)).astype(np.float32)
  active = rng.uniform(size=(batch, num_ues)) < 0.7
  return parts, active


@pytest.mark.parametrize('method', [*METHODS, *WITH_SNR])
def test_halves_are_the_model(tiny_config, random_csi, method):
  config, params = network(tiny_config, method)
  found, model = halves(config, params), build_model(config)
  csi = random_csi[:, 0]
  snr_db = np.linspace(0, 20, 12, dtype=np.float32)
  encode, decode = (jax.jit(functools.partial(model.apply, {'params': params}, method=name))
                    for name in ('encode', 'decode'))
  codeword = encode(to_features(csi)[:, None], snr_db[:, None])[:, 0]
  snr = (snr_db,)[:len(found['ue'].inputs) - 1]
  np.testing.assert_allclose(
      jax.jit(found['ue'].function)(to_parts(csi), *snr),
      to_parts(np.asarray(to_symbols(codeword))), atol=1e-5)
  num_ues = 2 if method == 'BL3' else 3
  parts, active = reports(np.random.default_rng(0), 4, num_ues, 16)
  snr_db = np.linspace(0, 20, 4 * num_ues, dtype=np.float32).reshape(4, num_ues)
  snr = (snr_db,)[:len(found['bs'].inputs) - 2]
  features_hat = decode(from_symbols(parts[..., 0] + 1j * parts[..., 1]), snr_db, active)
  expected = to_parts(np.asarray(from_features(features_hat)))
  np.testing.assert_allclose(
      jax.jit(found['bs'].function)(parts, active, *snr), expected,
      atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('format', export.FORMATS)
@pytest.mark.parametrize('method', METHODS)
def test_files_are_the_halves(tiny_config, tmp_path, method, format):
  """From 2 to 8 UEs, also with some that are not there, in batches of any size."""
  pytest.importorskip('jax2onnx')
  config, params = network(tiny_config, method)
  found = halves(config, params)
  rng, origin = np.random.default_rng(2), {'weights': {'name': 'tiny'}}
  for name, half in found.items():
    path, error = export_half(tmp_path, 'tiny', format, half, config, params, origin)
    assert error < 1e-5 and path.name == f'tiny_{name}.{format}'
    call = export._CALL[format](path.read_bytes())
    for num_ues in (2,) if method == 'BL3' else (2, 3, 8):
      values = reports(rng, 3, num_ues, 16)
      if name == 'ue':
        values = (rng.normal(size=(num_ues, 4, 8, 2)).astype(np.float32),)
      expected = np.asarray(jax.jit(half.function)(*values))
      assert np.linalg.norm(call(*values) - expected) < 1e-5 * np.linalg.norm(expected)
  card = json.loads((tmp_path / f'tiny_bs.{format}.json').read_text())
  assert [port['name'] for port in card['inputs']] == ['received', 'active']
  assert card['inputs'][0]['shape'] == ['batch', 2 if method == 'BL3' else 'ue', 16, 2]
  assert card['weights'] == {'name': 'tiny'} and len(card['sha256']) == 64


@pytest.mark.parametrize('method', [*METHODS, *WITH_SNR])
def test_halves_take_any_number_of_reports(tiny_config, method):
  """Where no converter is installed, too."""
  for half in halves(*network(tiny_config, method)).values():
    *shape, parts = jax.eval_shape(half.function, *export._specs(half)).shape
    assert parts == 2 and [str(length) for length in shape] == [
        str(length) for length in half.output.shape[:-1]]


def test_joint_bayes_is_written_as_stablehlo(tiny_config, tmp_path):
  pytest.importorskip('flatbuffers')
  config, params = network(tiny_config, 'joint Bayes')
  for half in halves(config, params).values():
    _, error = export_half(tmp_path, 'joint', 'stablehlo', half, config, params, {})
    assert error < 1e-5


def test_a_file_that_is_not_the_model_is_not_left(tiny_config, tmp_path, monkeypatch):
  config, params = network(tiny_config, 'BL1')
  csi = jax.random.normal(jax.random.key(0), (3, 8, 4, 8), jnp.complex64)
  monkeypatch.setattr(export, '_groups', lambda config: (csi, jax.random.key(1)))
  for name, half in halves(config, params).items():
    monkeypatch.setitem(export._CONVERT, 'onnx', lambda half: b'a file')
    monkeypatch.setitem(
        export._CALL, 'onnx',
        lambda content, half=half: lambda *values: 1.0001 * half.function(*values))
    with pytest.raises(InputError, match=f'tiny_{name}.onnx: differs from the model by 0.0001, '):
      export_half(tmp_path, 'tiny', 'onnx', half, config, params, {})
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_line_says_how_to_install_it(tiny_config, tmp_path, monkeypatch):
  config, params = network(tiny_config, 'BL1')
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(InputError, match=r"format=onnx needs the extra export .*\.\[export\]"):
    export_half(tmp_path, 'a', 'onnx', halves(config, params)['ue'], config, params, {})


def _called_back(query, key, value, inputs_q):
  return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(value.shape, value.dtype), value)


@pytest.mark.parametrize('format', export.FORMATS)
def test_a_variant_with_python_in_it_is_refused(tiny_config, tmp_path, monkeypatch, format):
  pytest.importorskip('jax2onnx')
  monkeypatch.setitem(ATTENTION, 'called', Variant(own_embedding, _called_back))
  config, params = network(tiny_config, 'BL1')
  config = dataclasses.replace(
      config, model=dataclasses.replace(config.model, attention='called'))
  with pytest.raises(InputError, match=f'the bs half cannot be written as {format}') as error:
    export_half(tmp_path, 'a', format, halves(config, params)['bs'], config, params, {})
  assert '\n' not in str(error.value) and not list(tmp_path.iterdir())


def test_networks_that_send_bits_have_no_halves(tiny_config):
  config, params = network(tiny_config, 'BL1')
  config = dataclasses.replace(
      config, uplink=dataclasses.replace(config.uplink, quantiser_bits=4))
  with pytest.raises(InputError, match='uplink.quantiser_bits=4: this network sends bits'):
    halves(config, params)
