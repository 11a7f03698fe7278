import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.config import UplinkConfig
from rca_jax.errors import InputError
from rca_jax.uplink.djscc import CHANNELS, from_symbols, to_symbols
from rca_jax.uplink.link import AnalogueLink, CutLink, PerfectBitLink, build_link
from rca_jax.uplink.quantiser import quantise

pytestmark = pytest.mark.usefixtures('quick_compilation')
CODEWORD = 3 * jax.random.normal(jax.random.key(0), (4, 2, 16))
KEY, SNR_DB = jax.random.key(1), jnp.array([0.0, 20.0])


@pytest.mark.parametrize('name', CHANNELS)
def test_analogue_link_is_its_channel_between_symbols(name):
  link = build_link(UplinkConfig(channel=name))
  assert link == AnalogueLink(CHANNELS[name])
  expected = from_symbols(CHANNELS[name](KEY, to_symbols(CODEWORD), SNR_DB))
  np.testing.assert_array_equal(link(KEY, CODEWORD, SNR_DB), expected)


@pytest.mark.parametrize('name', CHANNELS)
def test_with_a_key_for_every_report_each_stands_alone(name):
  link, keys = AnalogueLink(CHANNELS[name]), jax.random.split(KEY, (4, 2))
  found, alone, fewer, other = jax.jit(lambda: (
      link(keys, CODEWORD, SNR_DB), link(keys[2, 1], CODEWORD[2, 1], SNR_DB[1]),
      link(keys[1:3, :1], CODEWORD[1:3, :1], SNR_DB[:1]),
      link(keys[1, 0], CODEWORD[0, 0], 0.0)))()
  np.testing.assert_allclose(found[2, 1], alone, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(fewer, found[1:3, :1], rtol=1e-5, atol=1e-6)
  assert np.abs(found[0, 0] - other).max() > 1e-2


@pytest.mark.parametrize('name', CHANNELS)
def test_the_first_symbols_of_a_report_are_a_report(name):
  """Sent as a report of their own; the BS has zeros for the others."""
  real, imag = jnp.split(CODEWORD, 2, -1)
  short = jnp.concatenate([real[..., :3], imag[..., :3]], -1)
  link = AnalogueLink(CHANNELS[name], 3)
  np.testing.assert_array_equal(link.sent(CODEWORD), to_symbols(short))
  received = np.stack(np.split(np.asarray(link(KEY, CODEWORD, SNR_DB)), 2, -1))
  assert not received[..., 3:].any()
  np.testing.assert_array_equal(
      np.concatenate([*received[..., :3]], -1), AnalogueLink(CHANNELS[name])(KEY, short, SNR_DB))


def test_training_draws_the_length_of_every_report():
  """From the least to all, as often in every octave; each has power 1 and comes as it is sent."""
  codeword = jax.random.normal(KEY, (3000, 2, 32))
  link = CutLink(CHANNELS['awgn'], 4)
  received = np.asarray(link(KEY, codeword, 200.0))
  symbols = received[..., :16] + 1j * received[..., 16:]
  length = (symbols != 0).sum(-1)
  assert length.min() == 4 and length.max() == 16 and (length[:, 0] != length[:, 1]).any()
  octaves = np.log(17 / 4)
  for first, last in ((4, 7), (8, 16)):
    assert ((length >= first) & (length <= last)).mean() == pytest.approx(
        np.log((last + 1) / first) / octaves, abs=0.03)
  for n in (4, 9, 16):
    np.testing.assert_allclose(
        symbols[length == n][:, :n],
        AnalogueLink(CHANNELS['awgn'], n).sent(codeword)[length == n], rtol=1e-4, atol=1e-5)


def test_with_the_least_of_all_nothing_is_cut():
  found = CutLink(CHANNELS['awgn'], 8)(KEY, CODEWORD, 200.0)
  np.testing.assert_allclose(found, from_symbols(to_symbols(CODEWORD)), rtol=1e-4, atol=1e-5)


def test_bits_know_neither_key_nor_snr():
  link = build_link(UplinkConfig(quantiser_bits=3))
  assert link == PerfectBitLink(3)
  first = link(KEY, CODEWORD, SNR_DB)
  np.testing.assert_array_equal(first, link(jax.random.key(2), CODEWORD, -50.0))
  np.testing.assert_array_equal(first, quantise(CODEWORD, 3))
  assert np.abs(first - link(KEY, -CODEWORD, SNR_DB)).max() > 1


@pytest.mark.parametrize('config', [
    UplinkConfig(), UplinkConfig(channel='rayleigh_block_fading'), UplinkConfig(quantiser_bits=2)])
def test_links_of_one_config_share_a_compiled_program(config):
  traces = []

  def call(link, codeword):
    traces.append(link)
    return link(KEY, codeword, SNR_DB)

  call = jax.jit(call, static_argnums=0)
  for _ in range(2):
    call(build_link(config), CODEWORD)
  assert len(traces) == 1


def test_links_of_other_configs_differ():
  configs = [UplinkConfig(channel=name) for name in CHANNELS]
  configs += [UplinkConfig(quantiser_bits=bits) for bits in (1, 2)]
  assert len({build_link(config) for config in configs}) == len(configs)


def test_unknown_channel_is_an_input_error_with_bits_too():
  for bits in (0, 2):
    with pytest.raises(InputError, match="uplink.channel='fiber' is unknown"):
      build_link(UplinkConfig(channel='fiber', quantiser_bits=bits))


@pytest.mark.parametrize('bits', [-1, 17])
def test_bits_have_bounds(bits):
  with pytest.raises(InputError, match=f'uplink.quantiser_bits={bits} must be from 0'):
    UplinkConfig(quantiser_bits=bits)
