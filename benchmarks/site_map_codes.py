"""What the site map's code loses, and where: bits without a channel, and code words without errors.

  python -m benchmarks.site_map_codes SITE.map CURVE.png

The map is one of configs/rca_munet.py:cr=1/16. The first table, also drawn, is a rate-distortion
curve: NMSE against bits for each real dimension, label and all, where every UE has the bits that
one step needs; and the bound of the map's Gaussians with one water level. The second says what bits
for the strongest coefficients gain over the linear code with the polar code, and with code words of
a part of capacity that are always decoded; labels are known, and have their symbols. The third says
how good labels are, where the BS is told them: the likeliest of the search, the best of it by the
code's error, and the same of the squares around the UE, which knows its place.
"""

import contextlib
import dataclasses
import sys
import types
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import scipy.spatial

from configs import rca_munet
from rca_jax.bayes import hybrid, site_code
from rca_jax.bayes.coefficient_code import HYBRID, LINEAR, CoefficientCode
from rca_jax.bayes.label_source import Paid, Tracked
from rca_jax.bayes.site_code import SiteCode
from rca_jax.bayes.site_map import SiteMap, load_map
from rca_jax.config import CsiConfig, ExperimentConfig, codeword_dim, from_dict
from rca_jax.data.test_groups import load_test_csi, load_test_places
from rca_jax.report.levels import Estimate
from rca_jax.report.panels import Curve, Panel, draw
from rca_jax.uplink.known import Uplink

_NUM_GROUPS = 100
_NUM_DIRECTIONS = 288  # that may get bits, twice as many as an entry has atoms
_STEPS = (20.0, 14.0, 10.0, 7.0, 5.0, 3.5, 2.5, 1.8, 1.2, 0.8, 0.6, 0.4, 0.3, 0.2)
_SNRS_DB = (0.0, 10.0, 20.0)
_SHARES = (0.8, 1.0)  # of capacity


def main() -> None:
  config = from_dict(ExperimentConfig, rca_munet.get_config('cr=1/16').to_dict())
  config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, num_test_groups=_NUM_GROUPS))
  site_map = load_map(Path(sys.argv[1]), config.csi)
  csi = np.asarray(load_test_csi(config, config.num_ues))
  num_symbols = codeword_dim(config.model, config.csi) // 2
  _draw_curve(site_map, config.csi, csi, Path(sys.argv[2]))
  _print_limits(site_map, config.csi, csi, num_symbols)
  places = load_test_places(config, config.num_ues)
  _print_labels(site_map, config.csi, csi, places, num_symbols)


def _draw_curve(
    site_map: SiteMap, config: CsiConfig, csi: np.ndarray, path: Path) -> None:
  num_entries = csi[0, 0].size
  code = SiteCode(site_map, config, _NUM_DIRECTIONS, Paid(site_map), size=_NUM_DIRECTIONS)
  quantised, bound = {}, {}
  print('| step | bits a real dimension | quantised, dB | bits, bound | bound, dB |')
  for step in _STEPS:
    of_step = []
    for points, (hat, bits) in (
        (quantised, code.quantise(csi, step)),
        (bound, code.estimate_ideal_at(csi, _keys(csi), step**2 / 6))):
      rate, value = bits.mean() / (2 * num_entries), _nmse_db(csi, hat)
      points[rate] = Estimate(value)
      of_step += [f'{rate:.4f}', f'{value:.2f}']
    print(f'| {step:g} | ' + ' | '.join(of_step) + ' |', flush=True)
  draw([Panel(
      [Curve('bits: scalar quantiser, ideal lengths', quantised, 'o-', 'C0'),
       Curve('bound given the map', bound, '--', 'C1')],
      'bits for each real dimension, label and all', 'NMSE (dB)')]).savefig(path, dpi=120)


