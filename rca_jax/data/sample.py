"""Two small files to try commands on: the same UEs as groups, and as QuaDRiGa writes them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.io

from rca_jax.channel import CsiGroups, paths, sample_positions, sample_site
from rca_jax.channel.groups import csi_at
from rca_jax.channel.response import Taps, taps
from rca_jax.channel.site import Site
from rca_jax.config import CsiConfig
from rca_jax.durable import writing
from rca_jax.keys import Stream, stream_key

_NUM_GROUPS, _NUM_UES = 50, 4


def write_samples(folder: Path, seed: int = 0) -> tuple[Path, Path]:
  """FOLDER/sample.npz and FOLDER/sample_quadriga.mat, of one site of the default `CsiConfig`.

  sample.npz: csi [50, 4, 32, 32] complex64, positions [50, 4, 3] m, los, energy_kept [50, 4].
  sample_quadriga.mat: the same 200 UEs, one a channel, as `qd_channel.mat_save` names its parts:
  coefficients [1, 32, path, 1] complex64 and delays [path, 1] in s.

  Raises:
    InputError: the folder cannot be written.
  """
  config = CsiConfig()
  site = sample_site(stream_key(seed, Stream.SITE), config)
  positions = sample_positions(stream_key(seed, Stream.SAMPLE), config, _NUM_GROUPS, _NUM_UES)
  groups, found = jax.tree.map(np.asarray, jax.jit(_measure)(site, positions))
  npz, mat = folder / 'sample.npz', folder / 'sample_quadriga.mat'
  with writing(folder, 'choose another --out'):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(npz, **groups._asdict())
    scipy.io.savemat(mat, _channels(positions, found, config))
  return npz, mat


def _measure(site: Site, positions: jax.Array) -> tuple[CsiGroups, Taps]:
  return csi_at(site, positions), taps(paths(site, positions), site.config)


def _channels(positions: jax.Array, found: Taps, config: CsiConfig) -> dict[str, Any]:
  delay_s, coefficient, place = (
      np.asarray(x).reshape(-1, *x.shape[2:]) for x in (*found, positions))
  variables: dict[str, Any] = {
      'ChannelDims': np.array([[len(place), 1]]),
      'Order': np.arange(1, len(place) + 1)[None]}
  for ue, where in enumerate(place):
    name = f'channel_{ue + 1:05d}_'
    variables |= {
        f'{name}Name': f'Tx01_Rx{ue + 1:04d}',
        f'{name}CenterFrequency': config.carrier_frequency_hz,
        f'{name}Coeffs': coefficient[ue].T[None, :, :, None],  # [rx, tx, path, snapshot]
        f'{name}Delays': delay_s[ue][:, None], f'{name}IndividualDelays': np.uint8(0),
        f'{name}rx_position': where[:, None],
        f'{name}tx_position': np.array([[0.0], [0.0], [config.bs_height_m]])}
  return variables
