import dataclasses

import numpy as np
import pytest

from configs import demo as demo_config
from rca_jax.config import DataConfig, ExperimentConfig, codeword_dim, from_dict
from rca_jax.report import demo

SNRS_DB = (0.0, 20.0)


@pytest.fixture(scope='module')
def config(file_config, tmp_path_factory, quick_compilation):
  """On a file: what the demo shows does not depend on where CSI comes from.

  The groups are sums of four paths, with less power at longer delays.
  """
  rng = np.random.default_rng(0)
  path = tmp_path_factory.mktemp('data') / 'train.npz'
  paths = np.fft.fft(rng.normal(size=(4, 4, 8)) / 3.0 ** np.arange(4)[:, None])
  gains = rng.normal(size=(64, 2, 4)) + 1j * rng.normal(size=(64, 2, 4))
  np.savez(path, csi=np.einsum('gup,pdt->gudt', gains, paths).astype(np.complex64))
  return dataclasses.replace(
      file_config, data=DataConfig(path=str(path), test_path=str(path)),
      training=dataclasses.replace(file_config.training, finetune_snr_db=()))


@pytest.fixture(scope='module')
def linear_rows(config):
  return demo.linear_rows(config, SNRS_DB)


def test_linear_code_improves_with_snr_up_to_its_noise_free_level(linear_rows):
  levels = [row['nmse_db'] for row in linear_rows]
  assert [row['snr_db'] for row in linear_rows] == [0.0, 20.0, None]
  assert 0 > levels[0] > levels[1] > levels[2]


def test_the_introduction_is_of_the_config(config):
  first, second, _ = demo.introduction(config)
  assert first.startswith('2 UEs within 10 m') and 'in 16 noisy uplink symbols' in first
  assert 'shortcut' not in second
  shortcut = dataclasses.replace(config, model=dataclasses.replace(config.model, shortcut=True))
  assert 'shortcut' in demo.introduction(shortcut)[1]


def test_the_demo_s_methods_differ_by_attention_and_final_norm_alone():
  ours, single = (
      from_dict(ExperimentConfig, demo_config.get_config(variant).to_dict())
      for variant in ('', 'method=BL1'))
  assert ours.model.attention == 'residual_cross' and single.model.attention == 'self'
  assert (ours.method, single.method) == ('RCA-MUNet', 'BL1')
  assert dataclasses.replace(
      single, method=ours.method, model=dataclasses.replace(
          single.model, attention='residual_cross', final_norm=False)) == ours
  assert codeword_dim(ours.model, ours.csi) == 32
