"""What all VideoMAE models share: new weights, loading and saving."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self, overload

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from videomae.core.device import choose_device
from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.models.interface import ModelInterface
from videomae.weights import files, hub, listing, names, shards
from videomae.weights.finite import not_finite

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


class VideoMAEPreTrainedModel(ModelInterface):
    """Base of the models: `from_pretrained`, `save_pretrained`, `push_to_hub` and what `ModelInterface` has."""

    def __init__(self, config: VideoMAEConfig) -> None:
        nn.Module.__init__(self)
        config.validate()
        self.config = config
        self.name_or_path = config.name_or_path

    @classmethod
    def from_config(
        cls,
        config: VideoMAEConfig,
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        **overrides: Any,
    ) -> Self:
        """A model with new weights, in training mode.

        Args:
            config: of the model.
            dtype: type of the weights; float32 by default.
            torch_dtype: the older name of `dtype`.
            **overrides: keys of the configuration that are to be others; `config` itself stays as it is.
        """
        if overrides:
            config = cls.config_class.from_dict(config.to_dict(), **overrides)
        return cls(config).to(_as_dtype(dtype if dtype is not None else torch_dtype))

    _from_config = from_config

    def post_init(self) -> None:
        """What each model does once its modules are there: draw new weights, remove the heads that are pruned."""
        self.init_weights()
        if self.config.get("gradient_checkpointing"):  # the way of old files
            self.gradient_checkpointing_enable()
        if self.config.pruned_heads:
            self.prune_heads(self.config.pruned_heads)

    def init_weights(self) -> None:
        """Initialize all weights as transformers does: Linear and Conv from N(0, initializer_range), others 0 or 1."""
        if self.device.type == "meta":  # loading fills them; on that device each draw takes as long as a layer
            return
        for module in self.modules():
            self._init_weights(module)

    def _init_weights(self, module: nn.Module) -> None:
        """New values for the weights that `module` itself holds."""
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        else:
            for parameter in module.parameters(recurse=False):
                nn.init.zeros_(parameter)

    @overload
    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None,
        *,
        output_loading_info: Literal[False] = ...,
        **kwargs: Any,
    ) -> Self: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path | None, *, output_loading_info: Literal[True], **kwargs: Any
    ) -> tuple[Self, LoadingInfo]: ...

    @classmethod
    @hub.one_commit()
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None,
        *,
        config: VideoMAEConfig | str | Path | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        device_map: torch.device | str | int | Mapping[str, Any] | None = None,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Self | tuple[Self, LoadingInfo]:
        """Build a model from a checkpoint folder or a hub repository, in evaluation mode.

        Reads what transformers 4.x and 5.x and we write. Weights that the checkpoint lacks (a new classifier) are
        initialized and listed in a warning; weights that the model lacks (a decoder) are listed and ignored.

        Args:
            pretrained_model_name_or_path: folder or hub name; None with `config` and `state_dict`.
            config: used instead of the checkpoint's; or the folder, file or hub name of one.
            state_dict: used instead of the file of weights.
            device_map: one device for all weights, as such or under "" in a dictionary; "auto" (or "balanced",
                "balanced_low_0", "sequential") for CUDA, else MPS, else the CPU.
            torch_dtype: type of the weights; float32 by default, "auto" for that of the file.
            dtype: the newer name of `torch_dtype`.
            ignore_mismatched_sizes: initialize weights whose shape differs, instead of raising.
            output_loading_info: also return a dictionary with `missing_keys`, `unexpected_keys`, `mismatched_keys` and
                `error_msgs`.
            **kwargs: hub options (`cache_dir`, `revision`, `token`, `subfolder`, `local_files_only`,
                `force_download`); `use_auth_token`, the older name of `token`; `use_safetensors`, `low_cpu_mem_usage`,
                `trust_remote_code`, `proxies` and `resume_download`, which change nothing here; all others override
                the configuration.

        Returns:
            The model, or (model, loading information).

        Raises:
            CheckpointError: if the folder, its configuration or its weights are missing or do not fit.
            ConfigError: for an option that does not exist, or more devices than one.
        """
        source, device = pretrained_model_name_or_path, _single_device(device_map)
        options, overrides = _split_options(kwargs)
        if source is None and (config is None or state_dict is None):
            raise ConfigError("no checkpoint", expected="a folder or hub name", hint="or give config and state_dict")
        if isinstance(config, VideoMAEConfig):
            config = cls.config_class.from_dict(config.to_dict(), **overrides) if overrides else config
        else:
            config = cls.config_class.from_pretrained(config or str(source), **options, **overrides)
        model, info = cls.from_state(
            config,
            files.read_weights(str(source), **options) if state_dict is None else state_dict,
            source="state_dict" if source is None else str(source),
            dtype=_as_dtype(dtype if dtype is not None else torch_dtype),
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        model.name_or_path = model.config.name_or_path = str(source or config.name_or_path)
        if device is not None:
            model.to(device)
            model.hf_device_map = {"": device}
        _log_loading(cls.__name__, str(source or "state_dict"), info)
        return (model, info) if output_loading_info else model

    @classmethod
    def from_state(
        cls,
        config: VideoMAEConfig,
        state: Mapping[str, Tensor],
        *,
        source: str,
        dtype: torch.dtype | None = torch.float32,
        ignore_mismatched_sizes: bool = False,
        check: Callable[[LoadingInfo], None] | None = None,
    ) -> tuple[Self, LoadingInfo]:
        """A model in evaluation mode with the tensors of `state`, and what was missing, unexpected or mismatched.

        Args:
            config: of the model.
            state: tensors under the names of transformers 4.x or 5.x, of a bare encoder or of a model with a head.
            source: what to call the checkpoint in an error.
            dtype: type of the weights; None keeps that of `state`.
            ignore_mismatched_sizes: initialize weights whose shape differs, instead of raising.
            check: called before any weight gets memory, to raise for what the caller does not accept; replaces the
                check of shapes.

        Raises:
            CheckpointError: if shapes differ, or no tensor of `state` has a name of the encoder's.
        """
        _check_types(state, source)
        _check_width(config, state, source)
        # Reading all weights takes about as long as building the modules, and needs no Python. Both threads take
        # tensors from one iterator, so that whoever has time looks at the next.
        unseen = iter(state.items())
        with ThreadPoolExecutor(1) as thread:
            looking = thread.submit(not_finite, unseen)
            with torch.device("meta"), WithoutDraws():
                model = cls(config)
            info, fitting = _compare(model, state)
            if not any("encoder.layer." in name or "patch_embeddings" in name for name in fitting):
                raise CheckpointError(
                    source,
                    expected="weights under the names of a VideoMAE model",
                    hint=f"its tensors have names such as {listing.grouped(sorted(state)[:3]) or '(none)'}",
                )
            mismatched = info["mismatched_keys"]
            if check is not None:
                check(info)
            elif mismatched and not ignore_mismatched_sizes:
                raise CheckpointError(
                    f"{source} ({listing.misfits(missing=(), unexpected=(), mismatched=mismatched)})",
                    expected="shapes as in the configuration",
                    hint="use the checkpoint's own configuration, or pass ignore_mismatched_sizes=True",
                )
            num_fresh = sum(p.numel() for name, p in model.named_parameters() if name not in fitting)
            _check_size_of_fresh(config, num_fresh, source)
            target = dtype or next(tensor.dtype for tensor in fitting.values())
            model._fill({name: tensor.detach().to(target) for name, tensor in fitting.items()}, target)
            if broken := not_finite(unseen) + looking.result():
                named = listing.grouped(sorted(broken))
                logger.warning("%s: NaN or infinity in %s; predictions will be NaN", source, named)
        return model.eval(), info

    def _fill(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        """Replace all weights, which are on the meta device, by `weights` where there are any, else by new values."""
        for prefix, module in self.named_modules():
            names_of = {name: f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
            absent = [name for name, full in names_of.items() if full not in weights]
            for name in absent:
                empty = torch.empty_like(getattr(module, name), device="cpu", dtype=dtype)
                setattr(module, name, nn.Parameter(empty))
            if absent:
                self._init_weights(module)
            for name, full in names_of.items():
                if full in weights:
                    setattr(module, name, nn.Parameter(weights[full]))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        state_dict: Mapping[str, Tensor] | None = None,
        is_main_process: bool = True,
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        token: str | bool | None = None,
        variant: str | None = None,
        save_function: object = None,
        max_shard_size: int | str = "10GB",
        save_peft_format: object = None,
        **kwargs: Any,
    ) -> None:
        """Write `config.json` and the weights, which transformers 4.x and 5.x read as well; each file atomically.

        Args:
            save_directory: folder, made if absent.
            state_dict: saved instead of the model's own (gathered from many devices, say).
            is_main_process: False writes nothing, so that many processes may all call this.
            safe_serialization: False writes a pickled `pytorch_model.bin` instead of `model.safetensors`.
            push_to_hub: also upload the folder, to `repo_id` or a repository named like the folder.
            token: for the upload.
            variant: only None; a type in the file's name is what `from_pretrained` does not look for.
            save_function: changes nothing, files are written atomically; accelerate's users pass it.
            max_shard_size: weights of more bytes are split into files of at most that size, with an index: bytes, or
                text such as "200KB", "5GB", "1GiB". All published models fit into one file by default.
            save_peft_format: changes nothing; adapters are saved by PEFT itself.
            **kwargs: for `push_to_hub`.

        Raises:
            InputError: if the folder cannot be written.
            ConfigError: if asked for a variant, or shards of no size.
            TypeError: for keywords that mean nothing here.
        """
        if variant is not None:
            raise ConfigError(f"variant={variant!r}", expected="None", hint="save each type in a folder of its own")
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained() got an unexpected keyword argument {next(iter(kwargs))!r}")
        max_bytes = shards.as_bytes(max_shard_size)
        if not is_main_process:
            return
        folder = Path(save_directory)
        # What shards a model in place (FSDP2) gives it a class of torch's own.
        kind = next(kind for kind in type(self).__mro__ if not kind.__module__.startswith("torch."))
        config = type(self.config).from_dict(self.config.to_dict(), architectures=[kind.__name__])
        # Weights first: a folder with a configuration always has the weights that belong to it.
        state = self.state_dict() if state_dict is None else state_dict
        shards.write_weights(folder, state, max_bytes=max_bytes, is_safe=safe_serialization)
        config.save_pretrained(folder)
        if push_to_hub:
            hub.upload_folder(folder, kwargs.pop("repo_id", folder.resolve().name), token=token, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload the model to the hub as `repo_id`.

        Args:
            repo_id: `owner/name`, or a name alone for one's own account.
            **kwargs: `max_shard_size` and `safe_serialization` of `save_pretrained`; `use_temp_dir`, which changes
                nothing; options of `videomae.weights.hub.upload_folder`.

        Returns:
            The address of the commit.
        """
        saving = {name: kwargs.pop(name) for name in ("max_shard_size", "safe_serialization") if name in kwargs}
        kwargs.pop("use_temp_dir", None)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **saving)
            return hub.upload_folder(folder, repo_id, **{"commit_message": f"Upload {type(self).__name__}", **kwargs})


