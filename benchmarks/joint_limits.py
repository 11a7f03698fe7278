"""What neighbours can tell at all: reports decoded with profiles that are found from clean CSI.

  python -m benchmarks.joint_limits [GROUPS]

Groups of 8 UEs as in `light`, a new environment each, CR 1/16. The report of the first UE is
decoded with the profile that `bayes.em.fit` finds in the CSI of that UE, of one neighbour, of
seven, of all; joint Bayes has to find it in noisy reports. Prints NMSE in dB, 95 % intervals.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from configs import rca_munet
from rca_jax.bayes import em, joint
from rca_jax.bayes.grid import Grid, make_grid
from rca_jax.bayes.random_code import RandomCode, encode, random_projections, seen_atoms
from rca_jax.config import ExperimentConfig, codeword_dim, from_dict
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.metrics import bootstrap_ci95, to_db
from rca_jax.keys import Stream, stream_key
from rca_jax.uplink.djscc import awgn

_NUM_GROUPS, _NUM_UES, _NUM_ATOMS, _NOISE = 200, 8, 300, 0.03
_SNRS_DB = (0.0, 10.0, 20.0)
_FROM = {
    'its own': [0], 'one neighbour': [1], 'seven neighbours': range(1, 8), 'all eight': range(8)}


def main() -> None:
  config = from_dict(ExperimentConfig, rca_munet.get_config('light,cr=1/16').to_dict())
  num_groups = int(sys.argv[1]) if len(sys.argv) > 1 else _NUM_GROUPS
  csi = load_test_csi(config, _NUM_UES, num_groups)
  grid = make_grid(config.csi)
  projections = random_projections(
      stream_key(config.seed, Stream.PROJECTIONS), codeword_dim(config.model, config.csi) // 2,
      config.csi)
  code = RandomCode(projections, grid, seen_atoms(projections, grid), jnp.zeros(0))
  sent = encode(code, csi[:, 0])
  key = stream_key(config.data.seed, Stream.EVALUATION)
  print('| profile from the CSI of | ' + ' | '.join(f'{snr_db:g} dB' for snr_db in _SNRS_DB) + ' |')
  print('|---' * (1 + len(_SNRS_DB)) + '|')
  for name, ues in _FROM.items():
    weights = np.zeros((1, _NUM_UES), np.float32)
    weights[0, list(ues)] = 1 / len(ues)
    powers = [_profile(grid, csi[group:group + 1], weights) for group in range(num_groups)]
    errors = []
    for number, snr_db in enumerate(_SNRS_DB):
      received = awgn(jax.random.fold_in(key, number), sent, snr_db)
      hats = np.stack([
          _estimate(code, power, one, np.float32(10 ** (-snr_db / 10)))
          for power, one in zip(powers, received, strict=True)])
      errors.append((np.abs(hats - csi[:, 0]) ** 2).mean((1, 2)))
    print(f'| {name} | ' + ' | '.join(map(_cell, errors)) + ' |', flush=True)


@jax.jit
def _profile(grid: Grid, csi: jax.Array, weights: jax.Array) -> jax.Array:
  """c of every atom of the grid, [K], from CSI [1, M, N_a, N_t]."""
  found = em.fit(grid, csi, weights, jnp.float32(_NOISE), _NUM_ATOMS)
  return jnp.zeros(grid.shape[0] * grid.shape[1]).at[found.index[0]].set(found.power[0])


@jax.jit
def _estimate(
    code: RandomCode, power: jax.Array, received: jax.Array, noise: jax.Array) -> jax.Array:
  return joint.estimate(code, power[None], received[None], noise[None])[0][0]


def _cell(errors: np.ndarray) -> str:
  low, high = bootstrap_ci95(errors, 0, in_db=True)
  return f'{to_db(errors.mean()):.2f} [{low:.2f}, {high:.2f}]'


if __name__ == '__main__':
  main()
