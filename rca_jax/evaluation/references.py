"""Results rows of what is not trained: linear and sparse codes, and the genie's bound."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rca_jax.baselines import cdl_op, pca
from rca_jax.baselines.genie import genie_nmse, known_covariance_nmse
from rca_jax.bayes import joint, random_code
from rca_jax.bayes.coefficient_code import BITS, FOLDED, HYBRID, LINEAR, CoefficientCode
from rca_jax.bayes.described import DescribedCode
from rca_jax.bayes.grid import make_grid
from rca_jax.bayes.label_source import WALKING_SPEED_M_S, Joint, Paid, Tracked
from rca_jax.bayes.mixture_klt import fit_mixture
from rca_jax.bayes.site_code import SiteCode
from rca_jax.bayes.site_map import FixedPhases, SiteMap, load_map
from rca_jax.channel import from_features, sample_groups, to_features
from rca_jax.config import ExperimentConfig, UplinkConfig, codeword_dim
from rca_jax.data.source import config_site, read_groups
from rca_jax.data.test_groups import (
    load_past_csi,
    load_test_csi,
    load_test_places,
    load_uplink_csi,
)
from rca_jax.errors import InputError
from rca_jax.evaluation.evaluate import Scores, evaluate
from rca_jax.evaluation.rows import Measurement, describe, result_row, test_data
from rca_jax.keys import Stream, stream_key
from rca_jax.models.refiner import Heard, refine
from rca_jax.training.refiner import REFINER, load_refiner
from rca_jax.uplink.known import Uplink, check_known

_FIT_REPORTS_PER_DIMENSION = 12  # training reports that the linear code is fitted to
_MIXTURE_REPORTS_PER_DIMENSION, _REPORTS_PER_COMPONENT = 48, 128  # of the mixture KLT
_NUM_FIT_ROWS = 40_000  # frequency rows the dictionary is fitted to
_FIT_CHUNK = 125  # groups generated at a time; changing it changes the codes
_NUM_GENIE_POSITIONS = 1000
_NUM_TRIAL_REPORTS = 512  # whose mean power is set to 1
_NUM_PRIOR_REPORTS = 1000  # whose mean power by delay joint Bayes starts from


def reference_rows(
    config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
  """One row a measurement of `config.method`, a name of `REFERENCES`, `BAYES` or `WITH_MAP`.

  Codes are fitted to groups of the training's kind and measured on the network's test groups,
  with the noise that the network has there.

  Raises:
    InputError: the method is none of them, or a measurement is none it has.
  """
  known = REFERENCES | BAYES | WITH_MAP
  if config.method not in known:
    raise InputError(f'method={config.method!r} is not trained, and none of {", ".join(known)}.')
  for item in measurements:
    _check_measurement(config, item)
  if config.method not in WITH_MAP:
    config = dataclasses.replace(config, site_map='')  # their rows do not depend on it
  looks = {}
  if config.method in _FROM_UPLINK:
    looks = {'num_looks': config.uplink.num_looks, 'look_snr_db': config.uplink.look_snr_db}
  else:
    config = dataclasses.replace(config, uplink=dataclasses.replace(
        config.uplink, num_looks=UplinkConfig.num_looks, look_snr_db=UplinkConfig.look_snr_db))
  data = test_data(config)
  descriptions = [describe(config, item, 0, data) | looks for item in measurements]
  return [
      result_row(description, scores, config.data.seed) for description, scores in zip(
          descriptions, known[config.method](config, measurements), strict=True)]


def _check_measurement(config: ExperimentConfig, item: Measurement) -> None:
  """Raises InputError if the method of `config` does not have this measurement."""
  chosen = {
      name: getattr(item, name) for name in ('channel', 'snr_error_db', 'snr_spread_db')
      if getattr(item, name)}
  if item != Measurement(item.snr_db, item.num_ues, distance_m=item.distance_m, **chosen):
    raise InputError(
        f'{item}: of a reference only snr_db, num_ues, channel, distance_m, snr_error_db and '
        'snr_spread_db can be chosen.')
  if item.distance_m and (
      config.method not in _AT_A_DISTANCE or config.data.path or config.data.test_path):
    raise InputError(
        f'method={config.method!r}, distance_m={item.distance_m:g}: only generated test groups '
        f'have a distance, and only {", ".join(_AT_A_DISTANCE)} are measured there.')
  if config.method in _OF_AN_UPLINK and item.snr_db is not None:
    check_known(item.channel or config.uplink.channel)
  elif chosen or (item.snr_db is not None and config.uplink.channel != 'awgn'):
    raise InputError(
        f'method={config.method!r}, snr_db={item.snr_db}: over AWGN only, at one known SNR; '
        f'leave out channel={item.channel or config.uplink.channel}, '
        f'snr_error_db={item.snr_error_db:g} and snr_spread_db={item.snr_spread_db:g}.')


def _uplink(config: ExperimentConfig, item: Measurement) -> Uplink:
  return Uplink(item.snrs_db, item.snr_error_db, item.channel or config.uplink.channel)


def _pca_scores(config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  code = pca_code(config)

  def estimate(item: Measurement, csi: np.ndarray, keys: jax.Array, _: Any) -> jax.Array:
    uplink = None if item.snr_db is None else _uplink(config, item)
    return pca_transmit(code, uplink, csi, keys)

  return _code_scores(config, measurements, estimate)


def pca_code(config: ExperimentConfig) -> pca.PcaCode:
  """The code of PCA/KLT that rows are measured with."""
  dim = 2 * config.csi.num_delay_taps * config.csi.num_tx_antennas
  train = to_features(_training_csi(config, _FIT_REPORTS_PER_DIMENSION * dim))
  return pca.fit(np.asarray(train).reshape(-1, dim), codeword_dim(config.model, config.csi))


def pca_transmit(
    code: pca.PcaCode, uplink: Uplink | None, csi: np.ndarray, keys: jax.Array) -> jax.Array:
  """csi_hat; arguments as of `evaluate.Estimate`, without an uplink the coefficients are exact."""
  features = to_features(csi)
  flat = features.reshape(*csi.shape[:2], -1)
  hat = (pca.transmit(keys, code, flat, uplink) if uplink else pca.reconstruct(code, flat))
  return from_features(hat.reshape(features.shape))


def _cdl_op_scores(config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  """The reports are noise-free, as in the paper: a measurement with an SNR is refused."""
  for item in measurements:
    if item.snr_db is not None:
      raise InputError(f'CDL-OP is measured without noise (snr_db=None), not at {item.snr_db} dB.')
  num_tx = config.csi.num_tx_antennas
  asked = Fraction(config.model.compression_ratio) * num_tx
  if asked.denominator != 1:
    raise InputError(
        f'model.compression_ratio={config.model.compression_ratio} of {num_tx} atoms is '
        f'{asked}; CDL-OP keeps a whole number of them.')
  num_atoms = int(asked)
  train = cdl_op.frequency_rows(
      _training_csi(config, -(-_NUM_FIT_ROWS // config.csi.num_delay_taps)))
  dictionary = cdl_op.fit(train.reshape(-1, num_tx), num_atoms)

  def estimate(_item: Measurement, csi: np.ndarray, _keys: jax.Array, _: Any) -> jax.Array:
    rows = cdl_op.reconstruct(dictionary, cdl_op.frequency_rows(csi), num_atoms)
    return cdl_op.from_frequency_rows(rows)

  return _code_scores(config, measurements, estimate)


def _genie_scores(config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  if None in (item.snr_db for item in measurements):
    raise InputError('the genie needs an uplink with noise: snr_db=None leaves no error.')
  num_positions = min(_NUM_GENIE_POSITIONS, config.data.num_test_groups)
  return [Scores(values) for values in genie_nmse(config, _snrs_db(measurements), num_positions)]


def _joint_scores(
    is_alone: bool, config: ExperimentConfig, measurements: Sequence[Measurement]
) -> list[Scores]:
  _require_noise('joint Bayes', measurements)
  code = joint_code(config)

  def estimate(
      item: Measurement, csi: np.ndarray, keys: jax.Array, active: np.ndarray | None) -> jax.Array:
    return joint_transmit(code, _uplink(config, item), csi, keys, active, is_alone)[1]

  return _code_scores(config, measurements, estimate)


def joint_transmit(
    code: random_code.RandomCode, uplink: Uplink, csi: np.ndarray, keys: jax.Array,
    active: np.ndarray | None, is_alone: bool = False) -> tuple[jax.Array, jax.Array]:
  """Reports as sent [batch, ue, S] complex64, and csi_hat; arguments as of `evaluate.Estimate`."""
  symbols = random_code.encode(code, jnp.asarray(csi))
  received, noise = uplink.send(keys, symbols)
  if is_alone:
    received = received.reshape(-1, 1, received.shape[-1])
    active = None if active is None else active.reshape(-1, 1)
    noise = noise.reshape(-1, 1)
  elif bool((noise == noise[:, :1]).all()):
    noise = noise[:, :1]  # one inverse for all UEs of a group
  csi_hat, _ = joint.decode(code, received, noise, active)
  return symbols, csi_hat.reshape(csi.shape)


def _joint_genie_scores(
    config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  _require_noise('joint Bayes', measurements)
  projections = np.asarray(_projections(config).matrix())
  num_positions = min(_NUM_GENIE_POSITIONS, config.data.num_test_groups)
  found = known_covariance_nmse(config, projections, _snrs_db(measurements), num_positions)
  return [Scores(values) for values in found]


def joint_code(config: ExperimentConfig) -> random_code.RandomCode:
  """The code of joint Bayes that rows are measured with."""
  return random_code.make_code(
      _projections(config), config.csi, _training_csi(config, _NUM_PRIOR_REPORTS))


def _require_noise(method: str, measurements: Sequence[Measurement]) -> None:
  if None in (item.snr_db for item in measurements):
    raise InputError(f'{method} needs an uplink with noise; give --snr_db.')


def _snrs_db(measurements: Sequence[Measurement]) -> list[float]:
  return [item.noisy_snr_db for item in measurements]


def _projections(config: ExperimentConfig) -> random_code.Projections:
  num_symbols = codeword_dim(config.model, config.csi) // 2
  key = stream_key(config.seed, Stream.PROJECTIONS)
  return random_code.random_projections(key, num_symbols, config.csi)


def _mixture_scores(config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  _require_noise('the mixture KLT', measurements)
  num_symbols = codeword_dim(config.model, config.csi) // 2
  dim = 2 * config.csi.num_delay_taps * config.csi.num_tx_antennas
  train = _training_csi(config, _MIXTURE_REPORTS_PER_DIMENSION * dim)
  mixture = fit_mixture(
      stream_key(config.seed, Stream.MIXTURE), train,
      max(len(train) // _REPORTS_PER_COMPONENT, 1), num_symbols)
  code = SiteCode(
      mixture, config.csi, num_symbols, Paid(mixture), size=num_symbols,
      trial=train[:_NUM_TRIAL_REPORTS])

  def estimate(item: Measurement, csi: np.ndarray, keys: jax.Array, _: Any) -> jax.Array:
    return jnp.asarray(code.estimate(csi, keys, _uplink(config, item)))

  return _code_scores(config, measurements, estimate)


def _described_scores(
    code: CoefficientCode, config: ExperimentConfig, measurements: Sequence[Measurement]
) -> list[Scores]:
  _require_noise('a described profile', measurements)
  described = described_code(config, code)

  def estimate(item: Measurement, csi: np.ndarray, keys: jax.Array, _: Any) -> jax.Array:
    return jnp.asarray(described.transmit(csi, keys, _uplink(config, item))[1])

  return _code_scores(config, measurements, estimate)


def described_code(
    config: ExperimentConfig, code: CoefficientCode = FOLDED, num_symbols: int | None = None
) -> DescribedCode:
  """The code of 'described profile (folded)', or with another code of the coefficients.

  `num_symbols`: by default those of a report.
  """
  return DescribedCode(
      config.csi, num_symbols or codeword_dim(config.model, config.csi) // 2,
      _training_csi(config, _NUM_TRIAL_REPORTS)[:_NUM_TRIAL_REPORTS], code)


def _site_map_scores(
    source: str, code: CoefficientCode, config: ExperimentConfig,
    measurements: Sequence[Measurement], reserve: bool = True, is_placed: bool = False,
    is_described: bool = False, is_refined: bool = False
) -> list[Scores]:
  _require_noise('the site map', measurements)
  site_map, plain = _site_map(config)
  site_code = plain.variant(
      _SOURCES[source](site_map, config), code, reserve,
      functools.partial(described_code, config, code) if is_described else None,
      _refinement(config) if is_refined else None)

  def estimate(item: Measurement, csi: np.ndarray, keys: jax.Array, _: Any) -> jax.Array:
    return jnp.asarray(site_code.estimate(csi, keys, _uplink(config, item)))

  def placed(item, csi, keys, _, places: np.ndarray) -> jax.Array:
    return jnp.asarray(site_code.estimate(csi, keys, _uplink(config, item), places=places))

  def tracked(item, csi, keys, _, past: np.ndarray) -> jax.Array:
    return jnp.asarray(site_code.estimate(csi, keys, _uplink(config, item), past))

  def past_csi(num_ues: int) -> np.ndarray:
    return load_past_csi(config, num_ues, _PERIOD_S * WALKING_SPEED_M_S)

  def from_uplink(item, csi, keys, _, looks: np.ndarray) -> jax.Array:
    uplink = _uplink(config, item)
    labels = site_code.uplink_labels(looks, look_snr_db, uplink)
    return jnp.asarray(site_code.estimate_agreed(csi, keys, uplink, labels))

  def uplink_csi(num_ues: int) -> np.ndarray:
    return load_uplink_csi(config, num_ues, num_looks, look_snr_db)

  num_looks, look_snr_db = config.uplink.num_looks, config.uplink.look_snr_db
  if is_placed:
    return _code_scores(
        config, measurements, placed, lambda num_ues: load_test_places(config, num_ues))
  if source == 'tracked':
    return _code_scores(config, measurements, tracked, past_csi)
  if source == 'uplink':
    return _code_scores(config, measurements, from_uplink, uplink_csi)
  return _code_scores(config, measurements, estimate)


def _refinement(config: ExperimentConfig) -> Callable[..., jax.Array]:
  grid = make_grid(config.csi)
  model, params = load_refiner(
      Path(config.refiner) if config.refiner else REFINER, config.csi)
  return jax.jit(lambda profile, transform, *heard: refine(
      model, params, grid, profile, transform, Heard(*heard)))


def _site_map_bound_scores(
    is_paid: bool, config: ExperimentConfig, measurements: Sequence[Measurement]) -> list[Scores]:
  _require_noise('the site map', measurements)
  site_map, plain = _site_map(config)
  code = SiteCode(
      site_map, config.csi, plain.num_symbols, Paid(site_map), size=2 * plain.num_symbols)
  label_bits = np.log2(len(site_map.los)) if is_paid else 0.0

  def estimate(item: Measurement, csi: np.ndarray, keys: jax.Array, _: Any) -> jax.Array:
    bits = plain.num_symbols * np.log2(1 + 10 ** (item.noisy_snr_db / 10)) - label_bits
    return jnp.asarray(code.estimate_ideal(csi, keys, max(bits, 0.0)))

  return _code_scores(config, measurements, estimate)


def map_code(config: ExperimentConfig, code: CoefficientCode = LINEAR) -> SiteCode:
  """The code of 'site map (joint)', or with another code of the coefficients.

  Where the map has no places, the label is paid.
  """
  site_map, plain = _site_map(config)
  is_placed = np.isfinite(site_map.place).any()
  return plain.variant(_SOURCES['joint' if is_placed else 'paid'](site_map, config), code)


def paid_map_code(config: ExperimentConfig) -> SiteCode:
  """The code of 'site map', with KLTs of fixed phases. Raises InputError: the map is none."""
  return _paid_code(FixedPhases(*load_map(Path(config.site_map), config.csi)), config)


def _site_map(config: ExperimentConfig) -> tuple[SiteMap, SiteCode]:
  """The map of `config`, and the code whose labels are paid."""
  if not config.site_map:
    raise InputError(
        f"method='{config.method}' needs a map: make one with `rca map`, then give it "
        'as --config.site_map=FILE.')
  path = Path(config.site_map)
  changed = path.stat().st_mtime_ns if path.exists() else 0
  return _loaded(path, changed, dataclasses.replace(config, method='', uplink=UplinkConfig()))


@functools.lru_cache(maxsize=1)  # the methods of one command share what is computed of their map
def _loaded(path: Path, _changed: int, config: ExperimentConfig) -> tuple[SiteMap, SiteCode]:
  site_map = load_map(path, config.csi)
  return site_map, _paid_code(site_map, config)


def _paid_code(site_map: SiteMap, config: ExperimentConfig) -> SiteCode:
  return SiteCode(
      site_map, config.csi, codeword_dim(config.model, config.csi) // 2, Paid(site_map),
      trial=_training_csi(config, _NUM_TRIAL_REPORTS)[:_NUM_TRIAL_REPORTS])


_PERIOD_S = 1.0  # from report to report of a UE whose label is tracked
_SOURCES: dict[str, Callable[[SiteMap, ExperimentConfig], Paid]] = {
    'paid': lambda site_map, _: Paid(site_map),
    'joint': lambda site_map, config: Joint(site_map, config.csi.max_ue_distance_m),
    'tracked': lambda site_map, _: Tracked(site_map, _PERIOD_S),
    'uplink': lambda site_map, _: Paid(site_map)}
REFERENCES: dict[str, Callable] = {
    'PCA/KLT': _pca_scores, 'CDL-OP': _cdl_op_scores, 'genie': _genie_scores}
# Not in the matrix of `rca reproduce`, nor are those below. Alone: the same reports, every UE
# decoded by itself; genie: it knows c.
BAYES: dict[str, Callable] = {
    'mixture KLT': _mixture_scores,
    'described profile': functools.partial(_described_scores, LINEAR),
    'described profile (folded)': functools.partial(_described_scores, FOLDED),
    'joint Bayes': functools.partial(_joint_scores, False),
    'joint Bayes (alone)': functools.partial(_joint_scores, True),
    'joint Bayes (genie)': _joint_genie_scores}
# They need the file that `config.site_map` names.
WITH_MAP: dict[str, Callable] = {
    **{name: functools.partial(_site_map_scores, source, code) for name, source, code in (
        ('site map', 'paid', LINEAR),
        ('site map (joint)', 'joint', LINEAR),
        ('site map (tracked)', 'tracked', LINEAR),
        ('site map (uplink)', 'uplink', LINEAR),
        ('site map (hybrid)', 'paid', HYBRID),
        ('site map (hybrid joint)', 'joint', HYBRID),
        ('site map (hybrid tracked)', 'tracked', HYBRID),
        ('site map (hybrid uplink)', 'uplink', HYBRID),
        ('site map (folded)', 'paid', FOLDED),
        ('site map (folded joint)', 'joint', FOLDED),
        ('site map (folded tracked)', 'tracked', FOLDED),
        ('site map (folded uplink)', 'uplink', FOLDED),
        ('site map (bits)', 'paid', BITS))},
    # A UE knows its place, and looks for its label around it.
    'site map (joint placed)': functools.partial(
        _site_map_scores, 'joint', LINEAR, is_placed=True),
    'site map (folded joint placed)': functools.partial(
        _site_map_scores, 'joint', FOLDED, is_placed=True),
    # CSI that fits no place says itself where its power comes from.
    'site map (joint or described)': functools.partial(
        _site_map_scores, 'joint', LINEAR, is_described=True),
    'site map (folded joint or described)': functools.partial(
        _site_map_scores, 'joint', FOLDED, is_described=True),
    'site map (joint refined)': functools.partial(
        _site_map_scores, 'joint', LINEAR, is_refined=True),
    'site map (folded joint refined)': functools.partial(
        _site_map_scores, 'joint', FOLDED, is_refined=True),
    'site map (folded uplink refined)': functools.partial(
        _site_map_scores, 'uplink', FOLDED, is_refined=True),
    'site map (folded joint refined or described)': functools.partial(
        _site_map_scores, 'joint', FOLDED, is_described=True, is_refined=True),
    'site map (joint without reserve)': functools.partial(
        _site_map_scores, 'joint', LINEAR, reserve=False),
    'site map bound': functools.partial(_site_map_bound_scores, False),
    'site map bound (paid)': functools.partial(_site_map_bound_scores, True)}
# They are sent, so that an uplink and what is known of it can be chosen.
_OF_AN_UPLINK = ('PCA/KLT', *(name for name in BAYES | WITH_MAP if not any(
    word in name for word in ('genie', 'bound'))))
# Fitted to the config's groups and sent: test groups of other distances can be chosen.
_AT_A_DISTANCE = ('PCA/KLT', *(name for name in BAYES if 'genie' not in name))
# Their rows say the looks; others do not depend on them.
_FROM_UPLINK = tuple(name for name in WITH_MAP if 'uplink' in name)


def _code_scores(
    config: ExperimentConfig, measurements: Sequence[Measurement], estimate: Callable,
    beside: Callable[[int], np.ndarray] | None = None) -> list[Scores]:
  """Scores of `estimate(item, csi, keys, active)` on the test groups, for every measurement.

  With `beside(num_ues)` [G, ...] the estimate gets that of the groups too: what is known before the
  report, and not sent.
  """
  key = stream_key(config.data.seed, Stream.EVALUATION)
  # First what is known: it says why CSI of a file has none.
  known = beside and functools.lru_cache(maxsize=1)(beside)
  test_csi = functools.lru_cache(maxsize=1)(
      lambda num_ues, distance_m: load_test_csi(config, num_ues, distance_m=distance_m))
  found = []
  with jax.default_matmul_precision('highest'):  # rounding would be most of a small error
    for item in measurements:
      more = known(item.num_ues) if known else None
      found.append(evaluate(
          functools.partial(estimate, item), test_csi(item.num_ues, item.distance_m), key,
          beside=more))
  return found


def _training_csi(config: ExperimentConfig, num_reports: int) -> np.ndarray:
  """CSI [n, N_a, N_t] to fit a code to: of the config's file, or from a stream of its own.

  n is about `num_reports`, less where a file has fewer; UEs without power are left out.
  """
  num_groups = -(-num_reports // config.num_ues)
  if config.data.path:
    csi = read_groups(config, config.data.path, 'train', config.num_ues)
    # From the whole file: neighbours in it may be neighbours in space.
    csi = csi[np.unique(np.linspace(0, len(csi) - 1, num_groups).astype(int))]
  else:
    site, key = config_site(config), stream_key(config.seed, Stream.REFERENCE_FIT)
    draw = jax.jit(lambda site, index: sample_groups(
        jax.random.fold_in(key, index), config.csi, _FIT_CHUNK, config.num_ues, site=site).csi)
    csi = np.concatenate([
        np.asarray(draw(site, index)) for index in range(-(-num_groups // _FIT_CHUNK))])
  csi = csi.reshape(-1, *csi.shape[-2:])
  return csi[csi.any((-2, -1))]
