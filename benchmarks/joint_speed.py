"""How long joint Bayes takes for 1,000 groups: python -m benchmarks.joint_speed.

CR 1/16, reports that are received already, one noise for all. What the BS does with them.
"""

import os
import time

import jax
import numpy as np

from configs import rca_munet
from rca_jax.bayes import joint
from rca_jax.config import ExperimentConfig, codeword_dim, from_dict
from rca_jax.evaluation.references import joint_code

_NUM_GROUPS, _AT_ONCE = 1000, 250
_NUMS_UES = (1, 2, 8)


def main() -> None:
  config = from_dict(ExperimentConfig, rca_munet.get_config('light,cr=1/16').to_dict())
  code = joint_code(config)
  num_symbols = codeword_dim(config.model, config.csi) // 2
  print('| UEs | seconds | of processor time |')
  for num_ues in _NUMS_UES:
    parts = np.random.default_rng(0).normal(
        size=(2, _AT_ONCE, num_ues, num_symbols)).astype(np.float32)
    received, noise = jax.lax.complex(*parts), np.full((1, 1), 0.1, np.float32)
    jax.block_until_ready(joint.decode(code, received, noise))  # compiles
    start, start_cpu = time.perf_counter(), sum(os.times()[:2])
    for _ in range(_NUM_GROUPS // _AT_ONCE):
      jax.block_until_ready(joint.decode(code, received, noise))
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:2]) - start_cpu
    print(f'| {num_ues} | {seconds:.1f} | {cpu:.1f} |', flush=True)


if __name__ == '__main__':
  main()
