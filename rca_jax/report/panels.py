"""Curves to figures: plain data in, a matplotlib figure out; no display, no global state."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rca_jax.report.levels import Estimate

_MAX_TICKS = 12
_MAX_INSIDE, _MAX_LABEL = 4, 36  # lines and letters of a legend that stands inside the axes


class Curve(NamedTuple):
  """Estimates by their place on the x axis: numbers, or names of the panel's `names`."""

  label: str
  points: dict[Any, Estimate]
  style: str  # of matplotlib, e.g. 'o--'
  color: str


class Panel(NamedTuple):
  """One pair of axes."""

  curves: Sequence[Curve]
  xlabel: str
  ylabel: str
  title: str = ''
  names: dict[Any, str] = {}  # noqa: RUF012  an x axis of names, in this order: what to write
  log: bool = False
  zero: bool = False  # whether 0 is marked
  limits: tuple[float, float] | None = None  # of y


def draw(panels: Sequence[Panel]) -> Figure:
  """The panels side by side; those with one y axis share it."""
  widths = [max(4.8, 0.55 * len(panel.names)) for panel in panels]
  legend_lines = max(len(panel.curves) for panel in panels)
  height = 4.4 + (0.15 * legend_lines if legend_lines > _MAX_INSIDE else 0)
  shared = len({panel.ylabel for panel in panels}) == 1
  figure = Figure(figsize=(sum(widths), height), layout='constrained')
  all_axes = figure.subplots(
      1, len(panels), squeeze=False, sharey=shared,
      width_ratios=widths)
  for axis, panel in zip(all_axes[0], panels, strict=True):
    _draw_panel(axis, panel)
    axis.tick_params(labelleft=True)  # each can stand alone
  return figure


def _draw_panel(axis: Axes, panel: Panel) -> None:
  names = [*panel.names]
  for i, curve in enumerate(panel.curves):
    aside = 0.03 * (i - (len(panel.curves) - 1) / 2)  # of names: points must not hide each other
    points = sorted(((names.index(x) + aside) if names else x, point)
                    for x, point in curve.points.items())
    bars = np.transpose([_error_bar(point) for _, point in points])
    axis.errorbar(
        [x for x, _ in points], [point.value for _, point in points],
        yerr=None if np.isnan(bars).all() else bars,
        fmt=curve.style, color=curve.color, capsize=2, ms=4, lw=1.3, elinewidth=0.8,
        markerfacecolor='white' if 's' in curve.style else curve.color, label=curve.label)
  if panel.log:
    axis.set_xscale('log')
  measured = sorted({x for curve in panel.curves for x in curve.points}) if not names else []
  if names:
    is_long = max(map(len, panel.names.values())) > 8
    axis.set_xticks(
        range(len(names)), [*panel.names.values()], rotation=30 if is_long else 0,
        ha='right' if is_long else 'center')
  elif len(measured) <= _MAX_TICKS:
    axis.set_xticks(measured, [_tick(x) for x in measured])
    axis.minorticks_off()
  if panel.zero:
    axis.axhline(0, color='k', lw=0.8)
  axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
  if panel.limits:
    axis.set_ylim(*panel.limits)
  axis.set_title(panel.title, fontsize=10)
  axis.grid(alpha=0.3)
  is_below = len(panel.curves) > _MAX_INSIDE or any(
      len(curve.label) > _MAX_LABEL for curve in panel.curves)
  axis.legend(
      fontsize=8, handlelength=3.5, loc='upper center' if is_below else 'best',
      bbox_to_anchor=(0.5, -0.15) if is_below else None)


def _error_bar(point: Estimate) -> tuple[float, float]:
  if not point.interval:
    return np.nan, np.nan  # no bar
  low, high = point.interval
  return abs(point.value - low), abs(high - point.value)


def _tick(x: float) -> str:
  return f'{x:,}' if isinstance(x, int) else f'{x:g}'
