"""The benchmark's peer computes what our network computes; needs the `bench` extra."""

import jax
import numpy as np
import pytest

from rca_jax.models.build import build_model

torch = pytest.importorskip('torch')


def test_peer_agrees_with_ours(tiny_config):
  from benchmarks import torch_peer

  model = build_model(tiny_config)
  rng = np.random.default_rng(0)
  features = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)
  params = model.init(jax.random.key(0), features, 10.0, jax.random.key(1))['params']
  # New biases are zero, new scales one: moved, so that a swap would show.
  params = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), params)
  peer = torch_peer.RCAMUNet(tiny_config)
  torch_peer.load_params(peer, params)
  with torch.no_grad(), jax.default_matmul_precision('float32'):
    codeword = model.encoder.apply({'params': params['encoder']}, features)
    peer_codeword = peer.encoder(torch.from_numpy(features).flatten(0, 1)).unflatten(0, (3, 3))
    np.testing.assert_allclose(codeword, peer_codeword, rtol=1e-4, atol=1e-4)
    features_hat = model.decoder.apply({'params': params['decoder']}, codeword)
    np.testing.assert_allclose(features_hat, peer.decoder(peer_codeword), rtol=1e-4, atol=1e-4)


def test_peer_learns(tiny_config):
  from benchmarks import torch_peer

  torch.manual_seed(0)
  features = torch.randn(8, 2, 8, 8)
  step = torch_peer.train_step(tiny_config, features)
  first = float(step())
  last = [float(step()) for _ in range(200)][-1]
  assert last < 0.7 * first
