import dataclasses

import numpy as np
import pytest

from configs import demo as demo_config
from rca_jax.config import DataConfig, ExperimentConfig, codeword_dim, from_dict
from rca_jax.evaluation.run import evaluate_run
from rca_jax.report import demo
from rca_jax.training.loop import fit

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


def test_the_page_holds_every_measured_number(config, linear_rows, one_device, tmp_path):
  workdir = tmp_path / 'RCA-MUNet'
  fit(config, workdir, one_device)
  rows = [*evaluate_run(workdir, SNRS_DB, [2]), *linear_rows]
  demo.write_page(tmp_path, config, {'RCA-MUNet': workdir}, rows)
  page = (tmp_path / 'report.md').read_text()
  for row in rows:
    assert f'{row["nmse_db"]:.2f} (' in page
  for name in ('csi', 'learning', 'nmse'):
    assert (tmp_path / f'{name}.png').stat().st_size > 5000
    assert f'({name}.png)' in page


def test_table_prints_what_was_not_run_as_a_dash(linear_rows):
  table = demo.table([row for row in linear_rows if row['snr_db'] != 20.0] + [
      {**linear_rows[1], 'method': 'BL1'}]).markdown()
  assert '| BL1 | - |' in table and '| RCA-MUNet | - | - | - |' in table


def test_the_gain_has_the_interval_of_the_difference_on_the_same_groups(linear_rows):
  single = {**linear_rows[1], 'method': 'BL1'}
  ours = {**single, 'method': 'RCA-MUNet', 'nmse_db': single['nmse_db'] - 1.5,
          'errors': single['errors'] * 10 ** -0.15}
  assert demo.table([ours, single]).body[-1] == (
      'gain of RCA-MUNet over BL1', '+1.50 (+1.50 .. +1.50)', '-')


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
