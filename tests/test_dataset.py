import json

import jax
import numpy as np
import pytest

from rca_jax.config import CsiConfig
from rca_jax.data.dataset import write_dataset
from rca_jax.data.files import read_csi
from rca_jax.errors import InputError

CONFIG = CsiConfig(num_delay_taps=4, num_tx_antennas=4, mode='fresh')
SIZES = {'train': 5, 'val': 0, 'test': 2}


def _write(folder, sizes=SIZES, progress=lambda done: None):
  write_dataset(folder, jax.random.key(0), None, {'seed': 0}, CONFIG, sizes, 2, 2, progress)


def test_a_data_set_reads_back_and_its_splits_share_nothing(tmp_path):
  _write(tmp_path)
  train, test = read_csi(tmp_path, split='train'), read_csi(tmp_path, split='test')
  assert train.csi.shape == (5, 2, 4, 4) and test.csi.shape == (2, 2, 4, 4)
  positions = np.concatenate([train.positions, test.positions]).reshape(7, -1)
  assert len(np.unique(positions, axis=0)) == 7
  with pytest.raises(InputError, match="'val'"):
    read_csi(tmp_path, split='val')


def test_a_killed_generation_ends_as_an_uninterrupted_one(tmp_path):
  _write(tmp_path / 'whole')

  class Killed(BaseException):
    pass

  def kill_after_three(done):
    if done >= 3:
      raise Killed

  with pytest.raises(Killed):
    _write(tmp_path / 'killed', progress=kill_after_three)
  assert len(json.loads((tmp_path / 'killed/manifest.json').read_text())['splits']['train']) == 2
  with pytest.raises(InputError, match='is not complete, its writing was cut; run the command'):
    read_csi(tmp_path / 'killed')
  _write(tmp_path / 'killed')
  for path in (tmp_path / 'whole').iterdir():
    assert path.read_bytes() == (tmp_path / 'killed' / path.name).read_bytes()


def test_another_data_set_in_the_folder_is_refused(tmp_path):
  _write(tmp_path)
  with pytest.raises(InputError, match='holds another data set'):
    _write(tmp_path, sizes=SIZES | {'train': 6})


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be written'):
    _write(tmp_path / 'file' / 'folder')
