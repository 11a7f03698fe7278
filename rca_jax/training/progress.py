"""What a person sees of one training."""

from rca_jax.terminal import Bar


class Progress:
  """Progress of one stage: step, NMSE, learning rate, groups a second, time left."""

  def __init__(self, stage: str, start: int, num_steps: int, groups_per_step: int, about: str = ''):
    """`about` is one line on what the stage trains on."""
    self._start, self._num_steps, self._groups_per_step = start, num_steps, groups_per_step
    self._val = ''
    self._bar = Bar(
        stage, (num_steps - start) * groups_per_step, 'groups',
        doing='compiling, usually under a minute, and the first steps')
    self._bar.say(f'{stage}: {f"goes on at step {start}" if start else "starts"}, '
                  f'{num_steps:,} steps of {groups_per_step} groups{about and f"; {about}"}')
    self._bar.start()

  def update(
      self, step: int, nmse_db: float, learning_rate: float, val_nmse_db: float | None) -> None:
    """Shows the state after `step` steps; `val_nmse_db` stands until the next one.

    Raises:
      BrokenPipeError: nobody reads the lines any more.
    """
    if val_nmse_db is not None:
      self._val = f'  val {val_nmse_db:6.2f} dB'
    nmse = f'NMSE {nmse_db:6.2f} dB{self._val}'
    self._bar.update(
        (step - self._start) * self._groups_per_step,
        doing=f'step {step}/{self._num_steps}  {nmse}  lr {learning_rate:.2e}')
    if step == self._num_steps:
      self._bar.say(self._bar.line())

  def close(self) -> None:
    """Ends the bar."""
    self._bar.stop()
