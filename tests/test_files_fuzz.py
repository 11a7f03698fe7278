"""Damaged files of every format: a correct read or one line, nothing else and no hang."""

import functools
import pathlib
import tempfile

import imitations
import numpy as np
import pytest
from fuzz import FUZZ
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rca_jax.config import CsiConfig
from rca_jax.data.files import read_csi
from rca_jax.errors import InputError

CONFIG = CsiConfig(num_subcarriers=imitations.NUM_CARRIERS, num_delay_taps=imitations.NUM_ROWS)
# Truncation to a share of the file, then flips of bits anywhere or in the first bytes.
PLACE = st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0, 0.05))
DAMAGE = st.tuples(
    st.one_of(st.just(1.0), st.floats(0, 1)),
    st.lists(st.tuples(PLACE, st.integers(0, 7)), max_size=8))


@functools.cache
def whole_file(name: str) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    return imitations.FILES[name](pathlib.Path(folder) / name).read_bytes()


def check(name, damage):
  share, flips = damage
  content = bytearray(whole_file(name))
  content = content[:int(share * len(content))]
  for place, bit in flips if content else ():
    content[int(place * len(content))] ^= 1 << bit
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / name
    path.write_bytes(content)
    try:
      groups = read_csi(path, config=CONFIG)
    except InputError as error:
      assert '\n' not in str(error) and str(error).startswith(f'{path}: ')
    else:
      np.testing.assert_allclose(np.mean(np.abs(groups.csi)**2, (-2, -1)), 1, rtol=1e-4)


fuzz = functools.partial(
    settings, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize('name', imitations.FILES)
@fuzz(max_examples=12, derandomize=True)
@given(damage=DAMAGE)
def test_a_few_damaged_files(name, damage):
  check(name, damage)


@pytest.mark.slow
@pytest.mark.parametrize('name', imitations.FILES)
@fuzz(max_examples=100 * FUZZ)
@given(damage=DAMAGE)
def test_many_damaged_files(name, damage):
  check(name, damage)
