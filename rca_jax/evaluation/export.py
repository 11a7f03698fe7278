"""Halves of a network or code as files that other programs run: StableHLO and ONNX, with a card.

A half is compared with the network or code itself, on generated CSI, before it is written.
"""

import contextlib
import functools
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

import rca_jax
from rca_jax.channel import sample_groups
from rca_jax.config import ExperimentConfig
from rca_jax.data.source import config_site
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.evaluation.halves import Half, Itself, Port, to_parts
from rca_jax.evaluation.rows import config_hash
from rca_jax.foreign import file_in
from rca_jax.keys import Stream, stream_key
from rca_jax.uplink.djscc import awgn

_SIZES = ((3, 2), (1, 3), (2, 8))  # batch, UEs
_PLATFORMS = ('cpu', 'cuda', 'tpu')
_LEAST = {'batch': 1, 'ue': 2}
_CONVENTION = {
    'complex numbers': 'a last axis of 2: real, imaginary',
    'csi': 'row d is a delay of d / bandwidth, column b an angle; unitary DFTs of H(f, antenna) '
           '(docs/data.md)',
    'scale': 'CSI is divided by the root of its mean |h|^2 first; no report says that scale'}


def export_half(
    folder: Path, name: str, format: str, half: Half, itself: Itself, config: ExperimentConfig,
    origin: dict[str, Any]) -> tuple[Path, float]:
  """Writes FOLDER/NAME_HALF.FORMAT and its card, .json.

  Args:
    itself: what the half is of.
    origin: what the card says of the weights.

  Returns:
    The file, and its largest relative error to what it is of.

  Raises:
    InputError: the extra `export` is not installed, the half cannot be converted, it is not what it
      is of (nothing is written then), or the folder cannot be written.
  """
  path = file_in(folder, f'{name}_{half.name}.{format}')
  with _one_line(half, format):
    content = _CONVERT[format](half)
    call = _CALL[format](content)
    # Not `max`, which passes over NaN.
    error = float(np.max([_error(call, half, itself, config, *size) for size in _sizes(half)]))
  if not error <= itself.max_error:
    raise InputError(
        f'{path}: differs from rca_jax by {error:.2g}, expected at most {itself.max_error:g}; '
        'nothing is written.')
  card = {
      'half': half.name, 'format': format, 'file': path.name,
      'sha256': hashlib.sha256(content).hexdigest(), 'method': config.method,
      'compression_ratio': config.model.compression_ratio, 'config': config_hash(config),
      **origin, 'inputs': [_described(port) for port in half.inputs],
      'output': _described(half.output), 'conventions': _CONVENTION,
      'relative_error': error, 'largest_error_allowed': itself.max_error,
      'reason_of_the_error': itself.reason,
      'made_with': {'rca_jax': rca_jax.__version__, 'jax': jax.__version__} | (
          {'platforms': list(_PLATFORMS)} if format == 'stablehlo' else {})}
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    write_atomically(path.with_name(f'{path.name}.json'), json.dumps(card, indent=1) + '\n')
  return path, error


def _specs(half: Half) -> list[jax.ShapeDtypeStruct]:
  """Of the inputs, with symbols where a length is free."""
  free = sorted({length for port in half.inputs for length in port.shape if length in _LEAST})
  symbols = dict(zip(free, jax.export.symbolic_shape(
      ', '.join(free), constraints=[f'{name} >= {_LEAST[name]}' for name in free]), strict=True))
  return [jax.ShapeDtypeStruct([
      symbols[length] if isinstance(length, str) else length for length in port.shape], port.dtype)
      for port in half.inputs]


def _to_stablehlo(half: Half) -> bytes:
  exported = jax.export.export(jax.jit(half.function), platforms=_PLATFORMS)(*_specs(half))
  return bytes(exported.serialize())


def _call_stablehlo(content: bytes) -> Callable:
  return jax.export.deserialize(bytearray(content)).call


