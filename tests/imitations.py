"""Files as other tools write them, with CSI that is known: a few paths on whole delay rows."""

import h5py
import numpy as np
import scipy.io

NUM_CARRIERS, NUM_ROWS, NUM_ANTENNAS = 64, 8, 4
BANDWIDTH_HZ = 20e6


def paths(num_ues=6, seed=0):
  """coefficient [ue, path, antenna] complex64, delay row [ue, path]; exact in N_a = 8 rows."""
  rng = np.random.default_rng(seed)
  rows = np.stack([rng.permutation(NUM_ROWS)[:3] for _ in range(num_ues)])
  shape = (num_ues, 3, NUM_ANTENNAS)
  coefficient = rng.normal(size=shape) + 1j * rng.normal(size=shape)
  return coefficient.astype(np.complex64), rows


def expected_csi(num_ues=6):
  """[ue, N_a, N_t]: paths in their rows, e^{+j} over the antennas, mean |h|^2 = 1."""
  coefficient, rows = paths(num_ues)
  antenna = np.arange(NUM_ANTENNAS)
  beams = coefficient @ np.exp(2j * np.pi * np.outer(antenna, antenna) / NUM_ANTENNAS)
  csi = np.zeros((num_ues, NUM_ROWS, NUM_ANTENNAS), complex)
  for ue in range(num_ues):
    csi[ue, rows[ue]] = beams[ue]
  return csi / np.sqrt(np.mean(np.abs(csi)**2, (-2, -1), keepdims=True))


def response(num_ues=6):
  """[ue, antenna, carrier] = sum a e^{-j 2 pi f tau}."""
  coefficient, rows = paths(num_ues)
  turns = np.exp(-2j * np.pi * rows[..., None] * np.arange(NUM_CARRIERS) / NUM_CARRIERS)
  return np.einsum('uln,ulk->unk', coefficient, turns)


def propagation(num_ues=40, num_carriers=64, num_antennas=16, seed=2):
  """[ue, antenna, carrier] of a ULA: six plane waves a UE, their delays from 0 on, some rows long.

  Independent of the generator; what a judgement by power needs, where `response` is too random.
  """
  rng = np.random.default_rng(seed)
  delay = rng.exponential(2.0, (num_ues, 6))  # in rows
  sine = rng.uniform(-0.9, 0.9, (num_ues, 1)) + rng.normal(0, 0.05, (num_ues, 6))
  gain = rng.normal(size=(num_ues, 6, 2)) @ [1, 1j] * np.exp(-delay / 4)
  return np.einsum(
      'ul,uln,ulk->unk', gain, np.exp(-1j * np.pi * sine[..., None] * np.arange(num_antennas)),
      np.exp(-2j * np.pi * delay[..., None] * np.arange(num_carriers) / num_carriers))


def positions(num_ues=6):
  return np.stack([np.arange(num_ues), np.zeros(num_ues), np.full(num_ues, 1.5)], -1)


def own(path):
  csi = expected_csi().reshape(3, 2, NUM_ROWS, NUM_ANTENNAS)
  np.savez(path, csi=csi.astype(np.complex64), positions=positions().reshape(3, 2, 3))
  return path


def own_compressed(path):
  csi = expected_csi().reshape(3, 2, NUM_ROWS, NUM_ANTENNAS)
  np.savez_compressed(path, csi=csi.astype(np.complex64))
  return path


def quadriga_channels(individual=False):
  """Three channels of two snapshots each, as `qd_channel.mat_save` names and lays them out."""
  coefficient, rows = paths()
  variables = {'ChannelDims': np.array([[3, 1]], np.int64), 'Order': np.array([[1, 2, 3]], 'u2')}
  for index in range(3):
    mine, name = slice(2 * index, 2 * index + 2), f'channel_{index + 1:05d}_'
    delay = rows[mine].T / BANDWIDTH_HZ  # [path, snapshot]
    if individual:
      delay = np.broadcast_to(delay, (1, NUM_ANTENNAS, *delay.shape))
    variables |= {
        name + 'Name': f'Tx01_Rx{index + 1:04d}', name + 'CenterFrequency': 6.7e9,
        name + 'Coeffs': coefficient[mine].transpose(2, 1, 0)[None],
        name + 'Delays': delay, name + 'IndividualDelays': np.uint8(individual),
        name + 'rx_position': positions()[mine].T + [[100], [50], [0]],
        name + 'tx_position': np.array([[100.0], [50.0], [25.0]])}
  return variables


def quadriga(path):
  scipy.io.savemat(path, quadriga_channels())
  return path


def quadriga_v7(path):
  scipy.io.savemat(path, quadriga_channels(individual=True), do_compression=True)
  return path


def quadriga_v73(path):
  return save_v73(path, quadriga_channels())


