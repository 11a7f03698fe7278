import ast
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from absl import flags

from configs import demo, rca_munet
from configs.reproduce import EXPERIMENTS, PRESETS
from launch.help import fields
from launch.main import define_config, parse_flags
from rca_jax.config import FORMATS, ExperimentConfig, from_dict, stages
from rca_jax.errors import InputError
from rca_jax.evaluation.references import REFERENCES
from rca_jax.evaluation.results import read_rows
from rca_jax.evaluation.run import evaluate_run
from rca_jax.models.build import build_model
from rca_jax.training.checkpoint import ON_DAMAGED

pytestmark = pytest.mark.usefixtures('quick_compilation')
ROOT = pathlib.Path(__file__).parents[1]


def parse(*arguments):
  values = flags.FlagValues()
  define_config(values, required=False)
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  flags.DEFINE_string('needed', None, 'What for.', required=True, flag_values=values)
  with mock.patch.object(sys, 'argv', ['program', *arguments]):  # where config_flags looks
    parse_flags([*sys.argv, '--needed=a'] if arguments else sys.argv, values)
  return values


def get_config(variant=''):
  return from_dict(ExperimentConfig, rca_munet.get_config(variant).to_dict())


def test_the_default_config_is_the_papers():
  assert get_config() == ExperimentConfig()


@pytest.mark.parametrize('variant', [
    '', 'small', 'light', 'cr=1/16,users=4', 'small,attention=self',
    'small,attention=residual_self'])
def test_every_variant_can_be_trained(variant):
  config = get_config(variant)
  build_model(config)
  assert stages(config)
  assert config.num_ues == (4 if 'users' in variant else 2)
  assert (config.csi.num_tx_antennas == 16) == ('small' in variant)


@pytest.mark.parametrize('variant, message', [
    ('tiny', "variant 'tiny' is unknown; the words are cr=RATIO"),
    ('small=1', "variant 'small=1' is unknown"),
    ('cr', "variant 'cr' is unknown"),
    ('users=two', 'users must be a number'),
    ('small,light', "'small,light' gives its size twice"),
    ('users=1', 'num_ues=1: multi-user feedback needs at least 2'),
    ('cr=1/7', 'k must be an even integer'),
])
def test_a_wrong_variant_is_one_line(variant, message):
  with pytest.raises(InputError, match=message) as error:
    parse(f'--config=configs/rca_munet.py:{variant}')
  assert '\n' not in str(error.value)


def test_fields_are_overridden_by_flags():
  values = parse(
      '--config=configs/rca_munet.py:small', '--config.training.finetune_snr_db=10,20',
      '--config.model.num_heads=2', '--config.training.pretrain.optimizer.eps=1e-3')
  config = from_dict(ExperimentConfig, values.config.to_dict())
  assert config.training.finetune_snr_db == (10.0, 20.0)
  assert config.model.num_heads == 2
  assert config.training.pretrain.optimizer.eps == 1e-3


@pytest.mark.parametrize('arguments, message', [
    (['--config=configs/rca_munet.py', '--config.nope=1'],
     "--config.nope=1: the config has no field 'nope'"),
    (['--config=configs/rca_munet.py', '--config.model.nope.deep=1'],
     "--config.model.nope.deep=1: the config has no field 'nope'"),
    (['--config=configs/rca_munet.py', '--config.training.batchsize=1'],
     "batchsize=1: the config has no field 'batchsize'; did you mean 'batch_size'?"),
    (['--config=configs/rca_munet.py', '--config.trainin.batch_size=1'],
     "--config.trainin.batch_size=1: .* no field 'trainin'; did you mean 'training'?"),
    (['--config=configs/rca_munet.py', '--config.seed=one'], 'config.seed=one: invalid literal'),
    (['--config=configs/none.py', '--config.seed=1'], 'configs/none.py: no such config file'),
    (['--nope'], '--nope: unknown flag; --help shows the flags'),
    (['--wrokdir=a'], '--wrokdir: unknown flag; did you mean --workdir'),
    ([], '--needed is missing: What for.'),
    (['word'], "unexpected argument 'word'"),
])
def test_a_wrong_flag_is_one_line(arguments, message):
  with pytest.raises(InputError, match=message) as error:
    parse(*arguments)
  assert '\n' not in str(error.value)


