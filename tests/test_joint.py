"""Joint Bayes against plain numpy in double precision, on a small array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.bayes import joint, random_code
from rca_jax.config import CsiConfig
from rca_jax.errors import InputError
from rca_jax.uplink.djscc import awgn

pytestmark = pytest.mark.usefixtures('quick_compilation')
CONFIG = CsiConfig(num_subcarriers=64, num_delay_taps=6, num_tx_antennas=4)
NUM_SYMBOLS, SIZE = 5, 24
NOISE = jnp.array([0.02, 0.3, 1.0])


@pytest.fixture(scope='module')
def code():
  falling = np.geomspace(1, 0.05, 6)[None, :, None] * np.ones((3, 1, 4))
  projections = random_code.random_projections(jax.random.key(0), NUM_SYMBOLS, CONFIG)
  return random_code.make_code(projections, CONFIG, falling)


@pytest.fixture(scope='module')
def dense(code):
  """F [S, N], written out, and A [N, K]."""
  signs, kept = (np.asarray(x) for x in code.projections)
  turns = np.outer(kept, np.arange(SIZE)) / SIZE
  projections = np.exp(-2j * np.pi * turns) * signs.ravel() / np.sqrt(SIZE)
  delay, angle = (np.asarray(atoms, np.complex128) for atoms in code.grid)
  atoms = np.einsum('dp,aq->dapq', delay, angle).reshape(SIZE, -1)
  return projections, atoms


def few_paths(code, seed, num_paths=6):
  """A profile c [K] of a few atoms, as strong as the prior."""
  rng = np.random.default_rng(seed)
  power = np.zeros(code.prior.size)
  power[rng.choice(power.size, num_paths, replace=False)] = rng.exponential(size=num_paths)
  return power * float(code.prior.sum()) / power.sum()


def draw(atoms, power, num_ues, seed):
  """CSI [num_ues, N_a, N_t] of a profile."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(2, num_ues, len(power))) * np.sqrt(power / 2)
  return ((x[0] + 1j * x[1]) @ atoms.T).reshape(num_ues, 6, 4)


def noisy(projections, csi, noise, seed):
  """F h + n, [num_ues, S] complex64."""
  n = np.random.default_rng(seed).normal(size=(2, len(csi), NUM_SYMBOLS)) / np.sqrt(2)
  clean = csi.reshape(len(csi), SIZE) @ projections.T
  return (clean + np.sqrt(noise)[:, None] * (n[0] + 1j * n[1])).astype(np.complex64)


@pytest.fixture(scope='module')
def groups(code, dense):
  """CSI [G, M, N_a, N_t] of power 1 and received reports [G, M, S] at 20 dB: 40 groups of 8."""
  csi = np.stack([draw(dense[1], few_paths(code, seed), 8, seed) for seed in range(40)])
  csi /= np.sqrt(np.mean(np.abs(csi) ** 2, (-2, -1), keepdims=True))
  csi = jnp.asarray(csi, jnp.complex64)
  return csi, awgn(jax.random.key(1), random_code.encode(code, csi), 20.0)


def errors(csi, csi_hat):
  return np.mean(np.abs(np.asarray(csi_hat) - np.asarray(csi)) ** 2, (-2, -1))


def test_projections_are_orthonormal_and_reports_have_unit_power(dense, groups, code):
  np.testing.assert_allclose(dense[0] @ dense[0].conj().T, np.eye(NUM_SYMBOLS), atol=1e-12)
  np.testing.assert_allclose(
      code.projections.matrix().reshape(NUM_SYMBOLS, SIZE), dense[0], atol=1e-6)
  sent = random_code.encode(code, 7 * groups[0])
  np.testing.assert_allclose(np.mean(np.abs(sent) ** 2, -1), 1, rtol=1e-5)
  clean = np.asarray(groups[0]).reshape(*sent.shape[:2], SIZE) @ dense[0].T
  ratio = np.asarray(sent) / clean
  np.testing.assert_allclose(ratio, np.broadcast_to(ratio.real[..., :1], ratio.shape), rtol=1e-3)


