"""Trains `models.refiner` on cells as a map has them, each in an environment that is drawn for it.

A cell of a map is fitted from the UEs around its middle; so is each one here, and then other UEs of
the cell send the linear code of its KLT. Every round of `STEPS_A_ROUND` steps has cells of its own.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors
import safetensors.numpy
from flax import traverse_util

from rca_jax.baselines.pca import least_error_powers
from rca_jax.bayes import klt, packing
from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, check_one_polarisation, gram_at, make_grid, project
from rca_jax.bayes.map_fit import fit_profiles
from rca_jax.bayes.power import limiting
from rca_jax.channel.groups import groups_at, sample_positions
from rca_jax.config import CsiConfig, from_dict, to_dict
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.foreign import parse_json
from rca_jax.models.refiner import Heard, Refiner, RefinerConfig
from rca_jax.training import checkpoint
from rca_jax.training.step import TrainState

STEPS_A_ROUND = 32
_NUM_CELLS, _NUM_FITTED, _NUM_UES = 128, 8, 4  # a round; UEs that a cell is fitted from, and coded
_SIDES_M = (0.7, 6.0)  # of a cell
_WIDTH, _MIN_FITTED = 1 / 3, 3  # as map_fit's
# SNRs in dB, and what of a report of 64 symbols the label of a large map takes there.
_LABEL_SHARE = {-5: 0.7, 0: 0.34, 5: 0.17, 10: 0.11, 15: 0.08, 20: 0.06, 25: 0.06}
_BATCH, _AT_ONCE = 32, 16
_LEARNING_RATE, _LAST_RATE, _WARMUP, _DECAY = 2e-3, 2e-5, 200, 1e-3
_HEADER = 'rca_jax refiner'
Array = TypeVar('Array', np.ndarray, jax.Array)
REFINER = Path(__file__).parents[1] / 'weights' / 'refiner.safetensors'  # the published one


class Cells(NamedTuple, Generic[Array]):
  """N cells and T UEs of each, as reports of S symbols see them."""

  atoms: Array  # of the profile, [N, K] int32
  power: Array  # [N, K] float32
  variances: Array  # of its KLT, [N, S] float32
  seen: Array  # U^H A, U the directions of the KLT, [N, S, K] complex64
  coefficients: Array  # U^H h, [N, T, S] complex64
  projections: Array  # A^H h, [N, T, K] complex64
  energy: Array  # |h|^2, [N, T] float32
  is_sound: Array  # UEs of the cell's state, LOS or NLOS, [N, T] bool


def draw_cells(key: jax.Array, config: CsiConfig, num_symbols: int) -> Cells[np.ndarray]:
  """128 cells [N], each of an environment drawn from the key; `config.mode` must be 'fresh'."""
  check_one_polarisation(config, 'refiners')
  grid = make_grid(config)
  side_key, place_key, middle_key, site_key = jax.random.split(key, 4)
  low, high = np.log(_SIDES_M)
  side = jnp.exp(jax.random.uniform(side_key, (_NUM_CELLS,), minval=low, maxval=high))
  area, turn, square = jnp.split(
      jax.random.uniform(place_key, (_NUM_CELLS, 2 * _NUM_FITTED + 2 * _NUM_UES)),
      [_NUM_FITTED, 2 * _NUM_FITTED], -1)
  turn = 2 * jnp.pi * turn
  around = jnp.sqrt(area)[..., None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)], -1)
  inside = square.reshape(_NUM_CELLS, _NUM_UES, 2) - 0.5
  offset = jnp.concatenate([around, inside], 1) * side[:, None, None]
  middle = sample_positions(middle_key, config, _NUM_CELLS, 1)
  found = jax.device_get(
      _groups(site_key, config, middle + jnp.pad(offset, ((0, 0), (0, 0), (0, 1)))))
  fitted, coded = np.split(found.csi, [_NUM_FITTED], 1)
  los = found.los[:, _NUM_FITTED]
  weights, has_some = _weights(np.asarray(area), found.los[:, :_NUM_FITTED] == los[:, None])
  rows = np.arange(_NUM_CELLS * _NUM_FITTED).reshape(_NUM_CELLS, _NUM_FITTED)
  profile = fit_profiles(grid, fitted.reshape(-1, *fitted.shape[2:]), rows, weights, 0.0)
  profile = packing.unpack(packing.pack(profile, grid.shape[0]))
  parts = [
      jax.device_get(_as_seen(grid, Profile(*(leaf[part] for leaf in profile)), coded[part],
                              num_symbols))
      for part in np.split(np.arange(_NUM_CELLS), _NUM_CELLS // _AT_ONCE)]
  sound = (found.los[:, _NUM_FITTED:] == los[:, None]) & has_some[:, None]
  variances, seen, coefficients, projections, energy = (
      np.concatenate(leaves) for leaves in zip(*parts, strict=True))
  return Cells(
      profile.index, profile.power.astype(np.float32), variances, seen, coefficients, projections,
      energy, sound)


def _weights(area: np.ndarray, same_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Of the UEs that a cell is fitted from, as `map_fit` has them; and whether there are enough.

  A cell with too few has equal weights: nothing is trained there.
  """
  squared = np.where(same_state, area, np.inf)  # of distances, in sides
  enough = same_state.sum(1) >= _MIN_FITTED
  squared = np.where(enough[:, None], squared, 0)
  weights = np.exp(-(squared - squared.min(1, keepdims=True)) / (2 * _WIDTH**2))
  return (weights / weights.sum(1, keepdims=True)).astype(np.float32), enough