def start(name, *arguments, **options):
  return subprocess.Popen(
      [sys.executable, '-m', f'launch.{name}', *arguments], cwd=ROOT, text=True,
      **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | options)


def launch(name, *arguments, **options):
  process = start(name, *arguments, **options)
  out, err = process.communicate(timeout=120)
  return subprocess.CompletedProcess(process.args, process.returncode, out, err)


# Forks before JAX starts: one import of JAX and Flax for all commands.
_LAUNCH_ALL = """
import json, os, runpy, sys
import rca_jax.evaluation.run
for name, arguments, folder in json.load(sys.stdin):
  child = os.fork()
  if not child:
    for number, stream in ((1, 'stdout'), (2, 'stderr')):
      os.dup2(os.open(f'{folder}/{stream}', os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ['', *arguments]
    try:
      runpy.run_module(f'launch.{name}', run_name='__main__', alter_sys=True)
    except SystemExit as end:
      sys.stdout.flush()
      os._exit(end.code)  # without the second that it takes to tidy up
    sys.exit(f'launch.{name} does not exit')
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def launch_all(commands, folder):
  """What commands (name, arguments) print, run one after the other in processes of their own."""
  folders = [folder / f'command_{i}' for i in range(len(commands))]
  for path in folders:
    path.mkdir()
  done = subprocess.run(
      [sys.executable, '-c', _LAUNCH_ALL], cwd=ROOT, text=True, capture_output=True, timeout=240,
      input=json.dumps([
          (*command, str(path)) for command, path in zip(commands, folders, strict=True)]))
  assert done.returncode == 0, done.stderr
  return [
      subprocess.CompletedProcess(
          command, int(code), *((path / name).read_text() for name in ('stdout', 'stderr')))
      for command, code, path in zip(commands, done.stdout.split(), folders, strict=True)]


LAUNCHERS = [
    path.stem for path in sorted((ROOT / 'launch').glob('*.py')) if 'run(main' in path.read_text()
    and path.stem != 'main']
ALL_FIELDS = [field for field in fields(ExperimentConfig()) if field.value is not None]


@pytest.fixture(scope='module')
def helps():
  """What --help and --help_config of every launcher print, all at once; without JAX."""
  code = (
      'import runpy, sys\n'
      'try: runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)\n'
      'finally: assert "jax" not in sys.modules, "--help waits for JAX"')
  processes = {
      (name, flag): subprocess.Popen(
          [sys.executable, '-c', code.replace('sys.argv[0]', repr(f'launch.{name}')), flag],
          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
      for name in LAUNCHERS for flag in ('--help', '--help_config')}
  found = {}
  for key, process in processes.items():
    out, err = process.communicate(timeout=120)
    found[key] = process.returncode, out, err
  return found


@pytest.mark.parametrize('name', LAUNCHERS)
def test_help_is_the_launchers_text_and_its_own_flags(helps, name):
  code, out, err = helps[name, '--help']
  assert code == 0 and err == ''
  source = (ROOT / 'launch' / f'{name}.py').read_text()
  assert out.startswith(ast.get_docstring(ast.parse(source), clean=False).strip() + '\n')
  own = set(re.findall(r"flags\.DEFINE_\w+\(\s*'(\w+)'", source))
  own.add('import')
  if 'define_format' in source:
    own.add('format')
  if 'define_layout' in source:
    own |= {'array', 'axes', 'select'}
  note = r'(?:  \((?:default .*|required)\))?'
  shown = re.findall(rf'^  --(\w+)(?:\.FIELD)?(?:=\S+)?{note}$', out, re.M)
  assert set(shown) - {'config', 'csi', 'num_train', 'num_val', 'num_test'} == own
  required = set(re.findall(r"'(\w+)', None,[^()]*required=True", source))
  if 'define_config()' in source:
    required.add('config')
  assert set(re.findall(r'^  --(\w+).*  \(required\)$', out, re.M)) == required
  assert 'As above' not in out and all(len(line) <= 100 for line in out.splitlines())


def test_help_shows_the_words_of_a_config(helps):
  out = helps['train', '--help'][1]
  for file, words in (('rca_munet', rca_munet.WORDS), ('demo', demo.WORDS)):
    section = out.partition(f'Words after {file}:')[2]
    for word in words:
      assert f'\n  {word} ' in section
  assert all(method in out for method in rca_munet.METHODS)


def test_all_fields_of_a_config_are_shown_with_their_comments(helps):
  code, out, _ = helps['train', '--help_config']
  assert code == 0
  for field in ALL_FIELDS:
    assert re.search(rf'^  --config\.{re.escape(field.path)}=', out, re.M)
  assert len(ALL_FIELDS) == len(re.findall(r'^  --config\.', out, re.M))
  line, = re.findall(r'^  --config.model.num_rca_blocks=.*$', out, re.M)
  assert line.split() == ['--config.model.num_rca_blocks=3', 'int', 'L3']
  assert helps['generate', '--help_config'][0] == 0
  assert '  --csi.num_tx_antennas=32 ' in helps['generate', '--help_config'][1]


def test_fields_of_a_given_config_are_shown_as_they_are():
  done = launch(
      'references', '--config=configs/rca_munet.py:small', '--config.seed=5', '--help_config')
  assert '  --config.seed=5 ' in done.stdout and '--config.csi.scenario=uma_los ' in done.stdout


def test_default_lists_of_launchers_are_those_of_the_library(helps):
  assert f'--methods=METHODS  (default {",".join(REFERENCES)})' in helps['references', '--help'][1]
  reproduce = helps['reproduce', '--help'][1]
  assert f'--preset={"|".join(PRESETS)} ' in reproduce
  assert ', '.join(EXPERIMENTS) in re.sub(r'\s+', ' ', reproduce)
  assert ', '.join(FORMATS) in re.sub(r'\s+', ' ', helps['convert', '--help'][1])
  assert f'={"|".join(ON_DAMAGED)} ' in helps['train', '--help'][1]


WRONG = [
    ('train', ['--config=configs/none.py', '--workdir={tmp}'], 'configs/none.py: no such config'),
    ('train', ['--config=demo', '--workdir={tmp}', '--import=none'], '--import=none: no such mod'),
    ('train', ['--config=configs/rca_munet.py', '--workdir={tmp}', '--multihost'],
     '--multihost: no coordinator'),
    ('train', ['--config=configs/rca_munet.py', '--workdir={tmp}', '--config.data.path={tmp}/a'],
     'a: no such file'),
    ('evaluate', ['--workdir={tmp}'], 'has no config.json'),
    ('evaluate', ['--workdir={tmp}/none'], 'none: no such folder'),
    ('evaluate', [], 'give --workdir=FOLDER of a run or --weights=NAME, one of them'),
    ('evaluate', ['--weights=none'], 'error: --weights=none: no such weights'),
    ('evaluate', ['--weights=bl1_cr16', '--snr_db=inf'], 'snr_db=inf: expected a number of dB'),
    ('evaluate', ['--weights=bl1_cr16', '--out={tmp}'], 'is a folder; give the file'),
    ('generate', ['--out={tmp}', '--csi.num_tx=8'], "--csi.num_tx=8: the config has no field"),
    ('complexity', ['--num_ues=1'], '--num_ues=1: multi-user feedback needs'),
    ('references', ['--config=configs/rca_munet.py', '--config.model.num_heads=7'],
     '--config.model.num_heads=7 must divide --config.model.model_dim=192'),
    ('references', ['--config=configs/rca_munet.py', '--config.training.finetune.optimizer.eps=-1'],
     '--config.training.finetune.optimizer.eps=-1.0 must be positive'),
    ('generate', ['--out={tmp}/d', '--csi.num_delay_taps=2000'],
     '--csi.num_delay_taps=2000 must not exceed --csi.num_subcarriers=1024'),
    ('map', ['--config=configs/demo.py', '--out={tmp}/a', '--config.data.path={tmp}/b.npz',
             '--position_error_m=1'], '--position_error_m is of generated UEs'),
    ('map', ['--config=configs/demo.py', '--out={tmp}/a', '--nopositions'],
     '--nopositions is of a file'),
    ('refiner', ['--config=configs/demo.py', '--out={tmp}/a'], '--config.csi.mode=fresh'),
    ('online', ['--config=configs/demo.py', '--out={tmp}/a', '--reports=100'],
     '--reports=100: at least 512'),
    ('generate', ['--seed=1'], '--out is missing'),
    ('reproduce', ['--list', '--prest=small'], '--prest: unknown flag; did you mean --preset?'),
    ('export', ['--map=', '--config=demo', '--out=a'], 'given: none'),
    ('export', ['--joint', '--out=a'], '--joint: give --config too'),
    ('export', ['--joint', '--config=demo', '--out=a'],
     '--format=safetensors: --joint is written as --format=stablehlo only'),
    ('export', ['--map=a', '--config=demo', '--out=a', '--format=stablehlo'],
     '--map: give --snr_db too'),
    ('export', ['--weights=rca_munet_cr16', '--snr_db=10', '--out=a', '--format=onnx'],
     'leave out --snr_db=10.0: it is of --map'),
    ('export', ['--weights=rca_munet_cr16', '--dtype=float16', '--out=a', '--format=onnx'],
     'leave out --dtype=float16: it is of --format=safetensors'),
    ('export', ['--workdir={tmp}', '--half=ue', '--out=a', '--name=a'],
     '--half=ue: it is of --format=stablehlo or onnx'),
    ('export', ['--workdir={tmp}', '--folder=b', '--out=a', '--name=a'],
     '--folder=b: it is of --weights'),
    ('export', ['--weights=rca_munet_cr16', '--out=/dev/null/a', '--format=stablehlo'],
     '/dev/null/a: cannot be written'),
    ('evaluate', ['--workdir={tmp}', '--folder=b'], '--folder=b: it is of --weights'),
    ('evaluate', ['--weights=bl1_cr16', '--stage=finetune'],
     '--stage=finetune: it is of --workdir'),
    ('feedback', ['--weights=bl1_cr16', '--input=README.md', '--out=b', '--snr_db=9',
                  '--split=val'], '--split=val: it is of a data set folder'),
    ('benchmark', ['--weights=bl1_cr16', '--compression_ratio=1/4'],
     '--compression_ratio=1/4: it is of --method'),
    ('complexity', ['--steps', '--methods=BL1'], '--methods=BL1: it is of whole networks'),
    ('reproduce', ['--out={tmp}', '--format=csv'], '--format=csv: it is of --list'),
    ('train', ['--config=demo', '--workdir={tmp}', '--num_processes=2'],
     '--num_processes=2: it is of --multihost'),
    ('sample', ['--help_config'], 'this command has no config'),
    ('report', [], 'name a RUN: a folder of `rca train`'),
    ('report', ['{tmp}/none'], 'none: no such run'),
    ('report', ['{tmp}/*', '--out={tmp}/out'], 'no run fits this pattern'),
    ('report', ['{tmp}'], 'has no config.json'),
    ('compile_tpu', ['--config=configs/rca_munet.py', '--topology=v9:2x2'], "'v9:2x2' is unknown"),
]


@pytest.fixture(scope='module')
def refusals(tmp_path_factory):
  """What the commands of WRONG print."""
  folder = tmp_path_factory.mktemp('refusals')
  commands = []
  for index, (name, arguments, _) in enumerate(WRONG):
    tmp = folder / str(index)
    tmp.mkdir()
    commands.append((name, [argument.format(tmp=tmp) for argument in arguments]))
  return launch_all(commands, folder)


@pytest.mark.parametrize('index', range(len(WRONG)), ids=lambda index: WRONG[index][2])
def test_a_launcher_prints_one_line_and_exits_with_2(refusals, index):
  (name, _, message), done = WRONG[index], refusals[index]
  assert done.returncode == 2
  assert done.stdout == ''
  *start, line = done.stderr.splitlines()
  assert line.startswith('error: ') and message in line
  assert all(text.startswith(f'{name}: ') for text in start[:1]) and len(start) <= 1


@pytest.fixture(scope='module')
def trained(finished, tmp_path_factory):
  """The folder of a finished run, to write to."""
  return shutil.copytree(finished, tmp_path_factory.mktemp('trained') / 'run')


def test_evaluation_appends_rows(trained):
  done = launch('evaluate', f'--workdir={trained}', '--snr_db=0,10', '--num_ues=2,3')
  assert done.returncode == 0, done.stderr
  first, *_, last = done.stderr.splitlines()
  assert first.startswith(f'evaluate: RCA-MUNet of {trained}, 4 measurements on groups.npz, ')
  assert f'rows go to {trained}/results.json' in first and 'cpu device' in first
  assert last.startswith('done: 4 rows written') and 'rca report' in last
  rows = json.loads((trained / 'results.json').read_text())
  assert [(row['num_ues'], row['snr_db']) for row in rows] == [(2, 0), (2, 10), (3, 0), (3, 10)]
  for row in rows:
    assert set(row) == {
        'method', 'compression_ratio', 'num_ues', 'snr_db', 'data', 'data_hash', 'seed', 'steps',
        'dtype', 'cell', 'trained_ues', 'overhead', 'stage', 'nmse_db', 'nmse_ci95_db', 'rho',
        'rho_ci95', 'sgcs', 'sgcs_ci95', 'num_samples', 'commit', 'device', 'errors',
        'subband_sgcs', 'subband_sgcs_ci95', 'beamforming_gain', 'beamforming_gain_ci95'}
    assert row['overhead'] == 16 and row['trained_ues'] == [2] and row['stage'] == 'pretrain'
    assert row['data'] == 'groups.npz' and row['steps'] == 8 and row['num_samples'] == 12
    assert row['nmse_ci95_db'][0] <= row['nmse_db'] <= row['nmse_ci95_db'][1]
    assert f'{row["nmse_db"]:.2f}' in done.stdout


def test_evaluation_keeps_what_it_has_measured(trained, tmp_path):
  out = tmp_path / 'rows.json'
  done = launch(
      'evaluate', f'--workdir={trained}', '--snr_db=10', f'--out={out}', '--num_ues=3,9')
  assert done.returncode == 2 and '--num_ues=9 needs at least as many' in done.stderr
  assert len(done.stdout.splitlines()) == 3  # what was measured is shown
  assert [row['num_ues'] for row in json.loads(out.read_text())] == [3]


def test_exported_weights_measure_as_their_run(trained, tmp_path):
  exported, measured = launch_all([
      ('export', [
          f'--workdir={trained}', '--name=tuned', f'--out={tmp_path}', '--finetuned_at_db=10']),
      ('evaluate', [
          '--weights=tuned', f'--folder={tmp_path}', '--snr_db=10',
          f'--out={tmp_path / "rows.json"}'])], tmp_path)
  assert exported.returncode == 0 and 'tuned.safetensors, 16 steps' in exported.stderr, exported
  assert measured.returncode == 0, measured.stderr
  of_run, = evaluate_run(trained, [10.0], [2], stage='finetune')
  row, = read_rows(tmp_path / 'rows.json')
  errors = np.load(tmp_path / 'errors' / row.pop('errors'))
  np.testing.assert_array_equal(errors, of_run.pop('errors'))
  assert row == of_run


def test_finetuned_weights_are_measured_at_their_snr(trained):
  row, = evaluate_run(trained, [10.0], [2], stage='finetune', num_groups=5)
  assert row['steps'] == 16 and row['num_samples'] == 5
  with pytest.raises(InputError, match='finetune_0db: holds no checkpoint .stages there: finetune'):
    list(evaluate_run(trained, [0.0], [2], stage='finetune'))


def test_one_ue_or_too_many_cannot_be_measured(trained):
  with pytest.raises(InputError, match='num_ues=1'):
    list(evaluate_run(trained, [10.0], [1]))
  with pytest.raises(InputError, match='have 3 UEs, num_ues=4'):
    list(evaluate_run(trained, [10.0], [4]))


def test_reading_a_run_warns_of_nothing(trained, caplog):
  list(evaluate_run(trained, [0.0, 10.0], [2], num_groups=4))
  assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []


@pytest.mark.parametrize('closed', ['stdout', 'stderr'])
def test_a_closed_pipe_ends_quietly(closed):
  read, write = os.pipe()
  os.close(read)
  arguments = ['--help'] if closed == 'stdout' else ['--nope']
  done = launch('train', *arguments, **{closed: write})
  assert done.returncode == 141 and not done.stdout and not done.stderr


def test_ctrl_c_ends_with_one_line(tmp_path):
  process = start('generate', f'--out={tmp_path}/data', '--num_train=100000', '--shard_size=2')
  assert process.stderr.readline().startswith('generate: 130,000 groups of 4 UEs, uma site 0')
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=120)
  assert process.returncode == 130 and 'Traceback' not in err
  assert err.splitlines()[-1] == (
      'stopped; the shards so far are kept, the same command continues')


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
  code = (
      'from launch.main import run\n'
      'import sys; sys.argv = ["a"]\n'
      'run(lambda: open("none/such"))')
  done = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.returncode == 2
  assert done.stderr == 'error: none/such: No such file or directory.\n'