@pytest.mark.parametrize('num_symbols', [0, SIZE + 1])
def test_a_report_has_one_symbol_at_least_and_one_an_entry_at_most(num_symbols):
  with pytest.raises(InputError, match=f'{num_symbols} symbols a report; .* from 1 to .* 24'):
    random_code.random_projections(jax.random.key(0), num_symbols, CONFIG)


def test_the_prior_falls_with_the_delay_and_gives_reports_of_mean_power_one(code, dense):
  power = np.asarray(code.prior).reshape(code.grid.shape)
  assert (power == power[:, :1]).all() and (np.diff(power[1:, 0]) <= 0).all()
  covariance = (dense[0] @ dense[1] * power.ravel()) @ (dense[0] @ dense[1]).conj().T
  np.testing.assert_allclose(np.trace(covariance).real / NUM_SYMBOLS, 1, rtol=1e-5)


def test_with_the_profile_known_it_is_the_posterior_of_every_ue(code, dense):
  """Mean and trace of the covariance, each UE with a noise of its own, in N x N form."""
  projections, atoms = dense
  power = few_paths(code, 3)
  received = noisy(projections, draw(atoms, power, 3, 0), np.asarray(NOISE), 1)
  found = joint.posterior(
      code, jnp.tile(jnp.asarray(power, jnp.float32), (3, 1)), jnp.asarray(received), NOISE)
  covariance = (atoms * power) @ atoms.conj().T
  for mean, variance, y, n in zip(*found, received, np.asarray(NOISE), strict=True):
    gain = np.linalg.solve(
        projections @ covariance @ projections.conj().T + n * np.eye(NUM_SYMBOLS),
        projections @ covariance).conj().T
    np.testing.assert_allclose(mean, (gain @ y).reshape(6, 4), atol=2e-4)
    rest = np.trace(covariance - gain @ projections @ covariance).real
    np.testing.assert_allclose(variance, rest, rtol=1e-3)


def test_with_the_profile_known_the_error_is_the_predicted_one(code, dense):
  power, noise = few_paths(code, 3), np.full(4000, 0.1, np.float32)
  csi = draw(dense[1], power, 4000, 0)
  received = noisy(dense[0], csi, noise, 1)
  found = joint.posterior(
      code, jnp.tile(jnp.asarray(power, jnp.float32), (4000, 1)), jnp.asarray(received), noise)
  np.testing.assert_allclose(
      SIZE * errors(csi, found.mean).mean(), found.variance[0], rtol=0.05)


def test_with_the_root_of_the_factor_the_likelihood_never_falls(code, dense):
  """Of two UEs that are heard; the third one's noise and report do not count."""
  projections, atoms = dense
  seen = projections @ atoms
  received = noisy(projections, draw(atoms, few_paths(code, 5), 3, 0), np.asarray(NOISE), 1)
  heard = jnp.array([True, True, False])
  received[2] = 0
  power, likelihood = code.prior, []
  for _ in range(20):
    full = [(seen * np.asarray(power, np.float64)) @ seen.conj().T + n * np.eye(NUM_SYMBOLS)
            for n in np.asarray(NOISE[:2], np.float64)]
    likelihood.append(-sum(
        np.linalg.slogdet(r)[1] + (y.conj() @ np.linalg.solve(r, y)).real
        for r, y in zip(full, received, strict=False)))
    power = jnp.sqrt(power * joint.step(code, power, jnp.asarray(received), NOISE, heard))
  assert (np.diff(likelihood) > -1e-4).all()
  assert likelihood[-1] > likelihood[0] + 1


