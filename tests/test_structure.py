"""The shape of the source tree: who imports whom, and what the library never does."""

import ast
import configparser
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = sorted((ROOT / 'rca_jax').rglob('*.py'))
BASE = {'config', 'durable', 'errors', 'foreign', 'keys', 'terminal'}

# What each part of rca_jax may import from the other parts: the line of the README, downwards.
MAY_IMPORT = {
    '__main__': set(),
    'errors': set(),
    'durable': {'errors'},
    'foreign': {'errors'},
    'keys': set(),
    'terminal': set(),
    'config': {'errors'},
    'channel': BASE,
    'data': BASE | {'channel'},
    'uplink': BASE,
    'models': BASE | {'channel', 'uplink', 'bayes'},
    'baselines': BASE | {'channel', 'uplink'},
    'bayes': BASE | {'channel', 'data', 'uplink', 'baselines'},
    'training': BASE | {'channel', 'data', 'uplink', 'models', 'baselines', 'bayes'},
    'evaluation': BASE | {'channel', 'data', 'uplink', 'models', 'baselines', 'bayes', 'training'},
    'report': BASE | {
        'channel', 'data', 'uplink', 'models', 'baselines', 'bayes', 'training', 'evaluation'},
}
FORBIDDEN_IMPORTS = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
FORBIDDEN_CALLS = {'eval', 'exec', 'compile', '__import__', 'jax.config.update', 'config.update'}


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def part_of(module: str) -> str:
  """rca_jax.channel.fields -> channel; the package itself -> ''."""
  return (module.split('.') + [''])[1]


