"""Low-rank adapters: what is trained, what is saved, what resumes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from small_runs import losses, stop_after, tiny_finetune_recipe
from tiny_models import make, run

import videomae
from videomae.core.errors import ConfigError
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.training.finetune import finetune
from videomae.training.lora import add_lora, merged
from videomae.training.pretrain import PretrainResult
from videomae.training.run import prepare
from videomae.training.states import RunStates
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.trainer import TrainingStopped
from videomae.weights.files import read_weights

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries


def test_adapters_start_as_nothing_and_merge_to_what_they_compute() -> None:
    model, plain = make(VideoMAEForVideoClassification), make(VideoMAEForVideoClassification)
    add_lora(model, 2, first_layer=1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if not name.startswith("videomae.")} == {
        *("fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias")
    }
    adapters = {name for name in trained if name.startswith("videomae.")}
    assert len(adapters) == 4
    assert all(".layer.1.attention.attention." in name and ".lora_" in name for name in adapters)
    assert torch.allclose(run(model).logits, run(plain).logits, atol=1e-6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_()
    expected = run(model).logits
    assert not torch.allclose(expected, run(plain).logits, atol=1e-3)
    plain.load_state_dict(merged(model.state_dict()))
    assert torch.allclose(run(plain).logits, expected, atol=1e-5)


def test_the_folder_is_an_ordinary_checkpoint(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(epochs=2, lora=4, ema_decay=0.5)
    result = finetune(colors, tmp_path, recipe, init=str(pretrained.folder))
    before, after = read_weights(pretrained.folder), read_weights(tmp_path)
    changed = {name for name in after if name in before and not torch.equal(after[name], before[name])}
    assert changed == {
        f"videomae.encoder.layer.{layer}.attention.attention.{part}.weight"
        for layer in range(4)
        for part in ("query", "value")
    }
    model, info = VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert model.config.num_labels == 3
    assert videomae.evaluate(colors, model=tmp_path, clips=1, crops=1, num_workers=0, progress=False).top1 == (
        result.best_top1
    )
    state = RunStates(tmp_path / "state").load()
    assert state is not None
    assert not any("lora_" not in name for name in state["average"]["shadow"] if name.startswith("videomae."))


def test_a_stopped_run_resumes(colors: Path, pretrained: PretrainResult, tmp_path: Path) -> None:
    recipe, init = tiny_finetune_recipe(epochs=2, lora=2, freeze=1, drop_path=0.2), str(pretrained.folder)
    finetune(colors, tmp_path / "whole", recipe, init=init)
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "parts", recipe, init=init, monitor=stop_after(4))
    finetune(colors, tmp_path / "parts", recipe, init=init)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = read_weights(tmp_path / "whole"), read_weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_without_peft(
    pretrained: PretrainResult, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    task = ClassificationTask(colors, tiny_finetune_recipe(lora=2), init=str(pretrained.folder))
    with pytest.raises(
        ConfigError, match=r"lora=2 without the package peft: expected peft; pip install 'videomae\[lora\]'"
    ):
        prepare(task, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"lora": -1}, "lora=-1"), ({"lora": 2, "freeze": "all"}, "lora=2"), ({"lora": 2, "freeze": 4}, "freeze=4 of 4")],
)
def test_what_is_refused(
    colors: Path, pretrained: PretrainResult, tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(**changes), init=str(pretrained.folder))
    with pytest.raises(ConfigError, match=said):
        prepare(task, tmp_path / "run")
