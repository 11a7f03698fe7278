"""CSI of a file through the feedback of a network or of a code without one, a batch at a time.

A folder gets the reports, what the BS recovers as the file has it, and scores of every UE. Noise is
that of `evaluate`: the same file has the same NMSE there.
"""

import dataclasses
import hashlib
import json
import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import DTypeLike

from rca_jax.config import ExperimentConfig, Layout, codeword_dim
from rca_jax.data.files import Chunk, concatenate, content_hash, iter_chunks, stored
from rca_jax.data.formats.writer import Stored
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Scores, report_keys, score, summarise
from rca_jax.evaluation.metrics import bootstrap_ci95, layer_sgcs
from rca_jax.evaluation.precoding import Rates, sum_rates
from rca_jax.evaluation.references import (
    described_code,
    joint_code,
    joint_transmit,
    map_code,
)
from rca_jax.evaluation.rows import Measurement, config_hash
from rca_jax.evaluation.run import check_num_symbols, transmit
from rca_jax.foreign import read_json, sha256
from rca_jax.keys import Stream, stream_key
from rca_jax.models.build import build_model
from rca_jax.uplink.known import Uplink, check_known

_GROUPS_AT_ONCE, _NUMBERS_AT_ONCE = 250, 2**22  # of the file's own; they bound the memory
_MAX_DOWNLINK_DB = 100
_MOST_LAYERS = 4
_EXAMPLES = 3  # typical UEs, and as many of the worst
_jitted_layer_sgcs = jax.jit(layer_sgcs, static_argnums=2)
_BESIDE = {'positions': (3,), 'energy_kept': ()}  # that a file may have


class Sender(NamedTuple):
  """A way from CSI to reports and back."""

  name: str
  config: ExperimentConfig
  hash: str  # of all that it computes with
  precision: str  # of matrix products
  num_symbols: int  # of a report
  min_ues: int  # smaller groups are filled up with UEs that are not there
  # As `evaluate.Estimate`, with the reports [batch, ue, S] before what it returns.
  transmit: Callable[[np.ndarray, jax.Array, np.ndarray | None], tuple[ArrayLike, ArrayLike]]


class Job(NamedTuple):
  """What is fed back, and how; `snr_db` is that of every report."""

  sender: Sender
  snr_db: float
  path: Path
  layout: Layout = Layout()
  split: str = 'test'  # of a data set folder
  allow_silent: bool = False
  downlink_snr_db: float | None = None  # of sum rates; None: they are not computed


class Example(NamedTuple):
  """A UE to be looked at."""

  name: str
  nmse: float
  csi: np.ndarray  # [N_a, N_t]
  csi_hat: np.ndarray


def network_sender(
    config: ExperimentConfig, params: Any, snr_db: float, num_symbols: int = 0) -> Sender:
  """A trained network.

  Args:
    num_symbols: of a report, the first ones, that are sent; 0: all.

  Raises:
    InputError: it sends bits or not so many symbols, or the SNR is no number.
  """
  Measurement(snr_db)
  if config.uplink.quantiser_bits:
    raise InputError(
        f'uplink.quantiser_bits={config.uplink.quantiser_bits}: this network sends bits; only '
        'analogue symbols are fed back.')
  check_num_symbols(config, num_symbols)
  model = build_model(config)
  model = model.clone(link=dataclasses.replace(model.link, num_symbols=num_symbols))
  digest = hashlib.sha256(config_hash(config).encode())
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(leaf).data)
  min_ues = config.num_ues if config.model.network == 'summation_fusion' else 2
  return Sender(
      config.method, config, digest.hexdigest(), config.matmul_precision,
      num_symbols or _all_symbols(config), min_ues,
      lambda *groups: transmit(model, params, np.float32(snr_db), *groups))


def joint_sender(config: ExperimentConfig, snr_db: float) -> Sender:
  """Random projections, decoded together; nothing is trained."""
  uplink, code = _known_uplink(config, snr_db), joint_code(config)
  return Sender(
      'joint Bayes', config, config_hash(config), 'highest', _all_symbols(config), 1,
      lambda *groups: joint_transmit(code, uplink, *groups))


