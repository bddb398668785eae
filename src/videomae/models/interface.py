"""The small methods of transformers' models that tools ask for; none of them reads or writes a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from videomae.core.errors import ConfigError
from videomae.models import limits
from videomae.models.config import VideoMAEConfig
from videomae.models.network import LayerStack
from videomae.models.pruning import prune_attention
from videomae.models.transformers_types import also_theirs, attribute_of_theirs


class ModelInterface(nn.Module):
    """Where the weights are and how many, embeddings, head pruning, gradient checkpointing.

    Where transformers is loaded, a model is a `PreTrainedModel` of theirs too.
    """

    __class__ = also_theirs("transformers.modeling_utils", "PreTrainedModel")
    config: VideoMAEConfig
    config_class = VideoMAEConfig
    base_model_prefix = "videomae"
    main_input_name = "pixel_values"
    input_modalities = "video"
    framework = "pt"
    supports_gradient_checkpointing = True
    # What accelerate, FSDP and DeepSpeed keep on one device.
    _no_split_modules = ("Embeddings", "Layer")
    hf_device_map: dict[str, torch.device]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # What a release of transformers asks of any model of its own, and no other library does.
            return attribute_of_theirs(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # Left to itself, pickle refuses an object whose `__class__` is not its type.
        return object.__new__, (type(self),), self.__getstate__()

    @property
    def base_model(self) -> Any:
        """The encoder: of a model with a head its `videomae`, of a `VideoMAEModel` itself."""
        return getattr(self, self.base_model_prefix, self)

    @classmethod
    def can_generate(cls) -> bool:
        """Whether the model writes text: never."""
        return False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the floating-point weights."""
        return next(parameter.dtype for parameter in self.parameters() if parameter.is_floating_point())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the weights hold, all or those that are trained.

        Args:
            only_trainable: count only weights that are trained.
            exclude_embeddings: changes nothing, since there are no embedding tables; transformers' Trainer passes it.
        """
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes that the weights take, and with `return_buffers` the tables of positions."""
        tensors = [*self.parameters(), *(self.buffers() if return_buffers else ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def get_input_embeddings(self) -> nn.Module:
        """The patch embedding."""
        return self.base_model.embeddings.patch_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the patch embedding: a module of (pixel_values, visible), as `embeddings.PatchEmbeddings`."""
        self.base_model.embeddings.patch_embeddings = value

    def get_output_embeddings(self) -> None:
        """None: no model here predicts words."""

    def tie_weights(self, **_: Any) -> None:
        """Nothing: no two weights are one here."""

    def enable_input_require_grads(self) -> None:
        """Let gradients flow into the embedded tokens, which training adapters with gradient checkpointing may need."""
        self._input_hook = self.get_input_embeddings().register_forward_hook(
            lambda module, arguments, output: output.requires_grad_(True)
        )

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        self._input_hook.remove()

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Remove attention heads of the encoder: their weights go, and `config.pruned_heads` remembers them.

        Args:
            heads_to_prune: the heads to remove of each layer, numbered as before any were removed; those that are
                gone already may be among them.

        Raises:
            ConfigError: for a layer or head that does not exist, or if a layer would keep none.
        """
        pruned = {layer: set(heads) for layer, heads in self.config.pruned_heads.items()}
        for layer, heads in heads_to_prune.items():
            pruned[layer] = pruned.get(layer, set()) | set(heads)
        wanted = {layer: sorted(heads) for layer, heads in pruned.items() if heads}
        limits.check_pruned_heads(wanted, self.config.num_hidden_layers, self.config.num_attention_heads)
        self.config.pruned_heads = wanted
        for layer, gone in wanted.items():
            prune_attention(self.base_model.encoder.layer[layer].attention, gone)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether any layers are recomputed in the backward pass."""
        return any(stack.gradient_checkpointing for stack in self._layer_stacks())

    is_activation_checkpointing = is_gradient_checkpointing

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Recompute layers in the backward pass: less memory, about a third more time.

        Args:
            gradient_checkpointing_kwargs: for `torch.utils.checkpoint.checkpoint`; default `use_reentrant=False`.
            every_n_layers: recompute only each n-th layer, starting with the first.
            offload: must be False; transformers' Trainer passes it.

        Raises:
            ConfigError: for `every_n_layers` below 1, or `offload`.
        """
        if every_n_layers < 1:
            raise ConfigError(
                f"every_n_layers={every_n_layers}", expected="1 or more", hint="1 recomputes each layer, 2 every other"
            )
        if offload:
            raise ConfigError(
                "offload=True",
                expected="activations that stay on the device",
                hint="wrap the training step in torch.autograd.graph.save_on_cpu() to move them to the CPU",
            )
        for stack in self._layer_stacks():
            stack.gradient_checkpointing = True
            stack.checkpoint_every = every_n_layers
            stack.checkpoint_options = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """`gradient_checkpointing_enable` under the name by which transformers' Trainer calls it from 5.23 on."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, every_n_layers, offload)

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        for stack in self._layer_stacks():
            stack.gradient_checkpointing = False

    def _layer_stacks(self) -> list[LayerStack]:
        return [module for module in self.modules() if isinstance(module, LayerStack)]
