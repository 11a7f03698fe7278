"""The demo's page: three figures and a table, from the runs' own files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rca_jax.channel import from_features, to_features
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.evaluation.run import load_params
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.report.levels import OURS, SINGLE_USER, Estimate, gain_db, level, values
from rca_jax.report.panels import Curve, Panel, draw
from rca_jax.report.tables import Table, cell, nmse_cell
from rca_jax.training.writer import read_metrics

_LINEAR, _SITE_MAP = 'PCA/KLT', 'site map (joint)'
_SHORTCUT = (
    'Both networks have `model.shortcut`, which the paper\'s have not: their layers add to a '
    'linear code.')
_STYLE = {
    OURS: ('o-', 'C3'), SINGLE_USER: ('s-', 'C0'), _LINEAR: ('^--', 'k'), _SITE_MAP: ('D-', 'C2')}


def linear_rows(config: ExperimentConfig, snrs_db: Sequence[float]) -> list[dict[str, Any]]:
  """Results rows of the best linear code of the network's length, and last noise-free (SNR None).

  It is fitted to groups of the training's own source and tested on the network's test groups.
  """
  linear = dataclasses.replace(config, method=_LINEAR)
  return reference_rows(
      linear, [Measurement(snr_db, config.num_ues) for snr_db in [*snrs_db, None]])


def site_map_rows(
    config: ExperimentConfig, site_map: Path, snrs_db: Sequence[float]) -> list[dict[str, Any]]:
  """Results rows of the code that knows its site by a map, on the network's test groups."""
  config = dataclasses.replace(config, method=_SITE_MAP, site_map=str(site_map))
  return reference_rows(config, [Measurement(snr_db, config.num_ues) for snr_db in snrs_db])


