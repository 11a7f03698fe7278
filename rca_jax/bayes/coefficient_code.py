"""The codes of a report's coefficients, independent Gaussians whose variances both sides know."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from rca_jax.bayes import fold, hybrid


class CoefficientCode(NamedTuple):
  """Functions that belong together; see `bayes.hybrid` for their arguments.

  Analogue symbols of a report have twice their mean power at most (`bayes.power`).
  """

  design: Callable  # variances, N_0 and number of symbols to what a report needs
  encode: Callable  # designs and coefficients to symbols
  decode: Callable  # designs, symbols and N_0 to coefficients
  hear: Callable | None = None  # the same to what symbols alone say of them; None: not there


LINEAR = CoefficientCode(hybrid.linear_design, hybrid.encode, hybrid.decode, hybrid.hear)
HYBRID = CoefficientCode(hybrid.design, hybrid.encode, hybrid.decode)
BITS = CoefficientCode(
    functools.partial(hybrid.design, only_bits=True), hybrid.encode, hybrid.decode)
FOLDED = CoefficientCode(fold.design, fold.encode, fold.decode, fold.hear)
