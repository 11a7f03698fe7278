"""The map of a small site, and the code that uses it."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.baselines.genie import reverse_water_filling
from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import (
    em,
    klt,
    label,
    map_fit,
    packing,
    paid_code,
    samples,
    site_code,
    site_map,
)
from rca_jax.bayes.coefficient_code import FOLDED, HYBRID, LINEAR
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.label_source import Joint, Paid
from rca_jax.bayes.site_code import SiteCode
from rca_jax.channel import sample_groups, sample_site
from rca_jax.config import (
    CsiConfig,
    DataConfig,
    ExperimentConfig,
    Layout,
    ModelConfig,
    UplinkConfig,
)
from rca_jax.errors import InputError
from rca_jax.evaluation import export
from rca_jax.evaluation.feedback import Job, feed_back, map_sender
from rca_jax.evaluation.halves import map_halves, map_itself
from rca_jax.evaluation.references import reference_rows
from rca_jax.evaluation.rows import Measurement
from rca_jax.uplink.djscc import awgn
from rca_jax.uplink.known import Uplink

CONFIG = CsiConfig(
    num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4, cell_size_m=8, min_bs_distance_m=1,
    max_ue_distance_m=1)
SIDE_M, NUM_SYMBOLS = 2.0, 8


def entry_powers(found):
  """Of every entry, [V, N_a N_t]."""
  return np.asarray(klt.mean_powers(
      make_grid(CONFIG), found.profile(np.arange(len(found.los))))).reshape(len(found.los), -1)


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
  return tmp_path_factory.mktemp('parts')


@pytest.fixture(scope='module')
def fit(parts):
  """A function that fits the map of 16 squares, in 4 blocks, of 2.5 UEs a square."""
  site = sample_site(jax.random.key(0), CONFIG)

  def call(key=1, folder=parts, num_ues=2.5, snr_db=None):
    ground = samples.generated(jax.random.key(key), site, SIDE_M, num_ues, snr_db)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(map_fit, '_BLOCK', 2)
      return map_fit.fit_map(ground, CONFIG, folder, lambda *_: None)

  return call


@pytest.fixture(scope='module')
def found(fit):
  return fit()


@pytest.fixture(scope='module')
def code(found):
  return SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found))


def from_entry(found, entry, num):
  """CSI [num, N_a, N_t] of the covariance of one entry, and its whole KLT."""
  whole = klt.transform(make_grid(CONFIG), found.profile(np.array(entry)), 24)
  white = jax.random.normal(jax.random.key(2), (num, 24), jnp.complex64)
  many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num, *leaf.shape)), whole)
  values = jnp.sqrt(whole.variances) * white
  return np.asarray(klt.synthesise(make_grid(CONFIG), many, values)), whole


def test_every_square_and_state_with_ues_has_an_entry(found):
  here = site_map.SiteMap(*(leaf[:-1] for leaf in found))
  assert np.isnan(found.place[-1]).all()  # the last is of no place
  places = (here.place / SIDE_M - 0.5).round().astype(int)
  assert np.abs(here.place - (places + 0.5) * SIDE_M).max() < 1e-5
  entries = {(*place, los) for place, los in zip(places.tolist(), here.los, strict=True)}
  assert len(entries) == len(here.los) and set(map(tuple, places)) == {
      (x, y) for x in range(-2, 2) for y in range(-2, 2)}
  assert (here.num_samples >= 1).all() and (here.num_samples <= 3).all()
  energy = np.asarray(found.profile(np.arange(len(found.los))).power).sum(1)
  assert (energy > 12).all() and (energy < 26).all()  # less than 24: a part counts as noise


def test_an_entry_is_that_of_the_ues_nearest_to_its_middle(found):
  """Fitted again, outside the map's code, from the UEs of all squares."""
  site = sample_site(jax.random.key(0), CONFIG)
  ground = samples.generated(jax.random.key(1), site, SIDE_M, 2.5, None)
  ues, entry = ground.ues_in(ground.squares), 3
  assert len(ues.los) == found.num_samples[:-1].sum()
  near = np.linalg.norm(ues.place - found.place[entry], axis=1) / SIDE_M
  near = np.where(ues.los == found.los[entry], near, np.inf)
  rows = np.argsort(near)[:8]
  weights = np.where(near[rows] <= 1.5, np.exp(-4.5 * near[rows] ** 2), 0)
  weights = (weights / weights.sum()).astype(np.float32)
  profile = jax.tree.map(lambda leaf: leaf[:1], map_fit._fit(
      make_grid(CONFIG), np.repeat(ues.csi[None, rows], 4, 0), np.repeat(weights[None], 4, 0),
      jnp.float32(0)))
  again = packing.unpack(packing.pack(profile, make_grid(CONFIG).shape[0]))
  label = found.profile(np.array([entry]))
  assert np.isin(again.index, label.index).mean() > 0.95  # but for ties of weak atoms
  np.testing.assert_allclose(
      entry_powers(found)[entry],
      entry_powers(site_map.SiteMap(
          *(leaf[entry:entry + 1] for leaf in found[:3]),
          *packing.pack(profile, make_grid(CONFIG).shape[0])))[0], rtol=0.05, atol=0.02)


