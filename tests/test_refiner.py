"""The refiner: it begins at the code it is put behind, knows no order of atoms, and gains."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rca_jax.bayes import fold, hybrid, klt
from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import make_grid
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.models.refiner import Heard, Refiner, RefinerConfig, refine
from rca_jax.training import refiner as training

_CONFIG = CsiConfig(mode='fresh', num_delay_taps=8, num_tx_antennas=8, num_subcarriers=64)
_NUM_ATOMS, _SIZE = 20, 12
_refine = jax.jit(refine, static_argnums=0)


@pytest.fixture(scope='module')
def report():
  """Three profiles, their KLTs, and what is heard of the first coefficients."""
  rng = np.random.default_rng(0)
  grid = make_grid(_CONFIG)
  index = np.stack([
      rng.choice(np.prod(grid.shape), _NUM_ATOMS, replace=False) for _ in range(3)])
  profile = Profile(
      jnp.asarray(index, jnp.int32), jnp.asarray(rng.exponential(size=index.shape), jnp.float32))
  transform = klt.transform(grid, profile, _SIZE)
  values = rng.standard_normal((2, 3, _SIZE)) * np.sqrt(np.asarray(transform.variances) / 2)
  heard = Heard(
      jnp.asarray(values[0] + 1j * values[1], jnp.complex64),
      jnp.asarray(np.where(np.arange(_SIZE) < 8, 0.3, np.inf) * np.ones((3, 1)), jnp.float32))
  return grid, profile, transform, heard


def _model(grid, seed: int | None):
  """With weights as training begins, or random ones in every layer."""
  model = Refiner(RefinerConfig(), grid.shape)
  params = training.init_params(jax.random.key(0), model, _SIZE)
  if seed is not None:
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    params = tree.unflatten([
        jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32) for leaf in leaves])
  return model, params


def test_begins_at_the_code(report):
  """With the last layers at zero not one bit of the estimate changes."""
  grid, profile, transform, heard = report
  assert not np.asarray(_refine(*_model(grid, None), grid, profile, transform, heard)).any()


def test_estimate_by_atoms_is_that_of_the_code(report):
  """What the network corrects, c a^H R^-1 y, is the linear code's estimate of the CSI."""
  grid, profile, transform, heard = report
  wiener = transform.variances / (transform.variances + heard.variance) * heard.values
  expected = klt.synthesise(grid, transform, wiener.astype(jnp.complex64))
  atoms = np.einsum('dp,aq->pqda', grid.delay, grid.angle).reshape(-1, 64)
  for n in range(3):
    a = atoms[profile.index[n]].T
    c = np.asarray(profile.power[n] * 64 / profile.power[n].sum())
    u = a @ np.asarray(transform.mixing[n])
    known = np.isfinite(heard.variance[n])
    seen = (u.conj().T @ a)[known]
    covariance = seen * c @ seen.conj().T + np.diag(heard.variance[n][known])
    found = a @ (c * (seen.conj().T @ np.linalg.solve(covariance, heard.values[n][known])))
    np.testing.assert_allclose(found, expected[n].ravel(), atol=2e-3)


def test_order_of_atoms_does_not_matter(report):
  grid, profile, transform, heard = report
  model, params = _model(grid, 1)
  order = np.random.default_rng(2).permutation(_NUM_ATOMS)
  turned = Profile(*(leaf[:, order] for leaf in profile))
  of_turned = transform._replace(
      index=transform.index[:, order], mixing=transform.mixing[:, order])
  plain = _refine(model, params, grid, profile, transform, heard)
  assert np.abs(plain).max() > 1e-2
  np.testing.assert_allclose(
      _refine(model, params, grid, turned, of_turned, heard), plain, atol=1e-4)


def test_atoms_without_power_leave_the_gradient_a_number(report):
  grid, profile, transform, heard = report
  model, params = _model(grid, 1)
  some = profile._replace(power=profile.power.at[:, 3].set(0))
  gradient = jax.jit(jax.grad(lambda params: jnp.abs(
      refine(model, params, grid, some, transform, heard)).sum()))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_reports_do_not_mix(report):
  grid, profile, transform, heard = report
  model, params = _model(grid, 1)
  other = heard._replace(values=heard.values.at[1].multiply(-2))
  changed = np.asarray(_refine(model, params, grid, profile, transform, other) - _refine(
      model, params, grid, profile, transform, heard))
  assert not changed[[0, 2]].any() and changed[1].any()


