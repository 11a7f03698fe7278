"""The NMSE that joint Bayes expects of its estimates, beside what they have.

  python -m benchmarks.joint_calibration CURVE.png

Fresh sites, CR 1/16. UEs of one number and SNR are sorted by what the BS expects and divided into
parts of one size; a point is the mean of a part.
"""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from configs import rca_munet
from rca_jax.bayes import joint, random_code
from rca_jax.config import ExperimentConfig, from_dict
from rca_jax.data.test_groups import load_test_csi
from rca_jax.evaluation.evaluate import evaluate
from rca_jax.evaluation.references import joint_code
from rca_jax.keys import Stream, stream_key
from rca_jax.report.levels import Estimate
from rca_jax.report.panels import Curve, Panel, draw
from rca_jax.uplink.known import Uplink

_NUM_GROUPS = 250  # one batch of `evaluate`, so that no group is there twice
_NUM_PARTS = 10
_NUMS_UES = (1, 2, 8)
_SNRS_DB = (0.0, 10.0, 20.0)


def main() -> None:
  config = from_dict(ExperimentConfig, rca_munet.get_config('light,cr=1/16').to_dict())
  config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, num_test_groups=_NUM_GROUPS))
  code = joint_code(config)
  panels = []
  print('| UEs | SNR, dB | NMSE, dB | expected, dB |')
  for num_ues in _NUMS_UES:
    csi = load_test_csi(config, num_ues)
    curves = [_curve(config, code, csi, snr_db, f'C{i}') for i, snr_db in enumerate(_SNRS_DB)]
    ends = [min(x for curve in curves for x in curve.points), 0.0]
    curves.append(Curve('equal', {x: Estimate(x) for x in ends}, ':', 'k'))
    panels.append(Panel(
        curves, 'NMSE that the BS expects (dB)', 'NMSE (dB)', f'UEs: {num_ues}'))
  draw(panels).savefig(Path(sys.argv[1]), dpi=120)


def _curve(
    config: ExperimentConfig, code: random_code.RandomCode, csi: np.ndarray, snr_db: float,
    color: str) -> Curve:
  nmse, expected = [], []

  def estimate(csi: np.ndarray, keys: jax.Array, _: np.ndarray | None) -> jax.Array:
    received, noise = Uplink(snr_db).send(keys, random_code.encode(code, csi))
    csi_hat, found = joint.decode(code, received, noise[:, :1])
    error = (np.abs(np.asarray(csi_hat) - csi) ** 2).sum((-2, -1))
    nmse.append((error / (np.abs(csi) ** 2).sum((-2, -1))).ravel())
    expected.append(np.asarray(found).ravel())
    return csi_hat

  with jax.default_matmul_precision('highest'):
    evaluate(estimate, csi, stream_key(config.data.seed, Stream.EVALUATION))
  nmse, expected = np.concatenate(nmse), np.concatenate(expected)
  print(f'| {csi.shape[1]} | {snr_db:g} | {_db(nmse):.2f} | {_db(expected):.2f} |', flush=True)
  parts = np.array_split(np.argsort(expected), _NUM_PARTS)
  return Curve(
      f'{snr_db:g} dB', {_db(expected[part]): Estimate(_db(nmse[part])) for part in parts}, 'o-',
      color)


def _db(values: np.ndarray) -> float:
  return float(10 * np.log10(np.mean(values, dtype=np.float64)))


if __name__ == '__main__':
  main()
