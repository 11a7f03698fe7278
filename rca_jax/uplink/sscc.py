"""Separate source-channel coding: report bits through 5G NR LDPC, QAM and AWGN, by Sionna.

Sionna runs on PyTorch and is an extra (`pip install 'rca_jax[sscc]'`); nothing else needs it.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.errors import InputError

NUM_ITERATIONS = 20  # of belief propagation, flooding


def num_symbols(num_bits: int, code_rate: float, qam_order: int) -> int:
  """The overhead b q / (r log2 a) of a report of b q bits, in complex symbols.

  Args:
    code_rate: r; a decimal such as 0.333 stands for the fraction nearest to it.
    qam_order: a, constellation points: 4, 16, 64 or 256.

  Raises:
    InputError: it is no whole number, or 5G NR has no such code or constellation.
  """
  if qam_order not in (4, 16, 64, 256):
    raise InputError(f'qam_order={qam_order} is no 5G constellation; choose 4, 16, 64 or 256.')
  # 5G NR's LDPC codes have from 12 bits on and mother codes of rate 1/5 to 948/1024.
  if num_bits < 12 or not 0.2 <= code_rate <= 948 / 1024:
    raise InputError(
        f'{num_bits} bits at code_rate={code_rate:g}: 5G NR codes have at least 12 bits and rates '
        'from 0.2 to 0.925.')
  rate = Fraction(code_rate).limit_denominator(64)
  symbols = num_bits / rate / int(np.log2(qam_order))
  if symbols.denominator != 1:
    raise InputError(
        f'{num_bits} bits at rate {rate} on {qam_order}-QAM are {symbols} symbols; choose bits, '
        'rate and constellation that fill whole symbols.')
  return int(symbols)


def transmit(
    keys: jax.Array, bits: np.ndarray, code_rate: float, qam_order: int,
    snr_db: float) -> np.ndarray:
  """Reports as the BS decodes them, with their bit errors; there is no retransmission.

  Args:
    keys: [n], of the noise, one for every report.
    bits: [n, b q] of 0 and 1, one code block a report.
    code_rate: r = b q / coded bits; 0: uncoded, hard decisions.
    qam_order: a; Gray-labelled QAM of unit mean power.
    snr_db: 1/N_0, N_0 the noise variance per complex symbol.

  Returns:
    [n, b q] uint8.

  Raises:
    InputError: Sionna is not installed, or the bits do not fill whole symbols.
  """
  num_bits = bits.shape[-1]
  per_symbol = int(np.log2(qam_order))
  coded = num_symbols(num_bits, code_rate, qam_order) * per_symbol if code_rate else num_bits
  if coded % per_symbol:
    raise InputError(f'{num_bits} uncoded bits do not fill {qam_order}-QAM symbols.')
  torch, _ = load_sionna()
  encode, mapper, demapper, decode = _chain(num_bits, coded, per_symbol)
  variance = 10 ** (-snr_db / 10)
  noise = np.array(_unit_noise(keys, coded // per_symbol)) * np.float32(np.sqrt(variance))
  with torch.no_grad():
    symbols = mapper(encode(torch.from_numpy(bits.astype(np.float32))))
    llr = demapper(symbols + torch.from_numpy(noise), torch.tensor(variance, dtype=torch.float32))
    return decode(llr).numpy().astype(np.uint8)


@functools.lru_cache(maxsize=1)
def _chain(num_bits: int, coded: int, per_symbol: int) -> tuple[Callable, ...]:
  """Encoder, mapper, demapper and decoder; without a code the demapper decides."""
  _, phy = load_sionna()
  uncoded = coded == num_bits
  mapper = phy.mapping.Mapper('qam', per_symbol, device='cpu')
  demapper = phy.mapping.Demapper('app', 'qam', per_symbol, hard_out=uncoded, device='cpu')
  if uncoded:
    return (lambda bits: bits), mapper, demapper, (lambda decided: decided)
  encode = phy.fec.ldpc.LDPC5GEncoder(num_bits, coded, per_symbol, device='cpu')
  decode = phy.fec.ldpc.LDPC5GDecoder(encode, num_iter=NUM_ITERATIONS, device='cpu')
  return encode, mapper, demapper, decode


@functools.partial(jax.jit, static_argnums=1)
def _unit_noise(keys: jax.Array, num_symbols: int) -> jax.Array:
  """CN(0, 1), [n, num_symbols] complex64."""
  return jax.vmap(lambda key: jax.random.normal(key, (num_symbols,), jnp.complex64))(keys)


def load_sionna() -> tuple[Any, Any]:
  """The modules torch and sionna.phy.

  Raises:
    InputError: one of them is not installed.
  """
  try:
    import torch
    from sionna import phy
  except ImportError as error:
    raise InputError(
        f"separate source-channel coding needs Sionna ({error}): pip install 'rca_jax[sscc]'."
    ) from None
  return torch, phy
