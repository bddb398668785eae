"""Names of tensors in few words."""

from __future__ import annotations

import pytest

from videomae.weights.listing import grouped, misfits


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["mask_token"], "mask_token"),
        (["a.0.w"], "a.0.w"),
        ([f"a.{i}.w" for i in (5, 3, 4)], "a.{3-5}.w (3)"),
        ([f"a.{i}.{w}" for i in (0, 1, 11) for w in "xy"], "a.{0-1,11}.x (3), a.{0-1,11}.y (3)"),
        ([f"a.{i}.{w}" for i in range(12) for w in "wxyz"], "a.{0-11}.* (48)"),
        ([f"a.2.{w}" for w in "wxyz"], "a.2.* (4)"),
        (["n.weight", "n.bias", "h.weight"], "n.weight, n.bias, h.weight"),
        ([f"n.{w}" for w in "wxyz"], "n.* (4)"),
        (["a\nb", "x" * 500], r"'a\nb', " + "x" * 120),
        ([f"m{i}.w" for i in range(8)], "m0.w, m1.w, m2.w, m3.w, m4.w, m5.w, … and 2 more"),
    ],
)
def test_groups(names: list[str], text: str) -> None:
    assert grouped(names) == text


def test_kinds_of_misfits() -> None:
    assert misfits(missing=(), unexpected=(), mismatched=()) == ""
    text = misfits(missing=["a"], unexpected=["b"], mismatched=[("c.0.w", (1,), (2,)), ("c.1.w", (1,), (2,))])
    assert text == "missing: a; unexpected: b; misshaped: c.{0-1}.w (2) of shape (1,) instead of (2,)"
