"""Damaged folders of data, weights and results: a correct read or one line, and no file outside."""

import copy
import functools
import hashlib
import json
import pathlib
import resource
import tempfile

import jax
import numpy as np
import pytest
from fuzz import FUZZ
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_config_fuzz import VALUES
from test_report import row

from rca_jax.channel.groups import CsiGroups
from rca_jax.data.dataset import write_shards
from rca_jax.data.files import SPLITS, read_csi
from rca_jax.errors import InputError
from rca_jax.evaluation.matrix import Cell, missing
from rca_jax.evaluation.results import append_rows, read_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.report.tables import table1
from rca_jax.training.pretrained import load_pretrained, save_pretrained
from rca_jax.training.program import abstract_params

NAMES = st.sampled_from([
    '../../x', '/etc/passwd', '.', '..', '', '\0', '\ud800', 'a\nb', 'x' * 300, 'test-00000.npz',
    'no.npz', '$\\frac$'])
NUMBERS = st.sampled_from([1e999, -1e999, 2**70, -2**70, 1e300, 5000])
DAMAGED_VALUE = st.one_of(VALUES, NAMES, NUMBERS)
# The place of a value in the JSON, by a number; what stands there instead, or that it is gone.
REPLACED = st.tuples(st.integers(0, 2**16), DAMAGED_VALUE | st.just(KeyError))
# Where the file ends, and bits that are flipped.
DAMAGE = st.tuples(
    st.one_of(st.just(1.0), st.floats(0, 1)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4))


def places(values, path=()):
  """The paths of all values in parsed JSON."""
  for name, value in values.items() if isinstance(values, dict) else enumerate(values):
    yield (*path, name)
    if isinstance(value, dict | list):
      yield from places(value, (*path, name))


def replaced(values, change):
  number, value = change
  values = copy.deepcopy(values)
  found = list(places(values))
  *path, name = found[number % len(found)]
  inside = functools.reduce(lambda inner, step: inner[step], path, values)
  if value is KeyError:
    del inside[name]
  else:
    inside[name] = value
  return values


def damaged(content, damage):
  share, flips = damage
  content = bytearray(content[:int(share * len(content))])
  for place, bit in flips if content else ():
    content[int(place * len(content))] ^= 1 << bit
  return bytes(content)


def one_line(read):
  """What `read` returns; None where it refuses in one line."""
  try:
    return read()
  except InputError as error:
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000
    return None


def fuzzed(max_examples, check, **arguments):
  """Runs it, and sees that no damaged size was believed."""
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  settings(
      max_examples=max_examples, deadline=None, database=None, derandomize=max_examples < 100,
      suppress_health_check=list(HealthCheck))(given(**arguments)(check))()
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB


MANY = pytest.mark.parametrize(
    'max_examples', [20, pytest.param(120 * FUZZ, marks=pytest.mark.slow)])


def groups(seed):
  rng = np.random.default_rng(seed)
  csi = rng.normal(size=(3, 2, 2, 2, 2)) @ [1, 1j]
  csi /= np.sqrt(np.mean(np.abs(csi)**2, (-2, -1), keepdims=True))
  return CsiGroups(csi.astype(np.complex64), None, None, None)


SHARDS = [('train', lambda: groups(0)), ('train', lambda: groups(1)), ('test', lambda: groups(2))]
HEADER = {'seed': 0, 'config': {'num_delay_taps': 2}}


@functools.cache
def data_set():
  """Its files by name."""
  with tempfile.TemporaryDirectory() as folder:
    write_shards(pathlib.Path(folder), HEADER, SHARDS, lambda done: None)
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def check_data_set(files):
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for name, content in files.items():
      (folder / name).write_bytes(content)
    for split in SPLITS:
      found = one_line(lambda split=split: read_csi(folder, split=split))
      for csi in () if found is None else found.csi.reshape(-1, 3, 2, 2, 2):
        assert any(np.allclose(csi, groups(seed).csi, rtol=1e-5) for seed in range(3))
    one_line(lambda: write_shards(folder, HEADER, SHARDS, lambda done: None))
    assert {path.name for path in folder.iterdir()} <= set(files) | set(data_set())


