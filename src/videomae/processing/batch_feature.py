"""What a processor returns: a dictionary whose entries are attributes too."""

from __future__ import annotations

from typing import Any, Self

from videomae.core.errors import ShapeError


class BatchFeature(dict[str, Any]):
    """A dictionary of a model's inputs: `inputs.pixel_values`, `inputs["pixel_values"]` and `model(**inputs)` work."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}; it has {', '.join(self) or 'nothing'}"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move every tensor to a device and cast those of floating point, in place.

        Args:
            args, kwargs: as of `torch.Tensor.to`: a device, a dtype, or both. Whole numbers and masks keep their dtype.

        Returns:
            The same object.

        Raises:
            ShapeError: an entry is no tensor.
        """
        import torch

        for name, value in self.items():
            if not isinstance(value, torch.Tensor):
                raise ShapeError(
                    f"{name} of type {type(value).__name__}",
                    expected="a tensor",
                    hint='process with return_tensors="pt"',
                )
        device = kwargs.get("device", None if not args or isinstance(args[0], torch.dtype) else args[0])
        non_blocking = kwargs.get("non_blocking", False)
        for name, value in self.items():
            if value.is_floating_point():
                self[name] = value.to(*args, **kwargs)
            elif device is not None:
                self[name] = value.to(device=device, non_blocking=non_blocking)
        return self
