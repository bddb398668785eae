"""Wrong inputs and labels: one line that names them; and all labels that transformers takes are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from videomae.core.errors import ShapeError
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

TINY: dict[str, Any] = {
    "image_size": 8,
    "patch_size": 4,
    "num_frames": 4,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "decoder_hidden_size": 6,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
}
NUM_TOKENS = 8
MULTI = "multi_label_classification"
SINGLE = "single_label_classification"


def clips(batch_size: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch_size, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def half_hidden(batch_size: int = 2) -> Tensor:
    return (torch.arange(NUM_TOKENS) % 2 == 0).expand(batch_size, -1)


def classifier(num_labels: int, problem_type: str | None = None) -> VideoMAEForVideoClassification:
    config = VideoMAEConfig(**TINY, num_labels=num_labels, problem_type=problem_type)
    return VideoMAEForVideoClassification(config).eval()


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels", "message"),
    [
        (3, "regression", torch.zeros(2), r"labels of shape \(2,\): expected \(2, 3\): one number"),
        (3, "regression", torch.zeros(2, 1), r"labels of shape \(2, 1\): expected \(2, 3\)"),
        (1, None, torch.zeros(2, 2), r"labels of shape \(2, 2\): expected one number for each of the 2 clips"),
        (3, MULTI, torch.zeros(2), r"labels of shape \(2,\): expected \(2, 3\): one 0 or 1"),
        (3, None, torch.zeros(2, 4), r"labels of shape \(2, 4\): expected \(2, 3\)"),
        (3, SINGLE, torch.zeros(2, 3).long(), r"labels of shape \(2, 3\): expected one class .*multi_label"),
        (3, None, torch.tensor([0, 3]), "labels with class 3: expected classes from 0 to 2; .*num_labels=4"),
        (3, None, torch.tensor([0, -1]), "labels with class -1: expected classes from 0 to 2; number classes from 0"),
        (3, None, torch.tensor([0]), r"labels of shape \(1,\): expected one label"),
        (3, None, torch.tensor(0), r"labels of shape \(\): expected one label"),
        (3, None, [0, 1], "labels of type list: expected a torch tensor"),
        (0, None, torch.tensor([0, 1]), "labels: expected a model with classes"),
    ],
)
def test_labels_that_fit_no_loss(num_labels: int, problem_type: str | None, labels: Any, message: str) -> None:
    model = classifier(num_labels, problem_type)

    with pytest.raises(ShapeError, match=message) as caught:
        model(clips(), labels=labels)

    assert "\n" not in str(caught.value)
    assert model.config.problem_type == problem_type  # a batch that was refused decides nothing


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([2, 0], torch.int64),
        ([2, 0], torch.uint8),
        ([[2], [0]], torch.int64),
        ([[2], [0]], torch.int32),
        ([2, -100], torch.int64),
    ],
)
def test_classes_in_a_row_or_a_column(labels: Any, dtype: torch.dtype) -> None:
    model = classifier(3)

    output = model(clips(), labels=torch.tensor(labels, dtype=dtype))

    expected = F.cross_entropy(output.logits, torch.tensor(labels).view(-1))
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("labels", [torch.tensor([0.5, 2.0]), torch.tensor([[0.5], [2.0]]), torch.tensor([1, 4])])
def test_regression_to_one_number(labels: Tensor) -> None:
    model = classifier(1)

    output = model(clips(), labels=labels)
    output.loss.backward()

    errors = [(output.logits[i, 0] - labels.flatten()[i]).item() ** 2 for i in range(2)]
    assert output.loss.item() == pytest.approx(sum(errors) / 2, rel=1e-5)
    assert model.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_multi_hot_labels_of_any_type(dtype: torch.dtype) -> None:
    model = classifier(3, MULTI)
    labels = torch.tensor([[1, 0, 1], [0, 0, 1]])

    output = model(clips(), labels=labels.to(dtype))

    torch.testing.assert_close(output.loss, F.binary_cross_entropy_with_logits(output.logits, labels.float()))


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_a_float64_model_has_a_float64_loss(dual: bool, norm_pix_loss: bool) -> None:
    model = VideoMAEForPreTraining(VideoMAEConfig(**TINY, norm_pix_loss=norm_pix_loss)).eval()
    decoder_mask = ~half_hidden() if dual else None

    single = model(clips(), half_hidden(), decoder_masked_pos=decoder_mask).loss
    double = model.double()(clips(dtype=torch.float64), half_hidden(), decoder_masked_pos=decoder_mask).loss
    double.backward()

    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert double.item() == pytest.approx(single.item(), rel=1e-5)
    assert double.item() != single.item()  # else it was computed in float32
    assert model(clips(), half_hidden()).loss.dtype == torch.float64
    assert model.float()(clips(dtype=torch.float64), half_hidden()).loss.dtype == torch.float32
    assert model.bfloat16()(clips(dtype=torch.bfloat16), half_hidden()).loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixel_values": clips().numpy()}, "pixel_values of type ndarray: expected a torch tensor; .*return_tensors"),
        ({"pixel_values": [clips()]}, "pixel_values of type list: expected a torch tensor"),
        ({"pixel_values": clips().byte()}, "pixel_values of type uint8: expected normalized floats; .*image processor"),
        ({"pixel_values": clips(0)}, "expected at least one clip"),
        ({"bool_masked_pos": half_hidden().numpy()}, "bool_masked_pos of type ndarray: expected a torch tensor"),
        ({"bool_masked_pos": half_hidden().tolist()}, "bool_masked_pos of type list"),
        ({"bool_masked_pos": torch.ones(2, NUM_TOKENS)}, "bool_masked_pos that hides every token: expected at least"),
        ({"head_mask": np.ones(2)}, "head_mask of type ndarray"),
        ({"head_mask": torch.ones(3)}, r"a head_mask of shape \(3,\): expected \(2,\)"),
    ],
)
def test_inputs_that_the_encoder_refuses(arguments: dict[str, Any], message: str) -> None:
    model = VideoMAEModel(VideoMAEConfig(**TINY))

    with pytest.raises(ShapeError, match=message) as caught:
        model(**{"pixel_values": clips(), **arguments})

    assert "\n" not in str(caught.value)
