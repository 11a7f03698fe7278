"""Cells for UEs whose places nobody knows: a report is of the cell that explains it best.

A place is what its profile is, so cells can be found from the reports themselves. A report that no
cell explains begins one; a cell of many reports is split in two, so cells become as small as the
reports allow.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.bayes import joint, online, random_code
from rca_jax.bayes.online import Codes, Statistics
from rca_jax.bayes.random_code import invert, outer, pack

# By measurement on reports of other UEs; twice or half of each is as good.
_SHARE = 0.5  # of the evidence that a cell's own reports have on average: a report's with less
# begins a new cell. Of a cell that knows less than so many reports, less is asked for.
_FEW = 4.0
_MANY = 64.0  # reports, by weight, of a cell that is split
_INHERITED = 16.0  # of them, by weight, go to the new cell too


@jax.jit
def evidence(
    codes: Codes, power: jax.Array, noise: float, received: jax.Array, which: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """How much better cells explain random reports than the prior does.

  Args:
    power: profiles [C, K].
    noise: N_0 of all reports.
    received: [n, S] complex64, finite.
    which: of the codes, [n] int.

  Returns:
    log p(y | c_v) - log p(y | prior) in nats, [n, C], and its mean over reports of the cell itself,
    [C]: the Kullback-Leibler divergence of the two.
  """
  num_symbols = received.shape[-1]
  powers = joint.parts(jnp.concatenate([codes.prior[None], power]).T, num_symbols)
  products = outer(received)

  def of_code(seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    packed = online.covariances(joint.parts(seen, num_symbols), powers)
    inverse, log_det = invert(packed, jnp.asarray(noise))
    inverse = pack(inverse).reshape(len(packed), -1)
    log_evidence = -log_det - products @ inverse.T
    total = (packed + noise * jnp.eye(num_symbols)).reshape(len(packed), -1)
    divergence = total @ inverse[0] - num_symbols + log_det[0] - log_det
    return log_evidence[:, 1:] - log_evidence[:, :1], divergence[1:]

  gain, divergence = jax.lax.map(of_code, codes.seen)
  return gain[which, jnp.arange(len(which))], divergence.mean(0)


def place(
    codes: Codes, power: jax.Array, weight: np.ndarray, noise: float, received: jax.Array,
    which: np.ndarray) -> np.ndarray:
  """The cells [n] of random reports that arrive one after the other.

  The first cells without weight are begun as long as there are any. Reports that are not sound
  begin none.

  Args:
    power: profiles [C, K].
    weight: of the reports that a cell knows, [C].
    received: [n, S] complex64.
    which: of the codes, [n] int.
  """
  sound = np.asarray(online.is_sound(received, noise))
  finite = jnp.isfinite(received).all(-1, keepdims=True)
  received, weight = jnp.where(finite, received, 0), weight.copy()
  gain, divergence = map(np.array, evidence(codes, power, noise, received, which))
  empty = list(np.flatnonzero(weight == 0))
  gain[:, empty] = -np.inf
  cells = np.zeros(len(which), int)
  for i, code in enumerate(which):
    best = gain[i].argmax()
    asked = _SHARE * divergence[best] * weight[best] / (weight[best] + _FEW)
    if sound[i] and empty and gain[i, best] <= asked:
      best = empty.pop(0)
      alone = _profile(codes.code(int(code)), received[i], noise)
      of_new, [divergence[best]] = evidence(codes, alone, noise, received, which)
      gain[:, best] = of_new[:, 0]
    cells[i] = best
    weight[best] += sound[i]
  return cells


@jax.jit
def _profile(code: random_code.RandomCode, received: jax.Array, noise: float) -> jax.Array:
  """The profile [1, K] of one report [S], as joint Bayes finds it."""
  return joint.profiles(code, received[None], jnp.full(1, noise), jnp.ones(1, bool))[0]


def split(
    statistics: Statistics, power: jax.Array, cells: np.ndarray
) -> tuple[Statistics, jax.Array, np.ndarray]:
  """Splits cells of many reports, as long as there are cells without weight.

  The new cell knows a part of what the old one does, which forgets half of it; the last report of
  the old one is the new one's. From then on each report goes to the half that explains it better.

  Args:
    statistics: of C cells, before the reports.
    power: profiles [C, K].
    cells: of the reports, [n].

  Returns:
    The same, after it.
  """
  weight, cells = np.asarray(statistics.weight).sum(-1), cells.copy()
  empty = np.setdiff1d(np.flatnonzero(weight == 0), cells)
  for new, old in zip(empty, np.flatnonzero(weight > _MANY), strict=False):
    members = np.flatnonzero(cells == old)
    if members.size:
      share = _INHERITED / weight[old]
      statistics = jax.tree.map(
          lambda leaf, new=new, old=old, share=share: leaf.at[new].set(share * leaf[old])
          .at[old].multiply(0.5), statistics)
      power = power.at[new].set(power[old])
      cells[members[-1]] = new
  return statistics, power, cells
