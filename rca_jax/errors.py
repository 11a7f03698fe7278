"""The one exception that means "the input is wrong", told in one line."""


class InputError(ValueError):
  """An input its owner can correct: says what was wrong, expected and to do.

  Launchers print the message alone and exit with status 2.
  """
