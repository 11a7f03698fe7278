import json
import subprocess
import sys

import imitations
import numpy as np
import pytest

from rca_jax.config import CsiConfig, Layout
from rca_jax.data.convert import Conversion, convert
from rca_jax.data.files import read_csi
from rca_jax.errors import InputError
from rca_jax.foreign import sha256

CONFIG = CsiConfig(
    num_subcarriers=imitations.NUM_CARRIERS, num_delay_taps=imitations.NUM_ROWS)


def run(source, folder, *, progress=lambda done: None, **conversion):
  return convert(source, folder, Layout(), CONFIG, Conversion(**conversion), progress)


@pytest.mark.parametrize('name', imitations.FILES)
def test_every_format_becomes_a_data_set(tmp_path, name):
  source = imitations.FILES[name](tmp_path / name)
  has_silent = 'deepmimo' in name
  counts = run(source, tmp_path / 'out', shard_size=2, drop_silent=has_silent)
  written, read = read_csi(tmp_path / 'out'), read_csi(
      source, config=CONFIG, allow_silent=has_silent)
  active = read.csi.any((-2, -1)).all(-1)
  assert counts['silent'] == has_silent
  read = type(read)(*(leaf if leaf is None else leaf[active] for leaf in read))
  assert counts['groups'] == len(read.csi)
  for leaf, expected in zip(written, read, strict=True):
    assert (leaf is None) == (expected is None)
    if leaf is not None:
      np.testing.assert_allclose(leaf, expected, rtol=1e-6, atol=1e-7)
  again = run(tmp_path / 'out', tmp_path / 'copy')
  assert again['groups'] == counts['groups']
  np.testing.assert_allclose(read_csi(tmp_path / 'copy').csi, read.csi, rtol=1e-6, atol=1e-7)


def test_single_ues_are_gathered_by_position(tmp_path):
  source = imitations.quadriga(tmp_path / 'a.mat')  # six UEs, a metre apart
  counts = run(source, tmp_path / 'out', num_ues=4, max_distance_m=3, shard_size=1)
  assert counts == {'groups': 1, 'ungrouped': 2}
  groups = read_csi(tmp_path / 'out')
  np.testing.assert_array_equal(groups.positions[0, :, 0], [0, 1, 2, 3])
  np.testing.assert_allclose(groups.csi[0], imitations.expected_csi()[:4], atol=1e-5)
  with pytest.raises(InputError, match='no group is left'):
    run(source, tmp_path / 'none', num_ues=2, max_distance_m=0.5)
  with pytest.raises(InputError, match='has no positions, so its single UEs cannot be gathered'):
    run(imitations.cost2100(tmp_path / 'c.mat'), tmp_path / 'c', num_ues=2)


def test_groups_are_cut_to_fewer_ues_but_not_made_larger(tmp_path):
  source = imitations.sionna(tmp_path / 'a.npz')
  run(source, tmp_path / 'out', num_ues=2)
  assert read_csi(tmp_path / 'out').csi.shape[:2] == (2, 2)
  with pytest.raises(InputError, match='its groups have 3 UEs; num_ues=4'):
    run(source, tmp_path / 'more', num_ues=4)


def test_splits_lie_apart_or_need_no_positions(tmp_path):
  rng = np.random.default_rng(0)
  positions = np.append(rng.uniform(-99, 99, (3000, 2)), np.ones((3000, 1)), -1)
  channel = np.broadcast_to(imitations.response()[:1, None], (3000, 1, 4, 64))
  np.savez(tmp_path / 'a.npz', channel=channel, rx_pos=positions)
  counts = run(
      tmp_path / 'a.npz', tmp_path / 'out', num_ues=2, max_distance_m=3, val_share=0.2,
      test_share=0.3)
  found = {split: read_csi(tmp_path / 'out', split=split).positions.reshape(-1, 3)
           for split in ('train', 'val', 'test')}
  assert sum(map(len, found.values())) + counts['guard'] + counts['ungrouped'] == 3000
  distance = np.linalg.norm(found['train'][:, None] - found['test'], axis=-1)
  assert distance.min() > 3
  source = imitations.cost2100(tmp_path / 'c.mat')
  run(source, tmp_path / 'c', test_share=1)
  assert len(read_csi(tmp_path / 'c', split='test').csi) == 30
  with pytest.raises(InputError, match='has no positions, and neighbours of training UEs'):
    run(source, tmp_path / 'd', test_share=0.5)
  with pytest.raises(InputError, match='splits of its own'):
    run(tmp_path / 'c', tmp_path / 'd', test_share=0.5)
  with pytest.raises(InputError, match='must be in'):
    run(source, tmp_path / 'd', test_share=1.5)
  for max_distance_m in (0.0, -1.0, np.nan, np.inf):
    with pytest.raises(InputError, match='max_distance_m=.* must be a positive number'):
      run(source, tmp_path / 'd', max_distance_m=max_distance_m)


