"""Runs both halves of a network in onnxruntime; needs numpy and onnxruntime, no JAX, no rca_jax.

  rca export --weights=rca_munet_cr16 --format=onnx --out=halves
  python examples/onnx_halves.py halves/rca_munet_cr16

Four UEs a wavelength or so apart measure the response H [antenna, subcarrier] of a few paths. Each
sends its symbols over a noisy uplink, the third report is lost, and the BS recovers all together.
"""

import json
import sys

import numpy as np
import onnxruntime

NUM_UES, NUM_SUBCARRIERS, SNR_DB, LOST = 4, 1024, 10.0, 2


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict]:
  """One half, and the card beside it: what goes in and out."""
  with open(f'{path}.json') as file:
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']), json.load(file)


def responses(rng: np.random.Generator, num_antennas: int) -> np.ndarray:
  """[ue, antenna, subcarrier]: paths of one place, whose phases are every UE's own."""
  delay = np.sort(rng.exponential(2.0, 6))  # in delay rows, 1 / bandwidth each
  sine = np.clip(0.3 + rng.normal(0, 0.1, 6), -1, 1)
  gain = np.exp(-delay / 4) * np.exp(2j * np.pi * rng.uniform(size=(NUM_UES, 6)))
  antenna, carrier = np.arange(num_antennas), np.arange(NUM_SUBCARRIERS)
  return np.einsum(
      'ul,ln,lk->unk', gain, np.exp(1j * np.pi * np.outer(sine, antenna)),
      np.exp(-2j * np.pi * np.outer(delay, carrier) / NUM_SUBCARRIERS))


def to_csi(response: np.ndarray, num_rows: int) -> np.ndarray:
  """Delays x angles [ue, row, column]: inverse DFTs, the first rows, mean |h|^2 = 1."""
  csi = np.fft.ifft2(response.swapaxes(-1, -2), norm='ortho')[:, :num_rows]
  return csi / np.sqrt(np.mean(np.abs(csi) ** 2, (-2, -1), keepdims=True))


def to_parts(values: np.ndarray) -> np.ndarray:
  return np.stack([values.real, values.imag], -1).astype(np.float32)


def main() -> None:
  name, rng = sys.argv[1], np.random.default_rng(0)
  ue, ue_card = load(f'{name}_ue.onnx')
  bs, bs_card = load(f'{name}_bs.onnx')
  _, num_rows, num_antennas, _ = ue_card['inputs'][0]['shape']
  csi = to_csi(responses(rng, num_antennas), num_rows)

  [symbols] = ue.run(None, {'csi': to_parts(csi)})  # [ue, symbol, 2]: every UE by itself
  noise = rng.normal(size=symbols.shape) * np.sqrt(10 ** (-SNR_DB / 10) / 2)
  received = (symbols + noise).astype(np.float32)
  active = np.arange(NUM_UES) != LOST
  [parts] = bs.run(None, {'received': received[None], 'active': active[None]})  # one group
  csi_hat = parts[0, ..., 0] + 1j * parts[0, ..., 1]

  error = np.sum(np.abs(csi - csi_hat) ** 2, (1, 2)) / np.sum(np.abs(csi) ** 2, (1, 2))
  print(f'{bs_card["method"]}, {symbols.shape[1]} symbols a report, {SNR_DB:g} dB')
  for number, (nmse, heard) in enumerate(zip(error, active, strict=True)):
    print(f'UE {number}: NMSE {10 * np.log10(nmse):6.2f} dB{"" if heard else "  (report lost)"}')


if __name__ == '__main__':
  main()
