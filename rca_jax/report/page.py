"""One page that opens offline, with its pictures inside; each picture as a file beside it too."""

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rca_jax.report.tables import Table

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-size: 12px; }
th, td { border-bottom: 1px solid #8885; padding: 3px 8px; text-align: right; }
td { white-space: nowrap; } td small { display: block; opacity: 0.75; }
th { vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; z-index: 1;
  background: Canvas; }
div.wide { overflow-x: auto; }
div.panels { display: flex; flex-wrap: wrap; gap: 1em; align-items: start; }
img { max-width: 100%; background: white; }
p.caption { opacity: 0.75; }
"""
_DPI = 150
_MARGIN = 4  # pixels
_INTERVAL = re.compile(r'(?<=\d) (\(.* \.\. .*\))$')


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
  """With its caption above it; the interval of a number stands below the number."""

  def line(cells: Sequence[str], tag: str) -> str:
    found = (_INTERVAL.sub(r'<small>\1</small>', html.escape(cell)) for cell in cells)
    return f'<tr>{"".join(f"<{tag}>{cell}</{tag}>" for cell in found)}</tr>'

  body = '\n'.join(line(cells, 'td') for cells in found.body)
  return (f'{caption(found.caption)}<div class="wide"><table>'
          f'{line(found.head, "th")}\n{body}</table></div>')


def image(png: Path) -> str:
  """A picture, inside the page."""
  return _image(png.stem, png.read_bytes())


def panels(name: str, figure: Figure) -> str:
  """Its pairs of axes as pictures of their own: on a narrow screen one stands below the other."""
  figure.draw_without_rendering()
  to_inches = figure.dpi_scale_trans.inverted()
  pictures = []
  for axis in figure.axes:
    file = io.BytesIO()
    if box := axis.get_tightbbox():
      figure.savefig(file, dpi=_DPI, bbox_inches=box.padded(_MARGIN).transformed(to_inches))
      pictures.append(_image(name, file.getvalue()))
  return f'<div class="panels">{"".join(pictures)}</div>'


def save(path: Path, figure: Figure) -> list[Path]:
  """PATH.png and PATH.pdf."""
  files = [path.with_name(f'{path.name}.{kind}') for kind in ('png', 'pdf')]
  for file in files:
    figure.savefig(file, dpi=_DPI)
  return files


def _image(name: str, png: bytes) -> str:
  """As wide as its inches, so that all pictures have letters of one size."""
  width = 96 * int.from_bytes(png[16:20]) // _DPI  # where a PNG says its width
  data = base64.b64encode(png).decode()
  return f'<img alt="{name}" width="{width}" src="data:image/png;base64,{data}">'