def test_a_refused_conversion_leaves_nothing_that_reads_as_a_data_set(tmp_path):
  csi = imitations.expected_csi().reshape(3, 2, 8, 4)
  np.savez(tmp_path / 'whole.npz', csi=csi)
  run(tmp_path / 'whole.npz', tmp_path / 'whole')
  csi[2, 0, 0, 0] = np.nan
  shards = tmp_path / 'source'
  run(tmp_path / 'whole.npz', shards, shard_size=1)
  np.savez(shards / 'train-00002.npz', csi=csi[2:])
  with pytest.raises(InputError, match='cut or damaged'):
    run(shards, tmp_path / 'out', shard_size=1)
  assert (tmp_path / 'out' / 'train-00001.npz').exists()
  with pytest.raises(InputError, match='is not complete'):
    read_csi(tmp_path / 'out')
  with pytest.raises(InputError, match='is not complete'):
    run(tmp_path / 'out', tmp_path / 'again')


def test_silent_ues_are_refused_or_left_out_and_counted(tmp_path):
  csi = imitations.expected_csi().reshape(3, 2, 8, 4)
  csi[1, 1] = 0
  np.savez(tmp_path / 'a.npz', csi=csi)
  with pytest.raises(InputError, match=r'csi\[1, 1\] is all zeros'):
    run(tmp_path / 'a.npz', tmp_path / 'out')
  assert run(tmp_path / 'a.npz', tmp_path / 'kept', drop_silent=True) == {'groups': 2, 'silent': 1}


def test_a_killed_conversion_continues_and_another_is_refused(tmp_path):
  source = imitations.own(tmp_path / 'a.npz')
  run(source, tmp_path / 'whole', shard_size=1)

  class Killed(BaseException):
    pass

  def kill(done):
    raise Killed

  with pytest.raises(Killed):
    run(source, tmp_path / 'killed', shard_size=1, progress=kill)
  run(source, tmp_path / 'killed', shard_size=1)
  for path in (tmp_path / 'whole').iterdir():
    assert path.read_bytes() == (tmp_path / 'killed' / path.name).read_bytes()
  with pytest.raises(InputError, match='holds another data set'):
    run(source, tmp_path / 'killed', shard_size=2)
  np.savez(source, csi=imitations.expected_csi()[None])
  with pytest.raises(InputError, match='its source_sha256 is'):
    run(source, tmp_path / 'killed', shard_size=1)


def peak_bytes(tmp_path, num_shards):
  """Of a process that converts so many shards of 34 MB."""
  source = tmp_path / f'source_{num_shards}'
  source.mkdir()
  rng = np.random.default_rng(0)
  csi = rng.normal(size=(1024, 4, 32, 32, 2)).astype(np.float32).view(np.complex64)[..., 0]
  np.savez(source / 'shard.npz', csi=csi)
  entry = {'file': 'shard.npz', 'num_groups': 1024, 'sha256': sha256(source / 'shard.npz')}
  (source / 'manifest.json').write_text(json.dumps({'splits': {'train': [entry] * num_shards}}))
  # Not `ru_maxrss`: it survives exec, so it is at least what this process holds.
  code = (
      'import re, sys, launch.convert as c; sys.argv[0] = "convert"\n'
      'try: c.run(c.main)\n'
      'finally: print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])')
  result = subprocess.run(
      [sys.executable, '-c', code, f'--input={source}', f'--out={tmp_path}/out_{num_shards}'],
      capture_output=True, text=True, timeout=600, check=True)
  return 1024 * int(result.stdout.split()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path):
  small, large = peak_bytes(tmp_path, 4), peak_bytes(tmp_path, 24)
  assert large < small + 50e6 and large < 1e9
