"""HTML reports, charts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .charts import (
        confusion_matrix as confusion_matrix,
        loss_curves as loss_curves,
    )
    from .html import KeyFigure as KeyFigure, Report as Report
    from .pictures import (
        Pixels as Pixels,
        contact_sheet as contact_sheet,
        filmstrip_jpeg as filmstrip_jpeg,
        reconstruction_animation as reconstruction_animation,
        reconstruction_sheet as reconstruction_sheet,
        save_gif as save_gif,
        save_picture as save_picture,
        save_png as save_png,
        spaced_indices as spaced_indices,
    )
    from .text import isolated as isolated, printable as printable

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "charts": ["confusion_matrix", "loss_curves"],
        "html": ["KeyFigure", "Report"],
        "pictures": [
            "Pixels",
            "contact_sheet",
            "filmstrip_jpeg",
            "reconstruction_animation",
            "reconstruction_sheet",
            "save_gif",
            "save_picture",
            "save_png",
            "spaced_indices",
        ],
        "text": ["isolated", "printable"],
    },
)
