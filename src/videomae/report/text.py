"""Text on pictures: a font that is always there, and lines that fit a width in pixels."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=32)
def load_font(size: int) -> Font:
    """The font for labels and captions at `size` pixels: DejaVu Sans, which covers Latin, Greek and Cyrillic."""
    import matplotlib

    # Pillow's own default font knows no accents, dashes or "×"; DejaVu comes with every matplotlib wheel.
    try:
        return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
    except OSError:  # some distributions take the fonts out of their matplotlib
        return ImageFont.load_default(size)


def printable(text: str) -> str:
    """`text` without what no font can draw: control characters and the halves of undecodable file names.

    Line breaks stay; a tab becomes a space, any other such character its escape (``\\x07``, ``\\udcff``).
    """
    text = text.replace("\t", " ").replace("\r\n", "\n")
    return "".join(
        char if char == "\n" or not _is_unprintable(char) else char.encode("unicode_escape").decode() for char in text
    )


def isolated(text: str) -> str:
    """`text` so that words written from right to left do not turn around what is written beside them."""
    return f"\u2068{text}\u2069" if any(unicodedata.bidirectional(char) in ("R", "AL") for char in text) else text


def wrap_text(text: str, font: Font, max_width: int) -> list[str]:
    """Break `text` into lines of at most `max_width` pixels.

    Lines break at spaces and at the text's own line breaks; a word that is wider than a whole line (a path, a class
    name with underscores) is broken after a separator, or else between characters. Text that is empty gives no line.
    """
    lines: list[str] = []
    for paragraph in printable(text).strip().split("\n"):
        line = ""
        for word in paragraph.split():
            candidate = f"{line} {word}" if line else word
            if font.getlength(candidate) <= max_width:
                line = candidate
                continue
            if line:
                lines.append(line)
            *full, line = _break_word(word, font, max_width)
            lines.extend(full)
        lines.append(line)
    return lines if any(lines) else []


def line_height(font: Font) -> int:
    """The distance in pixels between two lines of text in `font`."""
    _, top, _, bottom = font.getbbox("Ápg|")
    return round((bottom - top) * 1.25)


def _break_word(word: str, font: Font, max_width: int) -> list[str]:
    """Cut one word into pieces of at most `max_width` pixels, each at least one character."""
    pieces = []
    while word:
        length = 1
        while length < len(word) and font.getlength(word[: length + 1]) <= max_width:
            length += 1
        if length < len(word):
            # Paths and class names read better when cut after a separator.
            length = 1 + max(word.rfind(separator, 0, length) for separator in "_/-.") or length
        pieces.append(word[:length])
        word = word[length:]
    return pieces


def _is_unprintable(char: str) -> bool:
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF
