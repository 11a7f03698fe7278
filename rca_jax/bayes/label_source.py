"""Where the label comes from: what the BS expects before the report, and how long a label must be.

Where neighbours count, error rates leave out the labels that stray from where they are expected. A
label that the BS chooses in the uplink (`SiteCode.uplink_labels`) is not in the report: no source.

A source has `expected`, the log prior of the labels that UE and BS share; `posterior`, which adds
what the BS received; and `error_rate` of labels of so many symbols. Label lengths are chosen by it.
"""

import numpy as np
import scipy.special

from rca_jax.bayes import label
from rca_jax.bayes.mixture_klt import MixtureKlt
from rca_jax.bayes.site_map import SiteMap
from rca_jax.bayes.squares import STRAY, Squares, circle, disc

WALKING_SPEED_M_S = 1.0


class Paid:
  """The report alone says the label."""

  def __init__(self, site_map: SiteMap | MixtureKlt):
    share = site_map.num_samples / site_map.num_samples.sum(dtype=np.float64)
    self._log_prior = np.log(share)
    self._num_labels = float(np.exp(-(share * self._log_prior).sum()))

  def expected(self, last: np.ndarray | None) -> np.ndarray:
    """Log prior [V] of all UEs, or [n, V] of each, given their last labels [n]."""
    del last
    return self._log_prior

  def posterior(self, log_likelihood: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """Probabilities [M, V] of one group's labels, given log p(received | label) [M, V]."""
    return scipy.special.softmax(log_likelihood + self.expected(last), -1)

  def error_rate(self, num_symbols: np.ndarray, noise: float, num_ues: int) -> np.ndarray:
    """Probability of a wrong label, for label lengths of any shape."""
    del num_ues
    return label.error_rate(self._num_labels, num_symbols, noise)


class Joint(Paid):
  """The labels of a group's UEs are decoded together: their places lie in one disc.

  Given the disc's centre the labels are independent, so their posterior is exact for any number of
  UEs: every UE tells the centre, and the centre tells every UE what the others know. Centres are
  squares of the map; where in its square a centre is, and which state (LOS or NLOS) its UEs are
  in, is drawn for each UE by itself.
  """

  def __init__(self, site_map: SiteMap, diameter_m: float):
    super().__init__(site_map)
    self._squares = Squares(site_map)
    points = disc(diameter_m)
    self._offsets = self._squares.offsets(points)
    # From one UE to another: the difference of two places in the disc.
    apart = (points[::7, None] - points[None, ::7]).reshape(-1, 2)
    self._num_near = self._squares.num_labels(self._squares.offsets(apart))

  def posterior(self, log_likelihood: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """As `Paid.posterior`; what one UE's label says of the others' counts too."""
    if len(log_likelihood) == 1:
      return super().posterior(log_likelihood, last)
    likelihood = np.exp(log_likelihood - log_likelihood.max(-1, keepdims=True))
    told = np.log(self._squares.to_centres(likelihood, self._offsets))
    others = told.sum(0) - told
    others = np.exp(others - others.max((1, 2), keepdims=True))
    found = likelihood * self._squares.from_centres(others, self._offsets)
    return found / found.sum(-1, keepdims=True)

  def error_rate(self, num_symbols: np.ndarray, noise: float, num_ues: int) -> np.ndarray:
    """As `Paid.error_rate`: the labels are one of V K^(M-1) words, each one of K near the others'.

    A label that is not near the others' is one of V, and must be told by its own word.
    """
    if num_ues == 1:
      return super().error_rate(num_symbols, noise, num_ues)
    together = label.error_rate(
        self._num_labels * self._num_near ** (num_ues - 1), num_ues * num_symbols, noise)
    near = label.error_rate(self._num_near, num_symbols, noise)
    stray = STRAY * super().error_rate(num_symbols, noise, num_ues)
    return np.minimum(1, together + near + stray)


class Tracked(Paid):
  """UE and BS know the label of the UE's last report; since then it walked, in any direction."""

  def __init__(self, site_map: SiteMap, period_s: float):
    super().__init__(site_map)
    self._squares = Squares(site_map)
    self._offsets = self._squares.offsets(circle(period_s * WALKING_SPEED_M_S))
    self._num_near = self._squares.num_labels(self._offsets)

  def error_rate(self, num_symbols: np.ndarray, noise: float, num_ues: int) -> np.ndarray:
    """As `Paid.error_rate`, of the labels within a walk."""
    near = label.error_rate(self._num_near, num_symbols, noise)
    return np.minimum(1, near + STRAY * super().error_rate(num_symbols, noise, num_ues))

  def expected(self, last: np.ndarray | None) -> np.ndarray:
    """As `Paid.expected`: labels a walk away, and a few anywhere."""
    assert last is not None
    return np.log(self._squares.from_square_of(last, self._offsets))
