"""What models return: readable by attribute, by key, by index and as a tuple, like transformers' output classes."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree

from videomae.models.transformers_types import also_theirs


class ModelOutput(OrderedDict[str, Any]):
    """A mapping from field names to values; a field that is None is omitted, and reads as None by attribute.

    Fields are the annotations of the subclass, in order. Can be built from keywords or from one mapping, which is how
    accelerate and torch's parallel wrappers rebuild it. Where transformers is loaded, it is a `ModelOutput` of theirs
    too.
    """

    # The methods of `OrderedDict` are named in what follows, because those of theirs forbid some of it.
    _fields: tuple[str, ...] = ()
    __class__ = also_theirs("transformers.utils.generic", "ModelOutput")

    def __init__(self, values: Any = None, /, **keywords: Any) -> None:
        OrderedDict.__init__(self)
        if values is not None and not isinstance(values, Mapping):
            values = {self.fields()[0]: values}
        given = {**(values or {}), **keywords}
        unknown = [name for name in given if name not in self.fields()]
        if unknown:
            raise TypeError(self._no_field(unknown[0]))
        for name in self.fields():
            if given.get(name) is not None:
                OrderedDict.__setitem__(self, name, given[name])

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Names of all fields, in order."""
        return cls._fields

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are not None, in order."""
        return tuple(self.values())

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return OrderedDict.__getitem__(self, key)
        return self.to_tuple()[key]

    def __getattr__(self, name: str) -> Any:
        if name in type(self).fields():
            return self.get(name)
        raise AttributeError(self._no_field(name))

    def __setitem__(self, name: str, value: Any) -> None:
        # `update` and `setdefault` of an OrderedDict come through here.
        if name not in type(self).fields():
            raise KeyError(self._no_field(name))
        OrderedDict.__setitem__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).fields():
            super().__setattr__(name, value)
        elif value is None:
            OrderedDict.pop(self, name, None)
        else:
            self[name] = value

    @classmethod
    def _no_field(cls, name: object) -> str:
        return f"{cls.__name__} has no field {name!r}; it has {', '.join(cls.fields())}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(inspect.get_annotations(cls)) or cls._fields
        # torch's FSDP and compiled wrappers walk through outputs only where they are registered.
        _pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output.keys())),
            lambda values, names: cls(dict(zip(names, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__name__}",
        )


class BaseModelOutput(ModelOutput):
    """Of the encoder.

    Fields:
        last_hidden_state: (B, N, D), the tokens after the last layer (and the final norm where there is one).
        hidden_states: depth + 1 tensors (B, N, D): the embeddings, then each layer's output.
        attentions: depth tensors (B, heads, N, N): attention after softmax, dropout and `head_mask`.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class VideoMAEDecoderOutput(ModelOutput):
    """Of the decoder.

    Fields:
        logits: (B, M, P), rebuilt tubelets in target order (t, y, x, C).
        hidden_states: depth + 1 tensors (B, N, D).
        attentions: depth tensors (B, heads, N, N).
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class VideoMAEForPreTrainingOutput(ModelOutput):
    """Of pre-training.

    Fields:
        loss: scalar, mean squared error over the hidden tubelets.
        logits: (B, M, P), rebuilt tubelets in target order (t, y, x, C), normalized where `norm_pix_loss`.
        hidden_states: of the encoder, as in `BaseModelOutput`.
        attentions: of the encoder, as in `BaseModelOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class ImageClassifierOutput(ModelOutput):
    """Of the classifier (the name is transformers').

    Fields:
        loss: scalar, where labels were given.
        logits: (B, num_labels), scores before softmax.
        hidden_states: as in `BaseModelOutput`.
        attentions: as in `BaseModelOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None
