"""The demo's page: three figures and a table, from the runs' own files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from rca_jax.channel import from_features, to_features
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.run import Measurement, load_params
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.training.writer import read_metrics

matplotlib.use('Agg')

_LINEAR = 'PCA/KLT'
_SHORTCUT = (
    'Both networks have `model.shortcut`, which the paper\'s have not: their layers add to a '
    'linear code.')
_STYLE = {'RCA-MUNet': 'C3o-', 'BL1': 'C0s-', _LINEAR: 'k^--'}


def linear_rows(config: ExperimentConfig, snrs_db: Sequence[float]) -> list[dict[str, Any]]:
  """Results rows of the best linear code of the network's length, and last noise-free (SNR None).

  It is fitted to groups of the training's own source and tested on the network's test groups.
  """
  linear = dataclasses.replace(config, method=_LINEAR)
  return reference_rows(
      linear, [Measurement(snr_db, config.num_ues) for snr_db in [*snrs_db, None]])


def csi_figure(config: ExperimentConfig, workdir: Path, snr_db: float) -> plt.Figure:
  """CSI magnitude of two UEs of one test group, before and after feedback."""
  params, _ = load_params(workdir, config)
  csi = load_test_csi(config, config.num_ues, 64)
  snr = np.full(csi.shape[:2], snr_db, np.float32)
  key = jax.random.fold_in(stream_key(config.data.seed, Stream.EVALUATION), 0)  # as `evaluate`
  features_hat = jax.jit(build_model(config).apply)({'params': params}, to_features(csi), snr, key)
  csi_hat = np.asarray(from_features(features_hat))
  error = (np.abs(csi_hat - csi) ** 2).sum((-1, -2)) / (np.abs(csi) ** 2).sum((-1, -2))
  group = np.argsort(error.mean(-1))[len(error) // 2]  # neither the best nor the worst
  fig, axes = plt.subplots(2, 2, figsize=(7, 5.4), layout='constrained', sharex=True, sharey=True)
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
  for axis in axes[1]:
    axis.set_xlabel('angle column')
  fig.colorbar(shown, ax=axes, label='magnitude (dB)')
  return fig


def learning_curves(workdirs: dict[str, Path], linear: dict[str, float]) -> plt.Figure:
  """Training NMSE against steps, with the linear code's levels as lines."""
  fig, axis = plt.subplots(figsize=(6, 4), layout='constrained')
  for method, workdir in workdirs.items():
    lines = read_metrics(workdir)
    axis.plot([line['step'] for line in lines], [line['nmse_db'] for line in lines],
              _STYLE[method][:2], ls='-', marker='', label=method)
  for (label, level), line in zip(linear.items(), ('--', '-.', ':'), strict=False):
    axis.axhline(level, color='k', ls=line, lw=1, label=label)
  axis.set(xlabel='training step', ylabel='NMSE of the training batches (dB)')
  axis.grid(alpha=0.3)
  axis.legend()
  return fig


def nmse_figure(rows: Sequence[dict[str, Any]]) -> plt.Figure:
  """NMSE against SNR, a line a method, with 95 % intervals."""
  fig, axis = plt.subplots(figsize=(6, 4), layout='constrained')
  for method in dict.fromkeys(row['method'] for row in rows):
    points = sorted((r for r in rows if r['method'] == method and r['snr_db'] is not None),
                    key=lambda row: row['snr_db'])
    level = np.array([row['nmse_db'] for row in points])
    interval = np.array([row['nmse_ci95_db'] for row in points])
    axis.errorbar([row['snr_db'] for row in points], level, fmt=_STYLE[method], capsize=3,
                  yerr=np.abs(interval - level[:, None]).T, label=method)
  axis.set(xlabel='uplink SNR (dB)', ylabel='test NMSE (dB)')
  axis.grid(alpha=0.3)
  axis.legend()
  return fig


def table(rows: Sequence[dict[str, Any]]) -> str:
  """Markdown: test NMSE in dB, a row a method, a column an SNR; '-' where not run."""
  snrs_db = sorted({row['snr_db'] for row in rows if row['snr_db'] is not None})
  cells = {(row['method'], row['snr_db']): row for row in rows}

  def cell(method: str, snr_db: float | None) -> str:
    row = cells.get((method, snr_db))
    if row is None:
      return '-'
    low, high = row['nmse_ci95_db']
    return f'{row["nmse_db"]:.2f} ({low:.2f} .. {high:.2f})'

  columns = [*snrs_db, None]
  lines = ['| method | ' + ' | '.join(
      'noise-free' if snr is None else f'{snr:g} dB' for snr in columns) + ' |',
           '|---' * (len(columns) + 1) + '|']
  for method in dict.fromkeys(row['method'] for row in rows):
    lines.append(f'| {method} | ' + ' | '.join(cell(method, snr) for snr in columns) + ' |')
  return '\n'.join(lines) + '\n'


def write_page(
    out: Path, config: ExperimentConfig, workdirs: dict[str, Path], rows: Sequence[dict[str, Any]],
) -> None:
  """OUT/report.md and its figures csi.png, learning.png and nmse.png."""
  k = codeword_dim(config.model, config.csi)
  stage, snr_db = config.training.pretrain, 10.0
  levels = {row['snr_db']: row['nmse_db'] for row in rows if row['method'] == _LINEAR}
  figures = {
      'csi': csi_figure(config, workdirs['RCA-MUNet'], snr_db),
      'learning': learning_curves(workdirs, {
          f'{_LINEAR}, test, {snr:g} dB': levels[snr] for snr in levels if snr is not None}),
      'nmse': nmse_figure(rows)}
  for name, figure in figures.items():
    figure.savefig(out / f'{name}.png', dpi=130)
    plt.close(figure)
  (out / 'report.md').write_text(f"""# Multi-user CSI feedback: what the neighbours are worth

{config.num_ues} UEs within {config.csi.max_ue_distance_m:g} m of each other report their downlink
CSI ({config.csi.num_delay_taps} delay rows x {config.csi.num_tx_antennas} antennas, scenario
`{config.csi.scenario}`) in {k // 2} noisy uplink symbols each. RCA-MUNet recovers all of them
together; BL1 is the same network with plain self-attention, so that every UE stands alone;
{_LINEAR} is the best linear code of the same length. {_SHORTCUT if config.model.shortcut else ''}
Both networks were trained for
{rows[0]['steps']} steps of {config.training.batch_size} groups, at uplink SNRs uniform in
[{stage.snr_db_min:g}, {stage.snr_db_max:g}] dB, and are tested on {rows[0]['num_samples']}
groups that neither has seen.

Test NMSE in dB, 95 % intervals in brackets:

{table(rows)}
![NMSE against SNR](nmse.png)

![Learning curves](learning.png)

CSI magnitude of two UEs of one test group, before and after feedback at {snr_db:g} dB:

![CSI before and after feedback](csi.png)
""")