def _to_onnx(half: Half) -> bytes:
  from jax2onnx import to_onnx

  return to_onnx(
      half.function, _specs(half), model_name=half.name,
      input_names=[port.name for port in half.inputs], output_names=[half.output.name],
  ).SerializeToString()


def _call_onnx(content: bytes) -> Callable:
  import onnxruntime

  session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
  names = [port.name for port in session.get_inputs()]

  def call(*values: np.ndarray) -> np.ndarray:
    [found] = session.run(None, dict(zip(names, values, strict=True)))
    return found

  return call


_CONVERT = {'stablehlo': _to_stablehlo, 'onnx': _to_onnx}
_CALL = {'stablehlo': _call_stablehlo, 'onnx': _call_onnx}
FORMATS = tuple(_CONVERT)


def _error(
    call: Callable, half: Half, itself: Itself, config: ExperimentConfig, batch: int, num_ues: int,
) -> float:
  """Of `call`, to what it is of, on generated CSI; with a UE that is not there.

  NaN where `call` gives what is not finite, also of a UE that may differ.
  """
  all_csi, noise_key = _groups(config)
  csi = all_csi[:batch, :num_ues]
  snr_db = np.full((batch, num_ues), itself.snr_db, np.float32)
  active = np.ones((batch, num_ues), bool)
  active[0, -1] = False
  symbols = itself.encode(csi, snr_db)
  received = awgn(noise_key, symbols, snr_db)
  wanted = symbols if half.name == 'ue' else itself.decode(received, snr_db, active)
  values = {'csi': csi, 'snr_db': snr_db, 'received': received, 'active': active}
  found = np.asarray(call(*(_given(values[port.name], port) for port in half.inputs)))
  expected = _given(wanted, half.output)
  off = np.sort(np.square(found - expected, dtype=float).reshape(len(found), -1).sum(1))
  if not np.isfinite(off).all():
    return np.nan
  return float(np.sqrt(off[:int(itself.share * len(off))].sum()) / np.linalg.norm(expected))


def _given(values: Any, port: Port) -> np.ndarray:
  """Values [batch, ue, ...] as the port has them: real, and of single UEs if it is of these."""
  values = np.asarray(values)
  parts = to_parts(values) if np.iscomplexobj(values) else values
  return parts if parts.ndim == len(port.shape) else parts.reshape(-1, *parts.shape[2:])


@functools.lru_cache(maxsize=1)  # both halves are compared on it
def _groups(config: ExperimentConfig) -> tuple[jax.Array, jax.Array]:
  """Generated CSI of the largest batch and group, and a key of noise."""
  key, noise_key = jax.random.split(stream_key(config.data.seed, Stream.EXPORT))
  batch, num_ues = np.max(_SIZES, 0)
  sample = jax.jit(lambda key, site: sample_groups(
      key, config.csi, int(batch), max(int(num_ues), config.num_ues), site=site))
  return sample(key, config_site(config)).csi, noise_key


def _sizes(half: Half) -> list[tuple[int, int]]:
  """Batches and numbers of UEs that a half is compared at."""
  fixed = half.output.shape[1] if len(half.output.shape) == 5 else 'ue'  # single UEs
  return [(batch, fixed if isinstance(fixed, int) else num_ues) for batch, num_ues in _SIZES]


def _described(port: Port) -> dict[str, Any]:
  return port._asdict() | {'shape': list(port.shape)}


@contextlib.contextmanager
def _one_line(half: Half, format: str) -> Iterator[None]:
  """One line for whatever a converter raises, and nothing for what it warns of."""
  logger = logging.getLogger('onnx_ir')
  before = logger.level
  logger.setLevel(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  except InputError:
    raise
  except ImportError as error:
    raise InputError(
        f'format={format} needs the extra export ({error}): pip install -e \'.[export]\' '
        '-c constraints.txt.') from None
  except Exception as error:
    reason = (str(error).splitlines() or [''])[0]
    raise InputError(
        f'the {half.name} half cannot be written as {format} ({type(error).__name__}: '
        f'{reason:.200}); choose another format or network.') from error
  finally:
    logger.setLevel(before)
