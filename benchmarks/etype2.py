"""The enhanced Type II codebook beside analogue reports of as many symbols: what a downlink gains.

  python -m benchmarks.etype2 1/16 [MAP]

1,000 groups of 2 UEs at a compression ratio of published weights, each group in a new environment
(rca_munet:light); with the file of a map, 300 groups in the map's site (rca_munet). First every
codebook with its bits free of errors. Then reports of one length at each SNR, of codebooks the two
that are best on these groups: `coded`, in a polar code word (bayes/polar.py) made for at most 10 %
wrong words, and `capacity`, free of errors, with as many bits as log2(1 + SNR) a symbol allows.

SGCS of subbands (TR 38.843), power of a UE alone to that of perfect CSI (beam), sum rates in
bit/s/Hz at 10 dB of zero-forcing (ZF) and regularised ZF (RZF) of a group, RZF of UEs of different
groups (apart). Means over groups with 95 % intervals; `over` is the paired difference to `coded`.
"""

import dataclasses
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs import rca_munet
from rca_jax.baselines.etype2 import COMBINATIONS, Codebook, from_bits, quantise, recover, to_bits
from rca_jax.bayes import polar
from rca_jax.bayes.code_words import most_bits
from rca_jax.bayes.coefficient_code import FOLDED
from rca_jax.channel.subbands import dominant_direction, subband_response
from rca_jax.config import ExperimentConfig, codeword_dim, from_dict
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.evaluate import report_keys
from rca_jax.evaluation.metrics import subband_sgcs
from rca_jax.evaluation.precoding import beamforming_gain, sum_rate
from rca_jax.evaluation.references import (
    described_code,
    joint_code,
    joint_transmit,
    map_code,
    pca_code,
    pca_transmit,
)
from rca_jax.evaluation.run import transmit
from rca_jax.keys import Stream, stream_key
from rca_jax.training.pretrained import Pretrained, load_pretrained
from rca_jax.uplink.known import Uplink

_NUM_GROUPS, _NUM_GROUPS_OF_MAP, _GROUPS_AT_ONCE = 1000, 300, 100
_SNRS_DB, _DOWNLINK_SNR_DB = (0.0, 10.0, 20.0), 10.0
_WRONG_WORDS = 0.1

# (uplink, csi [G, M, N_a, N_t], keys [G, M]) -> csi_hat
Feedback = Callable[[Uplink, np.ndarray, jax.Array], np.ndarray]


class Gains(NamedTuple):
  """Of every group, [G]; rates in bit/s/Hz."""

  sgcs: np.ndarray
  beam: np.ndarray
  zf: np.ndarray
  rzf: np.ndarray
  apart: np.ndarray


class Reports(NamedTuple):
  """Those of one codebook, of all UEs, and what they are worth free of errors."""

  codebook: Codebook
  bits: np.ndarray  # [G M, K]
  gains: Gains


def main() -> None:
  ratio, *site_map = sys.argv[1:]
  variant = f'cr={ratio}' if site_map else f'light,cr={ratio}'
  config = from_dict(ExperimentConfig, rca_munet.get_config(variant).to_dict())
  config = dataclasses.replace(
      config, site_map=''.join(site_map),
      data=dataclasses.replace(
          config.data, num_test_groups=_NUM_GROUPS_OF_MAP if site_map else _NUM_GROUPS))
  csi = load_test_csi(config, config.num_ues)
  keys = report_keys(
      stream_key(config.data.seed, Stream.EVALUATION), np.arange(len(csi)), config.num_ues)
  response = subband_response(csi)
  print('| combination | bits | SGCS | beam | ZF | RZF | apart |\n|---|---|---|---|---|---|---|')
  print(f'| perfect CSI | | {_line(_gains(response, _directions(csi)))} |')
  reports = [_reports(Codebook(number, csi.shape[-1]), response) for number in COMBINATIONS]
  print('\n| SNR, dB | report | SGCS | beam | ZF | RZF | apart | over: SGCS | RZF | apart |\n'
        '|---|---|---|---|---|---|---|---|---|---|')
  num_symbols, feedback = codeword_dim(config.model, config.csi) // 2, _feedback(config)
  for snr_db in _SNRS_DB:
    uplink = Uplink(snr_db)
    name, coded = _best(_coded(reports, response, uplink, keys, num_symbols))
    print(f'| {snr_db:g} | {name}, coded | {_line(coded)} | | | |')
    most = num_symbols * np.log2(1 + 10 ** (snr_db / 10))
    name, gains = _best({of.codebook.combination: of.gains for of in reports
                         if of.codebook.num_bits <= most})
    _print_beside(coded, snr_db, f'{name}, capacity', gains)
    for name, recovered in feedback.items():
      parts = [slice(i, i + _GROUPS_AT_ONCE) for i in range(0, len(csi), _GROUPS_AT_ONCE)]
      csi_hat = np.concatenate([recovered(uplink, csi[part], keys[part]) for part in parts])
      _print_beside(coded, snr_db, name, _gains(response, _directions(csi_hat)))


