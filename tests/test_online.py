"""A map from reports alone: its statistics against numpy, its codes, and the run that scores it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.bayes import joint, online, random_code
from rca_jax.config import CsiConfig, DataConfig, ExperimentConfig, ModelConfig
from rca_jax.errors import InputError
from rca_jax.evaluation import online as run
from rca_jax.evaluation.online import Settings, online_rows
from rca_jax.report.online import figure

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(
    num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4, cell_size_m=20, min_bs_distance_m=2,
    max_ue_distance_m=1)
NUM_SYMBOLS, SIZE, NOISE = 8, 24, 0.1
EXPERIMENT = ExperimentConfig(csi=CONFIG, model=ModelConfig(compression_ratio='1/3'))
SETTINGS = Settings(
    num_reports=8 * 64, num_regions=1, region_m=2.0, side_m=1.0, moved_scatterers=0.0)


@pytest.fixture(scope='module')
def codes():
  falling = np.geomspace(1, 0.05, 6)[None, :, None] * np.ones((3, 1, 4))
  return online.make_codes(jax.random.key(0), NUM_SYMBOLS, CONFIG, falling)


@pytest.fixture(scope='module')
def reports(codes):
  """CSI [40, N_a, N_t] of a few paths, noisy reports [40, S] of it, and their codes [40]."""
  rng = np.random.default_rng(1)
  atoms = [np.asarray(atoms)[:, rng.choice(atoms.shape[1], 3)] for atoms in codes.grid]
  gains = rng.normal(size=(2, 40, 3)) * [3, 1, 0.5]
  csi = np.einsum('dp,np,ap->nda', atoms[0], gains[0] + 1j * gains[1], atoms[1])
  csi = (csi / np.sqrt(np.mean(np.abs(csi) ** 2, (1, 2), keepdims=True))).astype(np.complex64)
  which = np.arange(40) % len(codes.seen)
  sent = np.stack([
      random_code.encode(codes.code(int(f)), one) for f, one in zip(which, csi, strict=True)])
  noise = rng.normal(size=(2, *sent.shape)) * np.sqrt(NOISE / 2)
  return csi, (sent + noise[0] + 1j * noise[1]).astype(np.complex64), which


def statistics(received, which, num_cells=2):
  """In cell 0 with weight 1, in cell 1 with weight 1/2."""
  ones = np.ones(len(received))
  cells = np.stack([0 * ones, ones], 1).astype(int)[:, :num_cells]
  weights = np.stack([ones, ones / 2], 1).astype(np.float32)[:, :num_cells]
  return online.gather(num_cells, 4, received, which, cells, weights)


def test_statistics_of_two_halves_are_those_of_the_whole(reports):
  _, received, which = reports
  halves = [statistics(received[rows], which[rows]) for rows in (slice(0, 17), slice(17, None))]
  whole = statistics(received, which)
  jax.tree.map(
      lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4),
      online.merge(*halves), whole)
  np.testing.assert_allclose(whole.weight.sum(-1), [40, 20])
  faded = online.fade(whole, jnp.array([0.5, 1.0]))
  jax.tree.map(lambda leaf: np.testing.assert_allclose(leaf[0], leaf[1], rtol=1e-5), faded)


def test_a_step_is_that_of_the_reports_one_by_one(codes, reports, monkeypatch):
  """MacKay's form in double precision; the last part of the atoms is short."""
  monkeypatch.setattr(joint, '_NUMBERS_AT_ONCE', 100 * NUM_SYMBOLS ** 2)
  _, received, which = reports
  power = np.asarray(codes.prior, np.float64)
  explained, expected = np.zeros_like(power), np.zeros_like(power)
  for y, f in zip(received.astype(np.complex128), which, strict=True):
    seen = np.asarray(codes.seen[f], np.complex128)
    inverse = np.linalg.inv((seen.T * power) @ seen.conj() + NOISE * np.eye(NUM_SYMBOLS))
    explained += np.abs(seen.conj() @ inverse @ y) ** 2
    expected += np.einsum('ks,st,kt->k', seen.conj(), inverse, seen).real
  heard = 40 / (1 + NOISE / 0.1)
  stepped = (heard * power * explained / expected + 0.1 * power) / (heard + 0.1)
  found = online.fit.__wrapped__(
      codes, statistics(received, which, 1), codes.prior[None], NOISE, num_steps=1)[0]
  assert len(power) % 100
  np.testing.assert_allclose(found, stepped, rtol=2e-3, atol=1e-4 * stepped.max())


