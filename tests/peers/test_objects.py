"""transformers 5.x at work on our objects themselves: its video pipeline, and what its Trainer saves of our model."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from hub_server import stand_in_hub
from tiny_models import TINY, make, run

import videomae

# The peers' own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

LABELS = {0: "push", 1: "pull", 2: "turn"}


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", minversion="5.20.2", reason="needs the peers extra")


def new_processor() -> videomae.VideoMAEImageProcessor:
    return videomae.VideoMAEImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def expected_scores(model: Any, processor: Any, video: Path) -> torch.Tensor:
    """Of the first frames, which are those that the pipeline takes."""
    frames = list(videomae.read_video(video, range(model.config.num_frames)))
    with torch.no_grad():
        return model(**processor(frames, return_tensors="pt")).logits[0]


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(
    ("problem_type", "to_scores"),
    [
        ("single_label_classification", lambda logits: logits.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda logits: logits),
    ],
)
def test_pipeline(transformers: Any, problem_type: str, to_scores: Any, batch_size: int, videos: list[Path]) -> None:
    model = make(videomae.VideoMAEForVideoClassification, id2label=LABELS, problem_type=problem_type)
    processor = new_processor()

    classify = transformers.pipeline("video-classification", model=model, image_processor=processor, device="cpu")
    answers = classify([str(video) for video in videos[:3]], top_k=3, batch_size=batch_size)
    if inspect.signature(classify.postprocess).parameters["function_to_apply"].default == "softmax":
        to_scores = torch.nn.Softmax(-1)  # what older releases do for every problem type

    assert "VideoMAEForVideoClassification" in repr(classify)
    for video, answer in zip(videos, answers, strict=False):
        expected = to_scores(expected_scores(model, processor, video))
        assert [entry["label"] for entry in answer] == [LABELS[int(i)] for i in expected.argsort(descending=True)]
        scores = {entry["label"]: entry["score"] for entry in answer}
        found = torch.tensor([scores[label] for label in LABELS.values()])
        # PyAV's conversion to RGB in the pipeline and ours may differ by a level.
        assert torch.allclose(found, expected, atol=0.02)
    assert answers[0] != answers[2]


def test_pipeline_saves_our_objects(transformers: Any, tmp_path: Path) -> None:
    model, processor = make(videomae.VideoMAEForVideoClassification, id2label=LABELS), new_processor()

    transformers.pipeline("video-classification", model=model, image_processor=processor).save_pretrained(tmp_path)

    loaded, info = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.config.id2label == LABELS
    assert videomae.VideoMAEImageProcessor.from_pretrained(tmp_path) == processor


def two_brightnesses() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    shape = (4, 3, 16, 16)
    return [
        {"pixel_values": 0.3 * torch.randn(shape, generator=generator) + label - 0.5, "labels": label}
        for label in [0, 1] * 8
    ]


def new_trainer(transformers: Any, folder: Path, *, model: Any = None, **changes: Any) -> Any:
    pytest.importorskip("accelerate", reason="needs the peers extra")
    torch.manual_seed(0)
    config = videomae.VideoMAEConfig(**TINY, id2label={0: "dark", 1: "bright"})
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
        learning_rate=1e-2,
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        report_to="none",
        use_cpu=True,
        seed=0,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **changes,
    )
    clips = two_brightnesses()
    return transformers.Trainer(
        model=model or videomae.VideoMAEForVideoClassification(config),
        args=arguments,
        train_dataset=clips,
        eval_dataset=clips,
        processing_class=new_processor(),
        data_collator=transformers.default_data_collator,
    )


def logits_of(model: Any) -> torch.Tensor:
    clips = torch.stack([clip["pixel_values"] for clip in two_brightnesses()])
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(clips).logits
    return logits


@pytest.fixture(scope="module")
def trained(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A trainer after its work, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    trainer = new_trainer(transformers, folder)
    trainer.train()
    trainer.save_model()
    return trainer, folder


@pytest.mark.parametrize("name", ["", "checkpoint-2", "checkpoint-6"])
def test_trainers_folders_are_checkpoints(name: str, transformers: Any, trained: tuple[Any, Path]) -> None:
    trainer, folder = trained
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        p.name for p in (folder / name).iterdir()
    }
    config = json.loads((folder / name / "config.json").read_text())
    assert config["architectures"] == ["VideoMAEForVideoClassification"]

    ours, info = videomae.VideoMAEForVideoClassification.from_pretrained(folder / name, output_loading_info=True)
    theirs, other = transformers.AutoModelForVideoClassification.from_pretrained(
        folder / name, output_loading_info=True
    )

    assert not any(info.values())
    assert not any(other.values())
    assert ours.config.id2label == theirs.config.id2label == {0: "dark", 1: "bright"}
    assert torch.allclose(logits_of(ours), logits_of(theirs), atol=1e-5)
    assert videomae.VideoMAEImageProcessor.from_pretrained(folder / name) == new_processor()
    opened = videomae.Checkpoint.open(folder / name)
    assert torch.equal(logits_of(opened.model), logits_of(ours))
    if not name:
        assert torch.equal(logits_of(ours), logits_of(trainer.model))


def test_trainer_keeps_the_best(trained: tuple[Any, Path]) -> None:
    trainer, _ = trained
    losses = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    best = min(losses, key=losses.__getitem__)

    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    loaded = videomae.VideoMAEForVideoClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert torch.equal(logits_of(loaded), logits_of(trainer.model))


def test_trainer_resumes(transformers: Any, trained: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = trained

    again = new_trainer(transformers, tmp_path)
    again.train(resume_from_checkpoint=str(folder / "checkpoint-4"))

    assert again.state.global_step == 6
    ours = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "checkpoint-6")
    straight = videomae.VideoMAEForVideoClassification.from_pretrained(folder / "checkpoint-6")
    assert torch.allclose(logits_of(ours), logits_of(straight), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"bf16": True},
        {"label_smoothing_factor": 0.1},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"gradient_accumulation_steps": 2, "auto_find_batch_size": True},
    ],
)
def test_trainers_options(options: dict[str, Any], transformers: Any, tmp_path: Path) -> None:
    """Those that wrap the model or take its outputs apart."""
    trainer = new_trainer(transformers, tmp_path, **options)
    trainer.train()
    trainer.save_model()

    loaded, info = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    best = videomae.VideoMAEForVideoClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert not any(info.values())
    assert loaded.config.id2label == {0: "dark", 1: "bright"}
    assert torch.equal(logits_of(loaded), logits_of(best))


def test_trainer_trains_a_loaded_and_pruned_model(transformers: Any, trained: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = trained
    model = videomae.VideoMAEForVideoClassification.from_pretrained(folder)
    model.prune_heads({0: [1]})

    trainer = new_trainer(transformers, tmp_path, model=model)
    trainer.train()
    trainer.create_model_card()

    loaded = videomae.VideoMAEForVideoClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert loaded.config.pruned_heads == {0: [1]}
    assert torch.equal(logits_of(loaded), logits_of(trainer.model))
    assert "generated_from_trainer" in (tmp_path / "README.md").read_text()


# In a process of its own: the hub's library reads its address once.
PUSH = """
import sys, transformers
sys.path.insert(0, sys.argv[1])
from test_objects import new_trainer
from pathlib import Path
trainer = new_trainer(
    transformers, Path("mine"), push_to_hub=True, hub_model_id="team/mine", hub_token="hf_me", hub_strategy="every_save"
)
trainer.train()
trainer.push_to_hub()
trainer.model.push_to_hub("team/model", token="hf_me", max_shard_size="20KB", use_temp_dir=True)
"""


def test_trainer_pushes(transformers: Any, tmp_path: Path) -> None:
    with stand_in_hub() as hub:
        hub.writer = "hf_me"
        if huggingface_hub.__version__.startswith("0."):
            pytest.skip("huggingface_hub before 1.0 makes repositories at https:// alone")
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PUSH, str(Path(__file__).parent)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        options = {"endpoint": hub.url, "cache_dir": tmp_path / "cache"}
        pushed = videomae.VideoMAEForVideoClassification.from_pretrained("team/mine", **options)
        shards = videomae.VideoMAEForVideoClassification.from_pretrained("team/model", **options)

    names = set(hub.repositories["team/mine"].files)
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names
    assert pushed.config.id2label == shards.config.id2label == {0: "dark", 1: "bright"}
    trained = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "mine")
    assert torch.equal(logits_of(pushed), logits_of(trained))
    assert torch.equal(logits_of(shards), logits_of(trained))
    assert "model.safetensors.index.json" in hub.repositories["team/model"].files


def test_lora_of_all_but_the_head(transformers: Any) -> None:
    """PEFT leaves the classifier out of "all-linear" where it knows the model for one of transformers."""
    peft = pytest.importorskip("peft", reason="needs the peers extra")
    model = make(videomae.VideoMAEForVideoClassification)

    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules="all-linear", task_type=peft.TaskType.SEQ_CLS)
    )

    adapters = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert len(adapters) == 2 * 2 * 6
    assert not any("classifier" in name for name in adapters)


def test_adapters_name_the_model_that_they_are_for(transformers: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs the peers extra")
    make(videomae.VideoMAEForVideoClassification).save_pretrained(tmp_path / "base")
    model = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "base")

    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query", "value"]))
    adapted.save_pretrained(tmp_path / "adapter")

    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")


@pytest.mark.parametrize(
    ("ours", "auto"),
    [
        ("VideoMAEModel", "AutoModel"),
        ("VideoMAEForPreTraining", "AutoModelForPreTraining"),
        ("VideoMAEForVideoClassification", "AutoModelForVideoClassification"),
        ("VideoMAEForVideoClassification", "AutoModel"),
    ],
)
def test_auto_classes_on_our_folders(ours: str, auto: str, transformers: Any, tmp_path: Path) -> None:
    model = make(getattr(videomae, ours), id2label=LABELS)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    new_processor().save_pretrained(tmp_path)

    theirs, info = getattr(transformers, auto).from_pretrained(tmp_path, output_loading_info=True)

    heads = {"fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias"}
    is_bare = auto == "AutoModel" and ours != "VideoMAEModel"
    assert set(info["unexpected_keys"]) == (heads if is_bare else set())
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    assert type(theirs).__name__ == ("VideoMAEModel" if is_bare else ours)
    expected = run(model.videomae if is_bare else model)
    with torch.no_grad():
        assert torch.allclose(run(theirs)[0], expected[0], atol=1e-5)
    assert transformers.AutoConfig.from_pretrained(tmp_path).id2label == LABELS
    assert type(transformers.AutoImageProcessor.from_pretrained(tmp_path)).__name__.startswith("VideoMAEImageProcessor")


def test_accelerate_places_and_prepares(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate", reason="needs the peers extra")
    model = make(videomae.VideoMAEForVideoClassification)
    model.save_pretrained(tmp_path)

    with accelerate.init_empty_weights():
        empty = videomae.VideoMAEForVideoClassification(model.config)
    placed = accelerate.load_checkpoint_and_dispatch(empty.eval(), str(tmp_path), device_map={"": "cpu"})
    assert torch.equal(run(placed).logits, run(model).logits)
    assert set(accelerate.infer_auto_device_map(model, no_split_module_classes=list(model._no_split_modules))) == {""}

    accelerator = accelerate.Accelerator(cpu=True)
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    before = [parameter.clone() for parameter in model.parameters()]
    accelerator.backward(run(prepared, labels=torch.tensor([0, 1])).loss)
    optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    unwrapped = accelerator.unwrap_model(prepared)
    unwrapped.save_pretrained(
        tmp_path / "after",
        is_main_process=accelerator.is_main_process,
        save_function=accelerator.save,
        state_dict=accelerator.get_state_dict(prepared),
    )
    loaded = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path / "after")
    assert torch.equal(run(loaded).logits, run(model.eval()).logits)