@pytest.mark.parametrize('code', (hybrid, fold))
def test_what_is_heard_and_the_prior_give_the_estimate(code):
  rng = np.random.default_rng(0)
  variances = np.geomspace(10, 0.01, 24)
  design = hybrid.linear_design if code is hybrid else fold.design
  designs = [design(variances, 0.05, 16)] * 40
  values = (rng.standard_normal((40, 24)) + 1j * rng.standard_normal((40, 24))) * np.sqrt(
      variances / 2)
  symbols = code.encode(designs, values.astype(np.complex64))
  received = symbols + 0.16 * (
      rng.standard_normal(symbols.shape) + 1j * rng.standard_normal(symbols.shape))
  estimate = code.decode(designs, received, 0.05, 24)
  heard, variance = code.hear(designs, received, 0.05, 24)
  np.testing.assert_allclose(
      heard * variances / (variances + variance), estimate, atol=3e-3)
  assert (np.abs(heard - values) ** 2)[:, :8].mean() < 2 * variance[:, :8].mean()


@pytest.mark.slow
def test_training_stopped_and_resumed_is_the_same_to_the_bit(tmp_path: Path, monkeypatch):
  monkeypatch.setattr(training, '_NUM_CELLS', 16)
  monkeypatch.setattr(training, '_AT_ONCE', 8)

  class Stopped(Exception):
    pass

  def stop(step: int, gain_db: float) -> None:
    raise Stopped

  def run(folder: Path, progress) -> dict:
    return training.train(
        jax.random.key(0), _CONFIG, 8, RefinerConfig(width=8, num_layers=1, num_heads=2), 64,
        folder, progress)

  steps = []
  whole = run(tmp_path / 'whole', lambda step, gain_db: steps.append(step))
  with pytest.raises(Stopped):
    run(tmp_path / 'cut', stop)
  resumed = run(tmp_path / 'cut', lambda step, gain_db: None)
  assert steps == [32, 64]
  jax.tree.map(np.testing.assert_array_equal, whole, resumed)


@pytest.mark.parametrize('step', [5, 31])
def test_training_that_diverges_keeps_nothing(tmp_path: Path, monkeypatch, step):
  """Also in the last step of a round, whose error is still a number."""
  ones = jnp.ones(32)
  batch = training._Batch(
      training.Cells(*[ones] * len(training.Cells._fields)), ones.at[step].set(0), ones)

  def errors(model, params, grid, batch, key):
    size = optax.tree.norm(params)
    return size, size + jnp.sqrt(size * batch.power)  # no gradient at 0

  monkeypatch.setattr(training, 'draw_cells', lambda *args: None)
  monkeypatch.setattr(training, '_batches', lambda *args: batch)
  monkeypatch.setattr(training, 'errors', errors)

  def run():
    training.train(
        jax.random.key(0), _CONFIG, 8, RefinerConfig(width=8, num_layers=1, num_heads=2), 32,
        tmp_path / 'a', lambda step, gain_db: None)

  with pytest.raises(FloatingPointError, match='diverged in steps 1 to 32'):
    run()
  monkeypatch.setattr(training, '_batches', lambda *args: batch._replace(power=ones))
  run()


def test_file_comes_back_and_bad_ones_say_so(tmp_path: Path):
  path = tmp_path / 'r.safetensors'
  model, params = _model(make_grid(_CONFIG), 3)
  training.save_refiner(path, params, RefinerConfig(), _CONFIG, 8, 64)
  loaded, found = training.load_refiner(path, _CONFIG)
  assert loaded == model
  jax.tree.map(np.testing.assert_array_equal, params, found)
  with pytest.raises(InputError, match='num_tx_antennas=8, not 16'):
    training.load_refiner(path, dataclasses.replace(_CONFIG, num_tx_antennas=16))
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(InputError, match='no whole refiner'):
    training.load_refiner(path, _CONFIG)
  with pytest.raises(InputError, match='no whole refiner'):
    training.load_refiner(tmp_path / 'none', _CONFIG)


@pytest.mark.slow
def test_published_refiner_gains_in_environments_that_it_never_saw():
  """Paired, on cells of other keys than training's: by more than four standard errors."""
  config = CsiConfig(mode='fresh')
  model, params = training.load_refiner(training.REFINER, config)
  grid = make_grid(config)
  cells = training.draw_cells(jax.random.key(99), config, 64)
  batches = training._batches(cells, jax.random.key(98))
  gains = []
  for number in range(8):
    batch = jax.tree.map(lambda leaf, number=number: leaf[number], batches)
    linear, refined = training.errors(model, params, grid, batch, jax.random.key(number))
    keep = batch.cells.is_sound & (batch.snr_db >= 0)
    gains.append((np.asarray(linear - refined) / np.asarray(linear))[keep])
  gains = np.concatenate(gains)
  assert gains.mean() > 4 * gains.std() / np.sqrt(gains.size)
