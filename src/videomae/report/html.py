"""One HTML file that holds a whole report: opens offline, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from videomae.core.errors import InputError
from videomae.core.files import write_bytes
from videomae.report.pictures import Pixels, encode_png
from videomae.report.text import printable

_MEDIA_TYPES = {"PNG": "image/png", "GIF": "image/gif", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_SVG_PIXELS_PER_POINT = 4 / 3
# Or no value among percentages.
_PERCENTAGE = re.compile(r"\d+(\.\d+)? ?%|–")


class KeyFigure(NamedTuple):
    """A number that a reader looks for first, such as ("top-1", "83.4 %", "200 held-out clips")."""

    label: str
    value: str
    note: str = ""


class Report:
    """Builds a report from top to bottom; each method adds one part and returns the report.

    All text is taken as text, never as markup. Pictures become part of the file, which asks for nothing outside of it.

    Args:
        title: the heading and the name of the browser's tab.
        subtitle: one line below it, such as when and from what the report was made.
    """

    def __init__(self, title: str, *, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._sections: list[str] = []
        self._parts: list[str] = []

    def section(self, title: str) -> Report:
        """Begin a section; from two sections on, links at the top lead to them."""
        self._sections.append(title)
        self._parts.append(f'<h2 id="section-{len(self._sections)}">{_escape(title)}</h2>')
        return self

    def text(self, text: str) -> Report:
        """Add paragraphs; an empty line in `text` begins a new one."""
        for paragraph in text.split("\n\n"):
            if paragraph.strip():
                self._parts.append(f"<p>{_escape(paragraph.strip())}</p>")
        return self

    def key_figures(self, figures: Sequence[KeyFigure | tuple[str, str] | tuple[str, str, str]]) -> Report:
        """Add a row of tiles: a large value under its label, with a note where there is one."""
        tiles = []
        for figure in (KeyFigure(*figure) for figure in figures):
            note = f'<dd class="note">{_escape(figure.note)}</dd>' if figure.note else ""
            tiles.append(f"<div><dt>{_escape(figure.label)}</dt><dd>{_escape(figure.value)}</dd>{note}</div>")
        if tiles:
            self._parts.append(f'<dl class="tiles">{"".join(tiles)}</dl>')
        return self

    def table(
        self, header: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str = "", folded: str = ""
    ) -> Report:
        """Add a table. Numbers and percentages stand at the right; floats are written with four significant digits.

        Args:
            header: a title for each column.
            rows: cells.
            caption: text above it.
            folded: of a long table: the line that unfolds it.

        Raises:
            InputError: if a row has not as many cells as the header.
        """
        for index, row in enumerate(rows):
            if len(row) != len(header):
                raise InputError(
                    f"row {index} of a table has {len(row)} cells",
                    expected=f"{len(header)}, as in its header",
                    hint="pass one cell per column",
                )
        right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
        classes = [' class="number"' if is_right else "" for is_right in right]
        head = "".join(f'<th scope="col"{c}>{_cell(cell)}</th>' for c, cell in zip(classes, header, strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td{c}>{_cell(cell)}</td>" for c, cell in zip(classes, row, strict=True)) + "</tr>"
            for row in rows
        )
        title = f"<caption>{_escape(caption)}</caption>" if caption else ""
        table = f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        self._parts.append(f"<details><summary>{_escape(folded)}</summary>{table}</details>" if folded else table)
        return self

    def picture(self, image: Pixels | bytes, *, alt: str, caption: str = "") -> Report:
        """Add a picture.

        Args:
            image: pixels, uint8 (H, W, 3), or the bytes of a PNG, GIF, JPEG, WebP or SVG file.
            alt: what the picture shows, for those who cannot see it.
            caption: text below it.

        Raises:
            InputError: if the bytes are none of these files.
            ShapeError: if the pixels are not uint8 (H, W, 3).
        """
        content = image if isinstance(image, bytes) else encode_png(image)
        media_type, width, height = _inspect_image(content)
        source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
        # On a phone a wide sheet would shrink until nothing can be read: it keeps a width and scrolls in its frame.
        style = f"min-width:min({width}px,{min(max(520, width // 2), 900)}px)"
        label = f"<figcaption>{_escape(caption)}</figcaption>" if caption else ""
        self._parts.append(
            f'<figure><div class="scroll picture"><img src="{source}" alt="{_escape(alt)}" width="{width}"'
            f' height="{height}" style="{style}"></div>{label}</figure>'
        )
        return self

    def gallery(self, items: Sequence[tuple[Pixels | bytes, str, str]]) -> Report:
        """Add small pictures side by side, each with its text below.

        Args:
            items: (picture as in `picture`, what it shows, the text below it).

        Raises:
            InputError, ShapeError: as `picture`.
        """
        cards = []
        for image, alt, caption in items:
            content = image if isinstance(image, bytes) else encode_png(image)
            media_type, width, height = _inspect_image(content)
            source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
            cards.append(
                f'<figure><img src="{source}" alt="{_escape(alt)}" width="{width}" height="{height}">'
                f"<figcaption>{_escape(caption)}</figcaption></figure>"
            )
        if cards:
            self._parts.append(f'<div class="gallery">{"".join(cards)}</div>')
        return self

    def commands(self, text: str) -> Report:
        """Add lines to type or to read as they are: commands, a configuration."""
        self._parts.append(f'<pre tabindex="0"><code>{_escape(text.strip(chr(10)))}</code></pre>')
        return self

    def render(self) -> str:
        """The whole file as text."""
        subtitle = f'<p class="subtitle">{_escape(self._subtitle)}</p>' if self._subtitle else ""
        links = "".join(
            f'<a href="#section-{index}">{_escape(title)}</a>' for index, title in enumerate(self._sections, start=1)
        )
        navigation = f'<nav aria-label="Sections">{links}</nav>' if len(self._sections) > 1 else ""
        parts = "\n".join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            # A promise that the browser keeps: nothing is fetched and no script runs.
            '<meta http-equiv="Content-Security-Policy" content="'
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            f"<title>{_escape(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<header><h1>{_escape(self._title)}</h1>{subtitle}{navigation}</header>\n{parts}\n"
            "</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file in one step; missing folders are made.

        Raises:
            InputError: if the place cannot be written.
        """
        return write_bytes(path, self.render().encode("utf-8"))


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _is_number(cell: object) -> bool:
    if isinstance(cell, str):
        return bool(_PERCENTAGE.fullmatch(cell))
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> str:
    return _escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))


