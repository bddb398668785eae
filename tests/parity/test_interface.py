"""In transformers 4.34.0 and 5.x: our shards, pickles and pruned heads, and the pipeline of 4.34.0 on our objects."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TINY, make
from tiny_videos import gradient_frames

import videomae
from videomae.video.writer import write_video

pytestmark = pytest.mark.parity

HERE, SOURCE = Path(__file__).parent, Path(__file__).parents[2] / "src"
VERSIONS = {"4.34.0": "VIDEOMAE_PARITY_PYTHON_434", "5": "VIDEOMAE_PARITY_PYTHON_5"}
PRUNED = {0: [1, 2], 1: [3]}
LABELS = {0: "push", 1: "pull", 2: "turn"}
CLASSES = {
    "VideoMAEModel": "AutoModel",
    "VideoMAEForPreTraining": "AutoModelForPreTraining",
    "VideoMAEForVideoClassification": "AutoModelForVideoClassification",
}
# What a folder holds: changes of the configuration, how it is saved, and the class that loads it.
FOLDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole": ({}, {}),
    "shards": ({}, {"max_shard_size": "20KB"}),
    "pickle": ({}, {"safe_serialization": False}),
    "pickled_shards": ({}, {"safe_serialization": False, "max_shard_size": "20KB"}),
    # Theirs cannot prune heads whose queries and values have a bias.
    "pruned": ({"qkv_bias": False, "pruned_heads": PRUNED}, {}),
}
# transformers 5 neither prunes heads nor knows them in a configuration.
LOADS = [(v, f, c) for v in VERSIONS for f in FOLDERS for c in CLASSES if (v, f) != ("5", "pruned")]


def run(version: str, script: str, *arguments: object, **more: str) -> None:
    python = os.environ.get(VERSIONS[version])
    if not python:
        pytest.skip(f"{VERSIONS[version]} names no interpreter with transformers {version}; run `make parity`")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2", **more)
    command = [python, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def inputs_of(class_name: str) -> dict[str, torch.Tensor]:
    inputs = {"pixel_values": torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(6))}
    if class_name == "VideoMAEForPreTraining":
        inputs["bool_masked_pos"] = (torch.arange(8) % 2 == 0).repeat(2, 1)
    if class_name == "VideoMAEForVideoClassification":
        inputs["labels"] = torch.tensor([2, 1])
    return inputs


def assert_outputs(model: Any, inputs: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    """Those in `tensors`, hidden states too, within 1e-5."""
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    found = {f"outputs/hidden_states.{index}": value for index, value in enumerate(output.pop("hidden_states"))}
    found.update({f"outputs/{name}": value for name, value in output.items()})
    expected = {name: value for name, value in tensors.items() if name.startswith("outputs/")}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= 1e-5 * max(1.0, value.abs().max().item()), name


@pytest.fixture(scope="module")
def loaded_by_them(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """All folders of ours, loaded by one run of a release's interpreter, on first use."""
    made: dict[str, Path] = {}

    def load(version: str) -> Path:
        if version in made:
            return made[version]
        root, jobs = tmp_path_factory.mktemp("loaded"), []
        for _, folder, class_name in [entry for entry in LOADS if entry[0] == version]:
            changes, options = FOLDERS[folder]
            path = root / f"{folder}-{class_name}"
            make(getattr(videomae, class_name), id2label=LABELS, **changes).save_pretrained(path, **options)
            inputs = {f"inputs/{name}": value for name, value in inputs_of(class_name).items()}
            save_file(inputs, path / "inputs.safetensors")
            jobs.append(
                {
                    "action": "load",
                    "class": CLASSES[class_name],
                    "folder": str(path),
                    "tensors": str(path / "inputs.safetensors"),
                    "outputs": str(path / "outputs.safetensors"),
                }
            )
        (root / "jobs.json").write_text(json.dumps(jobs))
        run(version, "peer.py", root / "jobs.json")
        made[version] = root
        return root

    return load


