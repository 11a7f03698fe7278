"""Latency and throughput of exported halves in onnxruntime, beside the same in JAX, on one core.

  rca export --weights=rca_munet_cr16 --format=onnx --out=halves
  taskset -c 0 python -m benchmarks.halves_speed

Calls take turns. Prints a Markdown table: single reports, then groups of 4 UEs.
"""

import jax
import numpy as np
import onnxruntime

import rca_jax
from benchmarks.timing import durations_s
from rca_jax.evaluation.halves import halves

_WEIGHTS, _FOLDER, _NUM_UES = 'rca_munet_cr16', 'halves', 4
_CALLS = {1: 300, 64: 10}  # by how many reports or groups at once


def main() -> None:
  config, _, params, *_ = rca_jax.load_pretrained(_WEIGHTS)
  options, rng = onnxruntime.SessionOptions(), np.random.default_rng(0)
  options.intra_op_num_threads = 1
  print('| half | at once | JAX p50 | p99 | onnxruntime p50 | p99 | JAX | onnxruntime |')
  print('|:--|--:|--:|--:|--:|--:|--:|--:|')
  for name, half in halves(config, params).items():
    session = onnxruntime.InferenceSession(
        f'{_FOLDER}/{_WEIGHTS}_{name}.onnx', options, providers=['CPUExecutionProvider'])
    compiled = jax.jit(half.function)
    for size, num_calls in _CALLS.items():
      lengths = {'batch': size, 'ue': _NUM_UES}
      inputs = {}
      for port in half.inputs:
        shape = [lengths.get(length, length) for length in port.shape]
        inputs[port.name] = (
            np.ones(shape, bool) if port.dtype == 'bool'
            else rng.normal(size=shape).astype(np.float32))
      durations = durations_s([
          lambda i, f=compiled, x=inputs: np.asarray(f(*x.values())),
          lambda i, f=session, x=inputs: f.run(None, x)], num_calls)
      quantiles = np.quantile(durations, (0.5, 0.99), axis=1).T.ravel()
      print(f'| {name} | {size} | '
            + ' | '.join(f'{1e3 * seconds:.2f} ms' for seconds in quantiles) + ' | '
            + ' | '.join(f'{size / seconds:,.0f}/s' for seconds in quantiles[::2]) + ' |',
            flush=True)


if __name__ == '__main__':
  main()
