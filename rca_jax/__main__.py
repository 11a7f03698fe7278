"""The command `rca`: `rca train FLAGS` is `python -m launch.train FLAGS`, in a checkout or not."""

import runpy
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# A wheel keeps launch/ and configs/ in a folder of the package (setup.cfg): at the top level of an
# environment packages of these names would be in the way of other people's.
_HOMES = _PACKAGE / 'commands', _PACKAGE.parent


def main() -> None:
  """Runs the command that the arguments name."""
  sys.path.insert(0, str(next(home for home in _HOMES if (home / 'launch').is_dir())))
  runpy.run_module('launch', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()
