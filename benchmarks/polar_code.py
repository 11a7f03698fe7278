"""Block errors of the short polar codes: the table in the docstring of rca_jax/bayes/polar.py.

python -m benchmarks.polar_code: one line a code, 600 random code words through AWGN each.
"""

import numpy as np

from rca_jax.bayes import polar

_NUM_WORDS = 600
_CODES = (  # symbols, SNR in dB, bits per symbol, K
    (24, 0, 2, 9), (24, 0, 2, 15), (56, 0, 2, 29), (56, 0, 2, 38),
    (24, 5, 2, 29), (24, 5, 2, 34), (56, 5, 2, 75), (56, 5, 4, 83),
    (24, 10, 4, 55), (24, 10, 4, 63), (56, 10, 4, 141), (56, 10, 4, 154),
    (24, 20, 6, 126), (24, 20, 8, 134), (56, 20, 8, 305), (56, 20, 8, 320))


def main() -> None:
  print('| symbols | SNR, dB | QAM | bits K | of capacity | block errors of 600 |')
  for num_symbols, snr_db, bits_per_symbol, num_bits in _CODES:
    errors = _block_errors(num_symbols, snr_db, bits_per_symbol, num_bits)
    share = num_bits / (num_symbols * np.log2(1 + 10 ** (snr_db / 10)))
    print(f'| {num_symbols} | {snr_db} | {2**bits_per_symbol} | {num_bits} | {share:.0%} | '
          f'{errors} |', flush=True)


def _block_errors(num_symbols: int, snr_db: float, bits_per_symbol: int, num_bits: int) -> int:
  rng = np.random.default_rng(0)
  code = polar.polar_code(num_bits, num_symbols, bits_per_symbol)
  bits = rng.integers(0, 2, (_NUM_WORDS, num_bits), np.uint8)
  symbols = polar.encode(code, bits)
  noise_variance = 10 ** (-snr_db / 10)
  noise = rng.standard_normal((2, *symbols.shape)) * np.sqrt(noise_variance / 2)
  found, _ = polar.decode(code, symbols + noise[0] + 1j * noise[1], noise_variance)
  return int((found[:, 0] != bits).any(1).sum())


if __name__ == '__main__':
  main()
