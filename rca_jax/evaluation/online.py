"""A map that builds itself, scored on every report before it is learned from.

UEs arrive at random places of a few small squares of the site, the *regions*. At half time some of
the site's clusters are drawn anew. On the same reports: joint Bayes of each alone, and the map
fitted from clean CSI to the same cells of the site as it is at that time.

Where nobody knows places, every UE sends a random report first. By it the BS finds the UE's cell;
all that the map learns is from these. Then comes the report that is scored, of the same paths with
other phases.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from rca_jax.bayes import joint, map_fit, online, placing, random_code, samples
from rca_jax.bayes.grid import Grid
from rca_jax.channel import Site, sample_positions
from rca_jax.channel.groups import CsiGroups, csi_at
from rca_jax.config import ExperimentConfig, codeword_dim
from rca_jax.data.source import config_site
from rca_jax.durable import write_atomically, writing
from rca_jax.errors import InputError
from rca_jax.evaluation.metrics import to_db
from rca_jax.evaluation.rows import config_hash
from rca_jax.keys import Stream, stream_key
from rca_jax.uplink.djscc import awgn

METHODS = (
    'online map', 'online map, its linear codes', 'joint Bayes (alone)', 'map from clean CSI')
_BLOCK = 256  # reports that are read with one state of the map, then learned from
_WIDTH, _REACH = 0.5, 1.5  # of a report's weight in the cells around it, in sides of a cell
_MEMORY = 100.0  # reports, by weight, after which the weight of old ones is down to 1 / e
_GROWN = 1.25  # a cell is fitted again when its weight has grown by this factor,
_MOST_GROWN = 12.0  # or by so much
_ALONE = 4  # one report of so many is decoded without a map too: that takes longest
_CELLS_AT_ONCE = 16
_TRIED = 4  # one report of so many tries the linear code where the random one is better
# In cells with a linear code one report of so many is random, and all while the weight is less than
# this times the root of the reports.
_LEARNING, _ROOT = 16, 3.0
_NUM_BINS = 8  # of cells by their weight, in octaves: what the BS measures of the codes
_NUM_CLEAN_UES = 8  # a cell, of the map from clean CSI
_POWER_MEMORY = 0.75  # of the power that earlier blocks had
_NUM_PRIOR_BLOCKS = 4  # of UEs anywhere whose mean power by delay is the prior's
_UNKNOWN_PLACES = 4  # so many times as many cells are there for
_BLOCKS_A_FILE = 20
_HEADER = 'rca_jax online map'

_encode = jax.jit(random_code.encode)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is measured, besides the config.

  Raises:
    InputError: a value cannot be used.
  """

  num_reports: int
  snr_db: float = 10.0
  num_regions: int = 9
  region_m: float = 4.0  # side of a region
  side_m: float = 1.0  # of a cell
  moved_scatterers: float = 0.05  # share of the clusters that are others in the second half
  positions: bool = True  # whether the BS knows where UEs are

  def __post_init__(self):
    if self.num_blocks < 2:
      raise InputError(
          f'--reports={self.num_reports}: at least {2 * _BLOCK}, as {_BLOCK} are read at a time.')
    if not abs(self.snr_db) <= 100:
      raise InputError(f'--snr_db={self.snr_db:g} must be from -100 to 100.')
    if self.num_regions < 1 or self.cells_a_side < 1 or abs(
        self.cells_a_side * self.side_m - self.region_m) > 1e-6:
      raise InputError(
          f'--num_regions={self.num_regions} --region_m={self.region_m:g} '
          f'--side_m={self.side_m:g}: expected one region at least, of a whole number of cells '
          'along a side.')
    if not 0 <= self.moved_scatterers <= 1:
      raise InputError(f'--moved_scatterers={self.moved_scatterers:g} must be from 0 to 1.')

  @property
  def num_blocks(self) -> int:
    """Of reports that are read at a time."""
    return self.num_reports // _BLOCK

  @property
  def cells_a_side(self) -> int:
    """Of a region."""
    return round(self.region_m / self.side_m)

  @property
  def noise(self) -> float:
    """N_0."""
    return 10 ** (-self.snr_db / 10)


