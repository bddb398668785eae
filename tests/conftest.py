"""Shapes in the signatures of tubelets and masks are checked while testing, and only then."""

from jaxtyping import install_import_hook

install_import_hook(["videomae.core.tubelets", "videomae.core.masks"], "shape_checks.check")

pytest_plugins = ["small_runs"]