@pytest.mark.parametrize('atoms_at_once', [7, 10 ** 6])
def test_atoms_taken_part_by_part_give_the_same(code, groups, monkeypatch, atoms_at_once):
  """Memory is bounded by parts of the atoms; the last one may be short."""
  received, heard = groups[1][0, :3], jnp.ones(3, bool)
  powers = [joint.step(code, code.prior, received, NOISE, heard)]
  monkeypatch.setattr(joint, '_NUMBERS_AT_ONCE', atoms_at_once * NUM_SYMBOLS ** 2)
  powers.append(joint.step(code, code.prior, received, NOISE, heard))
  assert len(code.prior) % 7 and powers[0].min() > 0
  np.testing.assert_allclose(*powers, rtol=1e-4)


def test_neighbours_help_and_the_scale_of_csi_is_found(code, groups):
  """Eight UEs of one profile are estimated better than each alone."""
  csi, received = groups
  noise = jnp.full((1, 1), 0.01)
  together, predicted = joint.decode(code, received, noise)
  alone, _ = joint.decode(code, received.reshape(-1, 1, NUM_SYMBOLS), noise)
  error = errors(csi, together)
  assert error.mean() < 0.9 * errors(csi.reshape(-1, 1, 6, 4), alone).mean()
  assert (np.mean(np.abs(together) ** 2, (-2, -1)) <= 1 + 1e-5).all()
  # What the BS expects tells good estimates from bad ones.
  assert np.corrcoef(np.log(error.ravel()), np.log(predicted.ravel()))[0, 1] > 0.3


