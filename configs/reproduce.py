"""The cells of every table and figure of the paper, at three sizes.

`tiny` shows that everything runs, `small` is the reduced problem of configs/rca_munet.py:small,
`paper` the paper's own. launch/reproduce.py runs them.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from configs import rca_munet
from rca_jax.config import (
  CsiConfig,
  DataConfig,
  ExperimentConfig,
  OptimizerConfig,
  StageConfig,
  TrainingConfig,
  codeword_dim,
  from_dict,
  stage_name,
)
from rca_jax.errors import InputError
from rca_jax.evaluation.matrix import Cell, merge
from rca_jax.evaluation.rows import Measurement
from rca_jax.uplink.sscc import num_symbols

_OURS, _SINGLE_USER = 'RCA-MUNet', 'BL1'
_FADING = ('rayleigh_block_fading', 'rayleigh_block_fading_equalised', 'narrowband_interference')
# What the paper does not say of its data: a bandwidth, and one environment or many.
_DATA = {
    '': {}, 'fresh': {'mode': 'fresh'}, '40mhz': {'bandwidth_hz': 40e6},
    '100mhz': {'bandwidth_hz': 100e6}}
_SNR_ERROR_DB = 3.0
_REPORT_LOSS = 0.2
_FASTEST = 'muon_cosine'  # of the schedules


class Bits(NamedTuple):
  """An SSCC_b_q_r_aQAM of Fig. 4."""

  codeword_dim: int
  quantiser_bits: int
  code_rate: float
  qam_order: int


class Preset(NamedTuple):
  """The sizes of a reproduction."""

  name: str
  ratios: tuple[str, ...]  # of Table I and Fig. 3
  snrs_db: tuple[float, ...]  # of Table I; networks are fine-tuned at each
  bits: dict[str, tuple[Bits, ...]]  # of Fig. 4, by the compression ratio of the same overhead
  sweep_snrs_db: tuple[float, ...]  # of Fig. 4
  distances_m: tuple[float, ...]
  nums_ues: tuple[int, ...] = (2, 3, 4)  # of Fig. 3
  nums_ues_beyond: tuple[int, ...] = (6, 8)  # never trained on
  lengths: tuple[float, ...] = (1, 2)  # of stage 1, times the usual steps
  seeds: tuple[int, ...] = (0,)
  snr_db: float = 10.0  # of Fig. 3, the distances and the schedules
  pretrain_steps: int | None = None  # None: as configs/rca_munet.py has it
  finetune_steps: int | None = None
  dtype: str = 'float32'  # that networks compute in


def _bits(unit: int) -> tuple[Bits, ...]:
  """Four ways to fill `unit` symbols, from the most robust to the finest."""
  return (Bits(unit // 2, 3, 0.75, 4), Bits(unit, 2, 0.5, 16), Bits(unit, 3, 0.5, 64),
          Bits(unit, 4, 2 / 3, 64))


_SWEEP_DB = tuple(float(snr_db) for snr_db in range(0, 21, 2))
PRESETS = {
    'tiny': Preset(
        'tiny', ('1/2',), (10.0,), {'1/2': _bits(16)}, (0.0, 10.0, 20.0), (1.0, 5.0), (2, 3), ()),
    'small': Preset(
        'small', ('1/16', '1/8', '1/4'), (0.0, 10.0, 20.0), {'1/16': _bits(16), '1/8': _bits(32)},
        _SWEEP_DB, (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), lengths=(0.25, 1, 8),
        seeds=(0, 1)),
    'paper': Preset(
        'paper', ('1/4', '1/8', '1/16', '1/32'), (0.0, 10.0, 20.0),
        {'1/16': _bits(64), '1/8': _bits(128)}, _SWEEP_DB,
        (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0), lengths=(0.02, 0.1, 1)),
}


def get_cells(
    preset: str, only: Sequence[str] = (), pretrain_steps: int | None = None,
    finetune_steps: int | None = None, dtype: str = 'float32') -> list[Cell]:
  """All cells of some experiments, one a config.

  Args:
    preset: a name of `PRESETS`.
    only: names of `EXPERIMENTS`; all if empty.
    pretrain_steps, finetune_steps: instead of the preset's own.
    dtype: that the networks compute in.

  Raises:
    InputError: a name is unknown.
  """
  for name in only:
    if name not in EXPERIMENTS:
      raise InputError(f'--only={name}: unknown; choose of {", ".join(EXPERIMENTS)}.')
  sizes = PRESETS[preset]._replace(
      pretrain_steps=pretrain_steps, finetune_steps=finetune_steps, dtype=dtype)
  return merge([
      cell for name, experiment in EXPERIMENTS.items() if name in only or not only
      for cell in experiment(sizes)])


def table1(sizes: Preset) -> Iterator[Cell]:
  """Methods x CR x SNR, 2 UEs; fine-tuned at each SNR, and before that."""
  tuned = [Measurement(snr_db, stage=stage_name(snr_db)) for snr_db in sizes.snrs_db]
  first = [Measurement(snr_db) for snr_db in sizes.snrs_db]
  for seed in sizes.seeds:
    for ratio in sizes.ratios:
      for method in rca_munet.METHODS:
        yield _cell(sizes, (*tuned, *first), method, ratio, seed=seed)
  for ratio in sizes.ratios:
    yield from _references(sizes, ratio, sizes.snrs_db)


def fig3(sizes: Preset) -> Iterator[Cell]:
  """NMSE against CR for 2, 3, 4 and more UEs; one network for all against one for each."""
  stage = stage_name(sizes.snr_db)
  for ratio in sizes.ratios:
    yield _cell(sizes, [Measurement(sizes.snr_db, stage=stage)], _SINGLE_USER, ratio)
    for num_ues in sizes.nums_ues:
      yield _cell(sizes, [Measurement(sizes.snr_db, num_ues, stage)], _OURS, ratio, num_ues)
    mixed = [
        Measurement(sizes.snr_db, num_ues, stage)
        for num_ues in (*sizes.nums_ues, *sizes.nums_ues_beyond)]
    # The sizes share a batch equally, and 16 devices their shares of a large one.
    batch = _config(sizes, _OURS, ratio).training.batch_size
    batch -= batch % (len(sizes.nums_ues) * (16 if batch >= 128 else 1))
    yield _cell(
        sizes, mixed, _OURS, ratio, max(sizes.nums_ues), variant='mixed',
        group_sizes=sizes.nums_ues, batch_size=batch)
    yield from _references(sizes, ratio, (sizes.snr_db,))


def fig4(sizes: Preset) -> Iterator[Cell]:
  """NMSE against SNR, DJSCC against SSCC at the same overhead."""
  for ratio, points in sizes.bits.items():
    tuned = [Measurement(snr_db, stage=stage_name(snr_db)) for snr_db in sizes.snrs_db]
    first = [Measurement(snr_db) for snr_db in sizes.sweep_snrs_db]
    yield _cell(sizes, (*tuned, *first), _OURS, ratio)
    yield from _references(sizes, ratio, sizes.sweep_snrs_db)
    for point in points:
      yield _sscc_cell(sizes, ratio, point)


def distance(sizes: Preset) -> Iterator[Cell]:
  """The multi-user gain against the distance of two UEs."""
  stage, ratio = stage_name(sizes.snr_db), next(iter(sizes.bits))
  found = [Measurement(sizes.snr_db, stage=stage, distance_m=d) for d in sizes.distances_m]
  for method in (_OURS, _SINGLE_USER):
    yield _cell(sizes, found, method, ratio)


def uplink(sizes: Preset) -> Iterator[Cell]:
  """AWGN-trained weights where the uplink fades, is interfered with, or is taken for another."""
  ratio = next(iter(sizes.bits))
  fading = [
      Measurement(snr_db, channel=channel) for channel in _FADING for snr_db in sizes.snrs_db]
  mistuned = [
      Measurement(sizes.snr_db + error, stage=stage_name(sizes.snr_db))
      for error in (-_SNR_ERROR_DB, _SNR_ERROR_DB)]
  for method in (_OURS, _SINGLE_USER):
    yield _cell(sizes, (*fading, *mistuned), method, ratio)
  wrong = [
      Measurement(sizes.snr_db, snr_error_db=error) for error in (-_SNR_ERROR_DB, _SNR_ERROR_DB)]
  yield _cell(sizes, wrong, 'BL2', ratio)


def schedule(sizes: Preset) -> Iterator[Cell]:
  """What stage 1's SNR range, the fine-tuning's length and the warm-up are worth."""
  ratio = next(iter(sizes.bits))
  training = _config(sizes, _OURS, ratio).training
  pretrain, finetune = training.pretrain, training.finetune
  longer = dataclasses.replace(
      pretrain.optimizer, warmup_steps=min(
          5 * pretrain.optimizer.warmup_steps, pretrain.num_steps // 2))
  optimizers = {
      'adam_cosine': _cosine('adam', 1e-3, pretrain.num_steps),
      _FASTEST: _cosine('muon', 5e-3, pretrain.num_steps)}
  if pretrain.optimizer.schedule != 'noam':
    optimizers['adam_noam'] = OptimizerConfig(
        warmup_steps=min(4000, pretrain.num_steps // 2))
  variants = {
      '': {},
      'stage1_fixed_snr': {'pretrain': dataclasses.replace(
          pretrain, snr_db_min=sizes.snr_db, snr_db_max=sizes.snr_db)},
      'stage1_0_to_10db': {'pretrain': dataclasses.replace(pretrain, snr_db_max=10.0)},
      'finetune_twice_as_long': {'finetune': dataclasses.replace(
          finetune, num_steps=2 * finetune.num_steps)},
      'warmup_5_times': {'pretrain': dataclasses.replace(pretrain, optimizer=longer)},
      # As many groups in all.
      'batch_4_times': {
          'batch_size': 4 * training.batch_size,
          'pretrain': _quarter(pretrain), 'finetune': _quarter(finetune),
          'steps_per_call': max(1, training.steps_per_call // 4)},
      **{name: {'pretrain': dataclasses.replace(pretrain, optimizer=optimizer)}
         for name, optimizer in optimizers.items()},
  }
  snrs_db = sorted(sizes.snrs_db, key=lambda snr_db: snr_db != sizes.snr_db)  # the drawn one first
  found = [
      Measurement(snr_db, stage=stage) for snr_db in snrs_db
      for stage in (stage_name(), stage_name(snr_db))]
  for variant, changes in variants.items():
    yield _cell(sizes, found, _OURS, ratio, variant=variant, **changes)


def length(sizes: Preset) -> Iterator[Cell]:
  """What more steps of stage 1 are worth to ours and to BL1, with the fastest of the schedules."""
  ratio = next(iter(sizes.bits))
  found = [
      Measurement(snr_db, stage=stage) for snr_db in sizes.snrs_db
      for stage in (stage_name(), stage_name(snr_db))]
  for times, method in itertools.product(sizes.lengths, (_OURS, _SINGLE_USER)):
    pretrain = _config(sizes, method, ratio).training.pretrain
    num_steps = round(times * pretrain.num_steps)
    pretrain = dataclasses.replace(
        pretrain, num_steps=num_steps, optimizer=_cosine('muon', 5e-3, num_steps))
    variant = _FASTEST if times == 1 else f'{_FASTEST}-{times:g}x'
    yield _cell(sizes, found, method, ratio, variant=variant, pretrain=pretrain)


def shortcut(sizes: Preset) -> Iterator[Cell]:
  """Table I and the finest SSCC with `model.shortcut`, which BL2's network does not have."""
  tuned = [Measurement(snr_db, stage=stage_name(snr_db)) for snr_db in sizes.snrs_db]
  methods = [method for method in rca_munet.METHODS if method != 'BL2']
  cells = [
      _cell(sizes, tuned, method, ratio, seed=seed)
      for seed, ratio, method in itertools.product(sizes.seeds, sizes.ratios, methods)]
  cells += [_sscc_cell(sizes, ratio, points[-1]) for ratio, points in sizes.bits.items()]
  for cell in cells:
    model = dataclasses.replace(cell.config.model, shortcut=True)
    yield cell._replace(
        config=dataclasses.replace(cell.config, model=model),
        variant='-'.join(filter(None, (cell.variant, 'shortcut'))))


