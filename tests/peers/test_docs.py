"""What docs/transformers.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_models import make

import videomae

# The peers' own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

PAGE = Path(__file__).parents[2] / "docs/transformers.md"


def test_the_example(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", minversion="5.20.2", reason="needs the peers extra")
    pytest.importorskip("accelerate", reason="needs the peers extra")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = videomae.VideoDataset(colors, split="train").class_names
    make(videomae.VideoMAEForVideoClassification, id2label=dict(enumerate(names))).save_pretrained(
        tmp_path / "classifier"
    )
    videomae.VideoMAEImageProcessor(
        size={"shortest_edge": 16},
        crop_size={"height": 16, "width": 16},
        sampling={"method": "dense", "num_frames": 4, "frame_stride": 1},
    ).save_pretrained(tmp_path / "classifier")
    (tmp_path / "clips").symlink_to(colors)
    (tmp_path / "holiday.mp4").symlink_to(colors / "val/red/red_0.mp4")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}

    exec(compile(example, str(PAGE), "exec"), found)

    printed = [line for line in capsys.readouterr().out.splitlines() if line in names]
    assert len(printed) == 2
    assert found["theirs"].config.id2label == dict(enumerate(names))  # type: ignore[attr-defined]
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        p.name for p in Path("trained").iterdir()
    }


def test_every_model_method_in_the_table_is_there() -> None:
    """Those that the table says are the same, by name."""
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `from_config`"))

    for name in re.findall(r"`(\w+)`", row):
        assert hasattr(videomae.VideoMAEModel(make(videomae.VideoMAEModel).config), name), name