def imported_modules(path: pathlib.Path, known: set[str]) -> set[str]:
  """Every module that a file imports anywhere in it, by its full dotted name."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(), str(path))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path.name}:{node.lineno}: imports are absolute in this project'
      submodules = {f'{node.module}.{alias.name}' for alias in node.names} & known
      found |= submodules or {node.module}
  return found


KNOWN = {module_name(path) for path in LIBRARY}
IMPORTS = {module_name(path): imported_modules(path, KNOWN) for path in LIBRARY}


def test_every_part_has_a_rule():
  assert {part_of(name) for name in KNOWN} - {''} <= set(MAY_IMPORT)


@pytest.mark.parametrize('part', MAY_IMPORT)
def test_imports_point_one_way(part):
  ours = {name: modules for name, modules in IMPORTS.items() if part_of(name) == part}
  wrong = [
      f'{name} imports {module}'
      for name, modules in ours.items() for module in modules
      if module.split('.')[0] == 'rca_jax' and part_of(module) not in MAY_IMPORT[part] | {part, ''}]
  assert not wrong


def test_no_module_imports_itself_through_others():
  remaining = {name: modules & KNOWN - {name} for name, modules in IMPORTS.items()}
  while leaves := {name for name, modules in remaining.items() if not modules & remaining.keys()}:
    remaining = {name: modules for name, modules in remaining.items() if name not in leaves}
  # A package and its own modules see each other by design: `__init__` only re-exports.
  cycle = sorted(remaining)
  assert not cycle, f'these modules import each other: {cycle}'


def test_nobody_in_the_library_imports_the_launchers():
  outside = {'launch', 'configs', 'benchmarks', 'tests'}
  wrong = [
      f'{name} imports {module}' for name, modules in IMPORTS.items() for module in modules
      if module.split('.')[0] in outside]
  assert not wrong


def test_configuration_needs_no_jax():
  for name in ('rca_jax', 'rca_jax.config', 'rca_jax.errors'):
    assert not {module.split('.')[0] for module in IMPORTS[name]} & {'jax', 'flax', 'optax'}


@pytest.mark.parametrize('path', LIBRARY, ids=module_name)
def test_library_never_unpickles_evaluates_or_configures_jax(path):
  imported = {module.split('.')[0] for module in IMPORTS[module_name(path)]}
  assert not imported & FORBIDDEN_IMPORTS
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call):
      assert ast.unparse(node.func) not in FORBIDDEN_CALLS, f'{path.name}:{node.lineno}'
      for keyword in node.keywords:  # np.load and np.save
        allows = keyword.arg == 'allow_pickle' and ast.unparse(keyword.value) != 'False'
        assert not allows, f'{path.name}:{node.lineno}'


def test_the_wheel_holds_every_package():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  folders = {module_name(path) for path in LIBRARY if path.name == '__init__.py'}
  assert set(setup['options']['packages'].split()) == folders | {
      'rca_jax.commands.configs', 'rca_jax.commands.launch'}


def test_files_are_named_after_what_they_hold():
  folders = ('rca_jax', 'launch', 'configs', 'benchmarks', 'tests')
  files = [path for folder in folders for path in (ROOT / folder).rglob('*.py')]
  assert not [str(path) for path in files if path.stem in ('utils', 'util', 'helpers', 'misc')]


def definitions() -> list[tuple[pathlib.Path, ast.AST]]:
  """The functions and classes of rca_jax, those within classes and private ones too."""
  return [
      (path, node) for path in LIBRARY for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def uses(path: pathlib.Path) -> list[tuple[str, int]]:
  """Every name that a file uses, with its line; of a text those that are set as code."""
  if path.suffix != '.py':
    code = re.findall(r'```.*?```|`[^`\n]+`', path.read_text(), re.DOTALL)
    return [(word, 0) for word in re.findall(r'\w+', ' '.join(code))]
  found = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Name):
      found.append((node.id, node.lineno))
    elif isinstance(node, ast.Attribute):
      found.append((node.attr, node.lineno))
    elif isinstance(node, ast.ImportFrom):
      found += [(alias.name, node.lineno) for alias in node.names]
  return found


@pytest.mark.parametrize('path', LIBRARY, ids=module_name)
def test_what_is_public_says_what_it_is_and_which_errors_it_raises(path):
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith('_'):
      text = ast.get_docstring(node)
      assert text, f'{path.name}:{node.lineno}: {node.name} has no docstring'
      raised = {ast.unparse(found.exc).partition('(')[0] for found in ast.walk(node)
                if isinstance(found, ast.Raise) and found.exc}
      if isinstance(node, ast.FunctionDef) and 'InputError' in raised:
        assert 'InputError' in text, f'{path.name}:{node.lineno}: {node.name} raises InputError'


@pytest.mark.parametrize('path', LIBRARY, ids=module_name)
def test_what_takes_or_gives_arrays_says_their_shapes(path):
  """As [batch, ue], in words, or by naming what has the same ones; a class for its `__call__`."""
  for node in ast.parse(path.read_text()).body:
    members = node.body if isinstance(node, ast.ClassDef) else [node]
    for part in members if not getattr(node, 'name', '_').startswith('_') else ():
      if not isinstance(part, ast.FunctionDef) or (
          part.name.startswith('_') and part.name != '__call__'):
        continue
      types = [ast.unparse(found) for found in (
          part.returns, *(each.annotation for each in part.args.args if 'key' not in each.arg))
          if found]
      text = ast.get_docstring(part) or ast.get_docstring(node)
      assert not re.search(r'jax\.Array|np\.ndarray|ArrayLike', ' '.join(types)) or re.search(
          r'\[.*\]|shape|\b[Aa]s (of )?`', text), f'{path.name}:{part.lineno}: {part.name}'


def test_every_function_and_class_is_used():
  """Somewhere but in its own lines, in a test, or in an `__init__` that only passes it on."""
  readers = [*LIBRARY, *(
      path for folder in ('launch', 'configs', 'benchmarks', 'examples', 'docs')
      for path in (ROOT / folder).rglob('*') if path.suffix in ('.py', '.md')), ROOT / 'README.md']
  places = {}
  for path in readers:
    for name, line in uses(path):
      places.setdefault(name, set()).add((path, line))
  unused = [
      f'{module_name(path)}.{node.name}' for path, node in definitions()
      if not node.name.startswith('__') and node.name != 'setup' and not any(  # flax calls setup
          where.name != '__init__.py' and (
              where != path or not node.lineno <= line <= node.end_lineno)
          for where, line in places.get(node.name, ()))]
  assert unused == []
