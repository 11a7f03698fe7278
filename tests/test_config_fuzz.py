"""Damaged configs end in a config or in one line, never in anything else."""

import json

import pytest
from fuzz import FUZZ
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rca_jax.config import ExperimentConfig, from_dict, to_dict
from rca_jax.errors import InputError
from rca_jax.training.workdir import read_config

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 40), st.floats(), st.text(max_size=9),
    st.sampled_from([10**400, -1, 0, '1/0', '1/16', 'nan', '9' * 5000]),
    st.lists(st.integers(-1, 5), max_size=3), st.dictionaries(st.text(max_size=5), st.none()))


MANY = pytest.mark.parametrize(
    'max_examples', [25, pytest.param(300 * FUZZ, marks=pytest.mark.slow)])


def fields(values, path=()):
  """The paths of all fields, tables included."""
  for name, value in values.items():
    yield (*path, name)
    if isinstance(value, dict):
      yield from fields(value, (*path, name))


FIELDS = list(fields({'config': to_dict(ExperimentConfig())}))


def check_a_change(path, value, rename):
  """One field has another value or another name."""
  values = {'config': json.loads(json.dumps(to_dict(ExperimentConfig())))}
  table = values
  for name in path[:-1]:
    table = table[name]
  table[path[-1]] = value
  if rename is not None and len(path) > 1:
    table[rename] = table.pop(path[-1])
  check(lambda: from_dict(ExperimentConfig, values['config']))


def check_damage(workdir, cut, bits):
  """config.json ends at `cut`, and some of its bits are flipped."""
  content = bytearray(json.dumps(to_dict(ExperimentConfig()), indent=2).encode()[:cut])
  for bit in bits:
    if content:
      content[bit // 8 % len(content)] ^= 1 << bit % 8
  (workdir / 'config.json').write_bytes(content)
  check(lambda: read_config(workdir))


def check(read):
  try:
    config = read()
  except InputError as error:
    assert len(str(error).splitlines()) == 1
  else:
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config


def fuzzed(max_examples):
  return settings(
      max_examples=max_examples, deadline=None, derandomize=max_examples < 100,
      suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
def test_a_changed_field_gives_a_config_or_one_line(max_examples):
  change = given(st.sampled_from(FIELDS), VALUES, st.none() | st.text(max_size=9))(check_a_change)
  endless = example(('config', 'model', 'compression_ratio'), '1e999999999', None)
  fuzzed(max_examples)(endless(change))()


@MANY
def test_a_damaged_config_json_gives_a_config_or_one_line(max_examples, tmp_path):
  damage = given(
      cut=st.none() | st.integers(0, 4000), bits=st.lists(st.integers(0, 2**16), max_size=4))(
          lambda cut, bits: check_damage(tmp_path, cut, bits))
  fuzzed(max_examples)(damage)()
