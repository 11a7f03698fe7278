"""Block errors of the short polar codes: the table in the docstring of rca_jax/bayes/polar.py.

python -m benchmarks.polar_code: one line a code, 600 random code words through AWGN each.
"""

import numpy as np

from rca_jax.bayes import polar
from rca_jax.bayes.code_words import word_errors

_NUM_WORDS = 600
_CODES = (  # symbols, SNR in dB, bits per symbol, K
    (24, 0, 2, 9), (24, 0, 2, 15), (56, 0, 2, 29), (56, 0, 2, 38),
    (24, 5, 2, 29), (24, 5, 2, 34), (56, 5, 2, 75), (56, 5, 4, 83),
    (24, 10, 4, 55), (24, 10, 4, 63), (56, 10, 4, 141), (56, 10, 4, 154),
    (24, 20, 6, 126), (24, 20, 8, 134), (56, 20, 8, 305), (56, 20, 8, 320))


def main() -> None:
  print('| symbols | SNR, dB | QAM | bits K | of capacity | block errors of 600 |')
  for num_symbols, snr_db, bits_per_symbol, num_bits in _CODES:
    code = polar.polar_code(num_bits, num_symbols, bits_per_symbol)
    errors = word_errors(code, 10 ** (-snr_db / 10), _NUM_WORDS)
    share = num_bits / (num_symbols * np.log2(1 + 10 ** (snr_db / 10)))
    print(f'| {num_symbols} | {snr_db} | {2**bits_per_symbol} | {num_bits} | {share:.0%} | '
          f'{errors} |', flush=True)


if __name__ == '__main__':
  main()
