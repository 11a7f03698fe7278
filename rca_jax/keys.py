"""Which seed draws what: one stream of random numbers a purpose, none shared."""

import enum

import jax


class Stream(enum.IntEnum):
  """What a key is for. Values are folded into keys: append, never renumber."""

  SITE = 0  # of data.seed: the environment
  TEST_GROUPS = 1  # of data.seed: groups that no training ever sees
  PARAMETERS = 2  # of seed: initial weights
  TRAINING = 3  # of seed: groups, SNR and noise of every step
  FILE_ORDER = 4  # of seed: the order in which a file's groups are visited (numpy draws it)
  EVALUATION = 5  # of data.seed: noise on the test groups
  DATA_SET = 6  # of data.seed: groups that launch.generate writes
  VALIDATION = 7  # of seed: SNR and noise on the validation groups


def stream_key(seed: int, stream: Stream) -> jax.Array:
  """The key of one stream; streams of one seed are independent."""
  return jax.random.fold_in(jax.random.key(seed), int(stream))
