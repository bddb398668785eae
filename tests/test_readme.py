"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

README = Path(__file__).parents[1] / "README.md"


def test_the_python_snippet(
    colors: Path,
    pretrained: PretrainResult,
    finetuned: FinetuneResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On models of small clips: nothing in it holds for one size only."""
    first, snippet = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for name, target in {
        "pretrained": pretrained.folder,
        "classifier": finetuned.folder,
        "holiday.mp4": colors / "val/red/red_0.mp4",
    }.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(snippet, str(README), "exec"), names)
    assert capsys.readouterr().out.strip() in finetuned.class_names
    assert list(names["indices"]) == [2, 3, 4, 5]  # type: ignore[call-overload]
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert loss.item() > 0
    # The training itself is in tests/api; what is done with its results runs as it stands.
    (tmp_path / "clips").symlink_to(colors)
    (tmp_path / "videos").symlink_to(colors / "val")
    lines = [line for line in first.splitlines() if not re.match(r"videomae\.(pretrain|finetune)\(", line)]
    assert len(lines) == len(first.splitlines()) - 2
    exec(compile("\n".join(lines), str(README), "exec"), {})