def _inspect_image(content: bytes) -> tuple[str, int, int]:
    """The media type, width and height in CSS pixels of an image file."""
    start = content[:200].lstrip()
    if start.startswith((b"<?xml", b"<svg", b"<!DOCTYPE svg")):
        return _inspect_svg(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format in _MEDIA_TYPES:
                return _MEDIA_TYPES[image.format], image.width, image.height
            found = f"a picture in the format {image.format}"
    except OSError:
        found = f"a picture of {len(content)} bytes that begins with {content[:8]!r}"
    raise InputError(found, expected="a PNG, GIF, JPEG, WebP or SVG file", hint="pass pixels, or one of these files")


def _inspect_svg(content: bytes) -> tuple[str, int, int]:
    from xml.etree import ElementTree

    try:
        view = ElementTree.fromstring(content).attrib["viewBox"].replace(",", " ").split()
        width, height = (round(float(length) * _SVG_PIXELS_PER_POINT) for length in view[2:4])
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(
            "an SVG picture without a size", expected="a whole file with a viewBox", hint="save the picture again"
        ) from error
    return "image/svg+xml", width, height


_STYLE = """
:root { --ground: #ffffff; --raised: #f4f5f7; --ink: #18181b; --faint: #585860; --line: #d9dbe0; --accent: #0060a0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #17181b; --raised: #222429; --ink: #ececef; --faint: #a9abb3; --line: #3a3d44; --accent: #7cc0f0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); font-size: 1.3rem; line-height: 1.3;
  overflow-wrap: anywhere; }
p { margin: 12px 0; max-width: 46rem; overflow-wrap: anywhere; white-space: pre-line; }
.subtitle { margin: 6px 0 0; color: var(--faint); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 16px; }
a { color: var(--accent); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tiles div { padding: 14px 16px; border: 1px solid var(--line); border-radius: 10px; background: var(--raised); }
.tiles dt { color: var(--faint); font-size: .9rem; }
.tiles dd { margin: 2px 0 0; font-size: 1.65rem; font-weight: 650; line-height: 1.25; overflow-wrap: anywhere; }
.tiles dd.note { color: var(--faint); font-size: .85rem; font-weight: 400; line-height: 1.4; }
.scroll { max-width: 100%; overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
caption { padding: 6px 0; color: var(--faint); font-size: .92rem; text-align: left; }
th, td { padding: 7px 14px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { max-width: 22rem; overflow-wrap: break-word; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--accent); }
thead th { border-bottom: 2px solid var(--line); font-size: .92rem; }
.number { text-align: right; }
figure { margin: 20px 0; }
.picture { border: 1px solid var(--line); border-radius: 10px; background: #ffffff; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: 8px; max-width: 46rem; color: var(--faint); font-size: .92rem; overflow-wrap: anywhere;
  white-space: pre-line; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 18px;
  margin: 20px 0; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; border: 1px solid var(--line); border-radius: 6px; }
pre { margin: 12px 0; padding: 14px 16px; border: 1px solid var(--line); border-radius: 10px; background: var(--raised);
  overflow-x: auto; font: .88rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (max-width: 520px) { main { padding: 20px 14px 48px; } h1 { font-size: 1.5rem; } th, td { padding: 6px 9px; }
  td { max-width: 36vw; } }
@media print { main { max-width: none; padding: 0; } figure, table, pre { break-inside: avoid; } }
"""