def test_csi_of_no_place_is_sent_by_the_last_entry():
  """Two places have power in one entry of the CSI each; CSI with power in both is of neither."""
  grid = make_grid(CONFIG)
  index = np.array([[(2 + 4 * row) * 64 + 32] for row in (0, 5)])  # rows 0 and 5, sine 0
  power = np.pad(np.full((2, 1), 24.0), ((0, 0), (0, 143)))
  profile = em.Profile(np.pad(index, ((0, 0), (0, 143)), mode='edge'), power)
  two = site_map.SiteMap(
      np.array([[1.0, 1.0], [3.0, 1.0]], np.float32), np.zeros(2, bool), np.full(2, 50, np.uint16),
      *packing.pack(profile, grid.shape[0]))
  three = map_fit.with_anywhere(grid, two)
  assert np.isnan(three.place[2]).all() and three.num_samples.tolist() == [50, 50, 10]
  csi = np.zeros((3, 6, 4), np.complex64)
  csi[0, 0, 0] = csi[1, 5, 0] = 24**0.5
  csi[2, [0, 5], 0] = 12**0.5
  code = SiteCode(three, CONFIG, NUM_SYMBOLS, Paid(three))
  sent, _ = code._choose(csi[:, None], 0.01, 2, Paid(three), None)
  assert sent[:, 0].tolist() == [0, 1, 2]
  hat = code.estimate(csi[:, None], jax.random.split(jax.random.key(0), (3, 1)), Uplink(20.0))[:, 0]
  errors = (np.abs(hat - csi) ** 2).sum((1, 2))
  assert errors.max() < 0.05 * 24
  placed = code.variant(Paid(three), LINEAR, reserve=False)
  assert (placed._choose(csi[:, None], 0.01, 2, Paid(three), None)[0] < 2).all()
  hat = placed.estimate(csi[:, None], jax.random.split(jax.random.key(0), (3, 1)), Uplink(20.0))
  without = (np.abs(hat[:, 0] - csi) ** 2).sum((1, 2))
  np.testing.assert_allclose(without[:2], errors[:2], atol=1e-4)
  assert without[2] > 0.4 * 24  # one of its two places is missing


def test_a_file_with_positions_gives_the_map_of_its_places(fit, tmp_path):
  """The UEs that the generated map is of, written to a file: the same map."""
  site = sample_site(jax.random.key(0), CONFIG)
  ground = samples.generated(jax.random.key(1), site, SIDE_M, 2.5, None)
  ues = ground.ues_in(ground.squares)
  order = np.random.default_rng(0).permutation(len(ues.los))
  positions = np.pad(ues.place[order], ((0, 0), (0, 1)))
  np.savez(
      tmp_path / 'a.npz', csi=ues.csi[order][:, None], positions=positions[:, None],
      los=ues.los[order][:, None])
  config = ExperimentConfig(csi=CONFIG, data=DataConfig(path=str(tmp_path / 'a.npz')))
  copied = samples.over_ground(samples.stored(config, tmp_path / 'parts'), SIDE_M, 2.5, None)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(map_fit, '_BLOCK', 2)
    found = map_fit.fit_map(copied, CONFIG, tmp_path / 'parts', lambda *_: None)
  expected = fit()
  np.testing.assert_array_equal(found.num_samples, expected.num_samples)
  np.testing.assert_allclose(found.place, expected.place, atol=1e-5)
  powers = [entry_powers(m) for m in (found, expected)]
  np.testing.assert_allclose(*powers, rtol=0.1, atol=0.02)
  chosen = samples.over_ground(samples.stored(config, tmp_path / 'parts'), None, 2.5, None)
  assert len(ues.los) / len(chosen.squares) == pytest.approx(2.5, rel=0.2)
  silent = np.concatenate([ues.csi[order], np.zeros((2, 6, 4))]).astype(np.complex64)
  np.savez(
      tmp_path / 'c.npz', csi=silent[:, None],
      positions=np.concatenate([positions, positions[:2]])[:, None])
  with_silent = samples.over_ground(samples.stored(
      ExperimentConfig(csi=CONFIG, data=DataConfig(
          path=str(tmp_path / 'c.npz'), allow_silent=True)),
      tmp_path / 'parts'), SIDE_M, 2.5, None)
  assert with_silent.ues_in(with_silent.squares).csi.any((1, 2)).sum() == len(ues.los)
  assert len(with_silent.ues_in(with_silent.squares).csi) == len(ues.los)


