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
from rca_jax.evaluation.halves import (
    halves,
    joint_halves,
    joint_itself,
    network_itself,
    to_parts,
)
from rca_jax.evaluation.references import joint_code
from rca_jax.models.attention import ATTENTION, Variant, own_embedding
from rca_jax.models.build import build_model
from rca_jax.training.program import abstract_params
from rca_jax.uplink.djscc import awgn, from_symbols, to_symbols

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
  found, itself = halves(config, params), network_itself(config, params)
  rng, origin = np.random.default_rng(2), {'weights': {'name': 'tiny'}}
  for name, half in found.items():
    path, error = export_half(tmp_path, 'tiny', format, half, itself, config, origin)
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


def test_joint_bayes_that_is_learned_is_written_as_stablehlo(tiny_config, tmp_path):
  pytest.importorskip('flatbuffers')
  config, params = network(tiny_config, 'joint Bayes')
  itself = network_itself(config, params)
  for half in halves(config, params).values():
    _, error = export_half(tmp_path, 'joint', 'stablehlo', half, itself, config, {})
    assert error < 1e-5


@pytest.fixture(scope='module')
def joint_config(tiny_config):
  """4 symbols a report."""
  return dataclasses.replace(tiny_config, method='joint Bayes', model=dataclasses.replace(
      tiny_config.model, compression_ratio='1/8'))


def test_halves_of_joint_bayes_are_the_code(joint_config, random_csi):
  """With an SNR of every UE, one that is not there and one whose report is not finite."""
  code = joint_code(joint_config)
  itself, halves_by_name = joint_itself(code), joint_halves(code, joint_config.csi)
  snr_db = np.linspace(0, 20, 36, dtype=np.float32).reshape(12, 3)
  symbols = itself.encode(random_csi, snr_db)
  sent = jax.jit(halves_by_name['ue'].function)(to_parts(random_csi[:, 0]))
  np.testing.assert_allclose(sent, to_parts(np.asarray(symbols[:, 0])), atol=1e-5)
  received = np.array(awgn(jax.random.key(0), symbols, snr_db))
  received[0, 0, 0] = np.nan
  active = np.arange(36).reshape(12, 3) != 4
  csi_hat = np.asarray(itself.decode(received, snr_db, active))
  found = jax.jit(halves_by_name['bs'].function)(to_parts(received), active, snr_db)
  assert not csi_hat[0, 0].any() and not csi_hat[1, 1].any() and csi_hat[0, 1].any()
  error = np.linalg.norm(found - to_parts(csi_hat)) / np.linalg.norm(csi_hat)
  assert error < itself.max_error


def test_halves_of_joint_bayes_take_any_number_of_reports(joint_config):
  for half in joint_halves(joint_code(joint_config), joint_config.csi).values():
    shape = jax.eval_shape(half.function, *export._specs(half)).shape
    assert [str(length) for length in shape] == [str(length) for length in half.output.shape]


def test_joint_bayes_is_written_as_stablehlo(joint_config, tmp_path):
  pytest.importorskip('flatbuffers')
  code = joint_code(joint_config)
  itself = joint_itself(code)
  for half in joint_halves(code, joint_config.csi).values():
    _, error = export_half(tmp_path, 'joint', 'stablehlo', half, itself, joint_config, {})
    assert error < itself.max_error
  card = json.loads((tmp_path / 'joint_bs.stablehlo.json').read_text())
  assert card['method'] == 'joint Bayes' and card['largest_error_allowed'] == itself.max_error
  assert [port['name'] for port in card['inputs']] == ['received', 'active', 'snr_db']


def test_a_file_that_is_not_the_model_is_not_left(tiny_config, tmp_path, monkeypatch):
  config, params = network(tiny_config, 'BL1')
  csi = jax.random.normal(jax.random.key(0), (3, 8, 4, 8), jnp.complex64)
  monkeypatch.setattr(export, '_groups', lambda config: (csi, jax.random.key(1)))
  itself = network_itself(config, params)
  for name, half in halves(config, params).items():
    monkeypatch.setitem(export._CONVERT, 'onnx', lambda half: b'a file')
    monkeypatch.setitem(
        export._CALL, 'onnx',
        lambda content, half=half: lambda *values: 1.0001 * half.function(*values))
    with pytest.raises(InputError, match=f'tiny_{name}.onnx: differs from rca_jax by 0.0001, '):
      export_half(tmp_path, 'tiny', 'onnx', half, itself, config, {})
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_is_refused_also_of_a_ue_that_may_differ(
    tiny_config, tmp_path, monkeypatch):
  config, params = network(tiny_config, 'BL1')
  csi = jax.random.normal(jax.random.key(0), (3, 8, 4, 8), jnp.complex64)
  monkeypatch.setattr(export, '_groups', lambda config: (csi, jax.random.key(1)))
  half, itself = halves(config, params)['ue'], network_itself(config, params)._replace(share=0.9)

  def broken(csi):  # in a batch of 16 UEs, the last one of those that are compared
    return half.function(csi).at[0].set(jnp.nan if len(csi) == 16 else 0)

  monkeypatch.setitem(export._CONVERT, 'onnx', lambda half: b'a file')
  for function, is_right in (half.function, True), (broken, False):
    monkeypatch.setitem(export._CALL, 'onnx', lambda content, function=function: function)
    if is_right:
      export_half(tmp_path / 'right', 'tiny', 'onnx', half, itself, config, {})
    else:
      with pytest.raises(InputError, match='differs from rca_jax by nan, '):
        export_half(tmp_path / 'broken', 'tiny', 'onnx', half, itself, config, {})
  assert not (tmp_path / 'broken').exists()


def test_without_the_extra_the_line_says_how_to_install_it(tiny_config, tmp_path, monkeypatch):
  config, params = network(tiny_config, 'BL1')
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(InputError, match=r"format=onnx needs the extra export .*\.\[export\]"):
    export_half(
        tmp_path, 'a', 'onnx', halves(config, params)['ue'], network_itself(config, params), config,
        {})


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
    export_half(
        tmp_path, 'a', format, halves(config, params)['bs'], network_itself(config, params), config,
        {})
  assert '\n' not in str(error.value) and not list(tmp_path.iterdir())


def test_networks_that_send_bits_have_no_halves(tiny_config):
  config, params = network(tiny_config, 'BL1')
  config = dataclasses.replace(
      config, uplink=dataclasses.replace(config.uplink, quantiser_bits=4))
  with pytest.raises(InputError, match='uplink.quantiser_bits=4: this network sends bits'):
    halves(config, params)
