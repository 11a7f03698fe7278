"""Compares the generator with a reference simulator: OUT/csi_statistics.{md,png,json}.

  rca csi_statistics --out=docs
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from launch.main import devices, run, say
from rca_jax.config import CsiConfig
from rca_jax.durable import writing
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_REFERENCE = flags.DEFINE_string(
    'reference', None, "File of statistics to compare with; default QuaDRiGa's, of the package.")
_OUT = flags.DEFINE_string('out', None, 'Folder of the results.', required=True)
_CORRELATIONS = flags.DEFINE_list(
    'correlations', ['stock', 'exponential', 'track'], 'Presets; the first one fills the table.')
_NUM_SITES = flags.DEFINE_integer('num_sites', 1600, 'Environments.', lower_bound=1)
_NUM_GROUPS = flags.DEFINE_integer('num_groups', 50, 'Groups of 4 UEs in each.', lower_bound=1)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the environments.')


def main() -> None:
  from rca_jax.report.csi_statistics import QUADRIGA, figure, markdown_table, measure

  try:
    reference = json.loads(Path(_REFERENCE.value or QUADRIGA).read_text())
  except (OSError, ValueError) as error:
    raise InputError(
        f'--reference={_REFERENCE.value}: not a readable JSON file ({error}).') from None
  out = Path(_OUT.value)
  with writing(out, 'choose another --out'):
    out.mkdir(parents=True, exist_ok=True)
  config = CsiConfig(correlation=_CORRELATIONS.value[0])
  names = _CORRELATIONS.value
  say(f'csi_statistics: {", ".join(names)} of {_NUM_SITES.value} sites each, {devices()}; to {out}')
  found = []
  with Bar('csi_statistics', len(names) * _NUM_SITES.value, 'sites', doing='compiling') as bar:
    for name in names:
      found.append(measure(
          _SEED.value, dataclasses.replace(config, correlation=name),
          _NUM_SITES.value, _NUM_GROUPS.value,
          lambda done, name=name: bar.update(len(found) * _NUM_SITES.value + done, doing=name)))
  table = markdown_table(found[0], reference, config)
  (out / 'csi_statistics.md').write_text(table)
  (out / 'csi_statistics.json').write_text(json.dumps(found, indent=1) + '\n')
  figure(found, reference).savefig(out / 'csi_statistics.png', dpi=150)
  print(table)
  say(f'done: csi_statistics.md, .png and .json are in {out}')


if __name__ == '__main__':
  run(main)