@pytest.mark.parametrize(("version", "folder", "class_name"), LOADS)
def test_their_auto_classes_load_ours(
    version: str, folder: str, class_name: str, loaded_by_them: Callable[[str], Path]
) -> None:
    path = loaded_by_them(version) / f"{folder}-{class_name}"
    report = json.loads((path / "outputs.json").read_text())

    assert report["transformers"].startswith(version)
    assert not any(report["info"].values()), report["info"]
    assert report["id2label"] == {str(index): label for index, label in LABELS.items()}
    model = make(getattr(videomae, class_name), id2label=LABELS, **FOLDERS[folder][0])
    assert_outputs(model, inputs_of(class_name), load_file(path / "outputs.safetensors"))


@pytest.mark.parametrize("class_name", CLASSES)
def test_we_load_heads_that_they_pruned(class_name: str, tmp_path: Path) -> None:
    job = {
        "action": "save",
        "class": class_name,
        "folder": str(tmp_path / "pruned"),
        "tensors": str(tmp_path / "outputs.safetensors"),
        "config": {**TINY, "qkv_bias": False},
        "options": {"safe_serialization": True},
        "pruned": [[layer, heads] for layer, heads in PRUNED.items()],
    }
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    run("4.34.0", "peer.py", tmp_path / "jobs.json")

    model, info = getattr(videomae, class_name).from_pretrained(tmp_path / "pruned", output_loading_info=True)

    assert not any(info.values())
    assert model.config.pruned_heads == PRUNED
    tensors = load_file(tmp_path / "outputs.safetensors")
    inputs = {name.removeprefix("inputs/"): value for name, value in tensors.items() if name.startswith("inputs/")}
    assert_outputs(model, inputs, tensors)


@pytest.fixture
def our_folder(tmp_path: Path) -> Path:
    model = make(videomae.VideoMAEForVideoClassification, id2label=LABELS)
    processor = videomae.VideoMAEImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    return tmp_path / "ours"


def test_their_pipeline_takes_our_objects(our_folder: Path, tmp_path: Path) -> None:
    video, out = tmp_path / "clip.mp4", tmp_path / "answers.json"
    write_video(video, gradient_frames(30, 64, 64, 8), frames_per_second=10)  # decord fails on some smaller ones

    run("4.34.0", "peer_objects.py", "pipeline", our_folder, video, out, PYTHONPATH=str(SOURCE))

    answers = json.loads(out.read_text())
    assert answers["transformers"] == "4.34.0"
    assert answers["is_theirs"]
    model = videomae.VideoMAEForVideoClassification.from_pretrained(our_folder)
    processor = videomae.VideoMAEImageProcessor.from_pretrained(our_folder)
    with torch.no_grad():
        inputs = processor(list(videomae.read_video(video, range(4))), return_tensors="pt")
        expected = model(**inputs).logits[0].softmax(-1)
    for answer in [answers["one"], *answers["many"]]:
        assert [entry["label"] for entry in answer] == [LABELS[int(i)] for i in expected.argsort(descending=True)]
        scores = {entry["label"]: entry["score"] for entry in answer}
        # decord's conversion to RGB and ours may differ by a level.
        assert torch.allclose(torch.tensor([scores[label] for label in LABELS.values()]), expected, atol=0.02)
    loaded = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "answers")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_their_trainer_saves_our_model_whole(our_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "trained", tmp_path / "report.json"

    run("4.34.0", "peer_objects.py", "trainer", our_folder, folder, out, PYTHONPATH=str(SOURCE))

    report = json.loads(out.read_text())
    assert report["transformers"] == "4.34.0"
    assert report["labels"] == {str(index): label for index, label in LABELS.items()}
    assert report["difference"] < 1e-5
    saved = torch.load(folder / "outputs.pt", weights_only=True)
    for path in (folder, Path(report["best"])):
        assert (path / "pytorch_model.bin").exists()  # what 4.34.0 asks for by default
        model, info = videomae.VideoMAEForVideoClassification.from_pretrained(path, output_loading_info=True)
        assert not any(info.values())
        assert model.config.id2label == LABELS
        with torch.no_grad():
            assert torch.allclose(model(saved["pixel_values"]).logits, saved["logits"], atol=1e-5)
