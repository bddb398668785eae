"""How charts look, and how they hold names in any script."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT_INK, GRID = "#18181b", "#585860", "#dddde0"
# Okabe and Ito's colors, distinct for people of any color vision, without their yellow: too pale for lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC")
# Of the font size: what a wide character takes more than the box that is measured in its place.
_WIDE_EXCESS = 0.5


@contextmanager
def chart_style() -> Iterator[None]:
    """Matplotlib's own settings and ours on top, whatever the user's matplotlibrc holds, for the time of one chart.

    The text of an SVG stays text: whoever looks at it has the fonts of their own scripts, this machine may not.
    """
    import matplotlib
    from matplotlib import font_manager

    installed = set(font_manager.fontManager.get_font_names())
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(Glyph .* missing from|Matplotlib currently does not support)")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed), "sans-serif"],
                "font.size": 10.5,
                "text.color": INK,
                "text.parse_math": False,  # a class name may hold two dollar signs
                "axes.edgecolor": FAINT_INK,
                "axes.labelcolor": INK,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.titlesize": 12.5,
                "axes.titlelocation": "left",
                "axes.formatter.useoffset": False,  # a flat line's axis would read "1e-5 + 0.6931"
                "xtick.color": FAINT_INK,
                "ytick.color": FAINT_INK,
                "xtick.labelcolor": INK,
                "ytick.labelcolor": INK,
                "legend.fontsize": 10,
                "svg.fonttype": "none",
                "svg.hashsalt": "videomae",  # the same chart is the same file
            }
        )
        yield


def missing_width(figure: Figure) -> float:
    """Inches by which a text of a figure may be longer than measured: of wide characters that no font here has."""
    from matplotlib.text import Text

    excess = 0.0
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        num_wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text.get_text())
        excess = max(excess, num_wide * _WIDE_EXCESS * float(text.get_fontsize()) / 72)
    return excess
