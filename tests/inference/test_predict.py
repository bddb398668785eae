"""Names and probabilities, in the order of the paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomae.checkpoint import Checkpoint
from videomae.core.errors import VideoError
from videomae.inference.predict import VideoPrediction, predict_videos
from videomae.inference.scores import ViewOptions, score_videos

CPU = torch.device("cpu")
OPTIONS = ViewOptions(num_clips=2, precision="fp32")


def predict(checkpoint: Checkpoint, paths: list[Path], **arguments: object) -> list[VideoPrediction]:
    return predict_videos(checkpoint, paths, options=OPTIONS, device=CPU, **arguments)


def test_the_best_classes_by_name(classifier: Checkpoint, videos: list[Path]) -> None:
    (scores,) = score_videos(classifier, videos[:1], options=OPTIONS, device=CPU)

    (result,) = predict(classifier, videos[:1], top_k=3)

    expected = sorted(enumerate(scores.probabilities.tolist()), key=lambda pair: -pair[1])[:3]
    assert [(found.index, found.probability) for found in result.predictions] == expected
    assert [found.label for found in result.predictions] == ["abcdefg"[index] for index, _ in expected]
    assert result.path == videos[0]
    assert result.num_views == 2
    assert result.error is None


def test_more_classes_than_there_are(classifier: Checkpoint, videos: list[Path]) -> None:
    (result,) = predict(classifier, videos[:1], top_k=50)

    assert len(result.predictions) == 7
    assert sum(found.probability for found in result.predictions) == pytest.approx(1, abs=1e-5)


def test_results_have_the_order_of_the_paths(classifier: Checkpoint, videos: list[Path], broken: Path) -> None:
    paths = [videos[3], broken, videos[0], videos[3], videos[1]]
    told: list[Path] = []

    results = predict(classifier, paths, on_video=lambda result: told.append(result.path))

    assert [result.path for result in results] == paths
    assert sorted(told) == sorted(paths)
    assert results[0].predictions == results[3].predictions
    for path, result in zip(paths, results, strict=True):
        if path != broken:
            # Only which videos share a forward pass differs, and with it the last bits.
            alone = predict(classifier, [path])[0].predictions
            assert [found.label for found in alone] == [found.label for found in result.predictions]
            assert [found.probability for found in alone] == pytest.approx(
                [found.probability for found in result.predictions], abs=1e-5
            )


def test_a_broken_file_has_an_error_and_no_classes(classifier: Checkpoint, broken: Path, tmp_path: Path) -> None:
    results = predict(classifier, [broken, tmp_path / "absent.mp4"])

    for result in results:
        assert result.predictions == ()
        assert result.num_views == 0
        assert isinstance(result.error, VideoError)
        assert result.path.name in str(result.error)
        assert "\n" not in str(result.error)


def test_equal_scores_rank_by_class(classifier: Checkpoint, videos: list[Path]) -> None:
    for parameter in classifier.model.classifier.parameters():
        torch.nn.init.zeros_(parameter)

    (result,) = predict(classifier, videos[:1], top_k=7)

    assert [found.label for found in result.predictions] == list("abcdefg")


def test_no_paths(classifier: Checkpoint) -> None:
    assert predict(classifier, []) == []