def test_noise_that_is_known_is_not_taken_for_power(fit, found, tmp_path):
  """Of CSI at 3 dB the map comes nearer to that of clean CSI than without being told."""
  clean, told = (entry_powers(site) for site in (
      found, fit(snr_db=3.0, folder=tmp_path / 'told')))
  with pytest.MonkeyPatch.context() as patch:
    generated = samples.generated
    patch.setattr(samples, 'generated', lambda *args: generated(*args)._replace(noise=0.0))
    untold = entry_powers(fit(snr_db=3.0, folder=tmp_path / 'untold'))
  assert np.abs(told - clean).mean() < 0.8 * np.abs(untold - clean).mean()


def test_a_fit_that_was_cut_off_goes_on_to_the_same_map(fit, found, parts, tmp_path):
  tiles = sorted(parts.iterdir())
  assert len(tiles) == 4
  (tmp_path / tiles[0].name).write_bytes(tiles[0].read_bytes())
  again = fit(folder=tmp_path)
  jax.tree.map(np.testing.assert_array_equal, again, found)


def test_one_device_fits_the_map_of_eight(fit, found, tmp_path, monkeypatch):
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, 'devices', lambda: one)
  jax.tree.map(np.testing.assert_array_equal, fit(folder=tmp_path), found)


def test_a_saved_map_is_the_same(found, tmp_path):
  site_map.save_map(tmp_path / 'a.map', found, CONFIG)
  loaded = site_map.load_map(tmp_path / 'a.map', CONFIG)
  jax.tree.map(np.testing.assert_array_equal, loaded, found)


def test_maps_that_cannot_be_used_are_one_line(found, fit, tmp_path):
  path = tmp_path / 'a.map'
  with pytest.raises(InputError, match=r'`rca map` makes one'):
    site_map.load_map(path, CONFIG)
  site_map.save_map(path, found, CONFIG)
  other = CsiConfig(num_subcarriers=64, num_delay_taps=6, num_tx_antennas=8)
  with pytest.raises(InputError, match='num_tx_antennas=4, not 8'):
    site_map.load_map(path, other)
  with pytest.raises(InputError, match='num_polarisations=2: site maps are of one polarisation'):
    site_map.load_map(path, dataclasses.replace(CONFIG, num_polarisations=2))
  for name, value in (('power', np.float16(np.nan)), ('power', 0), ('rows', 255)):
    wrong = found._replace(**{name: np.full_like(getattr(found, name), value)})
    site_map.save_map(path, wrong, CONFIG)
    with pytest.raises(InputError, match='no site map'):
      site_map.load_map(path, CONFIG)
  placed = site_map.SiteMap(*(leaf[:-1] for leaf in found))  # without the reserved label
  site_map.save_map(path, placed, CONFIG)
  with pytest.raises(InputError, match='no site map'):
    site_map.load_map(path, CONFIG)
  site_map.save_map(path, found, CONFIG)
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(InputError, match='no whole site map'):
    site_map.load_map(path, CONFIG)
  with pytest.raises(InputError, match='needs some'):
    fit(num_ues=0)
  with pytest.raises(InputError, match='too few UEs'):
    fit(num_ues=0.01, folder=tmp_path / 'parts')


