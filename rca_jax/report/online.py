"""A map that builds itself: NMSE against the reports that arrived."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rca_jax.report.levels import Estimate
from rca_jax.report.panels import Curve, Panel, draw

_STYLES = (('o-', 'C3'), ('o:', 'C1'), ('s--', 'C7'), ('^:', 'C0'))
_POINTS_PER_OCTAVE = 2


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
  """The `panels` side by side."""
  return draw(panels(rows))


def panels(rows: Sequence[dict[str, Any]]) -> list[Panel]:
  """NMSE of every method from the first report on, and from the change of the site on.

  Blocks are joined to half octaves of the reports. Rows as of
  `evaluation.online.online_rows`.
  """
  methods = list(dict.fromkeys(row['method'] for row in rows))
  found = []
  for changed, since in ((False, 'since the first one'), (True, 'since the site has changed')):
    curves = [
        Curve(method, _points([
            row for row in rows if row['method'] == method and row['changed'] == changed]), *style)
        for method, style in zip(methods, _STYLES, strict=True)]
    found.append(Panel(
        curves, f'reports per square metre, {since}', 'NMSE (dB)',
        f'SNR {rows[0]["snr_db"]:g} dB, CR {rows[0]["compression_ratio"]}', log=True))
  return found


def _points(rows: Sequence[dict[str, Any]]) -> dict[float, Estimate]:
  """The rows of half an octave together, at their geometric middle."""
  octave = np.array([
      round(_POINTS_PER_OCTAVE * np.log2(row['reports_per_m2'])) for row in rows])
  found = {}
  for one in np.unique(octave):
    here = [row for row, other in zip(rows, octave, strict=True) if other == one]
    density = np.exp(np.mean([np.log(row['reports_per_m2']) for row in here]))
    nmse = np.mean([row['nmse'] for row in here])
    found[round(float(density), 1)] = Estimate(float(10 * np.log10(nmse)))
  return found