@partial(jax.jit, static_argnums=1)
def _groups(key: jax.Array, config: CsiConfig, positions: jax.Array) -> Any:
  return groups_at(key, config, positions)


@partial(jax.jit, static_argnums=3)
def _as_seen(grid: Grid, profile: Profile, csi: jax.Array, size: int) -> tuple[jax.Array, ...]:
  transform = klt.transform(grid, profile, size)
  gram = gram_at(grid, transform.index)[..., :profile.index.shape[-1]]
  seen = jnp.swapaxes(transform.mixing.conj(), -1, -2) @ gram
  of_ues = jax.tree.map(lambda leaf: leaf[:, None], transform)
  projections = project(grid, csi).reshape(*csi.shape[:2], -1)
  return (
      transform.variances, seen, klt.coefficients(grid, of_ues, csi),
      jnp.take_along_axis(projections, profile.index[:, None], -1),
      (jnp.abs(csi) ** 2).sum((-2, -1)))


class _Batch(NamedTuple):
  """Reports of B UEs."""

  cells: Cells[jax.Array]  # leaves [B, ...], of one UE each
  power: jax.Array  # of the symbols [B, S], 0 where none is left
  snr_db: jax.Array  # [B]


def _batches(cells: Cells[np.ndarray], key: jax.Array) -> _Batch:
  """One round's: leaves [STEPS_A_ROUND, _BATCH, ...]."""
  num_symbols = cells.variances.shape[1]
  powers = np.zeros((len(_LABEL_SHARE), *cells.variances.shape), np.float32)
  for power, (snr_db, share) in zip(powers, _LABEL_SHARE.items(), strict=True):
    left = num_symbols - math.ceil(share * num_symbols)
    power[:, :left] = least_error_powers(
        cells.variances[:, :left].astype(np.float64), 10 ** (-snr_db / 10), left)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
  shape = STEPS_A_ROUND, _BATCH
  cell, ue = rng.integers(0, _NUM_CELLS, shape), rng.integers(0, _NUM_UES, shape)
  snr = rng.integers(0, len(_LABEL_SHARE), shape)
  of_cells = (*(leaf[cell] for leaf in cells[:4]), *(leaf[cell, ue] for leaf in cells[4:]))
  return _Batch(
      Cells(*map(jnp.asarray, of_cells)), jnp.asarray(powers[snr, cell]),
      jnp.array(list(_LABEL_SHARE), jnp.float32)[snr])