def test_the_power_of_one_atom_has_a_closed_form(codes, reports, monkeypatch):
  """The likelihood of reports in one direction b is greatest where |b|^2 c + N_0 is their power."""
  monkeypatch.setattr(joint, 'PRIOR_UES', 0.0)
  received = reports[1]
  atom = 130
  b = np.asarray(codes.seen[2, atom])
  along = np.mean(np.abs(received @ b.conj()) ** 2) / np.linalg.norm(b) ** 2
  power = np.zeros((1, len(codes.prior)), np.float32)
  power[0, atom] = 1.0
  found = online.fit.__wrapped__(
      codes, statistics(received, np.full(40, 2), 1), jnp.asarray(power), NOISE, num_steps=60)
  assert along > 2 * NOISE
  assert found[0, atom] == pytest.approx((along - NOISE) / np.linalg.norm(b) ** 2, rel=1e-3)
  assert np.count_nonzero(found) == 1


def test_where_nothing_is_known_it_is_joint_bayes_of_one_report(codes, reports):
  received = jnp.asarray(reports[1][2::4])
  found = online.decode(
      codes.code(2), jnp.broadcast_to(codes.prior, (10, len(codes.prior))), jnp.zeros(10),
      received, NOISE)
  alone, _ = joint.decode(codes.code(2), received[:, None], jnp.full(1, NOISE))
  np.testing.assert_allclose(found, alone[:, 0], rtol=1e-3, atol=1e-3)


def test_what_is_known_of_a_cell_helps_both_codes(codes, reports):
  """And the BS sees it without knowing the CSI."""
  csi, received, which = reports
  power = online.fit(codes, statistics(received[:30], which[:30], 1), codes.prior[None], NOISE)
  found = []
  for one, weight in ((codes.prior[None], 0.0), (power, 30.0)):
    report = (
        codes.code(3), jnp.repeat(one, 10, 0), jnp.full(10, weight), jnp.asarray(received[3::4]),
        NOISE)
    linear = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, 40, 0), online.linear_codes(codes.grid, one, NOISE, 8))
    sent = online.encode_linear(codes.grid, linear, csi, 1.0)
    noise = jax.random.normal(jax.random.key(3), sent.shape, jnp.complex64)
    values = sent + NOISE ** 0.5 * noise
    hat, measured = online.decode_linear(codes.grid, linear, values, NOISE, 1.0)
    found.append([
        np.mean(np.abs(online.decode(*report) - csi[3::4]) ** 2),
        online.measured_error(*report).mean(), np.mean(np.abs(hat - csi) ** 2), measured.mean()])
  (random, seen_random, linear, seen_linear), (*known,) = found
  assert known[0] < 0.7 * random and known[1] < 0.8 * seen_random
  assert known[2] < 0.3 * linear and known[3] < 0.5 * seen_linear


def test_the_measured_error_of_a_linear_code_is_right_on_average(codes, reports):
  """For any CSI, also such as the cell's profile does not expect."""
  csi, received, which = reports
  power = online.fit(codes, statistics(received, which, 1), codes.prior[None], NOISE)
  linear = online.linear_codes(codes.grid, power, NOISE, NUM_SYMBOLS)
  many = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4000, 0), linear)
  for one in (csi[0], csi[0, ::-1].copy()):
    sent = online.encode_linear(codes.grid, many, jnp.repeat(one[None], 4000, 0), 1.0)
    noise = jax.random.normal(jax.random.key(3), sent.shape, jnp.complex64)
    values = sent + NOISE ** 0.5 * noise
    hat, measured = online.decode_linear(codes.grid, many, values, NOISE, 1.0)
    inside = np.mean(np.abs(hat) ** 2, (1, 2)) < 1 - 1e-5  # the others are scaled after that
    error = np.mean(np.abs(hat - one) ** 2, (1, 2))
    spread = np.std(measured) / 4000 ** 0.5
    assert np.mean(measured) > np.mean(error) - 4 * spread
    if inside.all():
      assert np.mean(measured) == pytest.approx(np.mean(error), abs=5 * spread)