class State(NamedTuple):
  """A map under construction of C cells, and what was measured with it so far."""

  statistics: online.Statistics
  power: jax.Array  # c, [C, K]
  linear: online.LinearCode  # of the cells
  fitted: np.ndarray  # weight of a cell's statistics when it was fitted, [C]
  num_seen: np.ndarray  # reports of a cell, [C] int
  measured: np.ndarray  # by the BS: sum and number of NMSEs, [2 codes, bins, 2]
  sent: np.ndarray  # sum and number of powers of linear codes, 1 is expected: [2 maps, 2]
  errors: np.ndarray  # linear NMSE [blocks, _BLOCK, methods]; NaN: not yet
  is_linear: np.ndarray  # which reports had the cell's linear code, [blocks, _BLOCK] bool
  num_blocks: np.ndarray  # that are done, [] int


class Place(NamedTuple):
  """The cells, and which are beside which."""

  cells: np.ndarray  # [C, 2] int, corner at side_m * cell
  corners: np.ndarray  # of the regions, [R, 2] int, in cells


def online_rows(
    config: ExperimentConfig, settings: Settings, folder: Path,
    progress: Callable[[int, str], None]) -> list[dict[str, Any]]:
  """One row a block and method. Killed, the same call goes on from the files of `folder`.

  `progress` gets the number of reports that are done, and what goes on.

  Raises:
    InputError: the config is of no one generated site, or the folder has a map of other settings
      or cannot be written.
  """
  _check(config)
  digest = hashlib.sha256(json.dumps(
      [config_hash(config), dataclasses.asdict(settings)]).encode()).hexdigest()[:12]
  setup = _Setup(config, settings)
  file = folder / 'online.safetensors'
  with writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  state = _load(file, digest, setup.start())
  done = int(state.num_blocks)
  for half, blocks in enumerate(np.array_split(np.arange(settings.num_blocks), 2)):
    if done > blocks[-1]:
      continue
    time = ('before', 'after')[half]
    progress(max(done, blocks[0]) * _BLOCK, f'map from clean CSI, {time} the change')
    at_time = setup.at_time(half, folder)
    for block in range(max(done, blocks[0]), blocks[-1] + 1):
      state = setup.block(state, block, at_time)
      progress((block + 1) * _BLOCK, '')
      if (block + 1) % _BLOCKS_A_FILE == 0 or block == blocks[-1]:
        with writing(folder):
          write_atomically(file, safetensors.numpy.save(_arrays(state), {_HEADER: digest}))
  return list(_rows(config, settings, state))