def errors(
    model: Refiner, params: Any, grid: Grid, batch: _Batch, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """NMSE of every report [B], of the linear code and of its refinement."""
  cells, noise = batch.cells, 10 ** (-batch.snr_db / 10)[:, None]
  gain = jnp.sqrt(batch.power / cells.variances)
  sent = gain * cells.coefficients
  share = (jnp.abs(sent) ** 2).sum(-1) / jnp.maximum(batch.power.sum(-1), 1e-9)
  sent = sent * limiting(share)[:, None]
  received = sent + jnp.sqrt(noise / 2) * jax.lax.complex(
      *jax.random.normal(key, (2, *sent.shape)))
  heard = Heard(received / jnp.maximum(gain, 1e-9), noise / gain**2)
  known = 1 / jnp.sqrt(heard.variance)
  added = cast(jax.Array, model.apply(
      {'params': params}, cells.atoms, cells.power, cells.seen * known[..., None],
      jnp.where(known > 0, heard.values, 0) * known))
  plain = gain * cells.variances / (batch.power + noise) * received
  missing = cells.projections - jnp.einsum('bsk,bs->bk', cells.seen.conj(), plain)
  error = cells.energy + (
      jnp.abs(plain) ** 2 - 2 * (plain.conj() * cells.coefficients).real).sum(-1)
  refined = error - 2 * (added.conj() * missing).sum(-1).real + jnp.einsum(
      'bk,bkl,bl->b', added.conj(), gram_at(grid, cells.atoms), added).real
  return error / cells.energy, refined / cells.energy


def train(
    key: jax.Array, config: CsiConfig, num_symbols: int, model_config: RefinerConfig,
    num_steps: int, folder: Path, progress: Callable[[int, float], None]) -> Any:
  """The parameters after `num_steps`; the same call goes on from the last round in `folder`.

  `progress` gets the step and by how many dB the round's reports gained over the linear code, each
  SNR alike.

  Raises:
    FloatingPointError: error or parameters are not finite; nothing of that round was saved.
    InputError: `num_steps` is no multiple of a round, or the folder cannot be written.
  """
  if num_steps <= 0 or num_steps % STEPS_A_ROUND:
    raise InputError(f'--steps={num_steps} must be a multiple of {STEPS_A_ROUND}.')
  grid = make_grid(config)
  model = Refiner(model_config, grid.shape)
  schedule = optax.warmup_cosine_decay_schedule(
      0.0, _LEARNING_RATE, min(_WARMUP, num_steps // 4), num_steps, _LAST_RATE)
  optimizer = optax.chain(
      optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=_DECAY))
  init_key, cell_key, batch_key, noise_key = jax.random.split(key, 4)

  def loss(params: Any, batch: _Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    linear, refined = errors(model, params, grid, batch, key)
    counts = batch.cells.is_sound * 10 ** (batch.snr_db / 20)
    linear, refined = ((counts * error).sum() for error in (linear, refined))
    return refined / counts.sum(), jnp.stack([linear, refined])

  @jax.jit
  def one_round(state: TrainState, batches: _Batch) -> tuple[TrainState, jax.Array]:
    def one_step(state: TrainState, batch: _Batch) -> tuple[TrainState, jax.Array]:
      step_key = jax.random.fold_in(noise_key, state.step)
      gradient, found = jax.grad(loss, has_aux=True)(state.params, batch, step_key)
      updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
      return TrainState(
          state.step + 1, optax.apply_updates(state.params, updates), opt_state), found
    return jax.lax.scan(one_step, state, batches)

  params = init_params(init_key, model, num_symbols)
  state = TrainState(jnp.int32(0), params, optimizer.init(params))
  with checkpoint.open_for_writing(folder.absolute(), 1) as manager:
    if manager.latest_step() is not None:
      state = checkpoint.restore(
          manager, state, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    while int(state.step) < num_steps:
      number = int(state.step) // STEPS_A_ROUND
      cells = draw_cells(jax.random.fold_in(cell_key, number), config, num_symbols)
      state, found = one_round(state, _batches(cells, jax.random.fold_in(batch_key, number)))
      linear, refined = np.asarray(found).sum(0)
      # The last step's gradient shows in the parameters only.
      if not np.isfinite(refined + float(optax.tree.norm(state.params))):
        raise FloatingPointError(
            f'the refiner diverged in steps {number * STEPS_A_ROUND + 1} to {state.step}; nothing '
            'of them is kept: try another --config.seed.')
      checkpoint.save(manager, state)
      progress(int(state.step), float(10 * np.log10(linear / refined)))
  return state.params


def init_params(key: jax.Array, model: Refiner, num_symbols: int) -> Any:
  """Parameters with which the network corrects nothing."""
  one = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1))
  seen = jnp.zeros((1, num_symbols, 1), jnp.complex64)
  return jax.jit(model.init)(key, *one, seen, seen[..., 0])['params']


def save_refiner(
    path: Path, params: Any, model_config: RefinerConfig, config: CsiConfig, num_symbols: int,
    num_steps: int) -> None:
  """One safetensors file of float32 parameters, with what they are for and were trained on.

  Raises:
    InputError: it cannot be written.
  """
  header = json.dumps(
      {'model': vars(model_config), 'csi': to_dict(config), 'symbols': num_symbols,
       'steps': num_steps})
  arrays = {
      name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep='/').items()}
  with writing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.numpy.save(arrays, {_HEADER: header}))


def load_refiner(path: Path, config: CsiConfig) -> tuple[Refiner, Any]:
  """The network of a file and its parameters, for CSI of `config`.

  Raises:
    InputError: the file is missing, cut, no refiner, or of another array or bandwidth.
  """
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      found = parse_json((file.metadata() or {})[_HEADER])
      arrays = {name: file.get_tensor(name) for name in file.keys()}
    theirs = from_dict(CsiConfig, found['csi'], 'csi')
    model = Refiner(RefinerConfig(**found['model']), make_grid(theirs).shape)
    params = traverse_util.unflatten_dict(arrays, sep='/')
    expected = jax.eval_shape(lambda: init_params(jax.random.key(0), model, 1))
    is_whole = jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, expected)
  except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError) as error:
    raise InputError(
        f'{path}: is no whole refiner ({type(error).__name__}); `rca refiner` makes one.') from None
  if not is_whole:
    raise InputError(f'{path}: is no refiner of today; `rca refiner` makes one.')
  for name in (
      'bandwidth_hz', 'num_subcarriers', 'num_delay_taps', 'num_tx_antennas', 'num_polarisations'):
    if getattr(theirs, name) != getattr(config, name):
      raise InputError(
          f'{path}: is a refiner for csi.{name}={getattr(theirs, name)}, not '
          f'{getattr(config, name)}; make one of this array with `rca refiner`.')
  return model, params