def test_linear_reports_have_the_power_that_the_bs_sets(codes, reports):
  """Whatever the profile expects: divided by the measured excess, the mean is 1."""
  csi, _, _ = reports
  many = jax.tree.map(
      lambda leaf: jnp.repeat(leaf, len(csi), 0),
      online.linear_codes(codes.grid, codes.prior[None, ::-1], NOISE, NUM_SYMBOLS))
  power = (np.abs(online.encode_linear(codes.grid, many, csi, 1.0)) ** 2).mean(-1)
  assert abs(power.mean() - 1) > 0.1 and power.max() < 2 + 1e-5
  again = online.encode_linear(codes.grid, many, csi, power.mean())
  assert (np.abs(again) ** 2).mean() == pytest.approx(1, rel=1e-5)
  values = jax.random.normal(jax.random.key(4), again.shape, jnp.complex64)
  for hat, scaled in zip(
      online.decode_linear(codes.grid, many, again + 0.1 * values, NOISE, power.mean()),
      online.decode_linear(
          codes.grid, many, (again + 0.1 * values) * power.mean() ** 0.5, NOISE * power.mean(),
          1.0), strict=True):
    np.testing.assert_allclose(hat, scaled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, 0.0, 30.0])
def test_a_broken_report_changes_nothing_for_the_others(codes, reports, wrong):
  """NaN, or of a power that no report has."""
  received = reports[1][1::4].copy()
  power = jnp.broadcast_to(codes.prior, (10, len(codes.prior)))
  usual = online.decode(codes.code(1), power, jnp.zeros(10), jnp.asarray(received), NOISE)
  received[4] *= wrong
  sound = online.is_sound(jnp.asarray(received), NOISE)
  assert sound.tolist() == [i != 4 for i in range(10)]
  found = online.decode(codes.code(1), power, jnp.zeros(10), jnp.asarray(received), NOISE)
  assert not np.asarray(found[4]).any()
  np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(usual, 4, 0))
  weights = np.asarray(sound, np.float32)[:, None]
  which, cell = np.ones(10, int), np.zeros((10, 1), int)
  kept = online.gather(1, 4, received, which, cell, weights)
  without = online.gather(1, 4, np.nan_to_num(received), which, cell, weights)
  jax.tree.map(np.testing.assert_array_equal, kept, without)
  linear = jax.tree.map(
      lambda leaf: jnp.repeat(leaf, 10, 0),
      online.linear_codes(codes.grid, power[:1], NOISE, NUM_SYMBOLS))
  hat, measured = online.decode_linear(codes.grid, linear, received, NOISE, 1.0)
  assert np.isfinite(hat).all() and np.isfinite(measured).all()


@pytest.fixture(scope='module')
def small_blocks():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run, '_BLOCK', 64)
    patch.setattr(run, '_BLOCKS_A_FILE', 2)
    patch.setattr(run, '_NUM_PRIOR_BLOCKS', 1)
    yield


@pytest.fixture(scope='module')
def finished(small_blocks, tmp_path_factory):
  folder = tmp_path_factory.mktemp('online')
  return online_rows(EXPERIMENT, SETTINGS, folder, lambda *_: None), folder


