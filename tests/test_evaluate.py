import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rca_jax.evaluation.evaluate import Scores, evaluate, summarise


class Shrink(nn.Module):
  """Returns features times `gain`: NMSE (1 - gain)^2, cosine similarity 1."""

  gain: float

  def __call__(self, features, snr_db, key):
    assert snr_db.shape == features.shape[:2]
    return self.gain * features


class Noisy(nn.Module):
  """Adds what an SNR leaves."""

  def __call__(self, features, snr_db, key):
    noise = jax.random.normal(key, features.shape) / np.sqrt(2)
    return features + 10 ** (-snr_db[..., None, None] / 20) * noise


class Heard(nn.Module):
  """Nine tenths of the features of UEs that were heard; nonsense for the others."""

  def __call__(self, features, snr_db, key, active):
    return jnp.where(active[..., None, None], 0.9 * features, 7)


@pytest.fixture(scope='module')
def csi(random_csi):
  return random_csi / np.sqrt(np.mean(np.abs(random_csi) ** 2, axis=(-2, -1), keepdims=True))


def test_known_estimate_has_known_scores(csi):
  scores = evaluate(Shrink(0.9), {}, csi, 10.0, jax.random.key(0), 4)
  row = summarise(scores, 0)
  assert scores.nmse.shape == (12,) and row['num_samples'] == 12
  np.testing.assert_allclose(row['nmse_db'], -20, atol=1e-3)
  np.testing.assert_allclose([row['rho'], row['sgcs']], 1, atol=1e-5)


@pytest.mark.parametrize('batch_size', [5, 12, 20])
def test_a_last_batch_that_is_not_full_counts_each_group_once(csi, batch_size):
  scores = evaluate(Shrink(0.5), {}, csi, 0.0, jax.random.key(0), batch_size)
  np.testing.assert_allclose(scores.nmse, np.full(12, 0.25), rtol=1e-5)


def test_the_snr_and_the_key_reach_the_network(csi):
  nmse = {
      (snr_db, seed): evaluate(Noisy(), {}, csi, snr_db, jax.random.key(seed), 12).nmse
      for snr_db in (0.0, 20.0) for seed in (0, 1)}
  np.testing.assert_allclose(nmse[0.0, 0], 100 * nmse[20.0, 0], rtol=1e-3)
  assert not np.allclose(nmse[0.0, 0], nmse[0.0, 1])
  assert 0.8 < nmse[0.0, 0].mean() < 1.2


def test_silent_ues_are_masked_and_not_scored(csi):
  csi = csi.copy()
  csi[0, 1] = csi[3, 0] = csi[5] = 0
  scores = evaluate(Heard(), {}, csi, 10.0, jax.random.key(0), 5)
  assert scores.nmse.shape == (11,)  # nobody is left of group 5
  np.testing.assert_allclose(scores.nmse, 0.01, rtol=1e-4)
  np.testing.assert_allclose(scores.rho, 1, rtol=1e-4)
  # The last UE's report is lost, the others are scored: in group 3 one of two.
  lost = evaluate(Heard(), {}, csi, 10.0, jax.random.key(0), 5, num_lost=1)
  assert lost.nmse.shape == (11,)
  np.testing.assert_allclose(lost.nmse, 0.01, rtol=1e-4)


def test_means_are_taken_before_db():
  scores = Scores(np.float32([0.1, 0.001]), np.float32([1, 0]), np.float32([0.5, 0.5]))
  row = summarise(scores, 0)
  np.testing.assert_allclose(row['nmse_db'], 10 * np.log10(0.0505), atol=1e-5)
  assert row['rho'] == 0.5 and row['sgcs_ci95'] == [0.5, 0.5]
  assert row['nmse_ci95_db'][0] <= row['nmse_db'] <= row['nmse_ci95_db'][1]