def csi_figure(config: ExperimentConfig, workdir: Path, snr_db: float) -> Figure:
  """CSI magnitude of two UEs of one test group, before and after feedback."""
  params, _ = load_params(workdir, config)
  csi = load_test_csi(config, config.num_ues, 64)
  snr = np.full(csi.shape[:2], snr_db, np.float32)
  key = stream_key(config.data.seed, Stream.FIGURE)
  features_hat = jax.jit(build_model(config).apply)({'params': params}, to_features(csi), snr, key)
  csi_hat = np.asarray(from_features(features_hat))
  error = (np.abs(csi_hat - csi) ** 2).sum((-1, -2)) / (np.abs(csi) ** 2).sum((-1, -2))
  group = np.argsort(error.mean(-1))[len(error) // 2]  # neither the best nor the worst
  figure = Figure(figsize=(7, 5.4), layout='constrained')
  axes = figure.subplots(2, 2, sharex=True, sharey=True)
  top_db = 20 * np.log10(np.abs(csi[group, :2]).max())
  for ue in range(2):
    for row, (image, title) in enumerate((
        (csi[group, ue], f'UE {ue + 1}, true'),
        (csi_hat[group, ue], f'UE {ue + 1}, recovered: {10 * np.log10(error[group, ue]):.1f} dB'))):
      shown = axes[row, ue].imshow(
          20 * np.log10(np.abs(image) + 1e-6), vmin=top_db - 40, vmax=top_db, aspect='auto')
      axes[row, ue].set_title(title, fontsize=10)
  for axis in axes[:, 0]:
    axis.set_ylabel('delay row')
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
  for axis in axes[1]:
    axis.set_xlabel('angle column')
  figure.colorbar(shown, ax=axes, label='magnitude (dB)')
  return figure


def learning_curves(workdirs: dict[str, Path], linear: dict[str, float]) -> Panel:
  """Training NMSE against steps, with the linear code's levels as lines."""
  curves = [
      Curve(method, {line['step']: Estimate(line['nmse_db']) for line in read_metrics(workdir)},
            '-', _STYLE[method][1])
      for method, workdir in workdirs.items()]
  steps = [step for curve in curves for step in curve.points]
  curves += [
      Curve(label, dict.fromkeys((min(steps), max(steps)), Estimate(nmse_db)), style, 'k')
      for (label, nmse_db), style in zip(linear.items(), ('--', '-.', ':'), strict=False)]
  return Panel(curves, 'training step', 'NMSE of the training batches (dB), lower is better')


def nmse_panel(rows: Sequence[dict[str, Any]]) -> Panel:
  """NMSE against SNR, a line a method, with 95 % intervals."""
  curves = [
      Curve(method, {
          row['snr_db']: level([row]).nmse_db for row in rows
          if row['method'] == method and row['snr_db'] is not None}, *_STYLE[method])
      for method in dict.fromkeys(row['method'] for row in rows)]
  return Panel(curves, 'uplink SNR (dB)', 'test NMSE (dB), lower is better')


def table(rows: Sequence[dict[str, Any]]) -> Table:
  """Test NMSE in dB, a row a method, a column an SNR, and the gain; '-' where not run."""
  snrs_db = [*values(rows, 'snr_db'), None]
  found = {
      method: [level([row for row in rows if (row['method'], row['snr_db']) == (method, snr_db)])
               for snr_db in snrs_db]
      for method in dict.fromkeys([OURS, SINGLE_USER, *(row['method'] for row in rows)])}
  gains = [cell(gain_db(*pair), sign='+')
           for pair in zip(found[OURS], found[SINGLE_USER], strict=True)]
  return Table(
      'Test NMSE in dB, lower is better; in brackets its 95 % interval over the test groups, of a '
      'gain that of the difference on the same groups.',
      ('method', *('noise-free' if snr is None else f'{snr:g} dB' for snr in snrs_db)),
      [*((method, *map(nmse_cell, levels)) for method, levels in found.items()),
       (f'gain of {OURS} over {SINGLE_USER}', *gains)])


def write_page(
    out: Path, config: ExperimentConfig, workdirs: dict[str, Path], rows: Sequence[dict[str, Any]],
) -> None:
  """OUT/report.md and its figures csi.png, learning.png and nmse.png."""
  k = codeword_dim(config.model, config.csi)
  stage, snr_db = config.training.pretrain, 10.0
  linear = {row['snr_db']: row['nmse_db'] for row in rows if row['method'] == _LINEAR}
  figures = {
      'csi': csi_figure(config, workdirs[OURS], snr_db),
      'learning': draw([learning_curves(workdirs, {
          f'{_LINEAR}, test, {snr:g} dB': linear[snr] for snr in linear if snr is not None})]),
      'nmse': draw([nmse_panel(rows)])}
  for name, figure in figures.items():
    figure.savefig(out / f'{name}.png', dpi=130)
  (out / 'report.md').write_text(f"""# Multi-user CSI feedback: what the neighbours are worth

{config.num_ues} UEs within {config.csi.max_ue_distance_m:g} m of each other report their downlink
CSI ({config.csi.num_delay_taps} delay rows x {config.csi.num_tx_antennas} antennas, scenario
`{config.csi.scenario}`) in {k // 2} noisy uplink symbols each. RCA-MUNet recovers all of them
together; BL1 is the same network with plain self-attention, so that every UE stands alone;
{_LINEAR} is the best linear code of the same length. {_SHORTCUT if config.model.shortcut else ''}
The site map is not trained: it knows from where power comes at every square of this cell, and each
report says its square (docs/site_map.md).
Both networks were trained for
{rows[0]['steps']} steps of {config.training.batch_size} groups, at uplink SNRs uniform in
[{stage.snr_db_min:g}, {stage.snr_db_max:g}] dB, and are tested on {rows[0]['num_samples']}
groups that neither has seen.

{table(rows).markdown()}
![NMSE against SNR](nmse.png)

![Learning curves](learning.png)

CSI magnitude of two UEs of one test group, before and after feedback at {snr_db:g} dB:

![CSI before and after feedback](csi.png)
""")