def quadriga_hdf5(path):
  """Channels of 2, 1 and 3 snapshots as quadriga-lib writes them, not in the order of their number.

  Channel 1 was overwritten by channel 4 and channel 3 holds parameters alone: neither has a UE.
  """
  with h5py.File(path, 'w') as file:
    file['ChannelDims'] = np.array([3, 2, 1, 1], np.uint32)
    file['Order'] = np.array([4, 0, 2, 3, 5, 0], np.uint32)
    file['Version'] = np.uint32(2)
    for number, ues in ((1, [5]), (2, [2]), (3, []), (4, [0, 1]), (5, [3, 4, 5])):
      _quadriga_hdf5_channel(file.create_group(f'channel_{number}'), ues)
  return path


def _quadriga_hdf5_channel(group, ues):
  station = np.array([100, 50, 25], np.float32)
  where = (positions()[ues] + [100, 50, 0]).astype(np.float32)
  num_antennas = NUM_ANTENNAS if ues else 0
  group.attrs.update({
      'Name': np.bytes_(b'Tx_Rx'.ljust(256, b'\x00')), 'NumSnap': np.uint32(len(ues)),
      'NumTx': np.uint32(num_antennas), 'NumRx': np.uint32(bool(ues)),
      'CenterFrequency': np.float32(6.7e9), 'Initial_position': np.int32(0),
      'tx_position': station, 'rx_position': np.full(3, np.nan, np.float32)})
  if len(ues) == 1:
    group.attrs['rx_position'] = where[0]
    _quadriga_hdf5_snapshot(group, ues[0])
  elif ues:
    group['rx_position'] = where
    for index, ue in enumerate(ues):
      _quadriga_hdf5_snapshot(group.create_group(f'Snap_{index}'), ue)


def _quadriga_hdf5_snapshot(group, ue):
  """UE 4 has a fourth path, of no power; UE 5 has delays per antenna."""
  coefficient, rows = (values[ue] for values in paths())
  if ue == 4:
    coefficient, rows = np.pad(coefficient, ((0, 1), (0, 0))), np.append(rows, 5)
  group.attrs['NumPath'] = np.uint32(len(rows))
  group['coeff_re'], group['coeff_im'] = coefficient.real[..., None], coefficient.imag[..., None]
  delay = (rows / BANDWIDTH_HZ).astype(np.float32)[:, None, None]
  group['delay'] = np.repeat(delay, NUM_ANTENNAS, 1) if ue == 5 else delay


def quadriga_response(path):
  scipy.io.savemat(path, {'H': response().transpose(1, 2, 0)[None], 'bandwidth': BANDWIDTH_HZ})
  return path


def save_v73(path, variables, **options):
  """HDF5 after 512 bytes of MATLAB's; axes reversed, complex numbers as pairs."""
  with h5py.File(path, 'w', userblock_size=512) as file:
    for name, value in variables.items():
      if isinstance(value, str):
        continue
      value = np.atleast_2d(value).T
      if np.iscomplexobj(value):
        part = value.real.dtype
        pairs = np.empty(value.shape, [('real', part), ('imag', part)])
        pairs['real'], pairs['imag'] = value.real, value.imag
        value = pairs
      file.create_dataset(name, data=value, **options)
  content = bytearray(path.read_bytes())
  text = b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(116)
  content[:128] = text + bytes(8) + b'\x00\x02IM'
  path.write_bytes(content)
  return path


def cost2100_csi(num_ues=30):
  """[ue, antenna, delay] complex with parts in [-0.5, 0.5], power in the first delays."""
  rng = np.random.default_rng(1)
  shape = (num_ues, 32, 32)
  csi = (rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)) / 2
  return csi * np.exp(-np.arange(32) / 4)


def cost2100(path):
  csi = cost2100_csi()
  parts = np.stack([csi.real, csi.imag], 1) + 0.5
  scipy.io.savemat(path, {'HT': parts.reshape(len(csi), -1)})
  return path


def sionna(path):
  """Two batch entries of three UEs, one base station, two time steps."""
  coefficient, rows = paths()
  a = coefficient.reshape(2, 3, 1, 1, 3, NUM_ANTENNAS).swapaxes(-1, -2)[..., None]
  tau = rows.reshape(2, 3, 1, 3) / BANDWIDTH_HZ
  np.savez(path, a=np.concatenate([a, 2j * a], -1), tau=tau.astype(np.float32))
  return path


def deepmimo(path):
  """Six users with paths and, third, one without."""
  channel = np.insert(1e-9 * response(), 2, 0, axis=0)[:, None]
  np.savez(path, channel=channel.astype(np.complex64),
           rx_pos=np.insert(positions(), 2, 99, axis=0))
  return path


FILES = {
    'own.npz': own, 'own_compressed.npz': own_compressed, 'quadriga.mat': quadriga,
    'quadriga_v7.mat': quadriga_v7, 'quadriga_v73.mat': quadriga_v73,
    'quadriga.hdf5': quadriga_hdf5,
    'quadriga_response.mat': quadriga_response, 'cost2100.mat': cost2100, 'sionna.npz': sionna,
    'deepmimo.npz': deepmimo}
