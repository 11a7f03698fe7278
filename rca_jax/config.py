"""Dataclasses of one experiment, with their validation. Imports no jax.

All are frozen and hashable, so a config can be a static argument of `jax.jit`.
Ratios are `Fraction` strings ("1/16"), units stand in the names.
"""

import dataclasses
import re
import sys
import types
import typing
from fractions import Fraction
from typing import Any, NamedTuple

from rca_jax.errors import InputError

GENERATOR_VERSION = 2  # another one: the same keys draw other CSI, and rows are of other data
# Fields that are younger than results that are kept: what a config without the field means, by its
# dotted name. With this value the field does not count in hashes of configs (evaluation/rows.py).
ABSENT_MEANS: dict[str, Any] = {
    'data.array': '', 'data.axes': '', 'data.select': '', 'data.moved_scatterers': 0.0,
    'data.redrawn_ground': 0.0, 'site_map': '', 'refiner': '', 'training.min_symbols': 0,
    'model.snr_input': False, 'csi.num_polarisations': 1, 'csi.antenna_element': 'isotropic',
    'uplink.num_looks': 1, 'uplink.look_snr_db': 10.0}
MAX_SEED = 2**32 - 1
_MAX = sys.float_info.max


def _require(condition: bool, message: str) -> None:
  if not condition:
    raise InputError(message)


def _require_one_of(name: str, value: Any, allowed: tuple) -> None:
  _require(value in allowed, f'{name}={value!r} is unknown; choose one of {", ".join(allowed)}.')


def _require_seed(name: str, value: int) -> None:
  _require(0 <= value <= MAX_SEED, f'{name}={value} must be from 0 to {MAX_SEED}.')


