"""CSI of Sionna's own UMa model, through a file; needs the extra `sscc`."""

import numpy as np
import pytest

from rca_jax.config import CsiConfig
from rca_jax.data.files import read_csi


def test_a_file_of_sionnas_uma_has_the_csi_of_sionnas_ofdm_channel(tmp_path):
  channel = pytest.importorskip('sionna.phy.channel')
  torch = pytest.importorskip('torch')
  uma = channel.tr38901

  def array(num_columns):
    return uma.PanelArray(
        num_rows_per_panel=1, num_cols_per_panel=num_columns, polarization='single',
        polarization_type='V', antenna_pattern='omni', carrier_frequency=6.7e9)

  torch.manual_seed(0)
  model = uma.UMa(
      carrier_frequency=6.7e9, o2i_model='low', ut_array=array(1), bs_array=array(8),
      direction='downlink', enable_pathloss=False, enable_shadow_fading=False)
  num_groups, num_ues = 10, 2
  ues = torch.tensor([[[80.0, 30.0, 1.5], [82.0, 31.0, 1.5]]]).repeat(num_groups, 1, 1)
  station = torch.tensor([[[0.0, 0.0, 25.0]]]).repeat(num_groups, 1, 1)
  still, outdoor = torch.zeros_like(ues), torch.zeros(num_groups, num_ues, dtype=torch.bool)
  model.set_topology(ues, station, still, torch.zeros_like(station), still, outdoor)
  a, tau = model(1, 20e6)

  config = CsiConfig(num_tx_antennas=8)
  np.savez(tmp_path / 'cir.npz', a=a.numpy(), tau=tau.numpy())
  groups = read_csi(tmp_path / 'cir.npz', config=config)

  # Sionna numbers its subcarriers from the middle; from 0 they are a delay's phase apart.
  frequencies = torch.arange(config.num_subcarriers) * config.bandwidth_hz / config.num_subcarriers
  response = channel.cir_to_ofdm_channel(frequencies, a, tau)  # [B, rx, 1, 1, tx_ant, 1, carrier]
  delays = np.fft.ifft2(response.numpy()[:, :, 0, 0, :, 0], norm='ortho').swapaxes(-1, -2)
  rows = delays[..., :config.num_delay_taps, :]
  expected = rows / np.sqrt(np.mean(np.abs(rows) ** 2, (-2, -1), keepdims=True))
  np.testing.assert_allclose(groups.csi, expected, atol=1e-3)
  assert groups.csi.shape == (num_groups, num_ues, 32, 8)
  assert groups.energy_kept.mean() > 0.7