def test_a_map_of_one_entry_reaches_the_linear_codes_closed_form(found, monkeypatch):
  """Without a label: all symbols carry KLT coefficients of a Gaussian of known covariance."""
  monkeypatch.setattr(site_code, 'in_ball', lambda csi: csi)  # a Gaussian's power has no limit
  monkeypatch.setattr('rca_jax.bayes.power.MOST_POWER', 1e9)
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, whole = from_entry(one, 0, 1500)
  for snr_db in (0.0, 10.0):
    noise = 10 ** (-snr_db / 10)
    variances = np.asarray(whole.variances)[:NUM_SYMBOLS]
    power = least_error_powers(variances.astype(float), noise, NUM_SYMBOLS)
    expected = 24 - variances.sum() + (variances * noise / (power + noise)).sum()
    hat = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one)).estimate(
        csi[:, None], jax.random.split(jax.random.key(3), (len(csi), 1)), Uplink(snr_db))
    errors = (np.abs(hat[:, 0] - csi) ** 2).sum((1, 2))
    assert abs(errors.mean() - expected) < 4 * errors.std() / 1500**0.5


def test_a_map_of_one_entry_over_fading_reaches_the_mean_of_the_closed_form(found, monkeypatch):
  """The code is made for N_0, each report is read with N_0 / |g|^2; three UEs at SNRs of theirs."""
  monkeypatch.setattr(site_code, 'in_ball', lambda csi: csi)
  monkeypatch.setattr('rca_jax.bayes.power.MOST_POWER', 1e9)
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, whole = from_entry(one, 0, 3000)
  variances = np.asarray(whole.variances, np.float64)[:NUM_SYMBOLS]
  uplink = Uplink(np.array([0.0, 6.0, 12.0]), channel='rayleigh_block_fading_equalised')
  keys = jax.random.split(jax.random.key(3), (1000, 3))
  code = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one))
  groups = csi.reshape(1000, 3, 6, 4)
  hat = code.estimate(groups, keys, uplink)
  errors = (np.abs(hat - groups) ** 2).sum((2, 3))
  gains = -np.log((np.arange(2000)[:, None] + 0.5) / 2000)  # of |g|^2: exponential
  for ue, noise in enumerate(uplink.noise(NUM_SYMBOLS)):
    power = least_error_powers(variances, noise, NUM_SYMBOLS)
    left = variances * noise / (gains * power + noise)
    expected = 24 - variances.sum() + left.sum(1).mean()
    assert abs(errors[:, ue].mean() - expected) < 4 * errors[:, ue].std() / 1000**0.5
  agreed = code.estimate_agreed(groups, keys, uplink, np.zeros((1000, 3), int))
  np.testing.assert_allclose(agreed, hat, atol=1e-5)


@pytest.mark.parametrize('coded', [LINEAR, HYBRID, FOLDED])
def test_every_ue_has_the_code_of_its_own_snr(found, coded):
  """With labels of their own, UEs at several SNRs are coded as in groups of one SNR."""
  csi, _ = from_entry(found, 5, 24)
  keys, groups = jax.random.split(jax.random.key(4), (8, 3)), csi.reshape(8, 3, *csi.shape[1:])
  code = SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found), coded)
  snrs_db = np.array([15.0, 0.0, 15.0])
  hat = code.estimate(groups, keys, Uplink(snrs_db))
  for ue, snr_db in enumerate(snrs_db):
    one = code.estimate(groups, keys, Uplink(snr_db))
    np.testing.assert_allclose(hat[:, ue], one[:, ue], atol=1e-5)


@pytest.mark.parametrize('coded', [LINEAR, HYBRID, FOLDED])
def test_reports_have_mean_power_one_whatever_the_map_expects(found, coded):
  """CSI of another place has other powers; without a trial its reports would be too strong."""
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, _ = from_entry(found, 9, 1200)
  csi = csi / np.sqrt((np.abs(csi) ** 2).mean((1, 2), keepdims=True))
  powers = []

  class Recording(Uplink):

    def send(self, key, symbols):
      powers.append((np.abs(np.asarray(symbols)) ** 2).mean(-1))
      return super().send(key, symbols)

  for trial in (None, csi[:400]):
    code = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one), coded, trial=trial)
    code.estimate(csi[400:, None], jax.random.split(jax.random.key(4), (800, 1)), Recording(15.0))
  assert powers[0].mean() > 1.1
  assert abs(powers[1].mean() - 1) < 0.05
  assert powers[1].max() < 2


