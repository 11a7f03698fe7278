"""What ends a command on purpose: each is one line for the person who reads it."""


class Stopped(Exception):
  """A signal ended the work, after it was saved: says how it goes on.

  Launchers print the message alone and exit with status 128 + `signum`.
  """

  def __init__(self, message: str, signum: int):
    super().__init__(message)
    self.signum = signum


class InputError(ValueError):
  """An input its owner can correct: says what was wrong, expected and to do.

  Launchers print the message alone and exit with status 2.
  """