def _require_positive(config: Any, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    _require(value > 0, f'{name}={value} must be positive.')


def parse_ratio(text: str) -> Fraction:
  """The number that a text like "1/16" means; ValueError if it is none."""
  try:
    # Neither exponents nor many digits: Fraction('1e999999999') computes for hours.
    return Fraction(re.fullmatch(r'[\d./]{1,20}', text)[0])  # type: ignore[index]  # None is a TypeError
  except (TypeError, ZeroDivisionError) as error:
    raise ValueError(f'{text!r:.50} is no fraction') from error


@dataclasses.dataclass(frozen=True)
class CsiConfig:
  """Where CSI comes from: a TR 38.901 UMa cell, its carrier and its array."""

  scenario: str = 'uma'  # uma (LOS by probability) | uma_los | uma_nlos | multipath (eq. (1))
  mode: str = 'site'  # site: one environment | fresh: a new one for every group
  correlation: str = 'stock'  # stock | exponential (the TR's law) | track (drifting)
  carrier_frequency_hz: float = 6.7e9  # of the downlink
  bandwidth_hz: float = 20e6  # of all subcarriers; a delay row is 1 / bandwidth
  num_subcarriers: int = 1024  # N_c
  num_delay_taps: int = 32  # N_a, the delay rows that are kept
  num_tx_antennas: int = 32  # N_t, half-wavelength ULA along y
  num_polarisations: int = 1  # 2: N_t / 2 places, antennas slanted by 45 degrees, then by -45
  antenna_element: str = 'isotropic'  # or sector: table 7.3-1 towards x; of generated CSI
  bs_height_m: float = 25.0  # of its array, above the ground
  ue_height_m: float = 1.5  # above the ground
  cell_size_m: float = 300.0  # side of the square around the BS that UEs live in
  min_bs_distance_m: float = 35.0  # horizontal
  max_ue_distance_m: float = 10.0  # within a group, every pair is closer than this

  def __post_init__(self):
    _require_one_of('csi.scenario', self.scenario, ('uma', 'uma_los', 'uma_nlos', 'multipath'))
    _require_one_of('csi.mode', self.mode, ('site', 'fresh'))
    _require_one_of('csi.correlation', self.correlation, ('stock', 'exponential', 'track'))
    _require_one_of(
        'csi.antenna_element', self.antenna_element, ('isotropic', 'sector'))
    _require(
        self.num_polarisations in (1, 2) and self.num_tx_antennas % self.num_polarisations == 0,
        f'csi.num_polarisations={self.num_polarisations} must be 1, or 2 of an even '
        f'csi.num_tx_antennas={self.num_tx_antennas}.')
    _require(
        self.scenario != 'multipath' or (
            self.num_polarisations == 1 and self.antenna_element == 'isotropic'),
        "csi.scenario='multipath' is eq. (1), of one polarisation and isotropic antennas.")
    _require_positive(
        self, 'carrier_frequency_hz', 'bandwidth_hz', 'num_subcarriers', 'num_delay_taps',
        'num_tx_antennas', 'bs_height_m', 'ue_height_m', 'cell_size_m', 'max_ue_distance_m')
    _require(
        self.num_delay_taps <= self.num_subcarriers,
        f'csi.num_delay_taps={self.num_delay_taps} must not exceed '
        f'csi.num_subcarriers={self.num_subcarriers}.')
    _require(
        0 <= self.min_bs_distance_m + self.max_ue_distance_m / 2 < self.cell_size_m / 2,
        f'csi.min_bs_distance_m={self.min_bs_distance_m} leaves no room in a cell of '
        f'csi.cell_size_m={self.cell_size_m}.')


FORMATS = ('own', 'cost2100', 'sionna', 'deepmimo', 'quadriga')  # see data.formats.presets
AXES = (
    'group', 'ue', 'rx', 'bs', 'polarisation', 'antenna', 'angle', 'subcarrier', 'delay', 'path',
    'time', 're_im', 'one')
_ROWS, _COLUMNS = ('subcarrier', 'delay', 'path'), ('antenna', 'angle')


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a file is read. What is '' is proposed by names and shapes, and judged by the power."""

  array: str = ''  # NAME, or REAL,IMAGINARY; with an axis path, the array of delays in s follows
  axes: str = ''  # of AXES, as stored: ue,antenna,-subcarrier (- runs back); or a name of FORMATS
  select: str = ''  # of several: rx:0 | rx:all (each a UE) | rx:strongest; bs:0; time:0

  def __post_init__(self):
    _require(
        not (self.format and self.array),
        f'axes={self.axes} is a format, which knows its arrays; leave out array={self.array}.')
    for text in filter(None, self.select.split(',')):
      _require(
          re.fullmatch(r'rx:(\d{1,9}|all|strongest)|(bs|time):\d{1,9}', text) is not None,
          f'select={text!r}: expected rx:0, rx:all, rx:strongest, bs:0 or time:0, of any number.')
    names = self.axis_names
    given = f'axes={self.axes}'
    unknown = [name for name in names if name not in AXES]
    _require(
        not unknown,
        f'{given}: {", ".join(unknown)} is unknown; axes are {", ".join(AXES)}, and the formats '
        f'{", ".join(FORMATS)}.')
    _require(len(set(names)) == len(names), f'{given}: an axis stands there twice.')
    for choices in (_ROWS, _COLUMNS) if names else ():
      _require(
          len(set(names) & set(choices)) == 1,
          f'{given}: expected one of {", ".join(choices)} among them.')
    _require(
        'path' not in names or not {'angle', 're_im'} & set(names),
        f'{given}: paths have antennas, and complex coefficients or two arrays of them.')
    back = [name for name in self.reversed_axes if name not in (*_ROWS[:2], *_COLUMNS)]
    _require(not back, f'{given}: {", ".join(back)} cannot run back.')

  @property
  def format(self) -> str:
    """The name of `FORMATS` that stands for the axes, or ''."""
    return self.axes if self.axes in FORMATS else ''

  @property
  def axis_names(self) -> tuple[str, ...]:
    """In the order of the array."""
    is_list = self.axes and not self.format
    return tuple(text.removeprefix('-') for text in self.axes.split(',')) if is_list else ()

  @property
  def reversed_axes(self) -> tuple[str, ...]:
    """Those that run from high to low."""
    return tuple(text[1:] for text in self.axes.split(',') if text.startswith('-'))

  @property
  def selected(self) -> dict[str, str]:
    """Of every axis what is taken of it."""
    return dict(text.split(':') for text in self.select.split(',') if text)

  def flags(self) -> str:
    """As a command takes it."""
    fields = dataclasses.asdict(self).items()
    return ' '.join(f'--{name}={value}' for name, value in fields if value)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which CSI a run trains and tests on."""

  path: str = ''  # '': the generator, inside the step; else what data.files.read_csi reads
  test_path: str = ''  # '': generated test groups, or the `test` split of `path`
  array: str = ''  # of these files: NAME, or REAL,IMAGINARY; see Layout. Folders need none of it
  axes: str = ''  # of the array, e.g. ue,antenna,subcarrier, or a format; '': found from the file
  select: str = ''  # of several UE antennas, base stations or times: rx:0, rx:all, bs:0, time:0
  seed: int = 0  # environment and test groups; runs that share it share both
  num_test_groups: int = 10_000  # generated, or at most of the test file
  allow_silent: bool = False  # UEs without power in files: masked, and scored nowhere
  # The generated site at another time, by shares; else it is as it always was.
  moved_scatterers: float = 0.0  # of the clusters: each is drawn anew on ground of its own
  redrawn_ground: float = 0.0  # of the ground, where all clusters are

  def __post_init__(self):
    _require_positive(self, 'num_test_groups')
    _require_seed('data.seed', self.seed)
    for name in ('moved_scatterers', 'redrawn_ground'):
      value = getattr(self, name)
      _require(0 <= value <= 1, f'data.{name}={value} must be from 0 to 1.')
    _require(
        not (self.is_changed and (self.path or self.test_path)),
        'data.moved_scatterers and data.redrawn_ground change the generated site; leave out '
        'data.path and data.test_path.')
    _require(self.layout is not None, '')

  @property
  def is_changed(self) -> bool:
    """Whether the generated site is that of another time."""
    return self.moved_scatterers > 0 or self.redrawn_ground > 0

  @property
  def layout(self) -> Layout:
    """Of the files `path` and `test_path`."""
    return Layout(self.array, self.axes, self.select)


_TOLD_THE_SNR = ('adjscc_csinet', 'learned_joint')  # networks of a form of their own


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network: the paper's sizes as Table II gives them away."""

  network: str = 'rca_munet'  # | summation_fusion (BL3) | adjscc_csinet (BL2) | learned_joint
  attention: str = 'residual_cross'  # a name of models.attention.ATTENTION
  compression_ratio: str = '1/8'  # CR = k / (2 N_a N_t); kept in lowest terms: '0.5' is '1/2'
  model_dim: int = 192  # d
  num_heads: int = 8  # h
  mlp_dim: int = 768  # width of the feed-forward layers
  num_encoder_layers: int = 4  # L1
  num_decoder_layers: int = 3  # L2
  num_rca_blocks: int = 3  # L3
  final_norm: bool = False  # a LayerNorm after the last layer of both sides, as BL1 has
  shortcut: bool = False  # around the layers of each side: what they learn adds to a linear code
  snr_input: bool = False  # both sides are told the SNR: one set of weights for all
  dtype: str = 'float32'  # of the computation; parameters and statistics stay float32

  def __post_init__(self):
    try:
      ratio = str(parse_ratio(self.compression_ratio))
    except ValueError:
      raise InputError(
          f'model.compression_ratio={self.compression_ratio!r} is no fraction; write e.g. "1/16".'
      ) from None
    # One ratio has one spelling: names, hashes and rows are made of it.
    object.__setattr__(self, 'compression_ratio', ratio)
    _require_one_of('model.dtype', self.dtype, ('float32', 'bfloat16'))
    _require_one_of(
        'model.network', self.network,
        ('rca_munet', 'summation_fusion', *_TOLD_THE_SNR))
    _require(
        self.network == 'rca_munet' or self.attention == 'self',
        f"model.attention={self.attention!r} has no place in model.network={self.network!r}; set "
        "model.attention='self'.")
    _require(
        not (self.shortcut and self.network in _TOLD_THE_SNR),
        f'model.shortcut=True has no place in model.network={self.network!r}; leave it False.')
    _require(
        not (self.snr_input and self.network in _TOLD_THE_SNR),
        f'model.snr_input=True: model.network={self.network!r} is told the SNR anyway; leave it '
        'False.')
    _require_positive(self, 'model_dim', 'num_heads', 'mlp_dim')
    _require(
        self.model_dim % self.num_heads == 0,
        f'model.num_heads={self.num_heads} must divide model.model_dim={self.model_dim}.')
    _require(
        self.model_dim % 2 == 0,
        f'model.model_dim={self.model_dim} must be even (sine and cosine positions).')
    for name in ('num_encoder_layers', 'num_decoder_layers', 'num_rca_blocks'):
      value = getattr(self, name)
      _require(value >= 0, f'model.{name}={value} must not be negative.')

  @property
  def uses_snr(self) -> bool:
    """Whether the BS, at least, is told the SNR of reports."""
    return self.snr_input or self.network in _TOLD_THE_SNR


@dataclasses.dataclass(frozen=True)
class UplinkConfig:
  """What a report goes through."""

  channel: str = 'awgn'  # a name of uplink.djscc.CHANNELS
  quantiser_bits: int = 0  # 0: analogue symbols (DJSCC); q: SSCC, q error-free bits an entry
  num_looks: int = 1  # at uplink CSI, by which the BS chooses labels in 'site map (uplink)'
  look_snr_db: float = 10.0  # of each look; its phases are its own, mean |h|^2 = 1

  def __post_init__(self):
    _require(
        1 <= self.num_looks <= 100, f'uplink.num_looks={self.num_looks} must be from 1 to 100.')
    _require(
        abs(self.look_snr_db) <= 100,
        f'uplink.look_snr_db={self.look_snr_db} must be from -100 to 100.')
    _require(
        0 <= self.quantiser_bits <= 16,
        f'uplink.quantiser_bits={self.quantiser_bits} must be from 0 (analogue) to 16.')


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """Adam with the Noam schedule as printed, or Muon with a cosine."""

  name: str = 'adam'  # adam | muon
  schedule: str = 'noam'  # noam | cosine (linear warm-up, then cosine to zero)
  learning_rate: float = 1.0  # noam: its scale; cosine: the peak
  warmup_steps: int = 4000  # until the rate has its peak
  b1: float = 0.9  # decay of the mean gradient
  b2: float = 0.98  # of its mean square
  eps: float = 1e-9  # added to the root of that
  vector_scale: float = 0.1  # muon: learning rate of biases and LayerNorms, to the matrices'
  clip_norm: float = 0.0  # global gradient norm; 0: no clipping

  def __post_init__(self):
    _require_one_of('optimizer.name', self.name, ('adam', 'muon'))
    _require_one_of('optimizer.schedule', self.schedule, ('noam', 'cosine'))
    _require_positive(self, 'learning_rate', 'warmup_steps', 'eps', 'vector_scale')
    _require(self.clip_norm >= 0, f'optimizer.clip_norm={self.clip_norm} must not be negative.')


@dataclasses.dataclass(frozen=True)
class StageConfig:
  """One training stage: how long, at which SNR, with which optimizer."""

  num_steps: int = 0  # of a batch each
  snr_db_min: float = 0.0  # SNR is uniform in [min, max], afresh per UE and step
  snr_db_max: float = 20.0  # dB, of the uplink
  optimizer: OptimizerConfig = OptimizerConfig()

  def __post_init__(self):
    _require(self.num_steps >= 0, f'num_steps={self.num_steps} must not be negative.')
    _require(
        self.snr_db_min <= self.snr_db_max,
        f'snr_db_min={self.snr_db_min} must not exceed snr_db_max={self.snr_db_max}.')


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """Two stages: a broad SNR range first, then one fine-tuning per fixed SNR."""

  batch_size: int = 256  # groups, over all devices
  group_sizes: tuple[int, ...] = ()  # numbers of UEs that share a batch equally; (): num_ues
  report_loss: float = 0.0  # share of reports that never arrive, drawn afresh per UE and step
  min_symbols: int = 0  # of a report so many or more, drawn per UE and step, are sent; 0: all
  init_weights: str = ''  # stage 1 starts from: a name of rca_jax/weights, or FOLDER/NAME
  pretrain: StageConfig = StageConfig(num_steps=625_000)  # 2000 epochs of 80,000 groups
  finetune: StageConfig = StageConfig(num_steps=94_000)  # its SNR range is not used:
  finetune_snr_db: tuple[float, ...] = ()  # one fine-tuned copy per SNR named here
  steps_per_call: int = 100  # at most so many steps fused on the device between two log lines
  checkpoint_every_steps: int = 5000  # at the end of the call that reaches a multiple of it
  num_checkpoints_kept: int = 2  # the newest ones

  def __post_init__(self):
    _require_positive(
        self, 'batch_size', 'steps_per_call', 'checkpoint_every_steps', 'num_checkpoints_kept')
    _require(
        0 <= self.report_loss < 1,
        f'training.report_loss={self.report_loss} must be at least 0 and below 1.')
    _require(
        self.min_symbols >= 0, f'training.min_symbols={self.min_symbols} must not be negative.')
    sizes = self.group_sizes
    _require(
        not sizes or self.batch_size % len(sizes) == 0,
        f'training.batch_size={self.batch_size} must be a multiple of the number of '
        f'training.group_sizes={sizes}.')


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
  """Everything that decides a run; written to WORKDIR/config.json."""

  method: str = 'RCA-MUNet'  # the name in results rows
  num_ues: int = 2  # M, in training
  seed: int = 0  # parameters, training groups and noise
  matmul_precision: str = 'default'  # a name jax.default_matmul_precision knows
  site_map: str = ''  # file of `rca map`, for the method 'site map'
  refiner: str = ''  # file of `rca refiner`; by default the published one
  csi: CsiConfig = CsiConfig()
  data: DataConfig = DataConfig()
  model: ModelConfig = ModelConfig()
  uplink: UplinkConfig = UplinkConfig()
  training: TrainingConfig = TrainingConfig()

  def __post_init__(self):
    _require(
        self.num_ues >= 2,
        f'num_ues={self.num_ues}: multi-user feedback needs at least 2 UEs per group; for the '
        "single-user network keep 2 and take method=BL1 (no UE then sees another).")
    _require_seed('seed', self.seed)
    _require(
        self.csi.num_polarisations == 1 or self.model.network != 'learned_joint',
        "csi.num_polarisations=2: model.network='learned_joint' takes angles for a circle; choose "
        'another network.')
    _require(
        not self.data.is_changed or self.csi.mode == 'site',
        "data.moved_scatterers and data.redrawn_ground change one site; set csi.mode='site'.")
    _require_one_of(
        'matmul_precision', self.matmul_precision,
        ('default', 'high', 'highest', 'float32', 'tensorfloat32', 'bfloat16'))
    sizes = self.training.group_sizes
    _require(
        not sizes or (min(sizes) >= 2 and max(sizes) == self.num_ues),
        f'training.group_sizes={sizes} must be from 2 UEs on, the largest num_ues={self.num_ues}.')
    _require(
        not sizes or self.model.network != 'summation_fusion',
        "training.group_sizes: model.network='summation_fusion' serves one number of UEs only.")
    _require(
        not (self.model.snr_input and self.uplink.quantiser_bits),
        'model.snr_input=True: a network that sends bits sees no SNR; leave it False.')
    least, most = self.training.min_symbols, codeword_dim(self.model, self.csi) // 2
    _require(
        least <= most, f'training.min_symbols={least}: a report has {most} symbols here.')
    _require(
        not least or not self.uplink.quantiser_bits,
        f'training.min_symbols={least}: a network that sends bits sends all; leave it 0.')
    _require(
        not least or self.model.network != 'learned_joint',
        "training.min_symbols: model.network='learned_joint' has reports of one length; leave it "
        '0.')


class Stage(NamedTuple):
  """One entry of the schedule; `name` is its folder under WORKDIR/checkpoints."""

  name: str
  number: int  # 0: the pretraining
  config: StageConfig  # a cosine's warm-up is shorter than the stage
  snr_db_range: tuple[float, float]


def stage_name(snr_db: float | None = None) -> str:
  """'pretrain', or the stage fine-tuned at one SNR."""
  return 'pretrain' if snr_db is None else f'finetune_{snr_db:g}db'


def stages(config: ExperimentConfig) -> list[Stage]:
  """The stages in order: all fine-tunings start from the pretraining's weights.

  With `init_weights` a pretraining of no steps is left out.

  Raises:
    InputError: a stage has no steps, or there is no stage.
  """
  training = config.training
  pretrain = training.pretrain
  found = [Stage(
      stage_name(), 0, _with_warmup(pretrain), (pretrain.snr_db_min, pretrain.snr_db_max))]
  for index, snr_db in enumerate(training.finetune_snr_db, 1):
    found.append(
        Stage(stage_name(snr_db), index, _with_warmup(training.finetune), (snr_db, snr_db)))
  if training.init_weights and pretrain.num_steps == 0:
    del found[0]
  if not found:
    raise InputError(
        'training.pretrain.num_steps=0 and no training.finetune_snr_db: nothing is to be trained; '
        'set one of them.')
  for stage in found:
    if stage.config.num_steps == 0:
      name = 'finetune' if stage.number else 'pretrain'
      raise InputError(f'training.{name}.num_steps=0: the {stage.name} stage needs steps.')
  return found


def _with_warmup(config: StageConfig) -> StageConfig:
  """Half the stage is warm-up where the cosine would never begin.

  Noam's warm-up stays: it sets the rate itself, also in a stage that ends before it does.
  """
  num_steps, optimizer = config.num_steps, config.optimizer
  if optimizer.schedule == 'noam' or optimizer.warmup_steps < num_steps:
    return config
  shorter = dataclasses.replace(optimizer, warmup_steps=max(1, num_steps // 2))
  return dataclasses.replace(config, optimizer=shorter)


def without_folders(config: ExperimentConfig) -> ExperimentConfig:
  """As others may read it: of the weights that a training began at the name, not the folder."""
  name = config.training.init_weights.rpartition('/')[-1]
  return dataclasses.replace(
      config, training=dataclasses.replace(config.training, init_weights=name))


def codeword_dim(model: ModelConfig, csi: CsiConfig) -> int:
  """k = CR * 2 N_a N_t, the real entries of one report.

  Raises:
    InputError: the ratio is not in (0, 1], or k is no even integer.
  """
  full = 2 * csi.num_delay_taps * csi.num_tx_antennas
  k = parse_ratio(model.compression_ratio) * full
  _require(
      k.denominator == 1 and k % 2 == 0 and 2 <= k <= full,
      f'model.compression_ratio={model.compression_ratio} of 2*N_a*N_t={full} gives k={k}; '
      'k must be an even integer from 2 to 2*N_a*N_t (k/2 complex symbols).')
  return int(k)


def trained_symbols(config: ExperimentConfig) -> tuple[int, int]:
  """The fewest and the most symbols that a report had in the training of a network."""
  most = codeword_dim(config.model, config.csi) // 2
  return config.training.min_symbols or most, most


def to_dict(config: Any) -> dict[str, Any]:
  """A config dataclass as nested plain dicts (JSON-ready but for tuples)."""
  return dataclasses.asdict(config)


def from_dict(config_class: type, values: dict[str, Any], path: str = 'config') -> Any:
  """The inverse of `to_dict`.

  Raises:
    InputError: a field is unknown, or has a value of another type.
  """
  hints = typing.get_type_hints(config_class)
  _require(isinstance(values, dict), f'{path}={values!r} must be a table of fields.')
  unknown = sorted(set(values) - set(hints))
  _require(
      not unknown,
      f'{path} has no field {", ".join(map(repr, unknown))}; its fields are {", ".join(hints)}.')
  return config_class(**{
      name: _coerce(hints[name], value, f'{path}.{name}') for name, value in values.items()})


def _coerce(hint: Any, value: Any, path: str) -> Any:
  if isinstance(hint, type) and dataclasses.is_dataclass(hint):
    return from_dict(hint, value, path)
  if isinstance(hint, types.GenericAlias):  # tuple[float, ...]
    element = typing.get_args(hint)[0]
    _require(isinstance(value, (list, tuple)), f'{path}={value!r} must be a list.')
    return tuple(_coerce(element, item, path) for item in value)
  if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
    # No NaN, no infinity; and integers may be larger than any float.
    _require(-_MAX <= value <= _MAX, f'{path}={value} must be a finite number.')
    return float(value)
  _require(
      isinstance(value, hint) and not (hint is int and isinstance(value, bool)),
      f'{path}={value!r} must be of type {hint.__name__}.')
  return value
