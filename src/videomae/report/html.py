"""A report as one HTML file that needs no network, in light and dark, for wide and narrow screens."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from videomae.core.errors import InputError
from videomae.core.files import write_bytes
from videomae.report.pictures import Pixels, encode_png
from videomae.report.text import printable

if TYPE_CHECKING:
    from jinja2 import Template

_MEDIA_TYPES = {"PNG": "image/png", "GIF": "image/gif", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_SVG_PIXELS_PER_POINT = 4 / 3
# Or no value among percentages.
_PERCENTAGE = re.compile(r"\d+(\.\d+)? ?%|–")


class KeyFigure(NamedTuple):
    """A number to show first, such as ("top-1", "83.4 %", "200 validation clips")."""

    label: str
    value: str
    note: str = ""


class Report:
    """Builds a report from top to bottom; each method adds one block and returns the report.

    The page is `report.html.jinja` with `report.css`. All text is escaped. Pictures are embedded in the file, which
    loads nothing from outside.

    Args:
        title: the heading and the name of the browser's tab.
        subtitle: one line below it, such as the date and the data set.
    """

    def __init__(self, title: str, *, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._blocks: list[dict[str, Any]] = []

    def section(self, title: str) -> Report:
        """Begin a section; a report of two or more begins with links to them."""
        number = 1 + sum(block["kind"] == "section" for block in self._blocks)
        return self._add("section", title=title, number=number)

    def text(self, text: str) -> Report:
        """Add paragraphs, which empty lines in `text` separate."""
        for paragraph in text.split("\n\n"):
            if paragraph.strip():
                self._add("paragraph", text=paragraph.strip())
        return self

    def key_figures(self, figures: Sequence[KeyFigure | tuple[str, str] | tuple[str, str, str]]) -> Report:
        """Add a row of tiles: a large value below its label, and a note where there is one."""
        return self._add("tiles", figures=[KeyFigure(*figure) for figure in figures]) if figures else self

    def table(
        self, header: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str = "", folded: str = ""
    ) -> Report:
        """Add a table. Numbers and percentages are aligned right; floats have four significant digits.

        Args:
            header: a title for each column.
            rows: cells.
            caption: text above it.
            folded: of a long table: the line that unfolds it.

        Raises:
            InputError: if a row does not have as many cells as the header.
        """
        for index, row in enumerate(rows):
            if len(row) != len(header):
                raise InputError(
                    f"row {index} of a table has {len(row)} cells",
                    expected=f"{len(header)}, as in its header",
                    hint="pass one cell per column",
                )
        is_number = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
        header, *cells = ([_cell(cell) for cell in row] for row in (header, *rows))
        return self._add("table", header=header, rows=cells, is_number=is_number, caption=caption, folded=folded)

    def picture(self, image: Pixels | bytes, *, alt: str, caption: str = "") -> Report:
        """Add a picture.

        Args:
            image: pixels, uint8 (H, W, 3), or the bytes of a PNG, GIF, JPEG, WebP or SVG file.
            alt: a description for those who cannot see the picture.
            caption: text below it.

        Raises:
            InputError: if the bytes are none of these files.
            ShapeError: if the pixels are not uint8 (H, W, 3).
        """
        picture = _embedded(image)
        # A wide sheet would become unreadable on a phone: it keeps this width, and its frame scrolls.
        min_width = min(max(520, picture["width"] // 2), 900)
        return self._add("picture", **picture, alt=alt, caption=caption, min_width=min_width)

    def gallery(self, items: Sequence[tuple[Pixels | bytes, str, str]]) -> Report:
        """Add small pictures side by side, each with its caption below.

        Args:
            items: (picture as in `picture`, its description, its caption).

        Raises:
            InputError, ShapeError: as `picture`.
        """
        pictures = [{**_embedded(image), "alt": alt, "caption": caption} for image, alt, caption in items]
        return self._add("gallery", pictures=pictures) if pictures else self

    def commands(self, text: str) -> Report:
        """Add preformatted lines: commands, a configuration."""
        return self._add("commands", text=text.strip("\n"))

    def render(self) -> str:
        """The whole file as text."""
        from markupsafe import Markup

        style = Markup(_resource("report.css"))
        return _template().render(title=self._title, subtitle=self._subtitle, blocks=self._blocks, style=style) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file in one step; missing folders are made.

        Raises:
            InputError: if the place cannot be written.
        """
        return write_bytes(path, self.render().encode("utf-8"))

    def _add(self, kind: str, **values: Any) -> Report:
        self._blocks.append({"kind": kind, **values})
        return self


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, finalize=finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("report.html.jinja"))


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _is_number(cell: object) -> bool:
    if isinstance(cell, str):
        return bool(_PERCENTAGE.fullmatch(cell))
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _embedded(image: Pixels | bytes) -> dict[str, Any]:
    """The `source` (a data URL), `width` and `height` of a picture."""
    content = image if isinstance(image, bytes) else encode_png(image)
    media_type, width, height = _inspect_image(content)
    source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return {"source": source, "width": width, "height": height}


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
