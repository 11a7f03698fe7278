"""One page that opens offline, with its pictures inside; each picture as a file beside it too."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rca_jax.report.tables import Table

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-size: 12px; }
th, td { border-bottom: 1px solid #8885; padding: 3px 8px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
div.wide { overflow-x: auto; } img { max-width: 100%; background: white; }
p.caption { opacity: 0.75; }
"""


def page(title: str, body: Sequence[str]) -> str:
  """The HTML page of parts that are HTML."""
  return '\n'.join([
      f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
      f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
      f'<style>{_STYLE}</style></head><body>', f'<h1>{html.escape(title)}</h1>', *body,
      '</body></html>\n'])


def heading(text: str, level: int = 2) -> str:
  """A heading; 1 is the title of the page."""
  return f'<h{level}>{html.escape(text)}</h{level}>'


def caption(text: str) -> str:
  """What stands by a picture or table."""
  return f'<p class="caption">{html.escape(text)}</p>'


def paragraph(text: str) -> str:
  """Plain text."""
  return f'<p>{html.escape(text)}</p>'


def items(texts: Sequence[str]) -> str:
  """A list."""
  return f'<ul>{"".join(f"<li>{html.escape(text)}</li>" for text in texts)}</ul>'


def table(found: Table) -> str:
  """With its caption above it."""

  def line(cells: Sequence[str], tag: str) -> str:
    return f'<tr>{"".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)}</tr>'

  body = '\n'.join(line(cells, 'td') for cells in found.body)
  return (f'{caption(found.caption)}<div class="wide"><table>'
          f'{line(found.head, "th")}\n{body}</table></div>')


def image(png: Path) -> str:
  """A picture, inside the page."""
  data = base64.b64encode(png.read_bytes()).decode()
  return f'<img alt="{png.stem}" src="data:image/png;base64,{data}">'


def save(path: Path, figure: Figure) -> list[Path]:
  """PATH.png and PATH.pdf."""
  files = [path.with_name(f'{path.name}.{kind}') for kind in ('png', 'pdf')]
  for file in files:
    figure.savefig(file, dpi=150)
  return files
