"""Checkpoints of one task made ready for another; what is kept, what is fresh, what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from videomae.api.description import describe_checkpoint
from videomae.checkpoint import Checkpoint, load_checkpoint, new_processor
from videomae.core.errors import CheckpointError, ConfigError
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae.processing.image_processor import VideoMAEImageProcessor
from videomae.video.sampling import ClipSampling

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
}


def saved(model_class: Any, folder: Path, **changes: Any) -> Any:
    model = model_class(VideoMAEConfig(**{**TINY, **changes})).eval()
    for parameter in model.parameters():  # told from fresh weights, all of which are small, zero or one
        torch.nn.init.uniform_(parameter, 2, 3)
    model.save_pretrained(folder)
    return model


def pretrained(folder: Path, **changes: Any) -> Any:
    return saved(VideoMAEForPreTraining, folder, use_mean_pooling=False, **changes)


def classifier(folder: Path, **changes: Any) -> Any:
    return saved(VideoMAEForVideoClassification, folder, id2label={0: "jump", 1: "run", 2: "swim"}, **changes)


def edit_weights(folder: Path, change: Any) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(change(state), folder / "model.safetensors")


def edit_json(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**values, **changes}))


def assert_equal_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def refused(folder: Path, message: str, **arguments: Any) -> None:
    with pytest.raises((CheckpointError, ConfigError), match=message) as caught:
        Checkpoint.open(folder, **arguments)
    assert "\n" not in str(caught.value)


# --- tasks


@pytest.mark.parametrize("make", [pretrained, classifier, lambda folder: saved(VideoMAEModel, folder)])
def test_a_checkpoint_comes_back_as_what_it_was(make: Any, tmp_path: Path) -> None:
    model = make(tmp_path)

    loaded = load_checkpoint(tmp_path)

    assert type(loaded) is type(model)
    assert not loaded.training
    assert_equal_tensors(loaded.state_dict(), model.state_dict())


def test_a_pretrained_encoder_becomes_a_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = pretrained(tmp_path)

    with caplog.at_level(logging.INFO, logger="videomae"):
        loaded = load_checkpoint(tmp_path, task="classification", class_names=["c", "a", "b"])

    assert type(loaded) is VideoMAEForVideoClassification
    encoder = {name: tensor for name, tensor in model.videomae.state_dict().items() if "layernorm." not in name}
    assert_equal_tensors(loaded.videomae.state_dict(), encoder)
    assert loaded.videomae.layernorm is None
    assert loaded.config.use_mean_pooling
    assert loaded.config.id2label == {0: "c", 1: "a", 2: "b"}
    assert loaded.config.label2id == {"c": 0, "a": 1, "b": 2}
    assert loaded.classifier.weight.shape == (3, 16)
    assert loaded.classifier.weight.abs().max() < 0.2
    assert loaded.classifier.bias.tolist() == [0, 0, 0]
    assert (loaded.fc_norm.weight == 1).all()
    assert (loaded.fc_norm.bias == 0).all()
    dropped = "drops decoder, encoder_to_decoder, mask_token, videomae.layernorm"
    assert caplog.messages == [f"{tmp_path} for classification: {dropped}; new classifier, fc_norm"]
    assert loaded(torch.zeros(1, 4, 3, 16, 16)).logits.shape == (1, 3)


def test_a_bare_encoder_becomes_a_classifier(tmp_path: Path) -> None:
    model = saved(VideoMAEModel, tmp_path)

    loaded = load_checkpoint(tmp_path, task="classification", class_names=["a", "b"])

    assert_equal_tensors(loaded.videomae.state_dict(), model.state_dict())


def test_features_of_any_checkpoint(tmp_path: Path) -> None:
    for name, make in (("p", pretrained), ("c", classifier)):
        model = make(tmp_path / name)
        loaded = load_checkpoint(tmp_path / name, task="features")
        assert type(loaded) is VideoMAEModel
        assert_equal_tensors(loaded.state_dict(), model.videomae.state_dict())


def test_the_same_classes_keep_the_head(tmp_path: Path) -> None:
    model = classifier(tmp_path)

    loaded = load_checkpoint(tmp_path, task="classification", class_names=("jump", "run", "swim"))

    assert_equal_tensors(loaded.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    "names", [["run", "jump", "swim"], ["jump", "run"], ["a", "b", "c"], ["jump", "run", "swim", "row"]]
)
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_other_classes_or_another_order_start_a_fresh_head(names: list[str], prefix: str, tmp_path: Path) -> None:
    model = classifier(tmp_path)
    edit_weights(tmp_path, lambda state: {prefix + name: tensor for name, tensor in state.items()})

    loaded = load_checkpoint(tmp_path, task="classification", class_names=names)

    assert loaded.classifier.weight.shape == (len(names), 16)
    assert loaded.classifier.weight.abs().max() < 0.2
    assert list(loaded.config.id2label.values()) == names
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier.")}
    assert_equal_tensors(
        {name: tensor for name, tensor in loaded.state_dict().items() if not name.startswith("classifier.")}, kept
    )


def test_a_fresh_head_forgets_the_problem_of_the_old_one(tmp_path: Path) -> None:
    classifier(tmp_path, problem_type="multi_label_classification")

    kept = load_checkpoint(tmp_path, task="classification", class_names=["jump", "run", "swim"])
    fresh = load_checkpoint(tmp_path, task="classification", class_names=["a", "b"])
    asked = load_checkpoint(
        tmp_path, task="classification", class_names=["a", "b"], problem_type="multi_label_classification"
    )

    assert kept.config.problem_type == asked.config.problem_type == "multi_label_classification"
    assert fresh.config.problem_type is None


@pytest.mark.parametrize("names", [[], ["a", "b", "a"]])
def test_class_names_that_are_none(names: list[str], tmp_path: Path) -> None:
    pretrained(tmp_path)

    refused(tmp_path, "expected one name or more, each once", task="classification", class_names=names)


def test_what_a_task_lacks_is_said(tmp_path: Path) -> None:
    pretrained(tmp_path / "p")
    classifier(tmp_path / "c")
    saved(VideoMAEModel, tmp_path / "e")

    refused(tmp_path / "p", r"missing: classifier.weight, classifier.bias.*`videomae finetune`", task="classification")
    refused(tmp_path / "e", "a pre-trained encoder has no classifier yet", task="classification")
    refused(
        tmp_path / "c",
        "all weights for pretraining and no others; .*`videomae pretrain`; a class",
        task="pretraining",
    )
    refused(tmp_path / "e", "expected all weights for pretraining", task="pretraining")
    refused(tmp_path / "p", "task='probing': expected features or pretraining or classification", task="probing")


@pytest.mark.parametrize(
    "lost", ["encoder.layer.1.attention.attention.q_bias", "embeddings.patch_embeddings.projection.weight"]
)
@pytest.mark.parametrize(
    "arguments",
    [
        {"task": "classification", "class_names": ["a", "b"]},
        {"task": "features"},
        {"task": "pretraining"},
    ],
)
def test_weights_of_the_encoder_are_never_drawn_anew(lost: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    pretrained(tmp_path)
    edit_weights(tmp_path, lambda state: {name: tensor for name, tensor in state.items() if not name.endswith(lost)})

    refused(tmp_path, f"missing: .*{lost}.*: expected all weights.*encoder is missing; copy or download", **arguments)


def test_overrides_and_types(tmp_path: Path) -> None:
    pretrained(tmp_path, norm_pix_loss=True)
    edit_weights(tmp_path, lambda state: {name: tensor.bfloat16() for name, tensor in state.items()})

    assert load_checkpoint(tmp_path).dtype == torch.float32
    assert load_checkpoint(tmp_path, dtype=None).dtype == torch.bfloat16
    assert load_checkpoint(tmp_path, norm_pix_loss=False).config.norm_pix_loss is False
    refused(tmp_path, "norm_pix_los=False.*did you mean norm_pix_loss", norm_pix_los=False)


def test_class_indices_with_a_gap(tmp_path: Path) -> None:
    classifier(tmp_path)
    edit_json(tmp_path / "config.json", id2label={"1": "a", "2": "b", "3": "c"}, label2id=None)

    refused(tmp_path, "with id2label for 1, 2, 3: expected a name for each class from 0 to 2")


def test_class_indices_as_json_sorts_them(tmp_path: Path) -> None:
    names = [f"class {index}" for index in range(12)]
    saved(VideoMAEForVideoClassification, tmp_path, id2label=dict(enumerate(names)))
    text = json.loads((tmp_path / "config.json").read_text())
    assert list(text["id2label"])[:3] == ["0", "1", "10"] or list(text["id2label"])[:3] == ["0", "1", "2"]

    loaded = load_checkpoint(tmp_path, task="classification", class_names=names)

    assert loaded.classifier.weight.min() > 1  # kept


# --- processor and sampling


def test_a_checkpoint_without_a_processor_gets_the_published_one(tmp_path: Path) -> None:
    classifier(tmp_path)

    opened = Checkpoint.open(tmp_path)

    assert opened.processor.image_mean == list(IMAGENET_MEAN)
    assert opened.processor.image_std == list(IMAGENET_STD)
    assert opened.processor.crop_size == {"height": 16, "width": 16}
    assert opened.sampling == ClipSampling("dense", num_frames=4, frame_stride=4)


def test_processor_and_sampling_travel(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    new_processor(model.config, ClipSampling("uniform", 4, 7)).save_pretrained(tmp_path)

    opened = Checkpoint.open(tmp_path)

    assert opened.sampling == ClipSampling("uniform", num_frames=4, frame_stride=7)
    assert opened.processor.to_dict()["sampling"] == {"method": "uniform", "num_frames": 4, "frame_stride": 7}


def test_a_processor_of_transformers_names_no_sampling(tmp_path: Path) -> None:
    classifier(tmp_path)
    VideoMAEImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(tmp_path)

    opened = Checkpoint.open(tmp_path)

    assert opened.sampling == ClipSampling("dense", num_frames=4, frame_stride=4)
    assert opened.processor.image_mean == [0.5] * 3


def test_a_sampling_may_leave_out_what_the_model_says(tmp_path: Path) -> None:
    classifier(tmp_path)
    VideoMAEImageProcessor().save_pretrained(tmp_path)
    edit_json(tmp_path / "preprocessor_config.json", sampling={"frame_stride": 2})

    assert Checkpoint.open(tmp_path).sampling == ClipSampling("dense", num_frames=4, frame_stride=2)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"num_frames": 8}, "with 8 frames in a clip: expected 4, as config.json says"),
        ({"stride": 2}, "expected the keys method, num_frames, frame_stride"),
        (["dense"], "expected the keys"),
    ],
)
def test_a_sampling_that_does_not_fit(sampling: Any, message: str, tmp_path: Path) -> None:
    classifier(tmp_path)
    VideoMAEImageProcessor().save_pretrained(tmp_path)
    edit_json(tmp_path / "preprocessor_config.json", sampling=sampling)

    refused(tmp_path, message)
    with pytest.raises(CheckpointError, match=message):
        describe_checkpoint(tmp_path)


def test_frames_that_were_asked_for_win_over_the_stored_sampling(tmp_path: Path) -> None:
    model = pretrained(tmp_path)
    new_processor(model.config, ClipSampling("dense", 4, 3)).save_pretrained(tmp_path)

    opened = Checkpoint.open(tmp_path, num_frames=8)

    assert opened.model.config.num_frames == 8
    assert opened.sampling == ClipSampling("dense", num_frames=8, frame_stride=3)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 40.0]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
        {"image_mean": [0.4], "image_std": [0.2]},
        {"do_rescale": False, "do_normalize": False},
    ],
)
def test_any_processor_gives_the_model_what_it_gives_anyone(settings: dict[str, Any], tmp_path: Path) -> None:
    """Inference reads mean and deviation alone, so the opened processor's must say it all."""
    classifier(tmp_path)
    plain = {"do_resize": False, "do_center_crop": False}
    video = list(torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte().numpy())
    each = {name: value * 3 for name, value in settings.items() if isinstance(value, list) and len(value) == 1}
    given = VideoMAEImageProcessor(**{**plain, **settings, **each})
    expected = given(video, return_tensors="pt")["pixel_values"].float()
    VideoMAEImageProcessor(**{**plain, **settings}).save_pretrained(tmp_path)

    opened = Checkpoint.open(tmp_path).processor

    torch.testing.assert_close(opened(video, return_tensors="pt")["pixel_values"], expected, rtol=1e-5, atol=1e-5)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (opened.image_mean, opened.image_std))
    unit = torch.stack([torch.from_numpy(frame) for frame in video]) / 255
    torch.testing.assert_close(((unit - mean) / std)[None], expected, rtol=1e-5, atol=1e-5)


