"""The same network and train step in PyTorch, as its users would write them: what to be held to."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.models.transformer import sinusoidal_positions

_NORM_EPSILON = 1e-6  # Flax's


class Attention(nn.Module):
  """Multi-head attention with one packed projection; queries may come from elsewhere."""

  def __init__(self, width: int, num_heads: int):
    super().__init__()
    self.num_heads = num_heads
    self.qkv = nn.Linear(width, 3 * width)
    self.out = nn.Linear(width, width)

  def forward(self, x: Tensor, queries: Tensor | None) -> Tensor:
    """[batch, N_t, width]; with `queries`, the residual cut of eq. (7)."""
    width = x.shape[-1]
    if queries is None:
      query, key, value = self.qkv(x).chunk(3, -1)
    else:
      weight, bias = self.qkv.weight, self.qkv.bias
      query = F.linear(queries, weight[:width], bias[:width])
      key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, -1)

    def to_heads(y: Tensor) -> Tensor:
      return y.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    heads = F.scaled_dot_product_attention(to_heads(query), to_heads(key), to_heads(value))
    attended = heads.transpose(-3, -2).flatten(-2)
    return self.out(attended if queries is None else queries - attended)


class Block(nn.Module):
  """Post-LayerNorm layer, eq. (8)-(9)."""

  def __init__(self, width: int, num_heads: int, mlp_dim: int):
    super().__init__()
    self.attention = Attention(width, num_heads)
    self.attention_norm = nn.LayerNorm(width, _NORM_EPSILON)
    self.mlp_in, self.mlp_out = nn.Linear(width, mlp_dim), nn.Linear(mlp_dim, width)
    self.mlp_norm = nn.LayerNorm(width, _NORM_EPSILON)

  def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
    z = self.attention_norm(x + self.attention(x, queries))
    return self.mlp_norm(z + self.mlp_out(F.relu(self.mlp_in(z))))


class Side(nn.Module):
  """What encoder and decoder share: embedding, plain layers, projection back."""

  def __init__(self, config: ExperimentConfig, num_layers: int):
    super().__init__()
    model, csi = config.model, config.csi
    features_width = 2 * csi.num_delay_taps
    self.embed = nn.Linear(features_width, model.model_dim)
    self.layers = nn.ModuleList(
        Block(model.model_dim, model.num_heads, model.mlp_dim) for _ in range(num_layers))
    self.project = nn.Linear(model.model_dim, features_width)
    self.register_buffer(
        'positions',
        torch.from_numpy(sinusoidal_positions(csi.num_tx_antennas, model.model_dim)))

  def embedded(self, features: Tensor) -> Tensor:
    x = self.embed(features) + self.positions
    for layer in self.layers:
      x = layer(x)
    return x


class Encoder(Side):
  """[batch, N_t, 2 N_a] to [batch, k]."""

  def __init__(self, config: ExperimentConfig):
    super().__init__(config, config.model.num_encoder_layers)
    width = 2 * config.csi.num_delay_taps * config.csi.num_tx_antennas
    self.compress = nn.Linear(width, codeword_dim(config.model, config.csi))

  def forward(self, features: Tensor) -> Tensor:
    return self.compress(self.project(self.embedded(features)).flatten(-2))


class Decoder(Side):
  """[batch, ue, k] to [batch, ue, N_t, 2 N_a], with the paper's RCA-Blocks."""

  def __init__(self, config: ExperimentConfig):
    super().__init__(config, config.model.num_decoder_layers)
    model, csi = config.model, config.csi
    width = 2 * csi.num_delay_taps * csi.num_tx_antennas
    self.num_tx_antennas = csi.num_tx_antennas
    self.expand = nn.Linear(codeword_dim(model, csi), width)
    self.rca_blocks = nn.ModuleList(
        Block(model.model_dim, model.num_heads, model.mlp_dim)
        for _ in range(model.num_rca_blocks))

  def forward(self, codeword_hat: Tensor) -> Tensor:
    num_ues = codeword_hat.shape[1]
    x = self.expand(codeword_hat.flatten(0, 1)).unflatten(-1, (self.num_tx_antennas, -1))
    x = self.embedded(x)
    for block in self.rca_blocks:
      groups = x.unflatten(0, (-1, num_ues))
      others = (groups.sum(1, keepdim=True) - groups) / (num_ues - 1)
      x = block(x, others.flatten(0, 1))
    return self.project(x).unflatten(0, (-1, num_ues))


class RCAMUNet(nn.Module):
  """Encoders, AWGN uplink, joint decoder."""

  def __init__(self, config: ExperimentConfig):
    super().__init__()
    self.encoder, self.decoder = Encoder(config), Decoder(config)

  def forward(self, features: Tensor, noise_std: Tensor) -> Tensor:
    """features [batch, ue, N_t, 2 N_a], noise_std [batch, ue] per real part."""
    codeword = self.encoder(features.flatten(0, 1)).unflatten(0, features.shape[:2]).float()
    power = codeword.square().sum(-1, keepdim=True) / (codeword.shape[-1] // 2)
    received = codeword * torch.rsqrt(power + 1e-8)
    received = received + noise_std[..., None] * torch.randn_like(received)
    return self.decoder(received)


def train_step(config: ExperimentConfig, features: Tensor) -> Any:
  """A function that makes one step of Adam on `features` [batch, ue, N_t, 2 N_a].

  On a GPU compiled and in bfloat16, as PyTorch's users would run it.
  """
  device = features.device
  model = RCAMUNet(config).to(device)
  on_gpu = device.type == 'cuda'
  forward = torch.compile(model, dynamic=False) if on_gpu else model
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)

  def step() -> Tensor:
    snr_db = 20 * torch.rand(features.shape[:2], device=device)
    noise_std = torch.sqrt(10 ** (-snr_db / 10) / 2)
    with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
      features_hat = forward(features, noise_std)
    loss = (features_hat.float() - features).square().sum((-3, -2, -1)).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss

  return step


def load_params(model: RCAMUNet, params: Any) -> None:
  """Copies the parameters of our network into the peer."""

  def linear(module: nn.Linear, *kernels: str, of: Any) -> None:
    weight = np.concatenate([np.asarray(of[name]['kernel']) for name in kernels], 1).T
    bias = np.concatenate([np.asarray(of[name]['bias']) for name in kernels])
    module.weight.copy_(torch.from_numpy(weight.copy()))
    module.bias.copy_(torch.from_numpy(bias))

  def norm(module: nn.LayerNorm, of: Any) -> None:
    module.weight.copy_(torch.from_numpy(np.array(of['scale'])))
    module.bias.copy_(torch.from_numpy(np.array(of['bias'])))

  def block(module: Block, of: Any) -> None:
    linear(module.attention.qkv, 'query', 'key', 'value', of=of['attention'])
    linear(module.attention.out, 'out', of=of['attention'])
    norm(module.attention_norm, of['attention_norm'])
    linear(module.mlp_in, 'mlp_in', of=of)
    linear(module.mlp_out, 'mlp_out', of=of)
    norm(module.mlp_norm, of['mlp_norm'])

  with torch.no_grad():
    for side, of in ((model.encoder, params['encoder']), (model.decoder, params['decoder'])):
      linear(side.embed, 'linear', of=of['embed'])
      linear(side.project, 'project', of=of)
      for index, layer in enumerate(side.layers):
        block(layer, of[f'layer_{index}'])
    linear(model.encoder.compress, 'compress', of=params['encoder'])
    linear(model.decoder.expand, 'expand', of=params['decoder'])
    for index, layer in enumerate(model.decoder.rca_blocks):
      block(layer, params['decoder'][f'rca_block_{index}'])
