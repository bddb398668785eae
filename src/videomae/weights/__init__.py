"""Reading and writing weight files, local or of the Hugging Face hub, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .files import (
        read_json as read_json,
        read_tensor_file as read_tensor_file,
        read_weights as read_weights,
        write_safetensors as write_safetensors,
    )
    from .hub import (
        HubOptions as HubOptions,
        one_commit as one_commit,
        resolve_file as resolve_file,
        split_hub_options as split_hub_options,
        upload_folder as upload_folder,
    )
    from .names import fit_prefix as fit_prefix, to_current as to_current

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "files": ["read_json", "read_tensor_file", "read_weights", "write_safetensors"],
        "hub": ["HubOptions", "one_commit", "resolve_file", "split_hub_options", "upload_folder"],
        "names": ["fit_prefix", "to_current"],
    },
)
