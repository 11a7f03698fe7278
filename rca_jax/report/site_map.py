"""A site map drawn over the ground."""

import numpy as np
from matplotlib.figure import Figure

from rca_jax.bayes.grid import delays_and_angles
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig


def figure(site_map: SiteMap, config: CsiConfig) -> Figure:
  """Angle of the strongest atom, RMS delay spread and LOS of every square, seen from above.

  Where a square has an entry for LOS and one for NLOS, that of more UEs is drawn.
  """
  shown = _most_seen(site_map)
  profile = site_map.profile(shown)
  strongest = np.asarray(profile.power).argmax(1)
  delay_s, sine = delays_and_angles(np.asarray(profile.index), config)
  angle, delay_ns = np.degrees(np.arcsin(sine[np.arange(len(sine)), strongest])), 1e9 * delay_s
  share = np.asarray(profile.power) / np.asarray(profile.power).sum(1, keepdims=True)
  mean = (share * delay_ns).sum(1, keepdims=True)
  spread_ns = np.sqrt((share * (delay_ns - mean) ** 2).sum(1))

  drawing = Figure(figsize=(13, 4), layout='constrained')
  panels = (
      (angle, 'angle of the strongest atom (degrees)', 'twilight', (-90, 90)),
      (spread_ns, 'RMS delay spread (ns)', 'viridis', (0, np.percentile(spread_ns, 98))),
      (site_map.los[shown], 'LOS (light) and NLOS (dark)', 'cividis', (0, 1)))
  for axes, (values, title, colours, limits) in zip(
      drawing.subplots(1, 3, sharex=True, sharey=True), panels, strict=True):
    image, extent = _over_ground(site_map.place[shown], values)
    drawn = axes.imshow(
        image.T, origin='lower', extent=extent, cmap=colours, vmin=limits[0], vmax=limits[1],
        interpolation='nearest')
    axes.set(title=title, xlabel='x (m)')
    axes.plot(0, 0, 'r^', markersize=6)
    if title.startswith('LOS'):
      continue
    drawing.colorbar(drawn, ax=axes, shrink=0.8)
  drawing.axes[0].set_ylabel('y (m); the BS is the triangle')
  return drawing


def _most_seen(site_map: SiteMap) -> np.ndarray:
  """One entry a place: that of most UEs; what has no place is left out."""
  order = np.argsort(-site_map.num_samples.astype(int), kind='stable')
  order = order[np.isfinite(site_map.place[order, 0])]
  _, first = np.unique(site_map.place[order], axis=0, return_index=True)
  return order[first]


def _over_ground(place: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
  """Values of squares as an image [X, Y], NaN where there is none, and its extent in m."""
  lines = [np.unique(place[:, axis]) for axis in (0, 1)]
  side = min(np.diff(line).min(initial=np.inf) for line in lines)
  low, high = place.min(0) - side / 2, place.max(0) + side / 2
  image = np.full(np.rint((high - low) / side).astype(int), np.nan)
  image[tuple(((place - low) // side).astype(int).T)] = values
  return image, (low[0], high[0], low[1], high[1])
