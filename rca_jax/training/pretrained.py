"""Published weights: a folder of safetensors files and a manifest with their SHA-256.

A file holds the parameters of one network, and in its metadata the config that made them. Nothing
in it is executed or unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
import safetensors.numpy
from flax import traverse_util

from rca_jax.config import ExperimentConfig, from_dict, to_dict, without_folders
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import file_in, is_plain, parse_json, read_json, sha256
from rca_jax.models.build import build_model
from rca_jax.training.checkpoint import check_same_model, shapes
from rca_jax.training.program import abstract_params

WEIGHTS = Path(__file__).parents[1] / 'weights'  # what comes with the package
_HEADER = 'rca_jax'


class Pretrained(NamedTuple):
  """`model.apply({'params': params}, features, snr_db, key)` is features_hat."""

  config: ExperimentConfig
  model: nn.Module
  params: Any
  stage: str  # of the training, a name of `config.stages`
  steps: int  # that led to them


def load_pretrained(name: str, folder: str | Path = WEIGHTS) -> Pretrained:
  """A network of the manifest with its weights, float32.

  Raises:
    InputError: the manifest does not know the name, or the file is missing, damaged, not the
      manifest's, or of another model than its config says.
  """
  folder = Path(folder)
  manifest = _read_manifest(folder)
  if name not in manifest:
    raise InputError(
        f'{name}: no such weights in {folder}; there are {", ".join(manifest) or "none"}.')
  path = file_in(folder, f'{name}.safetensors')
  found = sha256(path)
  if found != manifest[name]:
    raise InputError(
        f'{path}: is cut, damaged or of another version: its SHA-256 is {found[:12]}..., the '
        f'manifest says {manifest[name][:12]!r}...; fetch it again.')
  return _parse(path.read_bytes(), path)


def save_pretrained(
    name: str, folder: str | Path, config: ExperimentConfig, params: Any, stage: str,
    steps: int, dtype: str = 'float32') -> Path:
  """Writes FOLDER/NAME.safetensors and enters it in FOLDER/manifest.json.

  Args:
    dtype: of the file, float32 | float16; half the size, 11 bits of precision.

  Raises:
    InputError: the manifest has other weights of this name, the name is none of a file, a weight
      is too large for the dtype, or the folder cannot be written.
  """
  folder = Path(folder)
  arrays = {
      path: np.asarray(leaf)
      for path, leaf in traverse_util.flatten_dict(params, sep='/').items()}
  largest = max(np.abs(array).max() for array in arrays.values())
  if not largest <= np.finfo(dtype).max:
    raise InputError(f'{name}: a weight of {largest:.3g} does not fit into {dtype}; keep float32.')
  arrays = {path: array.astype(dtype) for path, array in arrays.items()}
  # One entry: safetensors writes several in random order, and the same weights have one SHA-256.
  header = json.dumps(
      {'config': to_dict(without_folders(config)), 'stage': stage, 'steps': steps})
  content = safetensors.numpy.save(arrays, {_HEADER: header})
  digest, path = hashlib.sha256(content).hexdigest(), file_in(folder, f'{name}.safetensors')
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _read_manifest(folder) if (folder / 'manifest.json').exists() else {}
    if manifest.get(name, digest) != digest:
      raise InputError(f'{path}: holds other weights; choose another name or remove it there.')
    write_atomically(path, content)
    write_atomically(
        folder / 'manifest.json', json.dumps(manifest | {name: digest}, indent=2) + '\n')
  return path


def _read_manifest(folder: Path) -> dict[str, str]:
  path = folder / 'manifest.json'
  try:
    manifest = read_json(path)
  except OSError as error:
    raise InputError(
        f'{path}: cannot be read ({error.strerror}); give the folder of `rca export`.') from None
  except ValueError as error:
    raise InputError(f'{path}: not a readable manifest ({error}).') from None
  if not isinstance(manifest, dict) or not all(
      is_plain(name) and isinstance(digest, str) for name, digest in manifest.items()):
    raise InputError(f'{path}: not a readable manifest (expected names with their SHA-256).')
  return manifest


def _parse(content: bytes, path: Path) -> Pretrained:
  try:
    arrays = safetensors.numpy.load(content)
    header_size = int.from_bytes(content[:8], 'little')
    header = parse_json(parse_json(content[8:8 + header_size])['__metadata__'][_HEADER])
    values, stage, steps = (header[name] for name in ('config', 'stage', 'steps'))
    config = from_dict(ExperimentConfig, values)
    _check_described(arrays, config, stage, steps)
    expected = shapes(abstract_params(config))
  except (safetensors.SafetensorError, LookupError, ValueError, TypeError) as error:
    raise InputError(
        f'{path}: holds no weights of `rca export` ({type(error).__name__}: '
        f'{(str(error).splitlines() or [""])[0]:.300}).') from None
  check_same_model({name: array.shape for name, array in arrays.items()}, expected, path)
  params = traverse_util.unflatten_dict(
      {name: array.astype(np.float32) for name, array in arrays.items()}, sep='/')
  return Pretrained(config, build_model(config), params, stage, steps)


def _check_described(
    arrays: dict[str, np.ndarray], config: ExperimentConfig, stage: Any, steps: Any) -> None:
  """Raises ValueError unless the description may be one of the arrays.

  A network far larger than the arrays is not even traced: that takes memory and time, too.
  """
  if not is_plain(str(stage)) or type(steps) is not int:
    raise ValueError(f'stage is {stage!r:.50}, steps is {steps!r:.50}')
  if not all(name.isprintable() and array.dtype in (np.float32, np.float16)
             for name, array in arrays.items()):
    raise ValueError('expected arrays of float32 or float16')
  model, csi, num_values = config.model, config.csi, sum(array.size for array in arrays.values())
  if model.num_encoder_layers + model.num_decoder_layers + model.num_rca_blocks > len(arrays):
    raise ValueError('its config has more layers than there are arrays')
  for size in (
      csi.num_tx_antennas * csi.num_delay_taps, csi.num_tx_antennas * model.model_dim,
      model.mlp_dim, config.num_ues**2):
    if size > num_values:
      raise ValueError('its config is of a network larger than the arrays')