def _print_limits(
    site_map: SiteMap, config: CsiConfig, csi: np.ndarray, num_symbols: int) -> None:
  print('| SNR, dB | linear | gain: polar code | '
        + ' | '.join(f'{share:.0%} of capacity' for share in _SHARES) + ' |')
  for snr_db in _SNRS_DB:
    split = SiteCode(site_map, config, num_symbols, Paid(site_map)).label_symbols(
        10 ** (-snr_db / 10), 1)

    def nmse_db(coded: CoefficientCode, snr_db=snr_db, split=split):
      code = SiteCode(site_map, config, num_symbols - split, Paid(site_map), coded)
      uplink = Uplink(snr_db)
      labels = code.uplink_labels(csi[:, :, None], 100.0, uplink)
      return _nmse_db(csi, code.estimate_agreed(csi, _keys(csi), uplink, labels))

    linear, gains = nmse_db(LINEAR), []
    gains.append(linear - nmse_db(HYBRID))
    for share in _SHARES:
      with _always_decoded(share):
        gains.append(linear - nmse_db(HYBRID))
    print(f'| {snr_db:g} | {linear:.2f} | ' + ' | '.join(f'{gain:.2f}' for gain in gains) + ' |',
          flush=True)


def _print_labels(
    site_map: SiteMap, config: CsiConfig, csi: np.ndarray, places: np.ndarray, num_symbols: int
) -> None:
  placed = np.flatnonzero(np.isfinite(site_map.place[:, 0]))
  _, nearest = scipy.spatial.KDTree(site_map.place[placed]).query(places)
  code = SiteCode(site_map, config, num_symbols, Paid(site_map))
  choices = (
      (1, Paid(site_map), None), (site_code.NUM_CANDIDATES, Paid(site_map), None),
      (site_code.NUM_CANDIDATES, Tracked(site_map, 0.0), placed[nearest]))
  print('| SNR, dB | the likeliest | the best of '
        f'{site_code.NUM_CANDIDATES} | the best of {site_code.NUM_CANDIDATES} around its place |')
  for snr_db in _SNRS_DB:
    found = []
    for num_candidates, source, last in choices:
      with mock.patch.object(site_code, 'NUM_CANDIDATES', num_candidates):
        labels, _ = code._choose(csi, 10 ** (-snr_db / 10), 0, source, last)
      found.append(_nmse_db(csi, code.estimate_agreed(csi, _keys(csi), Uplink(snr_db), labels)))
    print(f'| {snr_db:g} | ' + ' | '.join(f'{value:.2f}' for value in found) + ' |', flush=True)


def _always_decoded(share: float) -> contextlib.AbstractContextManager:
  """Code words of this share of capacity that arrive as they were sent."""
  sent = {}

  def menu(noise_variance: float, num_symbols: int) -> hybrid._Menu:
    size = np.arange(4, num_symbols + 1, 4)
    bits = (size * share * np.log2(1 + 1 / noise_variance)).astype(int)
    return hybrid._Menu(*(
        column[bits >= 4] for column in (size, bits, np.full(size.size, 2), np.zeros(size.size))))

  def encode(code: tuple[int, ...], bits: np.ndarray) -> np.ndarray:
    sent[code] = bits
    return np.ones((len(bits), code[1]), np.complex64)

  def decode(code: tuple[int, ...], received: np.ndarray, _: float):
    assert len(received) == len(sent[code])
    return sent[code][:, None], np.ones((len(received), 1))

  words = types.SimpleNamespace(
      polar_code=lambda *code: code, encode=encode, decode=decode)
  return mock.patch.multiple(hybrid, _menu=menu, polar=words)


def _keys(csi: np.ndarray) -> jax.Array:
  return jax.random.split(jax.random.key(0), csi.shape[:2])


def _nmse_db(csi: np.ndarray, hat: np.ndarray) -> float:
  error, energy = ((np.abs(x) ** 2).sum((-2, -1)) for x in (csi - hat, csi))
  return 10 * np.log10(np.mean(error / energy))


if __name__ == '__main__':
  main()