def test_an_snr_that_is_told_wrong_costs(found):
  csi, _ = from_entry(found, 5, 60)
  keys = jax.random.split(jax.random.key(4), (60, 1))
  code = SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found))
  errors = [
      (np.abs(code.estimate(csi[:, None], keys, Uplink(5.0, error))[:, 0] - csi) ** 2).mean()
      for error in (0.0, 15.0, -15.0)]
  assert errors[0] < min(errors[1:])


@pytest.mark.parametrize('label_bits', [0.0, 3.0])
def test_the_bound_of_a_gaussian_is_its_rate_distortion_function(found, label_bits):
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, whole = from_entry(one, 0, 1500)
  code = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one), size=24)
  for snr_db in (-5.0, 5.0):
    bits = NUM_SYMBOLS * np.log2(1 + 10 ** (snr_db / 10)) - label_bits
    expected = 24 * reverse_water_filling(np.asarray(whole.variances, np.float64), bits)
    hat = code.estimate_ideal(
        csi[:, None], jax.random.split(jax.random.key(3), (len(csi), 1)), bits)
    errors = (np.abs(hat[:, 0] - csi) ** 2).sum((1, 2))
    assert abs(errors.mean() - expected) < 4 * errors.std() / 1500**0.5


def test_bits_as_a_water_level_needs_them(found):
  """The same rate-distortion function, from its level."""
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, whole = from_entry(one, 0, 1500)
  variances, level = np.asarray(whole.variances, np.float64), 1.5
  hat, bits = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one), size=24).estimate_ideal_at(
      csi[:, None], jax.random.split(jax.random.key(3), (len(csi), 1)), level)
  np.testing.assert_allclose(bits, np.log2(np.maximum(variances / level, 1)).sum(), rtol=1e-4)
  errors = (np.abs(hat[:, 0] - csi) ** 2).sum((1, 2))
  assert abs(errors.mean() - np.minimum(variances, level).sum()) < 4 * errors.std() / 1500**0.5


def test_quantised_csi_of_a_gaussian_is_near_its_rate_distortion_function(found):
  """A scalar quantiser with ideal lengths loses at most 1/4 bit a dimension above the water."""
  one = site_map.SiteMap(*(leaf[:1] for leaf in found))
  csi, whole = from_entry(one, 0, 1500)
  code = SiteCode(one, CONFIG, NUM_SYMBOLS, Paid(one), size=24)
  variances = np.asarray(whole.variances, np.float64)
  rates, errors = [], []
  for step in (4.0, 2.0, 1.0, 0.5):
    hat, bits = code.quantise(csi[:, None], step)
    errors.append((np.abs(hat[:, 0] - csi) ** 2).sum((1, 2)).mean())
    rates.append(bits.mean())
    assert errors[-1] > 24 * reverse_water_filling(variances, rates[-1])
    num_active = 2 * (variances > step**2 / 6).sum()
    least = rates[-1] - 0.26 * num_active - 4 * bits.std() / len(csi) ** 0.5
    assert errors[-1] < 24 * reverse_water_filling(variances, least)
  assert (np.diff(rates) > 0).all() and (np.diff(errors) < 0).all()


def test_the_search_coarse_to_fine_finds_what_the_full_search_finds(found, monkeypatch):
  """By an independent score of every label: the candidates are the likeliest of all."""
  csi = np.concatenate([from_entry(found, entry, 20)[0] for entry in (0, 7, 15)])
  powers = entry_powers(found) + 0.01
  energy = (np.abs(csi) ** 2).reshape(len(csi), -1)
  score = np.log(found.num_samples) - np.log(powers).sum(1) - energy @ (1 / powers).T
  for name, value in (('PARTS', 3), ('FINE_ENTRIES', 6 * 24)):
    monkeypatch.setattr(site_code, name, value)
  assert len(powers) > 2 * 6
  code = SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found))
  tried = code._try_out(csi[:, None], 0.0, 1, Paid(found), None).labels[:, 0]
  assert (tried == score.argmax(1)).mean() >= 0.95
  monkeypatch.setattr(site_code, 'FINE_ENTRIES', len(powers) * 24)
  code = SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found))
  tried = code._try_out(csi[:, None], 0.0, 1, Paid(found), None).labels[:, 0]
  np.testing.assert_array_equal(tried, score.argmax(1))


