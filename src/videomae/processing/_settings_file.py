"""The image processor's file: where it lies, reading it, writing it whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videomae.core.errors import ConfigError
from videomae.core.files import read_json_object
from videomae.weights import HubOptions, resolve_file

CONFIG_NAME = "preprocessor_config.json"
# Where transformers 5 may put the same settings: inside a processor's file, or in that of its video processor.
NESTED_CONFIG_NAME = "processor_config.json"
VIDEO_CONFIG_NAME = "video_preprocessor_config.json"


def read_settings(name_or_path: str | Path, options: HubOptions) -> dict[str, Any]:
    """The settings where each version of transformers looks for them, newest place first as it does itself."""
    if Path(name_or_path).expanduser().is_file():
        return _unnested(read_object(Path(name_or_path).expanduser()))
    nested = resolve_file(name_or_path, NESTED_CONFIG_NAME, **options)
    if nested is not None and "image_processor" in (settings := read_object(nested)):
        return _unnested(settings)
    for filename in (CONFIG_NAME, VIDEO_CONFIG_NAME):
        file = resolve_file(name_or_path, filename, **options)
        if file is not None:
            return read_object(file)
    raise ConfigError(
        name_or_path,
        expected=f"a {CONFIG_NAME} in it",
        hint="write one with VideoMAEImageProcessor(...).save_pretrained, with the mean and std of the training",
    )


def _unnested(settings: dict[str, Any]) -> dict[str, Any]:
    inner = settings.get("image_processor")
    return inner if isinstance(inner, dict) else settings


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    return read_json_object(path, error_type=ConfigError)


def plain(value: Any) -> Any:
    """A value that JSON does not know as one that it does."""
    if hasattr(value, "tolist"):  # NumPy's and torch's numbers and arrays
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written to JSON")