def _rows(
    config: ExperimentConfig, settings: Settings, state: State) -> Iterator[dict[str, Any]]:
  """Of every block and method its NMSE."""
  area_m2 = settings.num_regions * settings.region_m ** 2
  half = -(-settings.num_blocks // 2)
  for block in range(int(state.num_blocks)):
    first = half if block >= half else 0
    for method, values in zip(METHODS, state.errors[block].T, strict=True):
      values = values[np.isfinite(values)]
      if not values.size:
        continue
      yield {
          'method': method, 'compression_ratio': config.model.compression_ratio,
          'snr_db': settings.snr_db, 'seed': config.data.seed, 'block': block,
          'changed': block >= half,
          # Of the middle of the block; since the start, or since the change.
          'reports_per_m2': (block - first + 0.5) * _BLOCK / area_m2,
          'nmse_db': float(to_db(values.mean())), 'nmse': float(values.mean()),
          'share_linear': float(state.is_linear[block].mean()),
          'num_samples': len(values)}


class _AtTime(NamedTuple):
  """The site in one half, and the map fitted to it."""

  site: Site
  grid: Grid
  linear: online.LinearCode  # of the entries of that map
  entry: np.ndarray  # of cells, [C, 2]: NLOS, LOS


class _Setup:
  """What does not change."""

  def __init__(self, config: ExperimentConfig, settings: Settings):
    self._config, self._settings = config, settings
    self._num_symbols = codeword_dim(config.model, config.csi) // 2
    self._num_entries = config.csi.num_delay_taps * config.csi.num_tx_antennas
    self._csi_at = jax.jit(csi_at)
    codes_key, prior_key, regions_key, self._key = jax.random.split(
        stream_key(config.data.seed, Stream.ONLINE), 4)
    positions = sample_positions(prior_key, config.csi, _NUM_PRIOR_BLOCKS * _BLOCK, 1)
    site = config_site(config)
    prior_csi = np.concatenate([
        np.asarray(self._csi_at(site, part).csi[:, 0])
        for part in jnp.split(positions, _NUM_PRIOR_BLOCKS)])
    self._codes = online.make_codes(codes_key, self._num_symbols, config.csi, prior_csi)
    self._num_codes = len(self._codes.seen)
    self.place = _regions(regions_key, config, settings)
    self._number = {tuple(cell): i for i, cell in enumerate(self.place.cells.tolist())}
    self._num_cells = len(self.place.cells) * (1 if settings.positions else _UNKNOWN_PLACES)

  def start(self) -> State:
    """Nothing is known."""
    num_cells, num_codes = self._num_cells, self._num_codes
    size, num_blocks = self._num_symbols, self._settings.num_blocks
    power = jnp.broadcast_to(self._codes.prior, (num_cells, len(self._codes.prior)))
    linear = online.linear_codes(
        self._codes.grid, power[:1], self._settings.noise, size)
    return State(
        online.Statistics(
            jnp.zeros((num_cells, num_codes, size, size)), jnp.zeros((num_cells, num_codes))),
        power, jax.tree.map(lambda leaf: jnp.repeat(leaf, num_cells, 0), linear),
        np.zeros(num_cells, np.float32), np.zeros(num_cells, np.int64),
        np.zeros((2, _NUM_BINS, 2), np.float64), np.zeros((2, 2), np.float64),
        np.full((num_blocks, _BLOCK, len(METHODS)), np.nan, np.float32),
        np.zeros((num_blocks, _BLOCK), bool), np.zeros((), np.int64))

  def at_time(self, half: int, folder: Path) -> _AtTime:
    """The site of a half, and its map from clean CSI, whose parts are files of `folder`."""
    config, settings = self._config, self._settings
    if half:
      config = dataclasses.replace(config, data=dataclasses.replace(
          config.data, moved_scatterers=settings.moved_scatterers))
    site = config_site(config)
    ground = samples.generated(
        stream_key(config.data.seed, Stream.SITE_MAP), site, settings.side_m, _NUM_CLEAN_UES, None)
    clean = map_fit.fit_map(
        ground._replace(squares=self.place.cells), config.csi, folder / f'clean {half}',
        lambda *_: None)
    grid = clean.grid(config.csi)
    linear = online.with_powers(
        online.transforms(grid, clean.profile(np.arange(len(clean.los))), self._num_symbols),
        settings.noise)
    entry = np.full((len(self.place.cells), 2), len(clean.los) - 1)
    placed = zip(
        np.floor(clean.place[:-1] / settings.side_m).astype(int).tolist(), clean.los, strict=False)
    for number, (cell, los) in enumerate(placed):
      entry[self._number[tuple(cell)], int(los)] = number
    none = entry == len(clean.los) - 1  # a state that no sample was in: that of the other
    return _AtTime(site, grid, linear, np.where(none, entry[:, ::-1], entry))

  def block(self, state: State, number: int, at_time: _AtTime) -> State:
    """Reads reports with the state, scores them, then learns from them."""
    ue_key, noise_key, carrier_key, first_key = jax.random.split(
        jax.random.fold_in(self._key, number), 4)
    position, csi, los = self._arrivals(ue_key, at_time.site)
    squares = self._squares_of(position)
    noise = self._settings.noise
    which = np.arange(_BLOCK) % self._num_codes
    white = self._white(noise_key)
    random = self._random(csi, which) + white
    if self._settings.positions:
      first, cells = random, squares
    else:
      before = self._csi(at_time.site, position, carrier_key).csi[:, 0]
      first = self._random(np.asarray(before), which) + self._white(first_key)
      cells = placing.place(
          self._codes, state.power, np.asarray(state.statistics.weight).sum(-1), noise,
          jnp.asarray(first), which)
    alone = np.full_like(csi, np.nan)
    for f in range(self._num_codes):
      rows = np.flatnonzero(which == f)[:_BLOCK // self._num_codes // _ALONE]
      alone[rows] = joint.decode(
          self._codes.code(f), random[rows][:, None], jnp.full(1, noise))[0][:, 0]

    is_linear, num_seen = self._choose(state, cells)
    of_cells = jnp.asarray(cells)
    linear = jax.tree.map(lambda leaf: leaf[of_cells], state.linear)
    excess = (state.sent[:, 0] + 1) / (state.sent[:, 1] + 1)
    own_symbols = online.encode_linear(self._codes.grid, linear, csi, excess[0])
    found, found_error = map(np.array, online.decode_linear(
        self._codes.grid, linear, own_symbols + white, noise, excess[0]))
    of_random = self._decode_random(state, cells, which, random, ~is_linear)
    found[~is_linear], found_error[~is_linear] = of_random

    entry = at_time.entry[squares, los.astype(int)]
    best = jax.tree.map(lambda leaf: leaf[entry], at_time.linear)
    clean_symbols = online.encode_linear(at_time.grid, best, csi, excess[1])
    clean, _ = online.decode_linear(
        at_time.grid, best, clean_symbols + white, noise, excess[1])

    errors, linear_ones, measured = map(
        np.copy, (state.errors, state.is_linear, state.measured))
    sent = _POWER_MEMORY * state.sent
    for which_map, symbols in enumerate((np.asarray(own_symbols)[is_linear], clean_symbols)):
      power = (np.abs(symbols) ** 2).mean(-1) * excess[which_map]
      sent[which_map] += power.sum(), len(power)
    own, *others = (
        (np.abs(np.asarray(hat) - csi) ** 2).mean((1, 2)) for hat in (found, alone, clean))
    errors[number] = np.stack([own, np.where(is_linear, own, np.nan), *others], -1)
    linear_ones[number] = is_linear
    bins = self._bins(state)[cells]
    np.add.at(measured, (is_linear.astype(int), bins), np.stack(
        [found_error, np.ones(_BLOCK)], -1))
    counts = np.asarray(online.is_sound(jnp.asarray(first), noise))
    if self._settings.positions:
      counts = counts & ~is_linear
      weighed = self._around(position)
    else:
      statistics, power, cells = placing.split(state.statistics, state.power, cells)
      state = state._replace(statistics=statistics, power=power, fitted=np.minimum(
          state.fitted, np.asarray(statistics.weight).sum(-1)))
      weighed = cells[:, None], np.ones((_BLOCK, 1), np.float32)
    learned = self._learn(state, weighed, jnp.asarray(first), which, counts)
    return learned._replace(
        num_seen=num_seen, measured=measured, sent=sent, errors=errors, is_linear=linear_ones,
        num_blocks=np.array(number + 1))

  def _arrivals(self, key: jax.Array, site: Site) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places [n, 2] m, CSI [n, N_a, N_t] and LOS states [n] of a block of UEs."""
    uniform = np.asarray(jax.random.uniform(key, (_BLOCK, 3)), np.float64)
    corner = self.place.corners[(uniform[:, 0] * len(self.place.corners)).astype(int)]
    position = corner * self._settings.side_m + uniform[:, 1:] * self._settings.region_m
    found = self._csi(site, position)
    return position, np.asarray(found.csi[:, 0]), np.asarray(found.los[:, 0])

  def _csi(
      self, site: Site, position: np.ndarray, carrier_key: jax.Array | None = None) -> CsiGroups:
    """Of UEs at places [n, 2] m, one a group."""
    positions = jnp.pad(
        jnp.asarray(position, jnp.float32), ((0, 0), (0, 1)),
        constant_values=self._config.csi.ue_height_m)
    return self._csi_at(site, positions[:, None], carrier_key)

  def _random(self, csi: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Random reports [n, S] of CSI, without noise."""
    sent = np.empty((len(csi), self._num_symbols), np.complex64)
    for f in range(self._num_codes):
      sent[which == f] = _encode(self._codes.code(f), csi[which == f])
    return sent

  def _white(self, key: jax.Array) -> np.ndarray:
    """The noise of a block, [n, S]."""
    zeros = jnp.zeros((_BLOCK, self._num_symbols), jnp.complex64)
    return np.asarray(awgn(key, zeros, self._settings.snr_db))

  def _squares_of(self, position: np.ndarray) -> np.ndarray:
    """Of the ground, those of places; of known places they are the cells."""
    square = np.floor(position / self._settings.side_m).astype(int)
    return np.array([self._number[tuple(one)] for one in square.tolist()])

  def _bins(self, state: State) -> np.ndarray:
    """Of all cells by their weight, [C]."""
    weight = np.asarray(state.statistics.weight).sum(-1)
    return np.clip(np.floor(np.log2(np.maximum(weight, 1e-9))) + 1, 0, _NUM_BINS - 1).astype(int)

  def _choose(self, state: State, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the reports have the linear code of their cell, [n] bool; then `num_seen` [C].

    The code that the BS measured the lower NMSE of, in cells that know as much as this one. What
    it expects of the linear code counts as one measurement; of the random code, cells that know
    less speak where there is none. One report of some has the other code: random ones so that what
    a cell knows grows as the root of its reports, which costs least in all. Where places are not
    known UEs have sent a random one before.
    """
    expected = np.asarray(online.expected_error(
        state.linear, self._num_entries, self._settings.noise))
    bins, weight = self._bins(state), np.asarray(state.statistics.weight).sum(-1)
    total, count = np.moveaxis(state.measured, -1, 0)
    random = np.full(_NUM_BINS, np.inf)
    for number in range(_NUM_BINS):
      random[number] = (
          total[0, number] / count[0, number] if count[0, number] else random[max(number - 1, 0)])
    linear = (total[1, bins] + expected) / (count[1, bins] + 1)
    is_linear = (weight > 0) & (linear < random[bins])
    num_seen, chosen = state.num_seen.copy(), np.empty(len(cells), bool)
    for i, cell in enumerate(cells):
      num_seen[cell] += 1
      if is_linear[cell]:
        learns = self._settings.positions and (
            num_seen[cell] % _LEARNING == 0 or weight[cell] < _ROOT * num_seen[cell] ** 0.5)
        weight[cell] += learns  # about what it will have after this block
        chosen[i] = not learns
      else:
        chosen[i] = weight[cell] > 0 and num_seen[cell] % _TRIED == 0
    return chosen, num_seen

  def _decode_random(
      self, state: State, cells: np.ndarray, which: np.ndarray, received: np.ndarray,
      wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CSI and measured NMSE of those random reports [n, S] that are wanted [n]."""
    csi_hat = np.zeros((len(cells), *self._codes.projections.signs.shape[1:]), np.complex64)
    error = np.zeros(len(cells))
    weight, noise = state.statistics.weight.sum(-1), self._settings.noise
    for f in range(self._num_codes):
      rows = np.flatnonzero(wanted & (which == f))
      for part in _filled(rows, _CELLS_AT_ONCE):
        at = cells[part]
        report = (
            self._codes.code(f), state.power[at], weight[at], jnp.asarray(received[part]), noise)
        csi_hat[part] = online.decode(*report)
        error[part] = online.measured_error(*report)
    return csi_hat[wanted], error[wanted]

  def _learn(
      self, state: State, weighed: tuple[np.ndarray, np.ndarray], received: jax.Array,
      which: np.ndarray, counts: np.ndarray) -> State:
    """Adds the random reports that count [n]; cells that know much more are fitted again.

    Args:
      weighed: cells that each report counts in and with what weight, [n, J] each.
    """
    cells, weights = weighed
    new = online.gather(
        self._num_cells, self._num_codes, received, which, cells, weights * counts[:, None])
    factor = jnp.exp(-new.weight.sum(-1) / _MEMORY)
    statistics = online.merge(online.fade(state.statistics, factor), new)
    weight = np.asarray(statistics.weight).sum(-1)
    fitted = state.fitted * np.asarray(factor)
    power, linear, noise = state.power, state.linear, self._settings.noise
    due = np.flatnonzero(weight > np.minimum(fitted * _GROWN, fitted + _MOST_GROWN))
    for part in _filled(due, _CELLS_AT_ONCE):
      some = online.fit(
          self._codes, jax.tree.map(lambda leaf, part=part: leaf[part], statistics), power[part],
          noise)
      power = power.at[part].set(some)
      codes = online.linear_codes(self._codes.grid, some, noise, self._num_symbols)
      linear = jax.tree.map(
          lambda leaf, new, part=part: leaf.at[part].set(new), linear, codes)
      fitted[part] = weight[part]
    return state._replace(
        statistics=statistics, power=power, linear=linear, fitted=fitted.astype(np.float32))

  def _around(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells around places, and what reports from there weigh in them: [n, 9] each."""
    scaled = position / self._settings.side_m
    line = np.arange(-1, 2)
    steps = np.stack(np.meshgrid(line, line, indexing='ij'), -1).reshape(-1, 2)
    squares = np.floor(scaled).astype(int)[:, None] + steps
    apart = np.linalg.norm(scaled[:, None] - (squares + 0.5), axis=-1)
    weights = np.where(apart <= _REACH, np.exp(-(apart / _WIDTH) ** 2 / 2), 0)
    numbers = np.array([
        self._number.get(tuple(one), -1) for one in squares.reshape(-1, 2).tolist()])
    numbers = numbers.reshape(weights.shape)
    return np.maximum(numbers, 0), np.where(numbers < 0, 0, weights).astype(np.float32)


def _check(config: ExperimentConfig) -> None:
  """Raises InputError if `config` is of no one generated site at its first time."""
  if config.data.path or config.data.test_path or config.csi.mode != 'site':
    raise InputError(
        'the online map is measured on one generated site: csi.mode=site, without data.path and '
        'data.test_path.')
  if config.data.is_changed:
    raise InputError(
        'the site of the online map changes at half time; leave out data.moved_scatterers and '
        'data.redrawn_ground.')


def _regions(key: jax.Array, config: ExperimentConfig, settings: Settings) -> Place:
  """Squares of the site that do not overlap, drawn at random."""
  many = np.asarray(sample_positions(
      key, config.csi, 20 * settings.num_regions, 1))[:, 0, :2]
  corners = np.floor(many / settings.region_m).astype(int)
  middle = (corners + 0.5) * settings.region_m
  half, reach = config.csi.cell_size_m / 2, settings.region_m / 2 ** 0.5
  corners = corners[
      (np.abs(middle) <= half - settings.region_m / 2).all(1)
      & (np.linalg.norm(middle, axis=1) >= config.csi.min_bs_distance_m + reach)]
  _, first = np.unique(corners, axis=0, return_index=True)
  corners = corners[np.sort(first)[:settings.num_regions]]
  if len(corners) < settings.num_regions:
    raise InputError(
        f'--num_regions={settings.num_regions} of --region_m={settings.region_m:g}: there is no '
        'room in the cell; give fewer or smaller ones.')
  corners = corners * settings.cells_a_side
  line = np.arange(settings.cells_a_side)
  inside = np.stack(np.meshgrid(line, line, indexing='ij'), -1).reshape(-1, 2)
  return Place((corners[:, None] + inside).reshape(-1, 2), corners)


def _filled(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
  """Parts of `size` rows; the last one is filled up with its own."""
  for first in range(0, len(rows), size):
    part = rows[first:first + size]
    yield np.resize(part, size)


def _arrays(state: State) -> dict[str, np.ndarray]:
  leaves = jax.tree.leaves(state)
  return {f'{number:02}': np.asarray(leaf) for number, leaf in enumerate(leaves)}


def _load(file: Path, digest: str, start: State) -> State:
  """The state of a file, or `start` where there is none.

  Raises:
    InputError: the file is of other settings, or not whole.
  """
  if not file.exists():
    return start
  try:
    with safetensors.safe_open(file, 'numpy') as opened:
      found = (opened.metadata() or {}).get(_HEADER)
      leaves = [opened.get_tensor(name) for name in sorted(opened.keys())]
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(f'{file}: is no whole online map ({error}); take another folder.') from None
  expected, tree = jax.tree.flatten(start)
  if found != digest or [leaf.shape for leaf in leaves] != [leaf.shape for leaf in expected]:
    raise InputError(
        f'{file}: is of another config or other settings; take another folder by --out.')
  return jax.tree.unflatten(tree, [
      jnp.asarray(leaf) if isinstance(one, jax.Array) else leaf.astype(one.dtype)
      for one, leaf in zip(expected, leaves, strict=True)])