def data(sizes: Preset) -> Iterator[Cell]:
  """Which data is the paper's: CDL-OP's column and BL1's on each kind it may be."""
  tuned = [Measurement(snr_db, stage=stage_name(snr_db)) for snr_db in sizes.snrs_db]
  cells = [_cell(sizes, tuned, _SINGLE_USER, next(iter(sizes.bits)))]
  for ratio in sizes.ratios:
    cells += _references(sizes, ratio, sizes.snrs_db, ('PCA/KLT', 'CDL-OP'))
  for variant, changes in _DATA.items():
    for cell in cells:
      csi = dataclasses.replace(cell.config.csi, **changes)
      yield cell._replace(config=dataclasses.replace(cell.config, csi=csi), variant=variant)


def loss(sizes: Preset) -> Iterator[Cell]:
  """Reports that do not arrive: the others' NMSE and the lost UEs' own.

  Once with weights that never missed a report, once with weights trained to.
  """
  ratio, num_ues = next(iter(sizes.bits)), max(sizes.nums_ues)
  found = [
      Measurement(sizes.snr_db, num_ues, num_lost=num_lost, of_lost=of_lost)
      for num_lost in range(num_ues) for of_lost in (False, True) if num_lost or not of_lost]
  yield _cell(sizes, found, _OURS, ratio, num_ues)
  yield _cell(
      sizes, found, _OURS, ratio, num_ues, variant='report_loss', report_loss=_REPORT_LOSS)


