"""A video's scores are the mean over its views, whatever the batches and workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, VideoError
from videomae.data.clips import ViewClips
from videomae.inference.scores import VideoScores, ViewOptions, score_videos, to_probabilities

CPU = torch.device("cpu")


def exact(**options: Any) -> ViewOptions:
    return ViewOptions(precision="fp32", **options)


def scores_of(checkpoint: Checkpoint, paths: list[Path], options: ViewOptions) -> dict[int, VideoScores]:
    found = list(score_videos(checkpoint, paths, options=options, device=CPU))
    assert sorted(scores.index for scores in found) == list(range(len(paths)))
    return {scores.index: scores for scores in found}


def one_view_at_a_time(checkpoint: Checkpoint, path: Path, num_clips: int, num_crops: int) -> torch.Tensor:
    """(views, classes) logits, each view normalized and run on its own."""
    views, _ = ViewClips(
        [path], sampling=checkpoint.sampling, image_size=16, num_clips=num_clips, num_crops=num_crops
    ).read(0)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (checkpoint.processor.image_mean, checkpoint.processor.image_std)
    )
    with torch.no_grad():
        return torch.cat([checkpoint.model(((view.float() / 255 - mean) / std)[None]).logits for view in views])


@pytest.mark.parametrize(("num_clips", "num_crops"), [(1, 1), (2, 3), (5, 3), (4, 1)])
def test_the_mean_of_the_softmax_over_views(
    classifier: Checkpoint, videos: list[Path], num_clips: int, num_crops: int
) -> None:
    found = scores_of(classifier, videos, exact(num_clips=num_clips, num_crops=num_crops))

    for index, path in enumerate(videos):
        logits = one_view_at_a_time(classifier, path, num_clips, num_crops)
        expected = logits.softmax(dim=-1).mean(dim=0)
        probabilities = found[index].probabilities
        assert probabilities is not None
        assert probabilities.dtype == torch.float32
        torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)
        assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
        assert found[index].num_views == num_clips * num_crops
        if len(logits) > 1:  # the other order of softmax and mean is another thing
            assert (logits.mean(dim=0).softmax(dim=-1) - expected).abs().max() > 1e-4


def test_several_labels_have_their_own_probabilities(classifier: Checkpoint, videos: list[Path]) -> None:
    classifier.model.config.problem_type = "multi_label_classification"

    found = scores_of(classifier, videos[:1], exact(num_clips=2))

    expected = one_view_at_a_time(classifier, videos[0], 2, 1).sigmoid().mean(dim=0)
    torch.testing.assert_close(found[0].probabilities, expected, rtol=1e-4, atol=1e-5)


def test_regression_keeps_its_values() -> None:
    logits = torch.tensor([[1.5, -2.0]])

    assert torch.equal(to_probabilities(logits, "regression"), logits)
    assert torch.equal(to_probabilities(logits, None), logits.softmax(dim=-1))
    assert torch.equal(to_probabilities(logits, "single_label_classification"), logits.softmax(dim=-1))


def test_workers_change_nothing(classifier: Checkpoint, videos: list[Path], broken: Path) -> None:
    paths = [*videos[:2], broken, *videos[2:]]

    alone, helped = (scores_of(classifier, paths, exact(num_clips=3, num_workers=n)) for n in (0, 2))

    for index in (0, 1, 3, 4):
        assert torch.equal(alone[index].probabilities, helped[index].probabilities)
    for found in (alone, helped):
        assert found[2].probabilities is None
        assert found[2].num_views == 0
        assert isinstance(found[2].error, VideoError)
        assert "broken.mp4" in str(found[2].error)


def test_broken_videos_alone(classifier: Checkpoint, broken: Path) -> None:
    assert scores_of(classifier, [broken, broken], exact())[1].probabilities is None


def test_no_videos(classifier: Checkpoint) -> None:
    assert scores_of(classifier, [], exact()) == {}


def test_half_precision_is_near(classifier: Checkpoint, videos: list[Path]) -> None:
    whole, half = (
        scores_of(classifier, videos[:1], ViewOptions(precision=precision))[0].probabilities
        for precision in ("fp32", "bf16")
    )

    assert half.dtype == torch.float32
    assert not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, rtol=0, atol=0.05)


@pytest.mark.parametrize("change", [{"num_clips": 0}, {"num_crops": 0}, {"num_clips": -1}])
def test_no_views(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"num_\w+=-?\d: expected at least 1"):
        ViewOptions(**change)
