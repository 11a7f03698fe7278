"""UEs of a file before and after feedback, beside how many have which error."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rca_jax.evaluation.feedback import Example
from rca_jax.report.csi import SCALE, draw_before_and_after


def figure(examples: Sequence[Example], nmse: np.ndarray, title: str) -> Figure:
  """Magnitudes of the examples, true above recovered, and the distribution of the NMSE of all UEs.

  Args:
    nmse: linear, of any shape; NaN is left out.
  """
  drawing = Figure(figsize=(3.4 + 2.1 * len(examples), 5.2), layout='constrained')
  drawing.suptitle(title, fontsize=11)
  left, right = drawing.subfigures(
      1, 2, squeeze=False, width_ratios=(3.4, 2.1 * len(examples)))[0]
  axes = left.subplots()
  values_db = np.sort(10 * np.log10(nmse[np.isfinite(nmse)]))
  axes.plot(values_db, np.arange(1, len(values_db) + 1) / len(values_db), 'C0')
  axes.axvline(10 * np.log10(np.nanmean(nmse)), color='k', lw=0.8, ls='--')
  axes.set(xlabel='NMSE of a UE (dB); dashed: the mean', ylabel='share of the UEs', ylim=(0, 1))
  axes.grid(alpha=0.3)
  rows = right.subplots(2, len(examples), sharex=True, sharey=True, squeeze=False)
  shown = draw_before_and_after(rows, [
      (example.name, example.csi, example.csi_hat, example.nmse) for example in examples])
  right.colorbar(shown, ax=rows, label=SCALE)
  return drawing
