"""One view of many trainings: which cell runs, its stage, and the time left for all of them."""

from collections.abc import Sequence

from rca_jax.terminal import Bar
from rca_jax.training.progress import Progress


class MatrixProgress:
  """A `Bar` over the groups that all cells train on, [(cell, groups)] as given."""

  def __init__(self, cells: Sequence[tuple[str, int]]):
    self._groups = dict(cells)
    self._names = [name for name, _ in cells]
    self._total = sum(self._groups.values())
    self._done = self._cell_left = 0
    self._bar = Bar('', self._total, 'groups', rate=False)

  def __enter__(self) -> 'MatrixProgress':
    self._bar.start()
    return self

  def __exit__(self, *_) -> None:
    self._bar.stop()

  def start(self, cell: str, skipped: bool) -> None:
    """The next cell begins; a skipped one has all its rows."""
    self._leave_out(self._cell_left)  # of the cell before: trained by an earlier process
    self._cell_left = self._groups[cell]
    if skipped:
      self._leave_out(self._cell_left)
    name = f'cell {self._names.index(cell) + 1}/{len(self._names)} {cell}'
    doing = 'preparing' if self._groups[cell] else 'fitting and measuring'  # of a reference
    self._bar.update(what=name, doing='done' if skipped else doing)
    self._bar.say(self._bar.line())

  def stage(
      self, stage: str, start: int, num_steps: int, groups_per_step: int,
      about: str) -> '_CellProgress':
    """Takes the place of `training.progress.Progress` for one stage of the cell."""
    del about
    self._leave_out(start * groups_per_step)
    self._bar.update(doing=f'{stage}: compiling')
    return _CellProgress(self, stage, start, num_steps, groups_per_step)

  def advance(self, groups: int, doing: str) -> None:
    """So many groups were trained on since the last call."""
    self._cell_left = max(0, self._cell_left - groups)
    self._done += groups
    self._bar.update(self._done, doing=doing)

  def _leave_out(self, groups: int) -> None:
    """So many groups of the cell were trained on before: neither work nor speed."""
    groups = min(groups, self._cell_left)
    self._cell_left -= groups
    self._total -= groups
    self._bar.update(total=self._total)


class _CellProgress(Progress):
  """`Progress` of one stage, shown by the matrix."""

  def __init__(
      self, matrix: MatrixProgress, stage: str, start: int, num_steps: int, groups_per_step: int):
    self._matrix, self._stage, self._done = matrix, stage, start
    self._num_steps, self._groups_per_step = num_steps, groups_per_step

  def update(
      self, step: int, nmse_db: float, learning_rate: float, val_nmse_db: float | None) -> None:
    del learning_rate, val_nmse_db
    self._matrix.advance(
        (step - self._done) * self._groups_per_step,
        f'{self._stage} {step}/{self._num_steps}  NMSE {nmse_db:6.2f} dB')
    self._done = step

  def close(self) -> None:
    self._matrix.advance(0, f'{self._stage}: measuring')
