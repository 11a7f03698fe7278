"""BL2: ADJSCC-CSINet+ [11], the single-user convolutional rival that knows its SNR.

CSI is an image [N_a, N_t] of two channels. After every convolution an attention-feature (AF)
module scales the channels by what the image's means and the SNR say, so one network serves all
SNRs. Deviation: [11] starts from 256 subcarriers and learns their way to 32 rows; here CSI comes
truncated, as it does for the other methods, so that part is left out. Batch normalisation became
GroupNorm over all channels, which depends on no other UE's CSI and needs no running averages.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.config import CsiConfig, ModelConfig, codeword_dim
from rca_jax.models.encoder import check_features_shape
from rca_jax.uplink.link import Link

_AF_WIDTH = 16
_NUM_REFINE_NETS = 5


class AttentionFeature(nn.Module):
  """Channel-wise scales from the image's means and the SNR in dB: Dense, ReLU, Dense, sigmoid."""

  dtype: str = 'float32'

  @nn.compact
  def __call__(self, image: jax.Array, snr_db: jax.Array) -> jax.Array:
    """image [n, N_a, N_t, C], snr_db [n] to the shape of the image."""
    means = jnp.mean(image, axis=(-3, -2))
    known = jnp.concatenate([means, snr_db[:, None].astype(means.dtype)], axis=-1)
    hidden = nn.relu(nn.Dense(_AF_WIDTH, dtype=self.dtype, name='squeeze')(known))
    scale = nn.sigmoid(nn.Dense(image.shape[-1], dtype=self.dtype, name='excite')(hidden))
    return image * scale[:, None, None, :]


class Conv(nn.Module):
  """`nn.Conv` with stride 1 and zero padding, odd kernels only.

  As products of matrices, a kernel row at a time: inside a scan, where training steps run, XLA on
  CPUs takes more than ten times as long for a convolution.
  """

  features: int
  kernel_size: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """[n, height, width, C] to [n, height, width, features]."""
    size, (_, height, width, channels) = self.kernel_size, image.shape
    kernel = self.param(
        'kernel', nn.initializers.lecun_normal(), (size, size, channels, self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    image, kernel, bias = (x.astype(self.dtype) for x in (image, kernel, bias))
    padding = (size // 2, size // 2)
    padded = jnp.pad(image, ((0, 0), padding, padding, (0, 0)))
    columns = jnp.concatenate([padded[:, :, j:j + width] for j in range(size)], axis=-1)
    rows = kernel.reshape(size, size * channels, self.features)
    total = jnp.asarray(sum(
        columns[:, i:i + height].reshape(-1, size * channels) @ rows[i] for i in range(size)))
    return total.reshape(*image.shape[:-1], self.features) + bias


class _ConvLayer(nn.Module):
  """Convolution, GroupNorm and activation, then the AF module."""

  features: int
  kernel: int
  activation: str
  dtype: str

  @nn.compact
  def __call__(self, image: jax.Array, snr_db: jax.Array) -> jax.Array:
    x = Conv(self.features, self.kernel, self.dtype, name='conv')(image)
    x = nn.GroupNorm(num_groups=1, dtype=self.dtype, name='norm')(x)
    x = nn.tanh(x) if self.activation == 'tanh' else nn.leaky_relu(x, 0.3)
    return AttentionFeature(self.dtype, name='af')(x, snr_db)


class AdjsccEncoder(nn.Module):
  """Two 7 x 7 convolutions, then a fully connected layer to k."""

  codeword_dim: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, image: jax.Array, snr_db: jax.Array) -> jax.Array:
    """image [n, N_a, N_t, 2], snr_db [n] to [n, k] float32."""
    x = image
    for i in range(2):
      x = _ConvLayer(2, 7, 'leaky_relu', self.dtype, name=f'conv_{i}')(x, snr_db)
    x = x.reshape(x.shape[0], -1)
    return nn.Dense(self.codeword_dim, dtype=self.dtype, name='compress')(x).astype(jnp.float32)


class AdjsccDecoder(nn.Module):
  """A fully connected layer, a 7 x 7 convolution, then five RefineNets of 7, 5 and 3."""

  image_shape: tuple[int, int]
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, codeword_hat: jax.Array, snr_db: jax.Array) -> jax.Array:
    """codeword_hat [n, k], snr_db [n] to the image [n, N_a, N_t, 2] float32."""
    rows, columns = self.image_shape
    x = nn.Dense(2 * rows * columns, dtype=self.dtype, name='expand')(codeword_hat)
    x = x.reshape(-1, rows, columns, 2)
    x = AttentionFeature(self.dtype, name='af')(x, snr_db)
    x = x + _ConvLayer(2, 7, 'leaky_relu', self.dtype, name='conv')(x, snr_db)
    for i in range(_NUM_REFINE_NETS):
      y = x
      for j, (features, kernel, activation) in enumerate(
          ((8, 7, 'leaky_relu'), (16, 5, 'leaky_relu'), (2, 3, 'tanh'))):
        y = _ConvLayer(features, kernel, activation, self.dtype, name=f'refine_{i}_{j}')(y, snr_db)
      x = x + y
    # Linear: entries of CSI have either sign and no bound.
    return Conv(2, 3, self.dtype, name='project')(x).astype(jnp.float32)


class AdjsccCsiNet(nn.Module):
  """Encoder, uplink and decoder of every UE on its own.

  `snr_error_db` is added to the SNR that the network is given, never to the uplink's own.
  """

  model: ModelConfig
  csi: CsiConfig
  link: Link
  snr_error_db: float = 0.0

  def setup(self):
    csi, dtype = self.csi, self.model.dtype
    self.encoder = AdjsccEncoder(codeword_dim(self.model, csi), dtype)
    self.decoder = AdjsccDecoder((csi.num_delay_taps, csi.num_tx_antennas), dtype)

  def __call__(
      self, features: jax.Array, snr_db: jax.Array, key: jax.Array,
      active: jax.Array | None = None) -> jax.Array:
    """As `RCAMUNet.__call__`: features [batch, ue, N_t, 2 N_a] to the same shape."""
    codeword_hat = self.link(key, self.encode(features, snr_db), snr_db)
    return self.decode(codeword_hat, snr_db, active)

  def encode(self, features: jax.Array, snr_db: jax.Array) -> jax.Array:
    """As `RCAMUNet.encode`."""
    check_features_shape(features, self.csi)
    # [n, N_t, 2, N_a] -> [n, N_a, N_t, 2]
    shape = (-1, self.csi.num_tx_antennas, 2, self.csi.num_delay_taps)
    image = features.reshape(shape).transpose(0, 3, 1, 2)
    codeword = self.encoder(image, self._known_db(snr_db, features.shape[:2]))
    return codeword.reshape(*features.shape[:2], -1)

  def decode(
      self, codeword_hat: jax.Array, snr_db: jax.Array, active: jax.Array | None = None,
  ) -> jax.Array:
    """As `RCAMUNet.decode`."""
    groups = codeword_hat.shape[:2]
    if active is not None:
      codeword_hat = jnp.where(active[..., None], codeword_hat, 0)
    image_hat = self.decoder(
        codeword_hat.reshape(-1, codeword_hat.shape[-1]), self._known_db(snr_db, groups))
    shape = (*groups, self.csi.num_tx_antennas, 2 * self.csi.num_delay_taps)
    return image_hat.transpose(0, 2, 3, 1).reshape(shape)

  def _known_db(self, snr_db: jax.Array, groups: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(snr_db, groups).reshape(-1) + self.snr_error_db
