"""The generator beside a reference simulator: one table, one figure."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from rca_jax.channel import statistics, uma
from rca_jax.channel.groups import csi_at, sample_positions
from rca_jax.channel.site import paths, sample_site
from rca_jax.config import CsiConfig
from rca_jax.keys import Stream, stream_key

QUADRIGA = Path(__file__).with_name('quadriga_uma.json')  # what `rca csi_statistics` compares with


def measure(
    seed: int, config: CsiConfig, num_sites: int, num_groups: int,
    progress: Callable[[int], None]) -> dict:
  """Statistics of `num_sites` environments with `num_groups` groups of 4 UEs each.

  The layout is that of `QUADRIGA`; `los_probability` is the TR's formula at the same
  positions. `progress` is called after every environment with their number.
  """
  @jax.jit
  def one_site(key):
    site_key, position_key = jax.random.split(key)
    site = sample_site(site_key, config)
    positions = sample_positions(position_key, config, num_groups, 4)
    distance_m = jnp.linalg.norm(positions[..., :2], axis=-1)
    return (csi_at(site, positions), statistics.log_spreads(paths(site, positions)),
            uma.los_probability(distance_m, config.ue_height_m))

  parts = []
  keys = jax.random.split(stream_key(seed, Stream.STATISTICS), num_sites)
  for index in range(num_sites):
    parts.append(jax.tree.map(np.asarray, one_site(keys[index])))
    progress(index + 1)
  groups, (log_ds, log_asd, _), probability = jax.tree.map(
      lambda *leaves: np.concatenate(leaves), *parts)
  found = {
      'source': f'rca_jax, correlation={config.correlation}',
      'distance_edges_m': list(statistics.DISTANCE_EDGES_M),
      'compaction_sizes': list(statistics.COMPACTION_SIZES),
      'energy_kept': float(groups.energy_kept.mean()),
      'los_fraction': float(groups.los.mean()),
      'los_probability': float(probability.mean()),
  }
  for name, state in (('los', True), ('nlos', False)):
    members = groups.los == state
    if not members.any():
      continue
    correlation = statistics.magnitude_correlation(groups, state)
    found[name] = {
        'magnitude_correlation': correlation.mean.tolist(),
        'num_pairs': correlation.num_pairs.tolist(),
        'compaction_db': statistics.compaction_db(groups, state).tolist(),
        'energy_kept': float(groups.energy_kept[members].mean()),
        'log10_ds_s': [float(log_ds[members].mean()), float(log_ds[members].std())],
        'log10_asd_deg': [float(log_asd[members].mean()), float(log_asd[members].std())],
    }
  return found


def _lsp_table(config: CsiConfig, state: str) -> dict[str, list[float]]:
  tables = uma.state_tables(config.carrier_frequency_hz)
  index = ('nlos', 'los').index(state)
  return {name: [float(tables.lsp_mean[index, uma.LSPS.index(lsp)]),
                 float(tables.lsp_std[index, uma.LSPS.index(lsp)])]
          for name, lsp in (('log10_ds_s', 'DS'), ('log10_asd_deg', 'ASD'))}


def markdown_table(ours: dict, reference: dict, config: CsiConfig) -> str:
  """Ours, the reference and their difference, a row each."""
  rows = [('power kept in the delay rows', ours['energy_kept'], reference['energy_kept'])]
  rows.append(('LOS fraction (beside the formula of TR 38.901)', ours['los_fraction'],
               ours['los_probability']))
  for state in ('los', 'nlos'):
    if state not in ours:
      continue
    mine, theirs = ours[state], reference[state]
    edges = ours['distance_edges_m']
    rows += [
        (f'{state.upper()} magnitude correlation, {low:g} to {high:g} m', a, b)
        for low, high, a, b in zip(edges[:-1], edges[1:], mine['magnitude_correlation'],
                                   theirs['magnitude_correlation'], strict=True)]
    rows += [
        (f'{state.upper()} NMSE of the {k} largest entries, dB', a, b)
        for k, a, b in zip(ours['compaction_sizes'], mine['compaction_db'],
                           theirs['compaction_db'], strict=True)]
    rows.append((f'{state.upper()} power kept', mine['energy_kept'], theirs['energy_kept']))
    tables = _lsp_table(config, state)
    for name, label in (('log10_ds_s', 'log10 DS'), ('log10_asd_deg', 'log10 ASD')):
      for index, moment in enumerate(('mean', 'std')):
        rows.append((f'{state.upper()} {label} {moment} (beside table 7.5-6)', mine[name][index],
                     tables[name][index]))
  lines = ['| figure | rca_jax | reference | difference |', '|---|---|---|---|']
  lines += [f'| {name} | {a:.3f} | {b:.3f} | {a - b:+.3f} |' for name, a, b in rows]
  return '\n'.join(lines) + '\n'


def figure(ours: list[dict], reference: dict) -> Figure:
  """Magnitude correlation against distance, and energy compaction, per propagation state."""
  fig = Figure(figsize=(10, 3.8), layout='constrained')
  left, right = fig.subplots(1, 2)
  edges = np.array(reference['distance_edges_m'])
  middle = (edges[:-1] + edges[1:]) / 2
  for state, colour, line in (('los', 'C0', 'k-'), ('nlos', 'C3', 'k--')):
    label = state.upper()
    left.plot(middle, reference[state]['magnitude_correlation'], line,
              label=f'{label}, QuaDRiGa')
    right.plot(reference['compaction_sizes'], reference[state]['compaction_db'],
               line, label=f'{label}, QuaDRiGa')
    for found, marker in zip(ours, 'os^', strict=False):
      correlation = found['source'].removeprefix('rca_jax, correlation=')
      left.plot(middle, found[state]['magnitude_correlation'], marker, color=colour,
                mfc=colour if marker == 'o' else 'none', label=f'{label}, {correlation}')
    right.plot(ours[0]['compaction_sizes'], ours[0][state]['compaction_db'], 'o', color=colour,
               label=f'{label}, rca_jax')
  left.set(xlabel='distance between two UEs (m)', ylabel='correlation of CSI magnitudes',
           ylim=(0, 1), xlim=(0, 10))
  right.set(xlabel='entries kept of 1024', ylabel='NMSE (dB)', xscale='log',
            xticks=reference['compaction_sizes'],
            xticklabels=[str(k) for k in reference['compaction_sizes']])
  right.minorticks_off()
  left.legend(fontsize=7, ncol=2)
  right.legend(fontsize=8)
  for axis in (left, right):
    axis.grid(alpha=0.3)
  return fig
