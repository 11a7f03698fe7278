"""What feedback does to single UEs: CSI before and after it."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from rca_jax.channel import from_features, to_features
from rca_jax.config import ExperimentConfig
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.run import load_params
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model

_NUM_GROUPS = 64
_RANGE_DB = 40.0
SCALE = "magnitude (dB below the UE's strongest entry)"


def csi_figure(config: ExperimentConfig, workdir: Path, snr_db: float) -> Figure:
  """CSI magnitude of a typical and of the worst UE of 64 test groups, before and after feedback.

  Raises:
    InputError: the run has no checkpoint, or its test groups are not there.
  """
  params, _ = load_params(workdir, config)
  csi = load_test_csi(config, config.num_ues, _NUM_GROUPS)
  snr = np.full(csi.shape[:2], snr_db, np.float32)
  key = stream_key(config.data.seed, Stream.FIGURE)
  features_hat = jax.jit(build_model(config).apply)({'params': params}, to_features(csi), snr, key)
  csi_hat = np.asarray(from_features(features_hat))
  csi, csi_hat = (x.reshape(-1, *x.shape[2:]) for x in (csi, csi_hat))
  energy = (np.abs(csi) ** 2).sum((-1, -2))
  csi, csi_hat, energy = csi[energy > 0], csi_hat[energy > 0], energy[energy > 0]
  error = (np.abs(csi_hat - csi) ** 2).sum((-1, -2)) / energy
  order = np.argsort(error)
  figure = Figure(figsize=(7, 5.4), layout='constrained')
  axes = figure.subplots(2, 2, sharex=True, sharey=True)
  figure.colorbar(draw_before_and_after(axes, [
      (name, csi[ue], csi_hat[ue], error[ue]) for name, ue in (
          ('typical UE', order[len(order) // 2]), ('worst UE', order[-1]))]), ax=axes, label=SCALE)
  return figure


def draw_before_and_after(
    axes: np.ndarray, ues: Sequence[tuple[str, np.ndarray, np.ndarray, float]]) -> AxesImage:
  """UEs, one a column of axes [2, n]: name, CSI, csi_hat and linear NMSE; for a bar of `SCALE`."""
  for (above, below), (name, csi, csi_hat, nmse) in zip(axes.T, ues, strict=True):
    top_db = 20 * np.log10(np.abs(csi).max())
    for axis, image, title in (
        (above, csi, f'{name}\ntrue'),
        (below, csi_hat, f'recovered: {10 * np.log10(nmse):.1f} dB')):
      shown = axis.imshow(
          20 * np.log10(np.abs(image) + 1e-6) - top_db, vmin=-_RANGE_DB, vmax=0, aspect='auto')
      axis.set_title(title, fontsize=9)
  for axis in axes[:, 0]:
    axis.set_ylabel('delay row')
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
  for axis in axes[1]:
    axis.set_xlabel('angle column')
  return shown