def test_no_estimate_has_more_power_than_csi_can_have(code, found):
  """At -20 dB labels are guesses and noise is large; still mean |h|^2 <= 1."""
  csi, _ = from_entry(found, 5, 20)
  csi = csi / np.sqrt((np.abs(csi) ** 2).mean((1, 2), keepdims=True))
  keys = jax.random.split(jax.random.key(4), (20, 1))
  noisy = [code.estimate(csi[:, None], keys, Uplink(snr_db))[:, 0] for snr_db in (-20.0, 30.0)]
  assert all((np.abs(hat) ** 2).mean((1, 2)).max() < 1 + 1e-5 for hat in noisy)
  errors = [(np.abs(hat - csi) ** 2).mean() for hat in noisy]
  assert errors[1] < 0.5 < errors[0] < 1.3


def test_reports_do_not_see_each_other(code, found):
  csi, _ = from_entry(found, 5, 20)
  csi, keys = csi[:, None], jax.random.split(jax.random.key(4), (20, 1))
  order = np.arange(20)[::-1]
  hat = code.estimate(csi, keys, Uplink(5.0))
  np.testing.assert_allclose(
      code.estimate(csi[order], keys[order], Uplink(5.0)), hat[order], atol=1e-5)


def test_joint_ues_may_change_places_and_a_ue_alone_is_paid(code, found):
  csi, _ = from_entry(found, 5, 12)
  keys, order = jax.random.split(jax.random.key(4), (4, 3)), [2, 0, 1]
  joint = SiteCode(found, CONFIG, NUM_SYMBOLS, Joint(found, CONFIG.max_ue_distance_m))
  groups = csi.reshape(4, 3, *csi.shape[1:])
  hat = joint.estimate(groups, keys, Uplink(5.0))
  np.testing.assert_allclose(
      joint.estimate(groups[:, order], keys[:, order], Uplink(5.0)), hat[:, order], atol=1e-5)
  alone = groups[:, :1], keys[:, :1], Uplink(5.0)
  np.testing.assert_array_equal(joint.estimate(*alone), code.estimate(*alone))


def test_a_ue_that_knows_its_place_looks_around_it(found):
  """The label it takes is near, and nearly the best of all that are."""
  entry = 5
  csi, _ = from_entry(found, entry, 12)
  code = SiteCode(found, CONFIG, NUM_SYMBOLS, Paid(found))
  places = np.broadcast_to(found.place[entry], (12, 2))
  at = code._at(places)
  np.testing.assert_array_equal(found.place[at], places)
  labels, _ = code._choose(csi[:, None], 0.1, 0, code._around, at[:, None], 16)
  apart = np.linalg.norm(found.place[labels[:, 0]] - places, axis=1)
  near = np.isnan(apart) | (apart <= 7 * 2**0.5 * SIDE_M)  # NaN: the reserved label
  assert near.all()
  # Of all labels near it, none codes this CSI better than 0.1 dB.
  tried = code._try_out(csi[:, None], 0.0, len(found.los), code._around, at)
  power = site_code.linear_powers(tried.variances, 0.1, NUM_SYMBOLS)
  change = site_code.linear_change(
      tried.variances, np.abs(tried.coefficients[:, :, 0]) ** 2, power, 0.1, limit=True)
  energy = (np.abs(csi) ** 2).sum((1, 2))
  chosen = np.array([
      change[row, tried.labels[row] == label].min() for row, label in enumerate(labels[:, 0])])
  assert (energy + chosen).sum() <= 1.03 * (energy + change.min(1)).sum()


@pytest.mark.parametrize(('num_symbols', 'noise'), [(1, 0.05), (4, 0.5), (8, 0.5), (8, 3.0)])
def test_labels_are_wrong_as_often_as_the_formula_says(num_symbols, noise):
  """The real decoder on a code book of its own words; and below the union bound (Chernoff)."""
  words = label.codewords(64, num_symbols)
  np.testing.assert_allclose((np.abs(words) ** 2).mean(1), 1, rtol=1e-5)
  sent = np.arange(6400) % 64
  white = jax.random.normal(jax.random.key(1), (6400, num_symbols), jnp.complex64)
  received = words[sent] + noise**0.5 * white
  wrong = np.asarray(label.log_likelihood(words, received, noise)).argmax(-1) != sent
  rate = label.error_rate(64, num_symbols, noise)
  # The words of one label are wrong together: 64 independent means.
  assert abs(wrong.mean() - rate) < 4 * wrong.reshape(-1, 64).mean(0).std() / 8 + 1e-3
  # Two words at a distance d are mistaken with probability at most exp(-d^2 / (4 noise)); between
  # random words of n symbols d^2 is 2 n (1 - t), t the cosine of their angle.
  cosine = np.random.default_rng(0).normal(size=(100_000, 2 * num_symbols))
  cosine = cosine[:, 0] / np.linalg.norm(cosine, axis=1)
  assert rate < 63 * np.exp(-num_symbols * (1 - cosine) / (2 * noise)).mean()


