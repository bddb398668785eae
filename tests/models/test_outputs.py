"""Outputs as mappings: their fields may be set and deleted, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from videomae.models.outputs import ImageClassifierOutput

WAYS: dict[str, Callable[[Any, str], Any]] = {
    "item": lambda output, name: output.__setitem__(name, 1),
    "update with a mapping": lambda output, name: output.update({name: 1}),
    "update with keywords": lambda output, name: output.update(**{name: 1}),
    "update with pairs": lambda output, name: output.update([(name, 1)]),
    "setdefault": lambda output, name: output.setdefault(name, 1),
    "merge": lambda output, name: output.__ior__({name: 1}),
}


@pytest.mark.parametrize("way", WAYS)
def test_only_fields_are_set(way: str) -> None:
    output = ImageClassifierOutput(logits=0)

    with pytest.raises(KeyError, match="ImageClassifierOutput has no field 'logit'; it has loss, logits"):
        WAYS[way](output, "logit")

    assert dict(output) == {"logits": 0}
    WAYS[way](output, "loss")
    assert output["loss"] == output.loss == 1


def test_fields_can_be_deleted() -> None:
    output = ImageClassifierOutput(logits=0, loss=1)

    del output["loss"]

    assert output.loss is None
    assert output.to_tuple() == (0,)