class WithoutDraws(TorchFunctionMode):
    """Inside it new modules leave their weights as they are made: on the meta device each draw takes longer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_DRAWS = frozenset((nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.uniform_, Tensor.normal_, Tensor.fill_))


def _compare(model: VideoMAEPreTrainedModel, state: Mapping[str, Tensor]) -> tuple[LoadingInfo, dict[str, Tensor]]:
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


def _check_width(config: VideoMAEConfig, state: Mapping[str, Tensor], source: str) -> None:
    """A long table of positions is not computed for weights of another width, whose shapes are listed else."""
    width = next((len(tensor) for name, tensor in state.items() if name.endswith(_PATCHES) and tensor.ndim), None)
    if config.grid.num_tokens * config.hidden_size > _LONG_TABLE and width not in (None, config.hidden_size):
        raise CheckpointError(
            f"{source} with weights {width} wide and {config.hidden_size} in its configuration",
            expected="equal widths",
            hint="its config.json belongs to other weights",
        )


def _check_types(state: Mapping[str, Tensor], source: str) -> None:
    """Quantized weights need what unpacks them; read as they are they would be noise."""
    wrong = {name: tensor.dtype for name, tensor in state.items() if tensor.dtype not in _FLOATS}
    if wrong:
        raise CheckpointError(
            f"{source} ({listing.grouped(wrong)} of type {', '.join(sorted({str(t)[6:] for t in wrong.values()}))})",
            expected="weights of type float32, bfloat16, float16 or float64",
            hint="convert them first with the library that wrote them",
        )


def _check_size_of_fresh(config: VideoMAEConfig, num_fresh: int, source: str) -> None:
    """A small file whose configuration claims a network of billions of weights must not make us draw them."""
    if num_fresh > _MOST_FRESH:
        raise CheckpointError(
            f"{source} without {num_fresh:,} weights of a network {config.hidden_size} wide",
            expected=f"at most {_MOST_FRESH:,} new weights",
            hint="its config.json belongs to other weights",
        )


def _split_options(keywords: Mapping[str, Any]) -> tuple[hub.HubOptions, dict[str, Any]]:
    """The keywords about the hub and those about the configuration, without those that change nothing here."""
    options, overrides = hub.split_hub_options({k: v for k, v in keywords.items() if k not in _WITHOUT_EFFECT})
    older_token = overrides.pop("use_auth_token", None)
    if options.get("token") is None and older_token is not None:
        options["token"] = older_token
    return options, overrides


def _single_device(device_map: Any) -> torch.device | None:
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


def _as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """None means float32 and "auto" the file's own type, which is None for `from_state`."""
    if dtype is None:
        return torch.float32
    if dtype == "auto":
        return None
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype={dtype!r}", expected="float32, bfloat16, float16 or auto", hint="leave it out")
    return found


def _log_loading(model_name: str, source: str, info: LoadingInfo) -> None:
    fresh = info["missing_keys"] + [name for name, _, _ in info["mismatched_keys"]]
    if fresh:
        logger.warning("%s from %s: newly initialized, train before use: %s", model_name, source, ", ".join(fresh))
    if info["unexpected_keys"]:
        parts = sorted({name.split(".")[0] for name in info["unexpected_keys"]})
        logger.info("%s from %s: not used: %s.*", model_name, source, ".*, ".join(parts))
