"""The frozen benchmark: the same test set for all, and a line that says what was measured."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import joint_bayes, rca_munet
from launch.benchmark import config_words
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.data.test_groups import load_test_csi
from rca_jax.errors import InputError
from rca_jax.evaluation import benchmark
from rca_jax.models.build import build_model
from rca_jax.training.pretrained import load_pretrained


@pytest.mark.slow
def test_the_test_set_is_that_of_the_leaderboard_and_no_power_is_near_where_rounding_turns():
  benchmark.check_test_set()
  config = ExperimentConfig(csi=benchmark.CSI, data=benchmark.DATA)
  tenths = 10 * benchmark.mean_powers(load_test_csi(config, benchmark.NUM_UES))
  assert abs(tenths % 1 - 0.5).min() > 0.01


def test_the_hash_sees_other_powers_and_not_the_last_bits_of_phases(random_csi):
  csi = random_csi / np.sqrt(np.mean(np.abs(random_csi) ** 2))
  found = benchmark.csi_hash(csi)
  assert benchmark.csi_hash(csi * np.exp(1e-3j)) == found
  louder = csi.copy()
  louder[..., 0] *= 1.2
  assert benchmark.csi_hash(louder) != found


@pytest.fixture
def tiny(tiny_config, monkeypatch):
  """The benchmark with the tests' CSI and 20 groups."""
  csi = dataclasses.replace(tiny_config.csi, mode='fresh')
  monkeypatch.setattr(benchmark, 'CSI', csi)
  monkeypatch.setattr(benchmark, 'DATA', dataclasses.replace(benchmark.DATA, num_test_groups=20))
  return tiny_config


@pytest.mark.slow
@pytest.mark.usefixtures('quick_compilation')
def test_a_networks_line_depends_on_neither_its_data_nor_its_noise(tiny):
  model = build_model(tiny)
  features = np.zeros((1, 2, 8, 8), np.float32)
  params = model.init(jax.random.key(0), features, 0.0, jax.random.key(0))['params']
  other = dataclasses.replace(
      tiny, data=dataclasses.replace(tiny.data, seed=3, num_test_groups=7),
      csi=dataclasses.replace(tiny.csi, cell_size_m=90.0))
  found = [
      list(benchmark.network_rows(config, {'pretrain': (params, 8)}, ['pretrain'] * 3))
      for config in (tiny, other)]
  assert [row['snr_db'] for row in found[0]] == list(benchmark.SNRS_DB)
  for one, two in zip(*found, strict=True):
    assert one['nmse_db'] == two['nmse_db'] and one['num_samples'] == 20
  cells = benchmark.line('mine', tiny, found[0], 'words').split(' | ')
  assert len(cells) == len(benchmark.HEAD)
  row = found[0][1]
  assert cells[4] == '{:.2f} [{:.2f}, {:.2f}]'.format(row['nmse_db'], *row['nmse_ci95_db'])
  assert int(cells[6].replace(',', '')) == sum(leaf.size for leaf in jax.tree.leaves(params))

  larger = dataclasses.replace(tiny, csi=dataclasses.replace(tiny.csi, num_tx_antennas=16))
  with pytest.raises(InputError, match='of CSI 4 x 16, the benchmark of 4 x 8'):
    benchmark.network_rows(larger, {}, [])
  with pytest.raises(InputError, match='the generator was changed'):
    benchmark.check_test_set()


def test_the_linear_codes_line_counts_k_times_d(tiny):
  config = dataclasses.replace(tiny, method='PCA/KLT', training=ExperimentConfig().training)
  rows = benchmark.method_rows(config)
  cells = benchmark.line('PCA/KLT', config, rows, '').split(' | ')
  assert cells[6:10] == ['-', f'{32 * 64:,}', f'{32 * 64:,}', '-']
  levels = [row['nmse_db'] for row in rows]
  assert levels[2] < levels[1] < levels[0] < 0


@pytest.mark.parametrize('words', [
    'rca_munet:cr=1/16', 'rca_munet:light,cr=1/4,users=4,method=BL1', 'joint_bayes:cr=1/8',
    'rca_munet:light,cr=1/8,attention=cross'])
def test_config_words_name_the_config(words):
  file, _, variant = words.partition(':')
  read = {'rca_munet': rca_munet, 'joint_bayes': joint_bayes}[file].get_config(variant)
  assert config_words(from_dict(ExperimentConfig, read.to_dict())) == words


def test_config_words_say_what_was_changed():
  words = config_words(load_pretrained('rca_munet_cr16').config)
  assert words == 'rca_munet:light,cr=1/16 --config.model.shortcut=True'