def test_error_rate_ends_where_it_must():
  assert label.error_rate(1, np.arange(4), 1.0).max() == 0
  np.testing.assert_allclose(label.error_rate(10, np.array([0, 8]), 1e9), 0.9, atol=1e-3)
  rates = label.error_rate(80_000, np.arange(60), 0.1)
  assert (np.diff(rates) < 0).all() and rates[-1] < 1e-9


@pytest.mark.slow
def test_a_row_of_the_site_map(found, tmp_path):
  """On the map's own site; without a map the line says how to make one."""
  site_map.save_map(tmp_path / 'a.map', found, CONFIG)
  config = ExperimentConfig(
      method='site map', csi=CONFIG, data=DataConfig(num_test_groups=64),
      model=ModelConfig(compression_ratio='1/3'), site_map=str(tmp_path / 'a.map'))
  row, = reference_rows(config, [Measurement(5.0)])
  assert row['nmse_db'] < -3 and row['num_samples'] == 64
  bound, bound_paid = (
      reference_rows(dataclasses.replace(config, method=name), [Measurement(5.0)])[0]['nmse_db']
      for name in ('site map bound', 'site map bound (paid)'))
  assert bound < bound_paid < row['nmse_db']
  bits, = reference_rows(
      dataclasses.replace(config, method='site map (bits)'), [Measurement(15.0)])
  assert bound < bits['nmse_db'] < -3
  tracked, = reference_rows(
      dataclasses.replace(config, method='site map (tracked)'), [Measurement(5.0)])
  assert tracked['nmse_db'] < row['nmse_db'] + 0.5  # 16 squares: the label is short anyway
  looks = dataclasses.replace(config, uplink=UplinkConfig(num_looks=2, look_snr_db=20.0))
  uplink, = reference_rows(
      dataclasses.replace(looks, method='site map (uplink)'), [Measurement(5.0)])
  assert uplink['nmse_db'] < row['nmse_db'] - 1
  assert (uplink['num_looks'], uplink['look_snr_db']) == (2, 20.0)
  paid, = reference_rows(looks, [Measurement(5.0)])
  assert 'num_looks' not in paid and paid['cell'] == row['cell'] != uplink['cell']
  spread, = reference_rows(config, [Measurement(5.0, snr_spread_db=8.0)])
  fading, = reference_rows(config, [Measurement(5.0, channel='rayleigh_block_fading_equalised')])
  assert row['nmse_db'] < fading['nmse_db'] < 0 and row['nmse_db'] != spread['nmse_db']
  assert spread['snr_spread_db'] == 8.0 and fading['channel'].endswith('equalised')
  with pytest.raises(InputError, match='generated groups of one site only'):
    reference_rows(dataclasses.replace(
        config, method='site map (tracked)', data=DataConfig(test_path=str(tmp_path / 'a.map'))),
        [Measurement(5.0)])
  with pytest.raises(InputError, match='--config.site_map=FILE'):
    reference_rows(ExperimentConfig(method='site map', csi=CONFIG), [Measurement(10.0)])


@pytest.mark.parametrize('source', ['joint', 'clusters'])
def test_a_file_fed_back_by_a_map_has_the_scores_of_its_row(found, tmp_path, source):
  if source == 'clusters':
    found = found._replace(place=np.full_like(found.place, np.nan))
  site_map.save_map(tmp_path / 'a.map', found, CONFIG)
  groups = sample_groups(
      jax.random.key(5), CONFIG, 20, 2, site=sample_site(jax.random.key(0), CONFIG))
  np.savez(tmp_path / 'csi.npz', csi=groups.csi)
  layout = Layout('csi', 'group,ue,delay,angle')
  config = ExperimentConfig(
      method='site map' if source == 'clusters' else 'site map (joint)', csi=CONFIG,
      data=DataConfig(test_path=str(tmp_path / 'csi.npz'), array=layout.array, axes=layout.axes),
      model=ModelConfig(compression_ratio='1/3'), site_map=str(tmp_path / 'a.map'))
  row, = reference_rows(config, [Measurement(5.0)])
  job = Job(map_sender(config, 5.0), 5.0, tmp_path / 'csi.npz', layout)
  feed_back(job, tmp_path / 'out', lambda *_: None)
  np.testing.assert_allclose(
      np.load(tmp_path / 'out' / 'nmse.npy').mean(1), row['errors'], rtol=1e-4)
  reports = np.load(tmp_path / 'out' / 'reports.npy')
  assert reports.shape == (20, 2, 8) and 0.3 < (np.abs(reports) ** 2).mean() < 3