@MANY
def test_a_replaced_value_in_a_data_sets_manifest(max_examples):

  def check(change):
    manifest = replaced(json.loads(data_set()['manifest.json']), change)
    check_data_set(data_set() | {'manifest.json': json.dumps(manifest).encode()})

  fuzzed(max_examples, check, change=REPLACED)


@MANY
def test_a_damaged_file_of_a_data_set(max_examples):

  def check(name, damage):
    check_data_set(data_set() | {name: damaged(data_set()[name], damage)})

  fuzzed(max_examples, check, name=st.sampled_from(['manifest.json', *data_set()]), damage=DAMAGE)


@pytest.mark.parametrize('make', [
    lambda folder: '../outside.npz', lambda folder: str(folder.parent / 'outside.npz'),
    lambda folder: (folder / 'link.npz').symlink_to('../outside.npz') or 'link.npz'])
def test_a_shard_outside_the_folder_is_refused(tmp_path, make):
  folder = tmp_path / 'folder'
  write_shards(folder, HEADER, SHARDS, lambda done: None)
  (folder / 'test-00000.npz').rename(tmp_path / 'outside.npz')
  manifest = json.loads((folder / 'manifest.json').read_text())
  manifest['splits']['test'][0]['file'] = make(folder)
  (folder / 'manifest.json').write_text(json.dumps(manifest))
  with pytest.raises(InputError, match='is refused; expected the name of a file in this folder'):
    read_csi(folder, split='test')


@pytest.fixture(scope='module')
def weights(tiny_config):
  """A folder's files by name."""
  rng = np.random.default_rng(0)
  params = jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), abstract_params(tiny_config))
  with tempfile.TemporaryDirectory() as folder:
    save_pretrained('tiny', folder, tiny_config, params, 'pretrain', 8)
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def check_weights(files):
  """Returns what was loaded."""
  with tempfile.TemporaryDirectory() as folder:
    for name, content in files.items():
      (pathlib.Path(folder) / name).write_bytes(content)
    loaded = one_line(lambda: load_pretrained('tiny', folder))
    one_line(lambda: load_pretrained('../tiny', folder))
    return loaded


def sealed(content):
  """A folder whose manifest vouches for `content`."""
  manifest = json.dumps({'tiny': hashlib.sha256(content).hexdigest()})
  return {'manifest.json': manifest.encode(), 'tiny.safetensors': content}


@MANY
def test_a_replaced_value_in_a_manifest_of_weights(max_examples, weights):

  def check(change, extra):
    manifest = json.loads(weights['manifest.json']) | {'other': 'x', extra: 'y'}
    content = json.dumps(replaced(manifest, change)).encode()
    check_weights(weights | {'manifest.json': content})

  fuzzed(max_examples, check, change=REPLACED, extra=NAMES)


@MANY
def test_a_damaged_file_of_weights(max_examples, weights, tiny_config):

  def check(name, damage):
    loaded = check_weights(weights | {name: damaged(weights[name], damage)})
    assert loaded is None or (loaded.config, loaded.steps) == (tiny_config, 8)

  fuzzed(max_examples, check, name=st.sampled_from(list(weights)), damage=DAMAGE)


def with_header(content, change):
  """safetensors: the header's size, the header, the arrays."""
  size = int.from_bytes(content[:8], 'little')
  header = json.dumps(change(json.loads(content[8:8 + size]))).encode()
  return len(header).to_bytes(8, 'little') + header + content[8 + size:]


def described(content, change):
  """With another description of the network."""
  def replace(header):
    description = change(json.loads(header['__metadata__']['rca_jax']))
    return header | {'__metadata__': {'rca_jax': json.dumps(description)}}
  return with_header(content, replace)


@MANY
@pytest.mark.parametrize('part', ['bytes', 'header', 'description'])
def test_damage_that_the_sha256_vouches_for(part, max_examples, weights):
  whole = weights['tiny.safetensors']

  def check(change, damage):
    if part == 'bytes':
      content = damaged(whole, damage)
    else:
      change_json = {'header': with_header, 'description': described}[part]
      content = change_json(whole, lambda values: replaced(values, change))
    loaded = check_weights(sealed(content))
    if loaded is not None:
      shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), loaded.params)
      assert shapes == jax.tree.map(
          lambda leaf: (leaf.shape, leaf.dtype), abstract_params(loaded.config))

  fuzzed(max_examples, check, change=REPLACED, damage=DAMAGE)


