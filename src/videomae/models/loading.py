"""What loading a model does before and beside filling its weights: options, checks, comparing names and shapes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from videomae.core.device import choose_device
from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.interface import ModelInterface
from videomae.weights import hub, listing, names

logger = logging.getLogger("videomae")

LoadingInfo = dict[str, list[Any]]

# Keywords of transformers' `from_pretrained` that ask for what happens here anyway, or for nothing that exists here.
_WITHOUT_EFFECT = {
    "use_safetensors",
    "low_cpu_mem_usage",
    "trust_remote_code",
    "proxies",
    "resume_download",
    "_fast_init",
}


_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PATCHES = "embeddings.patch_embeddings.projection.weight"
_LONG_TABLE = 1 << 25
# The largest published network has 1e9 weights.
_MOST_FRESH = 2_000_000_000


class WithoutDraws(TorchFunctionMode):
    """Inside it new modules leave their weights as they are made: on the meta device each draw takes longer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_DRAWS = frozenset((nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.uniform_, Tensor.normal_, Tensor.fill_))


def compare(model: ModelInterface, state: Mapping[str, Tensor]) -> tuple[LoadingInfo, dict[str, Tensor]]:
    """What of `state` is missing, unexpected or mismatched in a model, and the tensors that fit, by its names."""
    # A bare encoder carries no `videomae.` before its names.
    bare = not hasattr(model, model.base_model_prefix)
    state = names.fit_prefix(names.to_current(state), bare=bare)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    mismatched = [(n, found[n], shape) for n, shape in shapes.items() if found.get(n, shape) != shape]
    info: LoadingInfo = {
        "missing_keys": [name for name in shapes if name not in found],
        "unexpected_keys": [name for name in found if name not in shapes],
        "mismatched_keys": mismatched,
        "error_msgs": [],
    }
    return info, {name: state[name] for name, shape in shapes.items() if found.get(name) == shape}


def check_width(config: VideoMAEConfig, state: Mapping[str, Tensor], source: str) -> None:
    """A long table of positions is not computed for weights of another width, whose shapes are listed else."""
    width = next((len(tensor) for name, tensor in state.items() if name.endswith(_PATCHES) and tensor.ndim), None)
    if config.grid.num_tokens * config.hidden_size > _LONG_TABLE and width not in (None, config.hidden_size):
        raise CheckpointError(
            f"{source} with weights {width} wide and {config.hidden_size} in its configuration",
            expected="equal widths",
            hint="its config.json belongs to other weights",
        )


def check_types(state: Mapping[str, Tensor], source: str) -> None:
    """Quantized weights need what unpacks them; read as they are they would be noise."""
    wrong = {name: tensor.dtype for name, tensor in state.items() if tensor.dtype not in _FLOATS}
    if wrong:
        raise CheckpointError(
            f"{source} ({listing.grouped(wrong)} of type {', '.join(sorted({str(t)[6:] for t in wrong.values()}))})",
            expected="weights of type float32, bfloat16, float16 or float64",
            hint="convert them first with the library that wrote them",
        )


def check_size_of_fresh(config: VideoMAEConfig, num_fresh: int, source: str) -> None:
    """A small file whose configuration claims a network of billions of weights must not make us draw them."""
    if num_fresh > _MOST_FRESH:
        raise CheckpointError(
            f"{source} without {num_fresh:,} weights of a network {config.hidden_size} wide",
            expected=f"at most {_MOST_FRESH:,} new weights",
            hint="its config.json belongs to other weights",
        )


def split_options(keywords: Mapping[str, Any]) -> tuple[hub.HubOptions, dict[str, Any]]:
    """The keywords about the hub and those about the configuration, without those that change nothing here."""
    options, overrides = hub.split_hub_options({k: v for k, v in keywords.items() if k not in _WITHOUT_EFFECT})
    older_token = overrides.pop("use_auth_token", None)
    if options.get("token") is None and older_token is not None:
        options["token"] = older_token
    return options, overrides


def single_device(device_map: Any) -> torch.device | None:
    """The device that a `device_map` means; a VideoMAE fits on one, so strategies for many mean the best one."""
    if isinstance(device_map, Mapping) and list(device_map) == [""]:
        device_map = device_map[""]
    if device_map is None or isinstance(device_map, torch.device):
        return device_map
    if device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return choose_device("auto")
    if isinstance(device_map, str | int) and not isinstance(device_map, bool):
        try:
            return torch.device(device_map)
        except RuntimeError as error:
            raise _no_device(device_map) from error
    raise _no_device(device_map)


def _no_device(device_map: object) -> ConfigError:
    return ConfigError(
        f"device_map={device_map!r}", expected='one device, such as "cuda" or "cpu", or "auto"', hint="leave it out"
    )


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """None means float32 and "auto" the file's own type, which is None for `from_state`."""
    if dtype is None:
        return torch.float32
    if dtype == "auto":
        return None
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype={dtype!r}", expected="float32, bfloat16, float16 or auto", hint="leave it out")
    return found


def log_loading(model_name: str, source: str, info: LoadingInfo) -> None:
    """A warning of weights that the file lacked, a notice of those that the model lacks."""
    fresh = info["missing_keys"] + [name for name, _, _ in info["mismatched_keys"]]
    if fresh:
        logger.warning(
            "%s from %s: newly initialized, train before use: %s", model_name, source, listing.grouped(fresh)
        )
    if info["unexpected_keys"]:
        parts = sorted({name.split(".")[0] for name in info["unexpected_keys"]})
        logger.info("%s from %s: not used: %s.*", model_name, source, ".*, ".join(parts))