# --- description


def test_a_description(tmp_path: Path) -> None:
    model = classifier(tmp_path)

    about = describe_checkpoint(tmp_path)

    assert json.loads(json.dumps(about)) == about
    assert about["task"] == "classification"
    assert about["num_parameters"] == model.num_parameters()
    assert about["num_tensors"] == len(model.state_dict())
    assert about["dtypes"] == ["float32"]
    assert about["network"]["width"] == 16
    assert about["clip"] == {
        "num_frames": 4,
        "num_channels": 3,
        "height": 16,
        "width": 16,
        "grid": [2, 2, 2],
        "num_tokens": 8,
        "position_grid": None,
    }
    assert about["sampling"] == {"method": "dense", "num_frames": 4, "frame_stride": 4}
    assert about["classes"] == ["jump", "run", "swim"]


def test_descriptions_name_the_task(tmp_path: Path) -> None:
    pretrained(tmp_path / "p")
    saved(VideoMAEModel, tmp_path / "e", num_channels=1)

    assert describe_checkpoint(tmp_path / "p")["task"] == "pretraining"
    assert describe_checkpoint(str(tmp_path / "e"))["task"] == "features"


def test_missing_checkpoints_and_weights(tmp_path: Path) -> None:
    refused(tmp_path, r"expected a checkpoint folder with config\.json")
    VideoMAEConfig(**TINY).save_pretrained(tmp_path)
    refused(tmp_path, "without weights: expected model.safetensors or pytorch_model.bin")
    with pytest.raises(CheckpointError, match="without weights"):
        describe_checkpoint(tmp_path)


def test_a_processor_that_makes_nothing_of_pixels(tmp_path: Path) -> None:
    classifier(tmp_path)
    for factor in (0, -1, 1e308):
        edit_json(tmp_path / "preprocessor_config.json", do_rescale=True, rescale_factor=factor)
        refused(tmp_path, "rescale_factor=.* in preprocessor_config.json: expected a number above 0")
