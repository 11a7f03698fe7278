"""python docs/etype2.py: draws docs/etype2.png from what `benchmarks.etype2` printed."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

ROOT = Path(__file__).parents[1]
_PANELS = {
    'SGCS': 2, 'RZF sum rate of the group, bit/s/Hz': 5, 'of UEs of different groups, bit/s/Hz': 6}
_STYLES = {
    'eType II, coded': ('k', '-'), 'eType II, capacity': ('k', ':'), 'PCA/KLT': ('C7', '-'),
    'joint Bayes': ('C1', '--'), 'joint Bayes (learned)': ('C1', '-'),
    'RCA-MUNet, light': ('C3', '-'), 'described profile (folded)': ('C4', '-'),
    'site map (folded joint)': ('C2', '-')}
_FILES = {'etype2_cr16.md': 'a new environment for each group', 'etype2_cr16_map.md': 'one site'}


def read(path: Path) -> dict[str, dict[float, list[str]]]:
  """Cells of each report's lines, by SNR; eType II under one name, whichever codebook it was."""
  found = {}
  for line in path.read_text().splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if len(cells) > 7 and cells[0].isdigit():
      name = cells[1]
      if name.startswith('eType II'):
        name = 'eType II, ' + name.split(', ')[1]
      found.setdefault(name, {})[float(cells[0])] = cells
  return found


def main() -> None:
  figure, axes = plt.subplots(
      len(_FILES), len(_PANELS), figsize=(12, 8), sharey='col', layout='constrained')
  for row, (file, place) in zip(axes, _FILES.items(), strict=True):
    found = read(ROOT / 'benchmarks/results' / file)
    for axis, (label, cell) in zip(row, _PANELS.items(), strict=True):
      for name, by_snr in found.items():
        values = [[float(x) for x in cells[cell].split(' +- ')] for cells in by_snr.values()]
        color, line = _STYLES[name]
        axis.errorbar(
            list(by_snr), *zip(*values, strict=True), color=color, linestyle=line, capsize=2)
      axis.set(xticks=list(found['PCA/KLT']), title=label)
      axis.grid(alpha=0.3)
    row[0].set_ylabel(place)
  for axis in axes[-1]:
    axis.set_xlabel('uplink SNR, dB')
  figure.legend(handles=[
      Line2D([], [], color=color, linestyle=line, label=name)
      for name, (color, line) in _STYLES.items()], ncols=4, loc='outside lower center')
  figure.savefig(ROOT / 'docs/etype2.png', dpi=110)


if __name__ == '__main__':
  main()