EXPERIMENTS = {
    'table1': table1, 'fig3': fig3, 'fig4': fig4, 'distance': distance, 'uplink': uplink,
    'schedule': schedule, 'length': length, 'shortcut': shortcut, 'data': data, 'loss': loss}


def _cell(
    sizes: Preset, measurements: Sequence[Measurement], method: str, ratio: str, num_ues: int = 2,
    seed: int | None = None, variant: str = '', **training: Any) -> Cell:
  config = _config(sizes, method, ratio, num_ues)
  config = dataclasses.replace(
      config, seed=sizes.seeds[0] if seed is None else seed,
      training=dataclasses.replace(config.training, **training))
  return Cell(config, tuple(measurements), sizes.name, variant)


def _cosine(name: str, learning_rate: float, num_steps: int) -> OptimizerConfig:
  return OptimizerConfig(
      name=name, schedule='cosine', learning_rate=learning_rate,
      warmup_steps=min(20, num_steps // 2), eps=1e-8)


def _quarter(stage: StageConfig) -> StageConfig:
  """A quarter of the steps, those of the warm-up too."""
  optimizer = dataclasses.replace(
      stage.optimizer, warmup_steps=-(-stage.optimizer.warmup_steps // 4))
  return dataclasses.replace(stage, num_steps=stage.num_steps // 4, optimizer=optimizer)


def _sscc_cell(sizes: Preset, ratio: str, point: Bits) -> Cell:
  """The same network with bits for symbols; trained with bits that all arrive.

  Muon's rate is cut: at 2e-2 networks with a quantiser fall back after 400 steps of 2000.

  Raises:
    InputError: the bits do not fill the symbols that analogue feedback takes.
  """
  analogue = _config(sizes, _OURS, ratio)
  overhead = codeword_dim(analogue.model, analogue.csi) // 2
  found = num_symbols(
      point.codeword_dim * point.quantiser_bits, point.code_rate, point.qam_order)
  if found != overhead:
    raise InputError(f'{point} takes {found} symbols, DJSCC at CR {ratio} takes {overhead}.')
  pretrain = analogue.training.pretrain
  if pretrain.optimizer.name == 'muon':
    pretrain = dataclasses.replace(
        pretrain, optimizer=dataclasses.replace(pretrain.optimizer, learning_rate=5e-3))
  full = 2 * analogue.csi.num_delay_taps * analogue.csi.num_tx_antennas
  config = dataclasses.replace(
      analogue, method='SSCC',
      model=dataclasses.replace(
          analogue.model, compression_ratio=str(Fraction(point.codeword_dim, full))),
      uplink=dataclasses.replace(analogue.uplink, quantiser_bits=point.quantiser_bits),
      # Bits arrive or they do not: there is no SNR to tune for.
      training=dataclasses.replace(analogue.training, pretrain=pretrain, finetune_snr_db=()))
  measurements = tuple(
      Measurement(snr_db, code_rate=point.code_rate, qam_order=point.qam_order)
      for snr_db in sizes.sweep_snrs_db)
  return Cell(
      config, measurements, sizes.name, f'{point.codeword_dim}_{point.quantiser_bits}')


def _references(
    sizes: Preset, ratio: str, snrs_db: Sequence[float],
    methods: Sequence[str] = ('PCA/KLT', 'CDL-OP', 'genie')) -> Iterator[Cell]:
  noisy = tuple(Measurement(snr_db) for snr_db in snrs_db)
  noise_free = (Measurement(None),)
  base = _config(sizes._replace(dtype='float32'), _OURS, ratio)  # references have no network
  measurements = {'PCA/KLT': noisy + noise_free, 'CDL-OP': noise_free, 'genie': noisy}
  for method in methods:
    atoms = Fraction(ratio) * base.csi.num_tx_antennas
    if method != 'CDL-OP' or atoms.denominator == 1:
      yield Cell(dataclasses.replace(base, method=method), measurements[method], sizes.name)


def _config(sizes: Preset, method: str, ratio: str, num_ues: int = 2) -> ExperimentConfig:
  small = ',small' if sizes.name != 'paper' else ''
  config = from_dict(ExperimentConfig, rca_munet.get_config(
      f'method={method},users={num_ues}{small},cr={ratio}').to_dict())
  config = _tiny(config) if sizes.name == 'tiny' else config
  changes: dict[str, Any] = {'finetune_snr_db': sizes.snrs_db}
  for stage, num_steps in (
      ('pretrain', sizes.pretrain_steps), ('finetune', sizes.finetune_steps)):
    if num_steps is not None:
      changes[stage] = dataclasses.replace(getattr(config.training, stage), num_steps=num_steps)
  return dataclasses.replace(
      config, model=dataclasses.replace(config.model, dtype=sizes.dtype),
      training=dataclasses.replace(config.training, **changes))


def _tiny(config: ExperimentConfig) -> ExperimentConfig:
  optimizer = OptimizerConfig(schedule='cosine', learning_rate=3e-3, warmup_steps=2)
  stage = StageConfig(num_steps=8, optimizer=optimizer)
  return dataclasses.replace(
      config,
      csi=CsiConfig(
          num_subcarriers=64, num_delay_taps=4, num_tx_antennas=8, cell_size_m=60.0,
          min_bs_distance_m=10.0),
      data=DataConfig(num_test_groups=20),
      model=dataclasses.replace(
          config.model, model_dim=16, num_heads=2, mlp_dim=32, num_encoder_layers=1,
          num_decoder_layers=1, num_rca_blocks=1),
      training=TrainingConfig(
          batch_size=8, pretrain=stage, finetune=stage,
          steps_per_call=4, checkpoint_every_steps=4))