def described_sender(config: ExperimentConfig, snr_db: float) -> Sender:
  """Reports that say where their power comes from; nothing is trained."""
  uplink, code = _known_uplink(config, snr_db), described_code(config)
  return Sender(
      'described profile', config, config_hash(config), 'highest', _all_symbols(config), 1,
      lambda csi, keys, active: code.transmit(csi, keys, uplink))


def map_sender(config: ExperimentConfig, snr_db: float) -> Sender:
  """The code of the map that the config names. Raises InputError: it is none for this CSI."""
  uplink, code = _known_uplink(config, snr_db), map_code(config)
  return Sender(
      'site map', config, config_hash(config) + sha256(Path(config.site_map)), 'highest',
      _all_symbols(config), 1, lambda csi, keys, active: code.transmit(csi, keys, uplink))


def feed_back(job: Job, out: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
  """Writes OUT/NAME.npy and OUT/feedback.json; the same call again goes on where it stopped.

  `csi_hat` has the axes, order and scale of the file (`Stored`); what delay rows behind N_a held is
  lost, and the scale is the file's own: no report says it. `reports` [G, M, S] are the symbols as
  sent; `nmse` (linear), `rho` and `sgcs` [G, M] are of CSI as `evaluate` has it, NaN for UEs
  without power; so are `subband_sgcs` and `beamforming_gain`. Where all antennas of a UE are fed
  back (`rx:all`), each is scored as a UE, and `layer_sgcs` [G, UE, layer] is that of the whole UE,
  with the powers that its antennas have in the file. `positions` and `energy_kept` stand
  there if the file has them, `precoding.Rates` [G] if the job has a downlink.

  Args:
    progress: called with the groups that are done and all there are, first of all too.

  Returns:
    What feedback.json says: means, their intervals, and what they are of.

  Raises:
    InputError: the file cannot be read or is of another array, the folder is one of another job, or
      cannot be written, or the downlink's SNR is no number.
  """
  if job.downlink_snr_db is not None and not abs(job.downlink_snr_db) <= _MAX_DOWNLINK_DB:
    raise InputError(
        f'downlink_snr_db={job.downlink_snr_db:g}: expected a number of dB, up to '
        f'{_MAX_DOWNLINK_DB}.')
  found = stored(job.path, job.layout, split=job.split, config=job.sender.config.csi)
  size, num_groups = _batch_size(found), found.num_groups
  state = _open(job, out, found)
  if state['complete']:
    return state
  progress(state['done'], num_groups)
  for batch in _batches(job, found, size, state['done']):
    end = batch.first + len(batch.scale)
    arrays = _fed_back(job, batch, size, found.num_streams)
    scaled = arrays.pop('csi_hat') * batch.scale[..., None, None].astype(np.float32)
    csi_hat = found.restored(scaled, batch.zero)
    with writing(out):
      if not state['done']:
        state['arrays'] = _make_all(out, job, found, batch)
      _fill(out / 'csi_hat.npy', found.place(batch.first, end), csi_hat)
      for name in set(state['arrays']) & set(arrays):
        _fill(out / f'{name}.npy', (slice(batch.first, end),), arrays[name])
      state['done'] = end
      _save(out, state)
    progress(end, num_groups)
  state |= {'complete': True} | _summary(job, out)
  with writing(out):
    _save(out, state)
  return state


def examples(job: Job, out: Path) -> list[Example]:
  """UEs of median and of largest NMSE of a job that is done."""
  found = stored(job.path, job.layout, split=job.split, config=job.sender.config.csi)
  nmse = np.load(out / 'nmse.npy')
  order = np.argsort(nmse, axis=None)[:np.isfinite(nmse).sum()]
  middle = max(0, (len(order) - _EXAMPLES) // 2)
  chosen = [('typical', place) for place in order[middle:][:_EXAMPLES]]
  chosen += [('worst', place) for place in order[:-_EXAMPLES - 1:-1]]
  named = [(kind, *np.unravel_index(place, nmse.shape)) for kind, place in chosen]
  groups = sorted({int(group) for _, group, _ in named})
  csi: dict[int, np.ndarray] = {}
  for chunk in _chunks(job, lambda first, end: any(first <= group < end for group in groups)):
    csi |= {group: chunk.groups.csi[group - chunk.first] for group in groups
            if 0 <= group - chunk.first < len(chunk.scale)}
  size = _batch_size(found)
  csi_hat: dict[int, np.ndarray] = {}
  for start in range(0, len(groups), size):
    part = groups[start:start + size]
    _, recovered = _transmitted(
        job, np.stack([csi[group] for group in part]), np.array(part), size)
    csi_hat |= zip(part, recovered, strict=True)
  return [
      Example(f'{kind}: group {group}, UE {ue}', float(nmse[group, ue]), csi[group][ue],
              csi_hat[group][ue]) for kind, group, ue in named]


def _known_uplink(config: ExperimentConfig, snr_db: float) -> Uplink:
  Measurement(snr_db)
  check_known(config.uplink.channel)
  return Uplink(snr_db, channel=config.uplink.channel)


def _all_symbols(config: ExperimentConfig) -> int:
  return codeword_dim(config.model, config.csi) // 2


def _batch_size(found: Stored) -> int:
  numbers = math.prod(found.shape) // found.num_groups
  return max(1, min(_GROUPS_AT_ONCE, found.num_groups, _NUMBERS_AT_ONCE // numbers))


def _chunks(job: Job, is_wanted: Callable[[int, int], bool]) -> Iterator[Chunk]:
  """Of the job's file, refused if it is of another array."""
  csi = job.sender.config.csi
  expected = csi.num_delay_taps, csi.num_tx_antennas
  for chunk in iter_chunks(
      job.path, job.layout, split=job.split, config=csi, allow_silent=job.allow_silent,
      is_wanted=is_wanted):
    shape = chunk.groups.csi.shape[2:]
    if shape != expected:
      raise InputError(
          f'{job.path}: its CSI has {shape[0]} delay rows and {shape[1]} antennas; '
          f'{job.sender.name} here is of {expected[0]} and {expected[1]}: train or choose one of '
          'this array.')
    yield chunk


def _batches(job: Job, found: Stored, size: int, start: int) -> Iterator[Chunk]:
  """All groups from `start` on, `size` at a time, at the end fewer."""
  waiting, first = [], start
  for chunk in _chunks(job, lambda _, end: end > start):
    waiting.append(_part(chunk, max(0, start - chunk.first), None))
    while sum(len(part.scale) for part in waiting) >= size:
      joined = _joined(waiting)
      yield _part(joined, 0, size)
      waiting, first = [_part(joined, size, None)], first + size
  if first < found.num_groups:
    yield _joined(waiting)


def _part(chunk: Chunk, start: int, end: int | None) -> Chunk:
  groups = type(chunk.groups)(*(
      None if leaf is None else leaf[start:end] for leaf in chunk.groups))
  return chunk._replace(
      first=chunk.first + start, groups=groups, scale=chunk.scale[start:end])


def _joined(chunks: list[Chunk]) -> Chunk:
  return chunks[0]._replace(
      groups=concatenate([chunk.groups for chunk in chunks]),
      scale=np.concatenate([chunk.scale for chunk in chunks]))


def _fed_back(job: Job, batch: Chunk, size: int, num_streams: int) -> dict[str, np.ndarray]:
  csi = batch.groups.csi
  present = csi.any((-2, -1))
  reports, csi_hat = _transmitted(job, csi, batch.first + np.arange(len(csi)), size)
  heard = np.where(present[..., None, None], csi_hat, 0)
  filled = [np.resize(x, (size, *x.shape[1:])) for x in (csi, heard)]
  of_ues = score(*(x.reshape(-1, 1, *x.shape[2:]) for x in filled))
  scores = [np.asarray(values)[:present.size].reshape(present.shape) for values in of_ues]
  rates = {} if job.downlink_snr_db is None else {
      name: np.where(present.any(1), np.asarray(values)[:len(csi)], np.nan)
      for name, values in sum_rates(*filled, job.downlink_snr_db)._asdict().items()}
  beside = {name: getattr(batch.groups, name) for name in _BESIDE}
  layers = {} if num_streams == 1 else {
      'layer_sgcs': _layer_sgcs(filled, np.resize(batch.scale, (size, present.shape[1])),
                                num_streams)[:len(csi)]}
  return rates | layers | {
      'reports': np.where(present[..., None], reports, 0), 'csi_hat': csi_hat,
      **dict(zip(Scores._fields, scores, strict=True)), **{
          name: np.full((*present.shape, *_BESIDE[name]), np.nan) if values is None else values
          for name, values in beside.items()}}


def _layer_sgcs(
    csi_and_hat: Sequence[np.ndarray], scale: np.ndarray, num_streams: int) -> np.ndarray:
  """Of UEs with so many antennas, [n, UE, layer]; NaN for UEs without power.

  Args:
    csi_and_hat: of every antenna as a UE [n, M, N_a, N_t], mean |h|^2 = 1.
    scale: of the same in the file, [n, M].
  """
  of_ues = [
      (values * scale[..., None, None].astype(np.float32)).reshape(
          len(scale), -1, num_streams, *values.shape[2:]) for values in csi_and_hat]
  # Far from the smallest float32: their products are taken.
  largest = np.abs(of_ues[0]).max((2, 3, 4), keepdims=True)
  of_ues = [values / np.where(largest == 0, 1, largest) for values in of_ues]
  found = np.asarray(_jitted_layer_sgcs(*of_ues, min(num_streams, _MOST_LAYERS)))
  return np.where(largest[..., 0, 0] > 0, found, np.nan)


def _transmitted(
    job: Job, csi: np.ndarray, groups: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Reports and csi_hat of some groups [n, M, N_a, N_t] of these numbers [n], n <= `size`."""
  sender, (num, num_ues) = job.sender, csi.shape[:2]
  # Filled up with copies and with UEs that are not there: one compiled program for all.
  rows = np.arange(size) % num
  missing = max(0, sender.min_ues - num_ues)
  filled = np.pad(csi, ((0, 0), (0, missing), (0, 0), (0, 0)))[rows]
  active = filled.any((-2, -1))
  keys = report_keys(
      stream_key(sender.config.data.seed, Stream.EVALUATION), groups[rows], num_ues + missing)
  with jax.default_matmul_precision(sender.precision):
    found = sender.transmit(filled, keys, None if active.all() else active)
  reports, csi_hat = (np.asarray(values)[:num, :num_ues] for values in found)
  return reports, csi_hat


def _make_all(out: Path, job: Job, found: Stored, batch: Chunk) -> list[str]:
  """Makes all that is to be filled, of zeros; returns the names."""
  each = found.num_groups, found.num_ues
  arrays: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
      'csi_hat': (found.shape, found.dtype),
      'reports': ((*each, job.sender.num_symbols), np.complex64),
      **{name: (each, np.float32) for name in Scores._fields},
      **{name: ((*each, *shape), np.float32) for name, shape in _BESIDE.items()
         if getattr(batch.groups, name) is not None},
      **{name: ((found.num_groups,), np.float32) for name in Rates._fields
         if job.downlink_snr_db is not None},
      **({'layer_sgcs': (
          (found.num_groups, found.num_ues // found.num_streams,
           min(found.num_streams, _MOST_LAYERS)), np.float32)} if found.num_streams > 1 else {})}
  for name, (shape, dtype) in arrays.items():
    _make(out / f'{name}.npy', shape, np.dtype(dtype))
  return list(arrays)


def _open(job: Job, out: Path, found: Stored) -> dict[str, Any]:
  """The state of this job in a folder: what was asked, and how many groups are done."""
  sender, path = job.sender, out / 'feedback.json'
  asked = {
      'method': sender.name, 'sender': sender.hash[:12], 'input': Path(job.path).absolute().name,
      'input_sha256': content_hash(job.path), 'split': job.split if job.path.is_dir() else '',
      'layout': found.layout.flags(), 'axes': ','.join(found.axes), 'snr_db': job.snr_db,
      'downlink_snr_db': job.downlink_snr_db,
      'num_groups': found.num_groups, 'num_ues': found.num_ues,
      'num_symbols': sender.num_symbols}
  with writing(out):
    out.mkdir(parents=True, exist_ok=True)
  if not path.exists():
    return asked | {'done': 0, 'complete': False}
  try:
    state = read_json(path)
    different = [name for name, value in asked.items() if state.get(name) != value]
    is_whole = (type(state['done']), type(state['complete']), type(state['arrays'])) == (
        int, bool, list)
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    is_whole, different = False, []
  if different or not is_whole:
    why = f'its {different[0]} is {state.get(different[0])!r:.100}, asked for ' \
        f'{asked[different[0]]!r:.100}' if different else 'its feedback.json cannot be read'
    raise InputError(f'{out}: holds feedback of another job ({why}); choose another folder.')
  rates = () if job.downlink_snr_db is None else Rates._fields
  layers = ('layer_sgcs',) * (found.num_streams > 1)
  for name in ('csi_hat', 'reports', *Scores._fields, *rates, *layers):
    if name not in state['arrays'] or not (out / f'{name}.npy').is_file():
      raise InputError(
          f'{out}: has no {name}.npy, which this version writes from the first group on; choose '
          f'another folder, or begin anew: rm -r {shlex.quote(str(out))}')
  return state


def _save(out: Path, state: dict[str, Any]) -> None:
  write_atomically(out / 'feedback.json', json.dumps(state, indent=1) + '\n')


def _make(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
  with path.open('wb') as file:
    np.lib.format.write_array_header_2_0(file, {
        'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False, 'shape': shape})
    start, size = file.tell(), math.prod(shape) * dtype.itemsize
    file.truncate(start + size)
    if hasattr(os, 'posix_fallocate'):  # a full disk is seen here, not when it is filled
      os.posix_fallocate(file.fileno(), start, size)


def _fill(path: Path, place: tuple[slice, ...], values: np.ndarray) -> None:
  """Opened for this write alone, so that what is written leaves the memory."""
  array = np.lib.format.open_memmap(path, 'r+')
  array[place] = values
  array.flush()


def _summary(job: Job, out: Path) -> dict[str, Any]:
  """Means over UEs, then over groups, with 95 % intervals."""
  scores = [np.load(out / f'{name}.npy') for name in Scores._fields]
  nmse = scores[0]
  counted = np.isfinite(nmse).any(1)
  if not counted.any():
    raise InputError(f'{job.path}: none of its UEs has power.')
  of_groups = Scores(*(np.nanmean(values[counted], 1) for values in scores))
  seed = job.sender.config.data.seed
  found = summarise(of_groups, seed)
  for name in Rates._fields if (out / 'zf_rate.npy').exists() else ():
    rates = np.load(out / f'{name}.npy')[counted]
    found |= {name: float(rates.mean(dtype=np.float64)),
              f'{name}_ci95': list(bootstrap_ci95(rates, seed, in_db=False))}
  if (out / 'layer_sgcs.npy').exists():
    layers = np.nanmean(np.load(out / 'layer_sgcs.npy')[counted], 1)
    found |= {'layer_sgcs': layers.mean(0, dtype=np.float64).tolist(), 'layer_sgcs_ci95': [
        list(bootstrap_ci95(values, seed, in_db=False)) for values in layers.T]}
  if (out / 'energy_kept.npy').exists():
    kept = np.load(out / 'energy_kept.npy')
    # The DFTs are unitary: of the file's own array, cut delay rows are an error too.
    whole = np.nanmean((1 - kept + kept * nmse)[counted], 1)
    found |= {
        'energy_kept': float(np.nanmean(np.where(np.isfinite(nmse), kept, np.nan))),
        'nmse_with_cut_db': float(10 * np.log10(whole.mean(dtype=np.float64)))}
  return found