def test_the_map_comes_near_to_that_from_clean_csi(finished):
  rows, _ = finished
  assert {row['method'] for row in rows} == set(run.METHODS)
  last = {
      method: 10 * np.log10(np.mean([
          row['nmse'] for row in rows if row['method'] == method and row['block'] > 4]))
      for method in run.METHODS}
  ours, linear, alone, clean = (last[method] for method in run.METHODS)
  assert linear < clean + 1.5 and ours < alone - 2
  first = [
      row['nmse_db'] for row in rows if row['block'] == 0 and row['method'] in run.METHODS[::2]]
  assert first[0] == pytest.approx(first[1], abs=0.8)  # the same decoder, of other UEs
  assert figure(rows).axes[0].get_xscale() == 'log'


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_to_the_bit(finished, tmp_path):
  rows, folder = finished

  class Killed(Exception):
    pass

  def kill(done, _):
    if done == 5 * 64:
      raise Killed

  with pytest.raises(Killed):
    online_rows(EXPERIMENT, SETTINGS, tmp_path, kill)
  assert (tmp_path / 'online.safetensors').read_bytes() != (
      folder / 'online.safetensors').read_bytes()
  assert online_rows(EXPERIMENT, SETTINGS, tmp_path, lambda *_: None) == rows
  assert (tmp_path / 'online.safetensors').read_bytes() == (
      folder / 'online.safetensors').read_bytes()


@pytest.mark.slow
def test_the_map_learns_without_places(finished, tmp_path):
  """Also killed and resumed, to the bit; it is scored beside the same map from clean CSI."""
  settings = dataclasses.replace(SETTINGS, positions=False)
  rows = online_rows(EXPERIMENT, settings, tmp_path / 'whole', lambda *_: None)
  linear, clean = (10 * np.log10(np.mean([
      row['nmse'] for row in rows if row['method'] == method and row['block'] > 2]))
                   for method in run.METHODS[1::2])
  assert linear < clean + 2
  of_clean = [
      [row['nmse'] for row in some if row['method'] == run.METHODS[3]]
      for some in (rows, finished[0])]
  assert of_clean[0] == of_clean[1]

  def kill(done, _):
    if done == 3 * 64:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    online_rows(EXPERIMENT, settings, tmp_path / 'killed', kill)
  assert online_rows(EXPERIMENT, settings, tmp_path / 'killed', lambda *_: None) == rows


def test_a_folder_of_another_map_is_one_line(finished, tmp_path):
  _, folder = finished
  for other in (
      dataclasses.replace(SETTINGS, snr_db=5.0), dataclasses.replace(SETTINGS, region_m=3.0),
      dataclasses.replace(SETTINGS, positions=False)):
    with pytest.raises(InputError, match='of another config or other settings'):
      online_rows(EXPERIMENT, other, folder, lambda *_: None)
  cut = (folder / 'online.safetensors').read_bytes()[:-9]
  (tmp_path / 'online.safetensors').write_bytes(cut)
  with pytest.raises(InputError, match='no whole online map'):
    online_rows(EXPERIMENT, SETTINGS, tmp_path, lambda *_: None)


@pytest.mark.parametrize('values, message', [
    ({'num_reports': 60}, 'reports=60: at least'),
    ({'snr_db': float('nan')}, 'snr_db=nan must be from'),
    ({'region_m': 2.5}, '--region_m=2.5 --side_m=1: expected one region at least'),
    ({'num_regions': 0}, 'num_regions=0'),
    ({'moved_scatterers': 2.0}, 'moved_scatterers=2 must be from 0 to 1'),
])
def test_settings_that_cannot_be_are_one_line(values, message):
  with pytest.raises(InputError, match=message):
    Settings(**{'num_reports': 1000} | values)


@pytest.mark.parametrize('config, message', [
    (dataclasses.replace(EXPERIMENT, csi=dataclasses.replace(CONFIG, mode='fresh')), 'generated'),
    (dataclasses.replace(EXPERIMENT, data=DataConfig(path='a.npz')), 'one generated site'),
    (dataclasses.replace(EXPERIMENT, data=DataConfig(moved_scatterers=0.1)), 'at half time'),
])
def test_a_config_of_no_one_site_is_one_line(config, message, tmp_path):
  with pytest.raises(InputError, match=message):
    online_rows(config, SETTINGS, tmp_path, lambda *_: None)


def test_more_regions_than_there_is_room_for_are_one_line(tmp_path, small_blocks):
  with pytest.raises(InputError, match='there is no room'):
    online_rows(
        EXPERIMENT, dataclasses.replace(SETTINGS, num_regions=99), tmp_path, lambda *_: None)
