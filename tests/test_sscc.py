import sys

import jax
import numpy as np
import pytest
from scipy.special import erfc

from rca_jax.errors import InputError
from rca_jax.uplink import sscc


def random_bits(num_blocks, num_bits):
  return np.random.default_rng(0).integers(0, 2, (num_blocks, num_bits)).astype(np.uint8)


def keys(num_blocks):
  return jax.random.split(jax.random.key(1), num_blocks)


@pytest.mark.parametrize('bits, rate, order, symbols', [
    (128, 0.5, 16, 64), (192, 0.5, 64, 64), (96, 0.75, 4, 64), (256, 2 / 3, 64, 64),
    (256, 0.667, 64, 64)])
def test_overhead_is_bits_over_rate_and_bits_a_symbol(bits, rate, order, symbols):
  assert sscc.num_symbols(bits, rate, order) == symbols
  assert symbols == pytest.approx(bits / (rate * np.log2(order)), rel=1e-2)


@pytest.mark.parametrize('bits, rate, order, message', [
    (128, 0.5, 8, 'no 5G constellation'), (8, 0.5, 4, 'at least 12 bits'),
    (128, 0.1, 4, 'rates'), (100, 0.5, 64, '100/3 symbols')])
def test_what_5g_cannot_send_is_an_input_error(bits, rate, order, message):
  with pytest.raises(InputError, match=message):
    sscc.num_symbols(bits, rate, order)


def test_without_sionna_it_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sionna', None)
  with pytest.raises(InputError, match="pip install 'rca_jax.sscc.'"):
    sscc.transmit(keys(1), random_bits(1, 24), 0.5, 4, 10.0)


def gray_qam_ber(order, snr):
  """Bit error rate of Gray-labelled square QAM (Cho and Yoon, 2002, eq. (14) and (16))."""
  side = int(np.sqrt(order))
  total = 0.0
  for k in range(1, int(np.log2(side)) + 1):
    for i in range(int((1 - 2.0**-k) * side)):
      half_steps = i * 2 ** (k - 1) / side
      weight = (-1) ** int(half_steps) * (2 ** (k - 1) - np.floor(half_steps + 0.5))
      total += weight * erfc((2 * i + 1) * np.sqrt(3 * snr / (2 * (order - 1))))
  return total / (side * np.log2(side))


@pytest.mark.parametrize('order, snr_db', [(4, 5.0), (16, 10.0), (64, 17.0)])
def test_uncoded_bit_error_rate_is_the_closed_form(order, snr_db):
  pytest.importorskip('sionna')
  bits = random_bits(3000, 48)
  found = np.mean(sscc.transmit(keys(len(bits)), bits, 0.0, order, snr_db) != bits)
  expected = gray_qam_ber(order, 10 ** (snr_db / 10))
  # Bits of a symbol err together: a symbol is the independent unit.
  symbols = bits.size / np.log2(order)
  assert abs(found - expected) < 4 * np.sqrt(expected / symbols)


def test_coding_brings_every_bit_home_at_high_snr_and_has_its_cliff():
  pytest.importorskip('sionna')
  bits = random_bits(200, 96)
  rates = [
      (sscc.transmit(keys(len(bits)), bits, 0.5, 16, snr_db) != bits).any(-1).mean()
      for snr_db in (3.0, 7.0, 12.0)]
  assert rates[0] > 0.95 and 0 < rates[1] < 0.9 and rates[2] == 0


def test_a_report_meets_the_same_noise_in_any_company():
  pytest.importorskip('sionna')
  bits, of_all = random_bits(20, 48), keys(20)
  for rate in (0.0, 0.5):
    whole = sscc.transmit(of_all, bits, rate, 16, 3.0)
    assert (whole != bits).any()
    np.testing.assert_array_equal(sscc.transmit(of_all[7:9], bits[7:9], rate, 16, 3.0), whole[7:9])


@pytest.mark.parametrize('snr_db', [6.0, 7.0])
def test_the_waterfall_is_where_sionnas_own_chain_puts_it(snr_db):
  pytest.importorskip('sionna')
  import torch
  from sionna.phy import fec, mapping
  from sionna.phy.channel import AWGN
  from sionna.phy.utils import ebnodb2no

  num_blocks, k, n, per_symbol = 1000, 96, 192, 4
  torch.manual_seed(0)
  encoder = fec.ldpc.LDPC5GEncoder(k, n, device='cpu')  # without our interleaver
  decoder = fec.ldpc.LDPC5GDecoder(encoder, num_iter=20, device='cpu')
  with torch.no_grad():
    bits = torch.randint(0, 2, (num_blocks, k)).float()
    # E_b/N_0 of this SNR per symbol: r log2(a) bits a symbol.
    noise = ebnodb2no(snr_db - 10 * np.log10(k / n * per_symbol), per_symbol, k / n)
    symbols = mapping.Mapper('qam', per_symbol, device='cpu')(encoder(bits))
    received = AWGN(device='cpu')(symbols, noise)
    llr = mapping.Demapper('app', 'qam', per_symbol, device='cpu')(received, noise)
    theirs = (decoder(llr) != bits).any(-1).float().mean().item()
  sent = random_bits(num_blocks, k)
  ours = (sscc.transmit(keys(num_blocks), sent, k / n, 16, snr_db) != sent).any(-1).mean()
  spread = np.sqrt(theirs * (1 - theirs) * 2 / num_blocks)
  assert abs(ours - theirs) < 4 * spread + 0.05  # the interleaver moves it a little