@pytest.mark.parametrize('section, field, value', [
    ('model', 'num_encoder_layers', 10**9), ('model', 'model_dim', 10**9),
    ('model', 'mlp_dim', 10**12), ('csi', 'num_tx_antennas', 2**40), (None, 'num_ues', 10**9)])
def test_a_network_far_larger_than_its_arrays_is_refused(weights, section, field, value):

  def change(description):
    table = description['config'][section] if section else description['config']
    table[field] = value
    return description

  content = described(weights['tiny.safetensors'], change)
  with tempfile.TemporaryDirectory() as folder:
    for name, part in sealed(content).items():
      (pathlib.Path(folder) / name).write_bytes(part)
    with pytest.raises(InputError, match='larger than the arrays|more layers than there are'):
      load_pretrained('tiny', folder)


def test_weights_outside_the_folder_are_refused(weights, tmp_path):
  folder = tmp_path / 'folder'
  folder.mkdir()
  (tmp_path / 'tiny.safetensors').write_bytes(weights['tiny.safetensors'])
  (folder / 'manifest.json').write_bytes(weights['manifest.json'])
  (folder / 'tiny.safetensors').symlink_to('../tiny.safetensors')
  with pytest.raises(InputError, match='is refused; expected the name of a file in this folder'):
    load_pretrained('tiny', folder)
  digest = json.loads(weights['manifest.json'])['tiny']
  (folder / 'manifest.json').write_text(json.dumps({'../tiny': digest}))
  with pytest.raises(InputError, match='not a readable manifest'):
    load_pretrained('../tiny', folder)


AT_10DB = Measurement(10.0)


@pytest.fixture(scope='module')
def rows(tiny_config):
  cell = Cell(tiny_config, (AT_10DB,), 'tiny')
  measured = {'rho': 0.9, 'rho_ci95': [0.8, 0.95], 'sgcs': 0.8, 'sgcs_ci95': [0.7, 0.9]}
  return cell, [row('RCA-MUNet', -12.0, cell=cell.id, **measured),
                row('SSCC', -8.0, variant='64_2', code_rate=0.5, qam_order=16),
                row('BL1', -11.0, channel='awgn', distance_m=1.0, num_lost=1, of_lost=True)]


def check_results(path, cell, whole):
  found = one_line(lambda: read_rows(path))
  if found is None:
    return
  missing(cell, found)
  needed = {name for name in whole[0] if name not in ('preset', 'variant', 'stage')}
  if all(needed <= set(row) for row in found):
    table1(found)
  append_rows(path, whole)
  after = read_rows(path)
  assert all(row in after for row in whole) and len(after) >= max(len(found), len(whole))


@MANY
def test_a_replaced_value_in_results(max_examples, rows, tmp_path):

  def check(change):
    (tmp_path / 'results.json').write_text(json.dumps(replaced(rows[1], change)))
    check_results(tmp_path / 'results.json', *rows)

  fuzzed(max_examples, check, change=REPLACED)


@MANY
def test_damaged_results(max_examples, rows, tmp_path):
  append_rows(tmp_path / 'whole.json', rows[1])
  whole = (tmp_path / 'whole.json').read_bytes()

  def check(damage):
    (tmp_path / 'results.json').write_bytes(damaged(whole, damage))
    check_results(tmp_path / 'results.json', *rows)

  fuzzed(max_examples, check, damage=DAMAGE)


@pytest.mark.parametrize('content', [
    b'[' * 100_000, b'{"a":' * 100_000, b'[{"seed": ' + b'9' * 5000 + b'}]', b'\xff', b'null'])
def test_json_that_is_nested_or_long_beyond_all_measure(content, weights, tmp_path):
  (tmp_path / 'results.json').write_bytes(content)
  assert one_line(lambda: read_rows(tmp_path / 'results.json')) is None
  check_data_set(data_set() | {'manifest.json': content})
  assert check_weights(weights | {'manifest.json': content}) is None
  assert check_weights(sealed(len(content).to_bytes(8, 'little') + content)) is None