@pytest.fixture(scope='module')
def fixed_code(found):
  """With a label that is paid and phases that are the same everywhere."""
  trial, _ = from_entry(found, 4, 64)
  return SiteCode(
      site_map.FixedPhases(*found), CONFIG, NUM_SYMBOLS, Paid(found), trial=2 * trial)


@pytest.mark.usefixtures('quick_compilation')
@pytest.mark.parametrize('snr_db', [5.0, 20.0])
def test_the_halves_of_a_paid_label_are_the_code(found, fixed_code, snr_db):
  """For CSI of three places and of none, sent with the reserved label, or of much power."""
  csi = np.concatenate([from_entry(found, entry, 8)[0] for entry in (0, 7, 15)])
  white = jax.random.normal(jax.random.key(3), (8, 6, 4), jnp.complex64)
  csi = np.concatenate([csi, np.asarray(white), 5 * csi[:2]])[:, None]
  itself = map_itself(fixed_code, snr_db)
  known = fixed_code.known(10 ** (-snr_db / 10))
  symbols = np.asarray(itself.encode(csi, None))
  found_symbols = np.asarray(jax.jit(partial(paid_code.encode, known))(csi[:, 0]))
  split = known.words.shape[1]
  reserved = np.isclose(symbols[:, 0, :split], known.words[-1], atol=1e-5).all(-1)
  assert 0 < split < NUM_SYMBOLS and 0 < reserved.sum() < len(csi) and known.excess != 1
  assert relative(found_symbols, symbols[:, 0]) < 1e-4
  received = np.asarray(awgn(jax.random.key(4), symbols, snr_db))
  expected = np.asarray(itself.decode(received, None, None))[:, 0]
  csi_hat = jax.jit(partial(paid_code.decode, known))(received[:, 0])
  assert relative(csi_hat, expected) < 1e-4


def relative(found, expected):
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_phases_are_fixed_whatever_they_were(found):
  grid = make_grid(CONFIG)
  whole = found.transform(grid, np.arange(3), 16)
  turned = whole._replace(mixing=whole.mixing * np.exp(1j * np.arange(16)))
  fixed, again = (klt.with_fixed_phases(each) for each in (whole, turned))
  np.testing.assert_allclose(fixed.mixing, again.mixing, atol=1e-5)
  np.testing.assert_allclose(np.abs(fixed.mixing), np.abs(whole.mixing), atol=1e-5)


@pytest.mark.usefixtures('quick_compilation')
def test_the_halves_of_a_map_are_written_as_stablehlo(fixed_code, tmp_path, monkeypatch):
  """For any number of UEs; where no converter is installed the shapes are checked alone."""
  config = ExperimentConfig(
      method='site map', csi=CONFIG, model=ModelConfig(compression_ratio='1/3'))
  halves = map_halves(fixed_code.known(0.1), CONFIG)
  for half in halves.values():
    shape = jax.eval_shape(half.function, *export._specs(half)).shape
    assert [str(length) for length in shape] == [str(length) for length in half.output.shape]
  pytest.importorskip('flatbuffers')
  monkeypatch.setattr(export, '_SIZES', ((3, 2),))
  itself = map_itself(fixed_code, 10.0)
  for half in halves.values():
    _, error = export.export_half(
        tmp_path, 'site', 'stablehlo', half, itself, config, {'snr_db': 10.0})
    assert error < itself.max_error
  card = json.loads((tmp_path / 'site_bs.stablehlo.json').read_text())
  assert card['snr_db'] == 10 and 'directions' in card['reason_of_the_error']
  assert card['inputs'][0]['shape'] == ['batch', NUM_SYMBOLS, 2]
