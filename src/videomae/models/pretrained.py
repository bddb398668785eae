"""What all VideoMAE models share: new weights, loading and saving."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, overload

import torch
from torch import Tensor, nn

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models import loading
from videomae.models.attentive import AttentivePooling
from videomae.models.config import VideoMAEConfig
from videomae.models.interface import ModelInterface
from videomae.weights import files, hub, listing, shards
from videomae.weights.finite import warn_of_nan

logger = logging.getLogger("videomae")


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
            dtype: type of the weights; float32 by default, "auto" for the configuration's.
            torch_dtype: the older name of `dtype`.
            **overrides: keys of the configuration that are to be others; `config` itself stays as it is.
        """
        if overrides:
            config = cls.config_class.from_dict(config.to_dict(), **overrides)
        chosen = loading.as_dtype(dtype if dtype is not None else torch_dtype)
        return cls(config).to(chosen or config.torch_dtype or torch.float32)

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
        elif isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif isinstance(module, AttentivePooling):
            nn.init.normal_(module.query, std=self.config.initializer_range)
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
    ) -> tuple[Self, loading.LoadingInfo]: ...

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
    ) -> Self | tuple[Self, loading.LoadingInfo]:
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
        source, device = pretrained_model_name_or_path, loading.single_device(device_map)
        options, overrides = loading.split_options(kwargs)
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
            dtype=loading.as_dtype(dtype if dtype is not None else torch_dtype),
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        model.name_or_path = model.config.name_or_path = str(source or config.name_or_path)
        if device is not None:
            model.to(device)
            model.hf_device_map = {"": device}
        loading.log_loading(cls.__name__, str(source or "state_dict"), info)
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
        check: Callable[[loading.LoadingInfo], None] | None = None,
    ) -> tuple[Self, loading.LoadingInfo]:
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
        loading.check_types(state, source)
        loading.check_width(config, state, source)
        with torch.device("meta"), loading.WithoutDraws():
            model = cls(config)
        info, fitting = loading.compare(model, state)
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
        loading.check_size_of_fresh(config, num_fresh, source)
        target = dtype or next(tensor.dtype for tensor in fitting.values())
        model._fill({name: tensor.detach().to(target) for name, tensor in fitting.items()}, target)
        warn_of_nan(fitting, source)
        return model.eval(), info

    def _fill(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        """Replace all weights, which are on the meta device, by `weights` where there are any, else by new values."""
        for prefix, module in self.named_modules():
            names_of = {name: f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
            absent = [name for name, full in names_of.items() if full not in weights]
            for name in absent:
                # Zeros, for classes of users whose `_init_weights` forgets some.
                setattr(module, name, nn.Parameter(torch.zeros(getattr(module, name).shape, dtype=dtype)))
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
            **kwargs: `max_shard_size` and `safe_serialization` of `save_pretrained`; options of
                `videomae.weights.hub.upload_folder`.

        Returns:
            The address of the commit.
        """
        saving = {name: kwargs.pop(name) for name in ("max_shard_size", "safe_serialization") if name in kwargs}
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **saving)
            return hub.upload_folder(folder, repo_id, **{"commit_message": f"Upload {type(self).__name__}", **kwargs})
