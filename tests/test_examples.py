"""The scripts in examples/ run, and do what they say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import videomae
from videomae.training.pretrain import PretrainResult

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, *arguments: object, **settings: Any) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]([str(word) for word in arguments], **settings)


def run_notebook(name: str, **parameters: object) -> dict[str, Any]:
    """Run the code cells of a notebook in order, with other parameters; its names."""
    cells = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}.ipynb {cell['id']}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert parameters.keys() <= names.keys()
            names.update(parameters)
    return names


def test_each_example_is_tested() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.stem}"' in tested for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")])


def test_the_notebook_of_fine_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_notebook("finetune", EPOCHS=1, CLIPS_PER_CLASS=2, WORK=tmp_path / "run")
    assert names["evaluation"].metrics.confusion.sum() == 64
    assert len(names["predictions"]) == 8
    assert "of 64 videos" in capsys.readouterr().out


def test_the_notebook_of_pre_training(tmp_path: Path) -> None:
    names = run_notebook("pretrain", EPOCHS=1, NUM_CLIPS=24, WORK=tmp_path / "run")
    assert names["losses"]
    assert (tmp_path / "run/rebuilt.png").stat().st_size > 1000


def test_own_training_loop(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    words = ["--checkpoint", pretrained.folder, "--output", tmp_path / "out", "--epochs", "4", "--num-workers", "0"]
    assert run_example("own_training_loop", colors, *words) > 0.5
    predicted = videomae.predict(colors / "val", model=tmp_path / "out", num_workers=0, progress=False)
    assert len(predicted) == 6


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_transformers_trainer(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    words = ["--checkpoint", pretrained.folder, "--output", tmp_path / "out", "--epochs", "1"]
    assert 0 <= run_example("transformers_trainer", colors, *words)["eval_top1"] <= 1
    assert videomae.Checkpoint.open(tmp_path / "out").model.config.num_labels == 3


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_lora(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    words = ["--checkpoint", pretrained.folder, "--output", tmp_path / "out", "--epochs", "1"]
    assert run_example("lora", colors / "train", *words) < 3
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_linear_classifier_on_features(pretrained: PretrainResult, colors: Path) -> None:
    assert run_example("linear_classifier_on_features", colors, "--checkpoint", pretrained.folder) > 0.5
