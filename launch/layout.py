"""The flags --array, --axes and --select, which say how a file is read (docs/data.md)."""

from collections.abc import Callable

from absl import flags

from rca_jax.config import AXES, FORMATS, Layout


def define_layout() -> Callable[[], Layout]:
  """Defines them; returns what gives their Layout once flags are parsed."""
  flags.disclaim_key_flags()
  array = flags.DEFINE_string(
      'array', '', 'Array of the file: NAME, or REAL,IMAGINARY; with paths COEFFICIENTS,DELAYS.')
  axes = flags.DEFINE_string(
      'axes', '', f'Its axes in their order, of {", ".join(AXES)}, e.g. ue,antenna,subcarrier '
      f'(-subcarrier runs from high to low); or a format: {", ".join(FORMATS)}. Default: found '
      'from names, shapes and power.')
  select = flags.DEFINE_string(
      'select', '', 'Of several UE antennas, base stations or times: rx:0, rx:all (each a UE), '
      'rx:strongest, bs:0, time:0.')
  return lambda: Layout(array.value, axes.value, select.value)
