"""The squares of a map as a regular grid over the ground: which labels are near which.

A UE's label is that of its own square or, because its CSI fits a square nearby better, of another
one. All probabilities here are of offsets between squares, so sums over labels are convolutions.
"""

import math

import numpy as np
import scipy.ndimage
import scipy.signal
import scipy.sparse

from rca_jax.bayes.site_map import SiteMap
from rca_jax.errors import InputError

# How far the label that fits best is from the UE's own square: in it, or uniform over so many
# squares by so many around it. Of 400 UEs of `uma` on squares of 0.85 m 62 % had the label of their
# own square, 34 % one that touches it, none one 8 or more away; of 500 UEs of `uma_los` on squares
# of 0.7 m 28 %, 42 % and 8 %. Between the two.
_CHOICE = {1: 0.4, 3: 0.42, 5: 0.11, 9: 0.05, 15: 0.02}
STRAY = 0.05  # probability that a label is from anywhere: with less, joint loses to paid at 20 dB


class Squares:
  """Where the labels of a map are on the grid of squares [X, Y].

  Raises:
    InputError: the map's places are no squares of one size.
  """

  def __init__(self, site_map: SiteMap):
    placed = np.isfinite(site_map.place[:, 0])
    if not placed.any():
      raise InputError(
          "labels of nearby UEs need a map of places; this one has none: measure the method "
          "'site map'.")
    place = site_map.place[placed].astype(np.float64)
    self.side_m = _side(place)
    steps = (place - place.min(0)) / self.side_m
    column = np.rint(steps).astype(int)
    self.shape = tuple(column.max(0) + 1)
    if np.abs(steps - column).max() > 0.01 or math.prod(self.shape) > 1000 * len(place):
      raise InputError(
          'labels of nearby UEs need a map of squares of one size; its cells are none: measure '
          "the method 'site map'.")
    samples = site_map.num_samples.astype(np.float64)
    self.anywhere = samples / samples.sum()  # [V]
    # What has no place is far from everything.
    self._column = np.full(site_map.place.shape, -(10**6))
    self._column[placed] = column
    square = np.ravel_multi_index(tuple(column.T), self.shape)
    count = np.bincount(square, samples[placed], math.prod(self.shape))
    self._share = np.zeros(len(samples))  # of its square's UEs
    self._share[placed] = samples[placed] / count[square]
    self._labels_of = scipy.sparse.csr_array(
        (self._share[placed], (square, np.flatnonzero(placed))), (count.size, len(samples)))
    self._wholes: dict[bytes, np.ndarray] = {}
    self._is_there = (count > 0).reshape(self.shape).astype(np.float64)

  def offsets(self, points_m: np.ndarray) -> np.ndarray:
    """Probabilities [2r+1, 2r+1] of the label's offset from the square of a reference point.

    The UE is `points_m` [n, 2] away from it, all equally likely; the point is uniform within its
    square.
    """
    points = points_m / self.side_m
    reach = int(np.ceil(np.abs(points).max())) + max(_CHOICE) // 2
    line = np.arange(-reach, reach + 1)
    # A point that is uniform in [0, 1), moved by d, ends in [k, k + 1) with this probability.
    along = np.maximum(0, 1 - np.abs(points[..., None] - line))
    own = np.einsum('nx,ny->xy', along[:, 0], along[:, 1]) / len(points)
    spread = sum(
        share * scipy.ndimage.uniform_filter(own, size, mode='constant')
        for size, share in _CHOICE.items())
    return np.maximum(spread, 0)  # running sums leave -1e-22 where there is nothing

  def num_labels(self, offsets: np.ndarray) -> float:
    """How many labels at these `offsets` [2r+1, 2r+1] there are, exp of the entropy."""
    within = -(self.anywhere * np.log(np.where(self._share > 0, self._share, 1))).sum()
    return float(np.exp(_entropy(offsets) + within))

  def from_square_of(self, labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """p(v | square of label): [...] int -> [..., V]."""
    reach = offsets.shape[0] // 2
    padded = np.pad(offsets, 1)
    index = np.clip(self._column - self._column[labels][..., None, :] + reach + 1, 0, 2 * reach + 2)
    near = padded[index[..., 0], index[..., 1]] * self._share
    near = near / np.maximum(near.sum(-1, keepdims=True), 1e-12)
    return (1 - STRAY) * near + STRAY * self.anywhere

  def to_centres(self, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """sum_v p(v | centre) weights[v]: [M, V] -> [M, X, Y], centres in every square."""
    squares = (self._labels_of @ weights.T).T.reshape(-1, *self.shape)
    stray = (weights @ self.anywhere)[:, None, None]
    return (1 - STRAY) * _convolve(squares, offsets) / self._whole(offsets) + STRAY * stray

  def from_centres(self, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """sum_centre p(v | centre) weights[centre]: [M, X, Y] -> [M, V]."""
    squares = _convolve(weights / self._whole(offsets), offsets).reshape(len(weights), -1)
    stray = weights.sum((1, 2))[:, None] * self.anywhere
    return (1 - STRAY) * (self._labels_of.T @ squares.T).T + STRAY * stray

  def _whole(self, offsets: np.ndarray) -> np.ndarray:
    """Probability that the label of a group with that centre is on the map, [X, Y]."""
    name = offsets.tobytes()
    if name not in self._wholes:
      self._wholes[name] = np.maximum(_convolve(self._is_there[None], offsets)[0], 1e-3)
    return self._wholes[name]


def disc(diameter_m: float) -> np.ndarray:
  """Points [n, 2] m, evenly over a disc."""
  radius, turn = np.meshgrid((np.arange(48) + 0.5) / 48, np.arange(96) / 96, indexing='ij')
  return _polar(np.sqrt(radius) * diameter_m / 2, turn)


def circle(radius_m: float) -> np.ndarray:
  """Points [n, 2] m, evenly on a circle."""
  return _polar(np.full(96, radius_m), np.arange(96) / 96)


def _polar(radius_m: np.ndarray, turn: np.ndarray) -> np.ndarray:
  angle = 2 * np.pi * turn
  return np.stack([radius_m * np.cos(angle), radius_m * np.sin(angle)], -1).reshape(-1, 2)


def _side(place: np.ndarray) -> float:
  """The least distance of two places along an axis."""
  steps = np.concatenate([np.diff(np.unique(line)) for line in place.T])
  steps = steps[steps > 1e-3]
  return float(steps.min()) if steps.size else 1.0


def _entropy(probability: np.ndarray) -> float:
  positive = probability[probability > 0]
  return float(-(positive * np.log(positive)).sum())


def _convolve(squares: np.ndarray, offsets: np.ndarray) -> np.ndarray:
  """[M, X, Y] with symmetric [2r+1, 2r+1], from outside nothing: [M, X, Y]."""
  # Not mode 'same': the kernel may be larger than the map.
  reach = offsets.shape[0] // 2
  full = scipy.signal.fftconvolve(squares, offsets[None], axes=(1, 2))
  inner = full[:, reach:reach + squares.shape[1], reach:reach + squares.shape[2]]
  return np.maximum(inner, 0)
