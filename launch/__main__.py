"""Runs a command by its name: `rca train FLAGS` is `python -m launch.train FLAGS`."""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

import rca_jax

_END = "\nif __name__ == '__main__':\n"


def commands() -> dict[str, str]:
  """Every command with the first line of its text; none of them is imported."""
  sources = {path.stem: path.read_text() for path in Path(__file__).parent.glob('[!_]*.py')}
  return {
      name: ast.get_docstring(ast.parse(source)).partition('\n')[0]
      for name, source in sorted(sources.items()) if _END in source}


def main() -> None:
  name, *arguments = sys.argv[1:] or ['--help']
  known = commands()
  if name == '--version':
    print(f'rca_jax {rca_jax.__version__}')
  elif name in ('-h', '--help', 'help'):
    print('rca COMMAND FLAGS; rca COMMAND --help shows the flags of one.\n')
    for known_name, text in known.items():
      print(f'  {known_name:<15} {text}')
  elif name in known:
    sys.argv[1:] = arguments
    sys.path.append(os.getcwd())  # for --import
    runpy.run_module(f'launch.{name}', run_name='__main__', alter_sys=True)
  else:
    near = difflib.get_close_matches(name, known, 1)
    print(f'error: {name!r}: no such command; '
          + (f'did you mean {near[0]!r}?' if near else 'rca alone lists them.'), file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()
