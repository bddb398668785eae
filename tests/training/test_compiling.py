"""torch.compile: the same numbers, few graphs, and training without it where it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled_networks import CONFIG
from small_runs import Recorder, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.models.modeling import VideoMAEForPreTraining
from videomae.models.network import Layer
from videomae.training import run
from videomae.training.compiling import compile_layers
from videomae.training.run import prepare, run_to_end
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask

# The tracer looks at it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def test_a_compiler_that_fails_is_told_and_training_goes_on(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler here\nand more lines")

    monkeypatch.setattr("videomae.training.compiling._try", broken)
    monitor = Recorder()
    task = ClassificationTask(colors, tiny_finetune_recipe(compile=True), init="scratch")
    trainer = prepare(task, tmp_path, monitor=monitor)
    assert monitor.notes == ["not compiled, torch.compile failed here: RuntimeError: no C++ compiler here"]
    layers = trainer.model.videomae.encoder.layer
    assert all(layer._compiled_call_impl is None for layer in layers)


def test_compiled_layers_compute_the_same_under_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that only traces, so that no C++ compiler is needed."""
    model = VideoMAEForPreTraining(CONFIG).train()
    names = list(model.state_dict())
    clips, hidden = torch.randn(2, 4, 3, 32, 32), torch.tensor([[True, False, True, False] * 2] * 2)
    expected = model(clips, hidden).loss
    real = Layer.compile
    monkeypatch.setattr(Layer, "compile", lambda layer: real(layer, backend="aot_eager"))
    notes: list[str] = []
    assert compile_layers(model, (2, 2), precision="fp32", note=notes.append), notes
    assert all(layer._compiled_call_impl is not None for layer in model.modules() if isinstance(layer, Layer))
    assert list(model.state_dict()) == names
    assert all(parameter.grad is None for parameter in model.parameters())
    loss = model(clips, hidden).loss
    loss.backward()
    torch.testing.assert_close(loss, expected)


def test_the_whole_network_is_one_graph_and_computes_the_same() -> None:
    script = Path(__file__).parents[1] / "compiled_networks.py"
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"pretraining", "dual", "classification"}
    for task, numbers in found.items():
        assert numbers["graphs"] == 1, task
        assert numbers["difference"] < 1e-5, task


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_on_one_gpu_the_last_batch_of_an_epoch_runs_uncompiled(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    sizes: list[int] = []

    def compile_(model: Any, **options: Any) -> Any:
        assert options == {"dynamic": False, "mode": "reduce-overhead"}

        def compiled(clips: torch.Tensor, *args: Any, **arguments: Any) -> Any:
            sizes.append(len(clips))
            return model(clips, *args, **arguments)

        return compiled

    monkeypatch.setattr(run, "compiles_whole", lambda device, world_size: True)
    monkeypatch.setattr(torch, "compile", compile_)

    def losses(name: str, compiled: bool) -> list[float]:
        changes: dict[str, Any] = {"batch_size": 4, "epochs": 2, "compile": compiled, "log_every": 1}
        task: Any
        if command == "pretrain":
            task = PretrainingTask(colors, tiny_pretrain_recipe(**changes))
        else:
            task = ClassificationTask(colors, tiny_finetune_recipe(**changes), init="scratch")
        monitor = Recorder()
        trainer = prepare(task, tmp_path / name, monitor=monitor)
        assert not any("not compiled" in note for note in monitor.notes), monitor.notes
        run_to_end(trainer)
        return [line["loss"] for line in trainer.folder.read_metrics() if line["split"] == "train"]

    # 18 clips: four whole batches and one of two, twice; one batch was tried before.
    assert losses("plain", False) == losses("compiled", True)
    assert sizes == [4] * 9


def test_a_network_that_cannot_be_compiled_trains_uncompiled(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no Triton here\nand more lines")

    def compile_(*_: object, **__: object) -> Any:
        return broken

    monkeypatch.setattr(run, "compiles_whole", lambda device, world_size: True)
    monkeypatch.setattr(torch, "compile", compile_)
    monitor = Recorder()
    trainer = prepare(PretrainingTask(colors, tiny_pretrain_recipe(compile=True, epochs=1)), tmp_path, monitor=monitor)
    assert monitor.notes == ["not compiled, torch.compile failed here: RuntimeError: no Triton here"]
    assert trainer.network is trainer.model
    run_to_end(trainer)
    assert trainer.step == trainer.total_steps
