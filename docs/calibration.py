"""python docs/calibration.py: draws docs/calibration.png, the generator beside TR 38.901.

Prints how far they are apart. One UE in each of 20,000 environments of `CsiConfig()`.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from scipy.stats import ks_2samp, norm

from rca_jax.channel import statistics, uma
from rca_jax.channel.groups import sample_positions
from rca_jax.channel.site import large_scale_parameters, paths, sample_site
from rca_jax.config import CsiConfig
from rca_jax.keys import Stream, stream_key

_NUM_SITES, _SITES_AT_ONCE = 20_000, 200
_CONFIG = CsiConfig()
_TABLES = uma.state_tables(_CONFIG.carrier_frequency_hz)
_EDGES_M = np.linspace(40, 200, 17)
_PANELS = {  # label and limits of the axis
    'DS': ('delay spread, log10 of s', (-9, -5.2)),
    'ASD': ('azimuth spread of departure, log10 of degrees', (0.2, 2.2)),
    'ASA': ('azimuth spread of arrival, log10 of degrees', (0.6, 2.3)),
    'K': ('K-factor, dB', (-4, 20)), 'SF': ('shadow fading, dB', (-20, 20))}
_STATES = (('NLOS', 'C3'), ('LOS', 'C0'))


def draw(key: jax.Array) -> dict[str, np.ndarray]:
  """Of one UE in each environment: its distance in m, LOS state, and what `_PANELS` says."""

  def of_site(key: jax.Array) -> dict[str, jax.Array]:
    site_key, position_key = jax.random.split(key)
    site = sample_site(site_key, _CONFIG)
    positions = sample_positions(position_key, _CONFIG, 1, 1)[0]
    found = jax.tree.map(lambda leaf: leaf[0], paths(site, positions))
    log_ds, log_asd, log_asa = statistics.log_spreads(found)
    k = jnp.abs(found.los_gain) ** 2 / (jnp.abs(found.gain) ** 2).sum()
    return {
        'distance_m': jnp.linalg.norm(positions[0, :2]), 'los': found.los, 'DS': log_ds,
        'ASD': log_asd, 'ASA': log_asa, 'K': 10 * jnp.log10(k),
        'SF': large_scale_parameters(site, positions[0, :2])[1]['SF']}

  keys = jax.random.split(key, _NUM_SITES)
  found = jax.jit(lambda keys: jax.lax.map(of_site, keys, batch_size=_SITES_AT_ONCE))(keys)
  return {name: np.asarray(values) for name, values in found.items()}


def draw_as_written(rng: np.random.Generator, los: int, num: int) -> dict[str, np.ndarray]:
  """Steps 4 to 8 of clause 7.5 to the letter, in numpy: spreads as `draw` has them, [num]."""
  table = uma.StateTable(*(leaf[los] for leaf in _TABLES))
  shape = (num, int(table.active.sum()))
  normal = rng.normal(size=(num, len(uma.LSPS))) @ table.lsp_mixing.T
  lsp = dict(zip(uma.LSPS, (table.lsp_mean + table.lsp_std * normal).T[..., None], strict=True))
  ds_s, k_db = 10 ** lsp['DS'], lsp['K']
  delay_s = -table.delay_scaling * ds_s * np.log(rng.uniform(size=shape))
  delay_s = np.sort(delay_s - delay_s.min(1, keepdims=True), 1)
  power = np.exp(-delay_s * (table.delay_scaling - 1) / (table.delay_scaling * ds_s))
  power *= 10 ** (-rng.normal(size=shape) * table.shadowing_db / 10)
  power /= power.sum(1, keepdims=True)
  direct = np.zeros(shape)
  if los:
    k = 10 ** (k_db / 10)
    power, direct[:, :1] = power / (1 + k), k / (1 + k)
    delay_s = delay_s / uma.los_delay_scaling(k_db)
  relative = (power + direct) / (power + direct).max(1, keepdims=True)
  power *= relative > 10**-2.5
  weight = (power + direct) / (power + direct).sum(1, keepdims=True)
  mean_s = (weight * delay_s).sum(1, keepdims=True)
  found = {'DS': np.sqrt((weight * (delay_s - mean_s) ** 2).sum(1))}
  for name, cluster_deg in (('ASD', table.cluster_asd_deg), ('ASA', table.cluster_asa_deg)):
    spread_deg = np.minimum(10 ** lsp[name], 104)
    scaling = table.azimuth_scaling * (uma.los_azimuth_scaling(k_db) if los else 1)
    angle = 2 / 1.4 * spread_deg * np.sqrt(-np.log(np.maximum(relative, 1e-9))) / scaling
    angle = angle * rng.choice([-1, 1], shape) + rng.normal(size=shape) * spread_deg / 7
    angle = angle - los * angle[:, :1]
    rays = np.exp(1j * np.deg2rad(angle[..., None] + cluster_deg * uma.RAY_OFFSETS)).mean(-1)
    resultant = np.abs((power * rays + direct).sum(1)) / (power + direct).sum(1)
    found[name] = np.rad2deg(np.sqrt(-2 * np.log(np.minimum(resultant, 1 - 1e-7))))
  return {name: np.log10(np.maximum(values, 1e-12)) for name, values in found.items()}


def plot_parameter(
    axis: plt.Axes, name: str, found: dict[str, np.ndarray], written: list[dict]) -> None:
  for los, (state, color) in enumerate(_STATES):
    if name == 'K' and not los:
      continue
    values = found[name][found['los'] == los]
    mean, std = (table[los, uma.LSPS.index(name)] for table in (_TABLES.lsp_mean, _TABLES.lsp_std))
    _plot_cdf(axis, values, color=color)
    x = np.linspace(*_PANELS[name][1], 300)
    axis.plot(x, norm.cdf(x, mean, std), '--', color=color, linewidth=1)
    ordered = np.sort(values)
    apart = np.abs(norm.cdf(ordered, mean, std) - (np.arange(ordered.size) + 0.5) / ordered.size)
    line = f'| {state} {name} | {mean:.2f} | {np.median(values):.2f} | {apart.max():.2f} |'
    if name in written[los]:
      _plot_cdf(axis, written[los][name], color=color, linestyle=':')
      line += (f' {np.median(written[los][name]):.2f} |'
               f' {ks_2samp(values, written[los][name]).statistic:.2f} |')
    print(line)
  axis.set(xlabel=_PANELS[name][0], xlim=_PANELS[name][1], ylabel='CDF')


def _plot_cdf(axis: plt.Axes, values: np.ndarray, **style) -> None:
  share = np.linspace(0, 1, 500)
  axis.plot(np.quantile(values, share), share, **style)


def plot_los(axis: plt.Axes, found: dict[str, np.ndarray]) -> None:
  bins, middle = np.digitize(found['distance_m'], _EDGES_M) - 1, (_EDGES_M[:-1] + _EDGES_M[1:]) / 2
  share, count = np.array([
      (los.mean(), los.size) for b in range(middle.size) for los in [found['los'][bins == b]]]).T
  axis.errorbar(
      middle, share, 1.96 * np.sqrt(share * (1 - share) / count), fmt='ko', markersize=3)
  height_m = _CONFIG.ue_height_m
  axis.plot(_EDGES_M, uma.los_probability(_EDGES_M, height_m), 'k--', linewidth=1)
  axis.set(xlabel='distance on the ground, m', ylabel='LOS probability', ylim=(0, 1))
  formula = float(uma.los_probability(found['distance_m'], height_m).mean())
  print(f'LOS: {found["los"].mean():.3f} drawn, {formula:.3f} by table 7.4.2-1')


def main() -> None:
  found = draw(stream_key(0, Stream.STATISTICS))
  rng = np.random.default_rng(0)
  written = [draw_as_written(rng, los, _NUM_SITES) for los in range(2)]
  figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout='constrained')
  print('| | median: table | drawn | CDFs apart | as written | CDFs apart |')
  for axis, name in zip(axes.flat, _PANELS, strict=False):
    plot_parameter(axis, name, found, written)
  plot_los(axes[1, 2], found)
  lines = {'-': 'generator', '--': 'tables of TR 38.901', ':': 'its clause 7.5 to the letter'}
  figure.legend(handles=[
      *(Line2D([], [], color=color, label=state) for state, color in _STATES),
      *(Line2D([], [], color='k', linestyle=line, label=label) for line, label in lines.items()),
  ], ncols=5, loc='outside upper center')
  for axis in axes.flat:
    axis.grid(alpha=0.3)
  figure.savefig(Path(__file__).with_suffix('.png'), dpi=110)


if __name__ == '__main__':
  main()
