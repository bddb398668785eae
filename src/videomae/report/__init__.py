"""HTML reports, charts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .charts import (
        bar_comparison as bar_comparison,
    )
    from .charts import (
        confusion_matrix as confusion_matrix,
    )
    from .charts import (
        loss_curves as loss_curves,
    )
    from .charts import (
        small_curves as small_curves,
    )
    from .html import KeyFigure as KeyFigure
    from .html import Report as Report
    from .pictures import (
        Pixels as Pixels,
    )
    from .pictures import (
        contact_sheet as contact_sheet,
    )
    from .pictures import (
        filmstrip_jpeg as filmstrip_jpeg,
    )
    from .pictures import (
        reconstruction_animation as reconstruction_animation,
    )
    from .pictures import (
        reconstruction_sheet as reconstruction_sheet,
    )
    from .pictures import (
        save_gif as save_gif,
    )
    from .pictures import (
        save_png as save_png,
    )
    from .pictures import (
        spaced_indices as spaced_indices,
    )
    from .text import isolated as isolated
    from .text import printable as printable

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "charts": ["bar_comparison", "confusion_matrix", "loss_curves", "small_curves"],
        "html": ["KeyFigure", "Report"],
        "pictures": [
            "Pixels",
            "contact_sheet",
            "filmstrip_jpeg",
            "reconstruction_animation",
            "reconstruction_sheet",
            "save_gif",
            "save_png",
            "spaced_indices",
        ],
        "text": ["isolated", "printable"],
    },
)