@pytest.fixture(scope='module')
def pairs():
  """A code of half as many symbols as entries, and pairs of UEs whose profiles share no atom.

  Returns:
    code; csi [G, 2, 6, 4]; reports [G, 2, S]; reports [G, 2, S] where both have the first profile.
  """
  code = random_code.make_code(
      random_code.random_projections(jax.random.key(1), SIZE // 2, CONFIG), CONFIG,
      np.ones((1, 6, 4)))
  delay, angle = (np.asarray(atoms, np.complex128) for atoms in code.grid)
  atoms = np.einsum('dp,aq->dapq', delay, angle).reshape(SIZE, -1)
  projections = np.asarray(code.projections.matrix()).reshape(-1, SIZE)
  both = np.zeros((2, code.prior.size))
  half = code.prior.size // 2
  rng = np.random.default_rng(0)
  for power, start in zip(both, (0, half), strict=True):
    power[start + rng.choice(half, 4, replace=False)] = code.prior.sum() / 4
  first, second, other = (draw(atoms, both[i], 100, seed) for i, seed in ((0, 0), (0, 1), (1, 2)))

  def reports(csi, seed):
    n = np.random.default_rng(seed).normal(size=(2, *csi.shape[:2], SIZE // 2)) / np.sqrt(200)
    clean = csi.reshape(*csi.shape[:2], SIZE) @ projections.T
    return jnp.asarray(clean + n[0] + 1j * n[1], jnp.complex64)

  strangers, neighbours = (np.stack([first, ue], 1) for ue in (other, second))
  return code, (strangers, reports(strangers, 3)), (neighbours, reports(neighbours, 3))


def decoded_db(decode, code, csi, received):
  """Mean NMSE in dB, of UEs that report together or each alone."""
  found, _ = decode(code, received, jnp.full((1, 1), 0.01))
  return 10 * np.log10(errors(csi, np.asarray(found).reshape(csi.shape)).mean())


def test_ues_of_disjoint_profiles_are_decoded_as_alone(pairs):
  code, (csi, received), _ = pairs
  together = decoded_db(joint.decode, code, csi, received)
  alone = decoded_db(joint.decode, code, csi, received.reshape(-1, 1, SIZE // 2))
  np.testing.assert_allclose(together, alone, atol=0.1)


def test_ues_of_one_profile_gain_most_of_what_a_shared_one_would(pairs, monkeypatch):
  code, _, (csi, received) = pairs
  together = decoded_db(joint.decode, code, csi, received)
  alone = decoded_db(joint.decode, code, csi, received.reshape(-1, 1, SIZE // 2))
  monkeypatch.setattr(joint, 'likeness', lambda code, powers, *_: jnp.ones(2 * powers.shape[:1]))
  # Another function, or jit would not trace it anew.
  shared = decoded_db(lambda *args: joint.decode.__wrapped__(*args), code, csi, received)
  assert alone - together > 0.6 * (alone - shared) > 1


@pytest.mark.slow
def test_likeness_tells_neighbours_from_strangers(pairs):
  """It is symmetric, from 0 to 1, and full of equal reports."""
  code, (_, strangers), (_, neighbours) = pairs
  noise = jnp.array([0.01])

  def between(received):
    powers = jax.vmap(lambda y: joint.step(code, code.prior, y[None], noise, jnp.ones(1)))(received)
    return joint.likeness(code, powers, received, noise)

  # The report of the first UE stands there twice.
  found = [np.asarray(jax.vmap(between)(reports[:20, jnp.array([0, 1, 0])]))
           for reports in (strangers, neighbours)]
  for values in found:
    np.testing.assert_allclose(values, values.swapaxes(1, 2), atol=1e-5)
    assert (values >= 0).all() and (values <= 1).all() and (values[:, 0, 2] == 1).all()
  assert found[0][:, 0, 1].mean() < 0.1 < 0.5 < found[1][:, 0, 1].mean()


def test_the_evidence_is_that_of_a_gaussian(code, dense, groups):
  projections, atoms = dense
  power, received = few_paths(code, 3), np.asarray(groups[1][0, :3], np.complex128)
  seen = projections @ atoms
  expected = []
  for y, noise in zip(received, np.asarray(NOISE, np.float64), strict=True):
    full = (seen * power) @ seen.conj().T + noise * np.eye(NUM_SYMBOLS)
    expected.append(-np.linalg.slogdet(full)[1] - (y.conj() @ np.linalg.solve(full, y)).real)
  found = joint.log_evidence(code, jnp.asarray(power, jnp.float32), groups[1][0, :3], NOISE)
  np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_order_of_the_ues_does_not_matter(code, groups):
  received = groups[1][:4, :3]
  order = np.array([2, 0, 1])
  found = joint.decode(code, received, NOISE)
  turned = joint.decode(code, received[:, order], NOISE[order])
  for values, others in zip(found, turned, strict=True):
    np.testing.assert_allclose(values[:, order], others, rtol=1e-3, atol=1e-4)


def test_who_is_absent_changes_nothing_to_the_bit(code, groups):
  """Not active, or a report that is not finite: as if its report were another one, or none."""
  received = groups[1][:4, :3]
  active = jnp.broadcast_to(jnp.array([True, True, False]), (4, 3))
  usual = joint.decode(code, received, NOISE, active)
  other = joint.decode(code, received.at[:, 2].set(9 - 5j), NOISE, active)
  broken = joint.decode(code, received.at[:, 2, 0].set(jnp.nan), NOISE, jnp.ones_like(active))
  for found in (other, broken):
    for values, others in zip(usual, found, strict=True):
      np.testing.assert_array_equal(values, others)
  assert not np.asarray(usual[0][:, 2]).any() and (np.asarray(usual[1][:, 2]) == 1).all()
  without = joint.decode(code, received[:, :2], NOISE[:2])
  for values, others in zip(usual, without, strict=True):
    np.testing.assert_allclose(values[:, :2], others, rtol=1e-3, atol=1e-4)


def test_one_ue_is_decoded_as_alone(code, groups):
  received = groups[1][:4, :3]
  only = jnp.broadcast_to(jnp.array([False, True, False]), (4, 3))
  together = joint.decode(code, received, NOISE, only)
  alone = joint.decode(code, received[:, 1:2], NOISE[1:2])
  for values, others in zip(together, alone, strict=True):
    np.testing.assert_allclose(values[:, 1:2], others, rtol=1e-3, atol=1e-4)
