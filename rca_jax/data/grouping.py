"""Groups of nearby UEs out of single ones, and splits that no pair of nearby UEs crosses."""

import hashlib

import numpy as np
import scipy.spatial

_TILE_SIDE = 10  # of a square tile, in maximal distances: the guard takes a fifth of its area


def group_by_position(
    positions: np.ndarray, num_ues: int, max_distance_m: float) -> np.ndarray:
  """Greedy nearest neighbours: each UE in turn gathers the nearest ones that are still free.

  Args:
    positions: [N, 3] m.

  Returns:
    [G, num_ues] int64, indices of UEs at most `max_distance_m` from each other; a UE is in one
    group at most. The same positions give the same groups.
  """
  tree = scipy.spatial.cKDTree(positions)
  free = np.ones(len(positions), bool)
  groups = []
  for first in range(len(positions)):
    if not free[first]:
      continue
    near = np.sort(tree.query_ball_point(positions[first], max_distance_m))
    near = near[free[near] & (near != first)]
    order = np.argsort(np.linalg.norm(positions[near] - positions[first], axis=-1), kind='stable')
    members = _mutually_near(positions, first, near[order], num_ues, max_distance_m)
    if len(members) == num_ues:
      free[members] = False
      groups.append(members)
  return np.array(groups, np.int64).reshape(-1, num_ues)


def _mutually_near(
    positions: np.ndarray, first: int, near: np.ndarray, num_ues: int, max_distance_m: float,
) -> list[int]:
  members = [first]
  for candidate in near:
    if len(members) == num_ues:
      break
    distances = np.linalg.norm(positions[members] - positions[candidate], axis=-1)
    if distances.max() <= max_distance_m:
      members.append(int(candidate))
  return members


def split_by_region(
    positions: np.ndarray, shares: dict[str, float], max_distance_m: float) -> np.ndarray:
  """A split's name for every position, '' for those in the guard between regions.

  Square tiles of the ground go to the splits by a hash of where they are. What is nearer than
  half the distance to a tile's edge is left out, so UEs of two tiles are farther apart than
  `max_distance_m`. Each position alone decides: chunks can be split one by one.

  Args:
    positions: [..., 3] m.
    shares: of the ground per split, 1 in total; with few tiles the true ones differ.

  Returns:
    [...] str.
  """
  side = _TILE_SIDE * max_distance_m
  tiles, inverse = np.unique(
      np.floor(positions[..., :2] / side).reshape(-1, 2), axis=0, return_inverse=True)
  bounds = np.cumsum(list(shares.values()))[:-1]
  names = np.array(['', *shares])
  draws = np.array([_uniform(tile) for tile in tiles])
  label = 1 + np.searchsorted(bounds, draws, side='right')[inverse].reshape(positions.shape[:-1])
  offset = np.mod(positions[..., :2], side)
  guard = (np.minimum(offset, side - offset) <= max_distance_m / 2).any(-1)
  return names[np.where(guard, 0, label)]


def _uniform(tile: np.ndarray) -> float:
  digest = hashlib.sha256(f'{int(tile[0])} {int(tile[1])}'.encode()).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64