def _reports(codebook: Codebook, response: jax.Array) -> Reports:
  report = quantise(codebook, _to_antennas(dominant_direction(response)))
  gains = _gains(response, _from_antennas(response, recover(codebook, report)))
  print(f'| {codebook.combination} | {codebook.num_bits} | {_line(gains)} |', flush=True)
  return Reports(codebook, to_bits(codebook, report), gains)


def _coded(
    reports: list[Reports], response: jax.Array, uplink: Uplink, keys: jax.Array, num_symbols: int
) -> dict[int, Gains]:
  """What arrives of each codebook whose bits fit, by combination."""
  noise, found = float(uplink.noise(num_symbols)), {}
  most, bits_per_symbol = most_bits(noise, num_symbols, _WRONG_WORDS)
  for codebook, bits, _ in reports:
    if codebook.num_bits <= most:
      code = polar.polar_code(codebook.num_bits, num_symbols, bits_per_symbol)
      symbols = polar.encode(code, bits).reshape(*keys.shape, num_symbols)
      received, _ = uplink.send(keys, jnp.asarray(symbols))
      decoded, _ = polar.decode(code, np.asarray(received).reshape(-1, num_symbols), noise)
      report = from_bits(codebook, decoded[:, 0])
      found[codebook.combination] = _gains(
          response, _from_antennas(response, recover(codebook, report)))
  return found


def _best(found: dict[int, Gains]) -> tuple[str, Gains]:
  best = max(found, key=lambda combination: found[combination].sgcs.mean())
  return f'eType II {best}', found[best]


def _feedback(config: ExperimentConfig) -> dict[str, Feedback]:
  """What sends symbols, by name."""
  linear, random, described = pca_code(config), joint_code(config), described_code(config)
  denominator = Fraction(config.model.compression_ratio).denominator
  networks = {'RCA-MUNet, light': f'rca_munet_cr{denominator}'}
  if denominator == 16:
    networks['joint Bayes (learned)'] = 'joint_bayes_cr16'
  found = {
      'PCA/KLT': lambda uplink, csi, keys: pca_transmit(linear, uplink, csi, keys),
      'joint Bayes': lambda uplink, csi, keys: joint_transmit(random, uplink, csi, keys, None)[1],
      **{name: _network(load_pretrained(weights)) for name, weights in networks.items()},
      'described profile (folded)': lambda uplink, csi, keys: described.transmit(
          csi, keys, uplink)[1]}
  if config.site_map:
    code = map_code(config, FOLDED)
    found['site map (folded joint)'] = lambda uplink, csi, keys: code.transmit(
        csi, keys, uplink)[1]
  return found


def _network(network: Pretrained) -> Feedback:
  return lambda uplink, csi, keys: transmit(
      network.model, network.params, np.float32(uplink.snr_db), csi, keys, None)[1]


@jax.jit
def _directions(csi: jax.Array) -> jax.Array:
  return dominant_direction(subband_response(csi))


@jax.jit
def _gains(response: jax.Array, direction: jax.Array) -> Gains:
  apart = [jnp.stack([jnp.roll(x[:, ue], ue, 0) for ue in range(x.shape[1])], 1)
           for x in (response, direction)]
  true = dominant_direction(response)
  return Gains(
      subband_sgcs(true, direction), beamforming_gain(response, true, direction),
      sum_rate(response, direction, _DOWNLINK_SNR_DB, False),
      sum_rate(response, direction, _DOWNLINK_SNR_DB, True),
      sum_rate(*apart, _DOWNLINK_SNR_DB, True))


def _to_antennas(direction: jax.Array) -> np.ndarray:
  """[G, M, subband, N_t] of angles to the codebook's [G M, subband, 1, N_t] of antennas."""
  over_antennas = np.fft.fft(direction, norm='ortho')
  return over_antennas.reshape(-1, over_antennas.shape[2], 1, over_antennas.shape[3])


def _from_antennas(response: jax.Array, direction: np.ndarray) -> np.ndarray:
  over_angles = np.fft.ifft(direction[:, :, 0], norm='ortho').astype(np.complex64)
  return over_angles.reshape(*response.shape[:2], *over_angles.shape[1:])


def _print_beside(coded: Gains, snr_db: float, name: str, gains: Gains) -> None:
  over = [getattr(gains, of) - getattr(coded, of) for of in ('sgcs', 'rzf', 'apart')]
  print(f'| {snr_db:g} | {name} | {_line(gains)} | '
        + ' | '.join(_mean(values, '+') for values in over) + ' |', flush=True)


def _line(gains: Gains) -> str:
  return ' | '.join(map(_mean, gains))


def _mean(values: np.ndarray, sign: str = '') -> str:
  values = np.asarray(values, np.float64)
  return f'{values.mean():{sign}.3f} +- {1.96 * values.std() / np.sqrt(values.size):.3f}'


if __name__ == '__main__':
  main()
