"""Which seed draws what: no two purposes share a random number.

A key of one purpose is used in one way only: it is split, or folded with a counter, or drawn from.
With JAX's keys `split(key, n)[i] == fold_in(key, i)`, so a key that is both split and folded hands
the same numbers out twice. A seed's own key is folded with streams and used for nothing else.
"""

import enum

import jax


class Stream(enum.IntEnum):
  """What a key is for. Values are folded into keys: append, never renumber."""

  SITE = 0  # of data.seed: the environment
  TEST_GROUPS = 1  # of data.seed: groups that no training ever sees
  PARAMETERS = 2  # of seed: initial weights
  TRAINING = 3  # of seed: groups, SNR and noise of every step
  FILE_ORDER = 4  # of seed: the order in which a file's groups are visited
  EVALUATION = 5  # of data.seed: noise on the test groups
  DATA_SET = 6  # of data.seed: groups that `rca generate` writes
  REFERENCE_FIT = 7  # of seed: groups that linear and sparse codes are fitted to
  FIGURE = 8  # of data.seed: noise on the test groups that a figure shows
  GENIE = 9  # of data.seed: positions, and environments in `fresh` mode, that the genie is asked at
  STATISTICS = 10  # of `rca csi_statistics --seed`: environments and positions
  TEST_PAIRS = 11  # of data.seed: pairs of UEs a given distance apart
  VALIDATION = 12  # of seed: SNR and noise on the validation groups
  SITE_MAP = 13  # of data.seed: the UEs that a site map is fitted from
  UPLINK_CSI = 14  # of data.seed: phases and noise of the uplink CSI of the test groups
  PROJECTIONS = 15  # of seed: what every UE sends under joint Bayes
  CLUSTERS = 16  # of data.seed: the UEs that clusters of a map begin at
  SITE_CHANGE = 17  # of data.seed: the site at another time
  MIXTURE = 18  # of seed: the UEs that clusters of the mixture KLT begin at
  ONLINE = 19  # of data.seed: regions, UEs and noise of a map that builds itself
  SAMPLE = 20  # of seed 0: the UEs that `rca sample` writes
  EXPORT = 21  # of data.seed: groups and noise on which an exported half is compared
  REFINER = 22  # of seed: cells, UEs, SNRs and noise that a refiner is trained on


def stream_key(seed: int, stream: Stream) -> jax.Array:
  """The key of one stream, of shape []; streams of one seed are independent."""
  return jax.random.fold_in(jax.random.key(seed), int(stream))
