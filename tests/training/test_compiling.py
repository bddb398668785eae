"""torch.compile: the same numbers, few graphs, and training without it where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Recorder, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.masks import tube_mask
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae.models.network import Layer
from videomae.training import compiling
from videomae.training.compiling import compile_layers, whole_network
from videomae.training.run import prepare, run_to_end
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask

# The tracer looks at it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")

TINY = VideoMAEConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
    image_size=32,
    num_frames=4,
    num_labels=3,
)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """torch.compile only traces, so that no C++ compiler is needed; the list gets the size of each graph."""
    from torch._dynamo.backends.registry import lookup_backend

    found: list[int] = []
    real = torch.compile

    def traced(graph: Any, inputs: Any) -> Any:
        found.append(len(graph.graph.nodes))
        return lookup_backend("aot_eager")(graph, inputs)

    def compile_(model: Any, *, mode: str | None = None, **options: Any) -> Any:
        return real(model, backend=traced, **options)

    monkeypatch.setattr(torch, "compile", compile_)
    torch._dynamo.reset()
    return found


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
    model = VideoMAEForPreTraining(TINY).train()
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


@pytest.mark.parametrize("task", ["pretraining", "dual", "classification"])
def test_the_whole_network_is_one_graph_and_computes_the_same(graphs: list[int], task: str) -> None:
    torch.manual_seed(0)
    model: Any = (VideoMAEForVideoClassification if task == "classification" else VideoMAEForPreTraining)(TINY).train()
    names = list(model.state_dict())
    arguments: dict[str, Any] = {}
    if task == "classification":
        clips: Any = torch.randn(3, 4, 3, 32, 32)
    else:
        clips = torch.randint(256, (3, 4, 3, 32, 32), dtype=torch.uint8)
        arguments["bool_masked_pos"] = tube_mask(3, TINY.grid.shape, 0.5, generator=torch.Generator().manual_seed(1))
        if task == "dual":
            arguments["decoder_masked_pos"] = torch.tensor([[False, True] * 4] * 3)

    def losses(network: Any, num_clips: int) -> tuple[float, list[torch.Tensor]]:
        output = network(clips[:num_clips], **{name: value[:num_clips] for name, value in arguments.items()})
        loss = output.logits.square().mean() if output.get("loss") is None else output.loss
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return loss.item(), [gradient for gradient in gradients if gradient is not None]

    expected = {number: losses(model, number) for number in (3, 2)}
    network = whole_network(model, 3, cuda_graphs=True)
    for number in (3, 2, 3):
        loss, gradients = losses(network, number)
        assert loss == pytest.approx(expected[number][0], rel=1e-6)
        torch.testing.assert_close(gradients, expected[number][1], rtol=1e-4, atol=1e-6)
    assert len(graphs) == 1
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_run_on_one_gpu_with_a_smaller_last_batch_compiles_once(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: list[int], command: str
) -> None:
    monkeypatch.setattr(compiling, "_is_one_gpu", lambda trainer: True)

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

    plain, compiled = losses("plain", False), losses("compiled", True)
    assert len(graphs) == 1
    assert len(compiled) == 10  # 18 clips: four whole batches and one of two, twice
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_a_network_that_cannot_be_compiled_trains_uncompiled(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no Triton here\nand more lines")

    def compile_(*_: object, **__: object) -> Any:
        return broken

    monkeypatch.setattr(compiling, "_is_one_gpu", lambda trainer: True)
    monkeypatch.setattr(torch, "compile", compile_)
    monitor = Recorder()
    trainer = prepare(PretrainingTask(colors, tiny_pretrain_recipe(compile=True, epochs=1)), tmp_path, monitor=monitor)
    assert monitor.notes == ["not compiled, torch.compile failed here: RuntimeError: no Triton here"]
    assert trainer.network is trainer.model
    run_to_end(trainer)
    assert trainer.step == trainer.total_steps
