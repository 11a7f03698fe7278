# %% [markdown]
"""From a radio site to the NMSE of joint CSI feedback, with nothing hidden.

  python examples/site_to_nmse.py

4 UEs within a metre send 16 noisy symbols each; the BS recovers the CSI of all of them together.
Two minutes on 2 CPU cores; STEPS=100 in the environment makes it shorter.
"""

# %%
import os

import jax
import jax.numpy as jnp
import optax

from rca_jax.channel import CsiConfig, from_features, sample_groups, sample_site, to_features
from rca_jax.config import ModelConfig
from rca_jax.evaluation.metrics import nmse, to_db
from rca_jax.models.attention import ATTENTION
from rca_jax.models.decoder import Decoder
from rca_jax.models.encoder import Encoder
from rca_jax.uplink.djscc import awgn, from_symbols, to_symbols

NUM_STEPS = int(os.environ.get('STEPS', 400))
CSI = CsiConfig(
    scenario='uma_los', num_delay_taps=16, num_tx_antennas=16, cell_size_m=60.0,
    min_bs_distance_m=10.0, max_ue_distance_m=1.0)
MODEL = ModelConfig(
    compression_ratio='1/16', model_dim=64, num_heads=4, mlp_dim=256, num_encoder_layers=1,
    num_decoder_layers=1, num_rca_blocks=1, shortcut=True)

# %%
site = jax.jit(sample_site, static_argnums=1)(jax.random.key(0), CSI)
encoder = Encoder(MODEL, CSI)  # the same at every UE
decoder = Decoder(MODEL, CSI, ATTENTION['residual_cross'])  # at the BS, for all UEs together
schedule = optax.cosine_onecycle_schedule(NUM_STEPS, 2e-2)
optimizer = optax.contrib.muon(schedule, adam_learning_rate=lambda step: 0.1 * schedule(step))


# %%
def draw(key, num_groups):
  """CSI of groups of nearby UEs [groups, 4, 16 delays, 16 angles]."""
  return sample_groups(key, CSI, num_groups, num_ues=4, site=site).csi


def feedback(params, key, csi, snr_db):
  """CSI as the BS recovers it."""
  codeword = encoder.apply(params['encoder'], to_features(csi))  # [groups, 4, 32] real
  received = awgn(key, to_symbols(codeword), snr_db)  # [groups, 4, 16] complex
  return from_features(decoder.apply(params['decoder'], from_symbols(received)))


@jax.jit
def step(params, state, key):
  """One step on 32 new groups, each UE at an SNR of its own."""
  csi_key, snr_key, noise_key = jax.random.split(key, 3)
  csi = draw(csi_key, 32)
  snr_db = jax.random.uniform(snr_key, csi.shape[:2], minval=-2.0, maxval=22.0)
  loss, gradient = jax.value_and_grad(
      lambda params: nmse(csi, feedback(params, noise_key, csi, snr_db)).mean())(params)
  updates, state = optimizer.update(gradient, state, params)
  return optax.apply_updates(params, updates), state, loss


# %%
keys = jax.random.split(jax.random.key(1), NUM_STEPS + 4)
params = {'encoder': encoder.init(keys[0], jnp.zeros((1, 4, 16, 32))),
          'decoder': decoder.init(keys[1], jnp.zeros((1, 4, 32)))}
state = optimizer.init(params)
for number, key in enumerate(keys[4:], 1):
  params, state, loss = step(params, state, key)
  if number % 50 == 0:
    print(f'step {number}: training NMSE {to_db(loss):.2f} dB')

# %%
test_csi = jax.jit(draw, static_argnums=1)(keys[2], 1000)  # of the same site, never trained on
for snr_db in (0.0, 10.0, 20.0):
  csi_hat = jax.jit(feedback)(params, keys[3], test_csi, snr_db)
  print(f'{snr_db:g} dB: NMSE {to_db(nmse(test_csi, csi_hat).mean()):.2f} dB')
