"""CSI of one's own, in an array whose axes have names: read, looked at, fed back.

  python examples/own_file.py [FOLDER]

Here the array is made up: 100 groups of 2 UEs, 32 antennas, 64 subcarriers of 20 MHz. Yours comes
from a measurement or a simulator; npz, npy, .mat and HDF5 are read the same way (docs/data.md).
"""

import sys
from pathlib import Path

import jax
import numpy as np

import rca_jax
from rca_jax.channel import from_features, to_features
from rca_jax.config import Layout
from rca_jax.data.files import read_csi
from rca_jax.evaluation.metrics import nmse, to_db

folder = Path(sys.argv[1] if len(sys.argv) > 1 else '.')
rng = np.random.default_rng(0)

# Six paths a group; both UEs of it see them, each with gains of its own.
delay = rng.exponential(3.0, (100, 1, 6))  # in samples of 1 / 20 MHz
sine = rng.uniform(-0.9, 0.9, (100, 1, 6))
gain = (rng.normal(size=(100, 2, 6, 2)) @ [1, 1j]) * np.exp(-delay / 6)
antennas, subcarriers = np.arange(32), np.arange(64) / 64
h = np.einsum(
    'gup,gpn,gpk->gunk', gain, np.exp(-1j * np.pi * sine[:, 0, :, None] * antennas),
    np.exp(-2j * np.pi * delay[:, 0, :, None] * subcarriers))
np.savez(folder / 'h.npz', H=h.astype(np.complex64))

# The names of the axes are all that is needed; positions, if there are any, come along.
groups = read_csi(folder / 'h.npz', Layout('H', 'group,ue,antenna,subcarrier'))
print('CSI', groups.csi.shape, '[group, ue, delay, angle];',
      f'{groups.energy_kept.mean():.1%} of the power is in the first 32 delay rows')

# Published weights, which have never seen such channels. `rca evaluate --weights=rca_munet_cr16
# --data=h.npz --array=H --axes=group,ue,antenna,subcarrier` measures the same with intervals.
config, model, params, *_ = rca_jax.load_pretrained('rca_munet_cr16')
feedback = jax.jit(model.apply)
for snr_db in (0.0, 10.0, 20.0):
  features_hat = feedback({'params': params}, to_features(groups.csi), snr_db, jax.random.key(0))
  found = to_db(nmse(groups.csi, from_features(features_hat)).mean())
  print(f'{snr_db:g} dB: NMSE {found:.2f} dB')
