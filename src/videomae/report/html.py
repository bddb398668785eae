"""A report as one HTML file that needs no network, in light and dark, for wide and narrow screens."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from videomae.core.errors import InputError
from videomae.core.files import write_bytes
from videomae.report.pictures import Pixels, encode_png
from videomae.report.svg import Chart
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


class VideoRow(NamedTuple):
    """A video in a table of videos.

    Args:
        cells: texts, fractions of 1, or None for no value.
        path: the whole path.
        source: where a browser finds the clip, relative to the page; None where it cannot play it.
    """

    cells: Sequence[str | float | None]
    path: str
    source: str | None = None


class Report:
    """Builds a report from top to bottom; each method adds one block and returns the report.

    The page is `report.html.jinja` with `report.css`. All text is escaped. Pictures are embedded in the file, which
    loads nothing from outside, but clips that a person asks to be played.

    Args:
        title: the heading and the name of the browser's tab.
        subtitle: one line below it, such as the date and the data set.
        facts: (name, value) below that: command, date, machine, versions.
    """

    def __init__(self, title: str, *, subtitle: str = "", facts: Sequence[tuple[str, str]] = ()) -> None:
        self._title = title
        self._subtitle = subtitle
        self._facts = tuple(facts)
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
        return self._add("picture", **_embedded(image), alt=alt, caption=caption)

    def charts(self, charts: Sequence[Chart]) -> Report:
        """Add charts in the page's own colors, side by side where there is room."""
        return self._add("charts", charts=list(charts)) if charts else self

    def videos(
        self,
        header: Sequence[str],
        rows: Sequence[VideoRow],
        *,
        outcome: int,
        filters: Mapping[str, int],
    ) -> Report:
        """Add a table of videos with search, filters and sorting, whose clips play on click where they can be reached.

        Args:
            header: a title for each column; the first column has the videos' names.
            rows: the videos; a cell that is a number is a fraction of 1, shown in percent.
            outcome: the column that has "right", or nothing, for what needs no attention.
            filters: text of a choice → the column whose values it offers.
        """
        offered = [
            {"label": label, "column": column, "values": sorted({str(row.cells[column]) for row in rows})}
            for label, column in filters.items()
        ]
        numbers = [column for column in range(len(header)) if any(isinstance(row.cells[column], float) for row in rows)]
        listed = [
            {
                "cells": [printable(cell) if isinstance(cell, str) else cell for cell in row.cells],
                "path": printable(row.path),
                "source": row.source,
            }
            for row in rows
        ]
        data = {"header": list(header), "rows": listed, "outcome": outcome, "filters": offered, "numbers": numbers}
        # Inside a script element nothing is escaped, so no text may end it.
        text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
        return self._add("videos", data=text) if rows else self

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

        has_script = any(block["kind"] == "videos" for block in self._blocks)
        script = _resource("report.js") if has_script else ""
        page = _template().render(
            title=self._title,
            subtitle=self._subtitle,
            facts=self._facts,
            blocks=self._blocks,
            style=Markup(_resource("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
        return page + "\n"

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


@cache
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
