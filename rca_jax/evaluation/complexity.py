"""What codes cost: networks (also by the paper's count of Table II) and those without one."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from rca_jax.bayes import described, joint, klt, label, random_code
from rca_jax.bayes.em import Profile
from rca_jax.bayes.grid import Grid, make_grid
from rca_jax.bayes.label_source import Paid
from rca_jax.bayes.site_code import FINE_ENTRIES, NUM_CANDIDATES, SiteCode, in_parts, most_likely
from rca_jax.bayes.site_map import SiteMap
from rca_jax.config import CsiConfig, ExperimentConfig, codeword_dim
from rca_jax.models.build import build_model
from rca_jax.models.refiner import Heard, Refiner, RefinerConfig, refine
from rca_jax.training.refiner import init_params


class Complexity(NamedTuple):
  """Of a whole network; operations are those of one group."""

  parameters: int
  paper_flops: int
  macs: int


def count_parameters(params: Any) -> int:
  """The number of scalars in a parameter tree (arrays, or shapes of `jax.eval_shape`)."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_complexity(config: ExperimentConfig) -> Complexity:
  """Parameters, and operations to feed back one group of `config.num_ues` UEs.

  `macs` are all multiply-accumulates of matrix products. `paper_flops` follow the rule that
  meets Table II to the digit: multiply-accumulates of linear layers, 4 an element for
  LayerNorm, 3 n - 1 for a softmax over n; Q K^T and A V are left out. For BL2, whose entry no
  rule was found to meet, they are the multiply-accumulates.
  """
  model, csi = build_model(config), config.csi
  features = jax.ShapeDtypeStruct(
      (1, config.num_ues, csi.num_tx_antennas, 2 * csi.num_delay_taps), jnp.float32)
  snr_db = jax.ShapeDtypeStruct((), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(model.init, key, features, snr_db, key)
  linear, batched = matmul_macs(model.apply, params, features, snr_db, key)
  if config.model.network in ('adjscc_csinet', 'learned_joint'):
    return Complexity(count_parameters(params), linear, linear + batched)

  # Every LayerNorm runs on all tokens of the group, BL3's branches too.
  tokens = config.num_ues * csi.num_tx_antennas
  names = [path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  norms = names.count('scale')
  sides = params['params'].values()
  blocks = sum('attention' in block for side in sides for block in side.values())
  softmax_rows = blocks * config.model.num_heads * tokens
  paper_flops = (
      linear + 4 * norms * tokens * config.model.model_dim
      + softmax_rows * (3 * csi.num_tx_antennas - 1))
  return Complexity(count_parameters(params), paper_flops, linear + batched)


class Step(NamedTuple):
  """One step of a report, of one UE."""

  name: str
  side: str  # UE or BS
  macs: int  # real multiplications of matrix products
  num_bytes: int  # what must be kept for it


def network_steps(config: ExperimentConfig) -> list[Step]:
  """Of the network's two sides, float32 parameters; the decoder's share of one UE."""
  model, csi, groups = build_model(config), config.csi, (1, config.num_ues)
  features = jax.ShapeDtypeStruct(
      (*groups, csi.num_tx_antennas, 2 * csi.num_delay_taps), jnp.float32)
  received = jax.ShapeDtypeStruct((*groups, codeword_dim(config.model, csi)), jnp.float32)
  snr_db = jax.ShapeDtypeStruct((), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  variables = jax.eval_shape(model.init, key, features, snr_db, key)
  at_ue = count_parameters(variables['params'].get('encoder', {}))
  at_bs = count_parameters(variables) - at_ue
  steps = []
  for name, side, method, given, parameters in (
      ('encoder', 'UE', 'encode', features, at_ue), ('decoder', 'BS', 'decode', received, at_bs)):
    macs = sum(matmul_macs(
        functools.partial(model.apply, method=method), variables, given, snr_db)) // config.num_ues
    if (config.model.network, side) == ('learned_joint', 'UE'):
      macs = _fft_macs(csi)
    steps.append(Step(f'{config.method}: {name}', side, macs, 4 * parameters))
  return steps


def pca_steps(config: ExperimentConfig) -> list[Step]:
  """Of both sides, which keep the same k directions and the mean, float32."""
  dim = 2 * config.csi.num_delay_taps * config.csi.num_tx_antennas
  k = codeword_dim(config.model, config.csi)
  return [Step(f'PCA/KLT: {name}', side, k * dim, 4 * (k + 1) * dim)
          for name, side in (('coefficients', 'UE'), ('synthesis', 'BS'))]


def joint_bayes_steps(config: ExperimentConfig) -> list[Step]:
  """Of a UE, and of the BS its share for one UE, with one noise for all UEs.

  At the BS the matrix products of all EM steps count, not the factors of S x S matrices, some per
  cent beside them.
  """
  csi, num_symbols = config.csi, codeword_dim(config.model, config.csi) // 2
  projections = random_code.random_projections(jax.random.key(0), num_symbols, csi)
  code = random_code.make_code(
      projections, csi, np.ones((1, csi.num_delay_taps, csi.num_tx_antennas)))
  received = jax.ShapeDtypeStruct((1, config.num_ues, num_symbols), jnp.complex64)
  noise = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  macs = sum(matmul_macs(joint.decode, code, received, noise)) // config.num_ues
  stored = sum(leaf.nbytes for leaf in jax.tree.leaves(projections))
  return [
      Step('joint Bayes: signs and FFT', 'UE', _fft_macs(csi), stored),
      Step(f'joint Bayes: decoder, {config.num_ues} UEs', 'BS', macs,
           sum(leaf.nbytes for leaf in jax.tree.leaves(code)))]


def described_steps(config: ExperimentConfig, num_clusters: int) -> list[Step]:
  """Of a described profile of so many clusters; the BS has one code word that is certain.

  The eigen-decomposition counts as in `site_map_steps`.
  """
  csi, num_symbols = config.csi, codeword_dim(config.model, config.csi) // 2
  grid, size = make_grid(csi), min(3 * num_symbols // 2, csi.num_delay_taps * csi.num_tx_antennas)
  one = jax.ShapeDtypeStruct((1, csi.num_delay_taps, csi.num_tx_antennas), jnp.complex64)
  places = jax.ShapeDtypeStruct((1, num_clusters), jnp.int32)

  def transform(places: jax.Array) -> klt.Klt:
    return klt.transform(grid, described.profile(grid, places), size)

  found = jax.eval_shape(transform, places)
  coefficients = jax.ShapeDtypeStruct((1, size), jnp.complex64)
  atoms = jax.eval_shape(functools.partial(described.profile, grid), places).power.size
  search, build, project, synthesise = (sum(matmul_macs(*step)) for step in (
      (lambda csi: described.find_clusters(grid, csi, num_clusters), one), (transform, places),
      (functools.partial(klt.coefficients, grid), found, one),
      (functools.partial(klt.synthesise, grid), found, coefficients)))
  build += 18 * atoms**3
  stored = sum(leaf.nbytes for leaf in grid)
  return [Step(f'described profile: {name}', side, macs, stored) for name, side, macs in (
      (f'the search for {num_clusters} clusters', 'UE', search), ('transform', 'UE', build),
      ('coefficients', 'UE', project), ('transform and CSI', 'BS', build + synthesise))]


def _fft_macs(csi: CsiConfig) -> int:
  """(N / 2) log2 N complex multiplications over all entries of CSI."""
  num_entries = csi.num_delay_taps * csi.num_tx_antennas
  return round(2 * num_entries * math.log2(num_entries))


def site_map_steps(config: ExperimentConfig, site_map: SiteMap, snr_db: float) -> list[Step]:
  """Of the linear code with a label in each report, as it is traced.

  A transform is an eigen-decomposition of K x K, 9 K^3 operations (Golub and Van Loan, Matrix
  Computations, 8.3), half of them multiplications, of 4 real ones each. Tables of inverse powers
  and of sums of logarithms are counted as kept: they do not depend on CSI.
  """
  csi, num_symbols = config.csi, codeword_dim(config.model, config.csi) // 2
  grid, num_labels = make_grid(csi), len(site_map.los)
  num_entries = csi.num_delay_taps * csi.num_tx_antennas
  num_fine = min(FINE_ENTRIES // num_entries, num_labels)
  whole = sum(leaf.nbytes for leaf in site_map)
  profiles = jax.eval_shape(lambda: site_map.profile(np.zeros(num_fine, int)))
  num_atoms = profiles.index.shape[-1]
  one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, num_atoms), leaf.dtype), profiles)
  transform = jax.eval_shape(lambda profile: klt.transform(grid, profile, num_symbols), one)
  size = transform.variances.shape[-1]
  split = SiteCode(site_map, csi, num_symbols, Paid(site_map)).label_symbols(
      10 ** (-snr_db / 10), 1)

  def macs(function: Callable, *args: Any) -> int:
    return sum(matmul_macs(function, *args))

  def real(*dims: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(dims, jnp.float32)

  def compare(num: int, width: int) -> int:
    return macs(
        lambda *args: most_likely(*args, 1, 1), real(1, num), real(num, width), real(width),
        real(1, width))

  num_blocks = in_parts(np.ones((csi.num_delay_taps, csi.num_tx_antennas))).size
  powers = macs(functools.partial(klt.mean_powers, grid), profiles)
  project = macs(
      functools.partial(klt.coefficients, grid), transform,
      jax.ShapeDtypeStruct((1, csi.num_delay_taps, csi.num_tx_antennas), jnp.complex64))
  synthesise = macs(
      functools.partial(klt.synthesise, grid), transform,
      jax.ShapeDtypeStruct((1, size), jnp.complex64))
  decide = macs(
      label.log_likelihood, *(jax.ShapeDtypeStruct((n, split), jnp.complex64)
                              for n in (num_labels, 1)), real())
  build, stored = 18 * num_atoms**3, 8 * size * num_atoms
  return [Step(f'site map: {name}', side, *cost) for name, side, *cost in (
      (f'{num_fine} of {num_labels:,} labels, in blocks', 'UE', compare(num_labels, num_blocks),
       4 * num_labels * (num_blocks + 1)),
      (f'{NUM_CANDIDATES} of these, entry by entry', 'UE', powers + compare(num_fine, num_entries),
       whole),
      ('transforms of these, coefficients of the reserved label too', 'UE',
       NUM_CANDIDATES * (build + project) + project, whole + stored),
      ('a report in a known cell', 'UE', project, stored + whole // num_labels),
      (f'the label, of {split} symbols at {snr_db:g} dB', 'BS', decide, 8 * num_labels * split),
      ('the transform of one label', 'BS', build, whole),
      ('CSI of one label', 'BS', synthesise, stored),
      ('its refinement', 'BS', *_refiner_cost(grid, one, transform)))]


def _refiner_cost(
    grid: Grid, profile: Profile, transform: klt.Klt) -> tuple[int, int]:
  """Multiplications for one report, and bytes of the parameters.

  In each of its EM steps a triangular factor of S x S is made, S^3 / 6 products of 4 real ones, and
  solved for K atoms, S^2 K / 2.
  """
  config, size = RefinerConfig(), transform.variances.shape[-1]
  model = Refiner(config, grid.shape)
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), model, size))
  heard = jax.eval_shape(
      lambda: Heard(jnp.zeros((1, size), jnp.complex64), jnp.zeros((1, size), jnp.float32)))
  macs = sum(matmul_macs(functools.partial(refine, model), params, grid, profile, transform, heard))
  solved = 4 * (size**3 // 6 + size**2 * profile.index.shape[-1] // 2)
  num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
  return macs + (1 + config.num_rounds) * solved, num_bytes


def matmul_macs(function: Callable, *args: Any) -> tuple[int, int]:
  """Real multiply-accumulates of a function's matrix products, as it is traced.

  A complex one counts as four.

  Args:
    args: arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    Those with a constant matrix (linear layers, our convolutions), and those of batched products
    (attention).
  """
  linear = batched = 0
  for equation, times in _equations(jax.make_jaxpr(function)(*args).jaxpr):
    if equation.primitive.name != 'dot_general':
      continue
    (contracting, _), (batch, _) = equation.params['dimension_numbers']
    shape = equation.invars[0].aval.shape
    result = equation.outvars[0].aval
    macs = times * math.prod(result.shape) * math.prod(shape[i] for i in contracting)
    macs *= 4 if jnp.iscomplexobj(result) else 1
    linear, batched = (linear, batched + macs) if batch else (linear + macs, batched)
  return linear, batched


def _equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
  """All equations and how often each is done, those of called functions and of scans too."""
  for equation in jaxpr.eqns:
    yield equation, times
    inside = times * (equation.params['length'] if equation.primitive.name == 'scan' else 1)
    for value in jax.tree.leaves(
        equation.params, is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)):
      if isinstance(value, core.ClosedJaxpr):
        yield from _equations(value.jaxpr, inside)
      elif isinstance(value, core.Jaxpr):
        yield from _equations(value, inside)
