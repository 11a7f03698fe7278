"""Measures what is not trained, on the data of a config: linear and sparse codes, genie.

  rca references --config=rca_munet:cr=1/16
  rca references --config=rca_munet:cr=1/8 --methods=CDL-OP \\
      --config.data.path=train.npz --config.data.test_path=test.npz --out=results.json
  rca references --config=rca_munet:light,cr=1/16 \\
      --methods='PCA/KLT,mixture KLT,joint Bayes'
  rca references --config=demo --methods='PCA/KLT,site map' \\
      --config.site_map=site.map --channel=rayleigh_block_fading_equalised --snr_spread_db=10
"""

import dataclasses

from absl import flags

from launch.main import count, define_config, devices, experiment_config, run, say
from launch.table import define_format, print_table
from rca_jax.errors import InputError
from rca_jax.terminal import Bar

_CONFIG = define_config()
_METHODS = flags.DEFINE_list('methods', ['PCA/KLT', 'CDL-OP', 'genie'], 'Which of them.')
_SNR_DB = flags.DEFINE_list('snr_db', ['0', '10', '20'], 'SNRs in dB; CDL-OP has none.')
_CHANNEL = flags.DEFINE_string(
    'channel', '', "Uplink instead of the config's, a name of uplink.known.KNOWN.")
_SNR_ERROR_DB = flags.DEFINE_float(
    'snr_error_db', 0.0, "Added to the SNR that UEs and BS are told, not to the uplink's.")
_SNR_SPREAD_DB = flags.DEFINE_float(
    'snr_spread_db', 0.0, "UEs' SNRs go evenly from --snr_db less this to --snr_db plus this.")
_DISTANCES_M = flags.DEFINE_list(
    'distance_m', ['0'], '2 UEs exactly so far apart, more in a disc so wide; 0: as configured.')
_OUT = flags.DEFINE_string('out', '', 'File that rows go to.')
_FORMAT = define_format()
_HEAD = {'method': '', 'CR': '', 'm': 'g', 'SNR dB': 'g', 'NMSE dB': '.2f', '95 % from': '.2f',
         'to': '.2f', 'subband SGCS': '.4f', 'beam gain': '.4f', 'samples': 'd'}


def main() -> None:
  config = experiment_config(_CONFIG)  # before what takes a second to import

  from rca_jax.evaluation.references import reference_rows
  from rca_jax.evaluation.results import append_rows
  from rca_jax.evaluation.rows import Measurement, test_data

  try:
    distances_m = [float(text) for text in _DISTANCES_M.value]
    noisy = [
        Measurement(
            float(snr_db), config.num_ues, channel=_CHANNEL.value,
            snr_error_db=_SNR_ERROR_DB.value, snr_spread_db=_SNR_SPREAD_DB.value,
            distance_m=distance_m)
        for distance_m in distances_m for snr_db in _SNR_DB.value]
  except ValueError:
    raise InputError(
        f'--snr_db={",".join(_SNR_DB.value)} --distance_m={",".join(_DISTANCES_M.value)}: expected '
        'numbers.') from None
  noise_free = [
      Measurement(None, config.num_ues, distance_m=distance_m) for distance_m in distances_m]
  measured_at = {'PCA/KLT': noisy + noise_free, 'CDL-OP': noise_free, 'genie': noisy}
  if _OUT.value:
    append_rows(_OUT.value, [])  # refused here if it cannot be written
  say(f'references: {", ".join(_METHODS.value)} on {test_data(config).name}, {devices()}; '
      f'rows go to {_OUT.value or "the screen only"}')
  measured = []
  try:
    with Bar('references', len(_METHODS.value), 'methods', rate=False) as bar:
      for number, method in enumerate(_METHODS.value):
        bar.update(number, doing=f'{method}: fitting and measuring')
        rows = reference_rows(
            dataclasses.replace(config, method=method), measured_at.get(method, noisy))
        if _OUT.value:
          append_rows(_OUT.value, rows)
        measured += [
            [method, row['compression_ratio'], row.get('distance_m', 0.0),
             'noise-free' if row['snr_db'] is None else row['snr_db'], row['nmse_db'],
             *row['nmse_ci95_db'], row.get('subband_sgcs'), row.get('beamforming_gain'),
             row['num_samples']] for row in rows]
  finally:  # what was measured is shown, whatever ended it
    if measured:
      print_table(_HEAD, measured, _FORMAT.value)
  say(f'done: {count(len(measured), "row")} '
      + (f'written to {_OUT.value}' if _OUT.value else 'measured; --out=FILE keeps them'))


if __name__ == '__main__':
  run(main, stopped='stopped; the rows of finished methods are kept')
