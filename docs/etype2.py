"""python docs/etype2.py: draws docs/etype2.png from what `benchmarks.etype2` printed."""

from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
_PANELS = {
    'SGCS': 2, 'RZF sum rate of the group, bit/s/Hz': 5, 'of UEs of different groups, bit/s/Hz': 6}
_STYLES = {
    'eType II, coded': 'k-', 'eType II, capacity': 'k:', 'PCA/KLT': 'C7-', 'joint Bayes': 'C1--',
    'joint Bayes (learned)': 'C1-', 'RCA-MUNet, light': 'C3-', 'described profile (folded)': 'C4-'}


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
  found = read(ROOT / 'benchmarks/results/etype2_cr16.md')
  figure, axes = plt.subplots(1, len(_PANELS), figsize=(12, 4.5), layout='constrained')
  for axis, (label, cell) in zip(axes, _PANELS.items(), strict=True):
    for name, style in _STYLES.items():
      values = [[float(x) for x in cells[cell].split(' +- ')] for cells in found[name].values()]
      axis.errorbar(
          list(found[name]), *zip(*values, strict=True), fmt=style, capsize=2, label=name)
    axis.set(xlabel='uplink SNR, dB', xticks=list(found[name]), title=label)
    axis.grid(alpha=0.3)
  figure.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc='outside lower center')
  figure.savefig(ROOT / 'docs/etype2.png', dpi=110)


if __name__ == '__main__':
  main()
