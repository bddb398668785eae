"""Judging a classifier: each video once, classes by name, broken videos never out of the count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videomae.checkpoint import Checkpoint, new_processor
from videomae.core.errors import ConfigError, DataError, VideoError
from videomae.datasets.manifest import Manifest, VideoEntry
from videomae.evaluation import validate
from videomae.evaluation.results import ScoredVideos
from videomae.evaluation.single_label import SingleLabelEvaluation, evaluate_single_label
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.predict import predict_videos
from videomae.inference.scores import VideoScores, ViewOptions
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.video.sampling import ClipSampling
from videomae.video.writer import write_video

CLASSES = ("swim", "jump", "run")  # the model's order, not the alphabet's


@pytest.fixture
def checkpoint() -> Checkpoint:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VideoMAEForVideoClassification(
            VideoMAEConfig(
                image_size=16,
                patch_size=8,
                num_frames=4,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                initializer_range=0.5,
                id2label=dict(enumerate(CLASSES)),
            )
        ).eval()
    sampling = ClipSampling("dense", 4, 2)
    return Checkpoint(model, new_processor(model.config, sampling), sampling)


def manifest_of(*labels: str | None, folder: Path = Path("videos")) -> Manifest:
    entries = tuple(VideoEntry(folder / f"{number}.mp4", label) for number, label in enumerate(labels))
    return Manifest(Path("videos"), entries, tuple(sorted({label for label in labels if label is not None})))


def evaluate(checkpoint: Checkpoint, manifest: Manifest, **arguments: Any) -> SingleLabelEvaluation:
    options = ViewOptions(num_clips=2, precision="fp32")
    found = evaluate_classifier(checkpoint, manifest, options=options, device=torch.device("cpu"), **arguments)
    assert isinstance(found, SingleLabelEvaluation)
    return found


def say(monkeypatch: pytest.MonkeyPatch, answers: list[str | None], order: list[int] | None = None) -> None:
    """Let scoring say these classes (None: cannot be read), in any order of arrival."""

    def score_videos(_: Any, videos: list[VideoEntry], **arguments: Any) -> Iterator[VideoScores]:
        assert len(videos) == len(answers)
        for index in order or range(len(answers)):
            answer = answers[index]
            if answer is None:
                error = VideoError(videos[index].path, expected="a video", hint="repair it")
                yield VideoScores(index, 0, None, error)
            else:
                probabilities = torch.full((3,), 0.1)
                probabilities[CLASSES.index(answer)] = 0.8
                yield VideoScores(index, 2, probabilities)

    monkeypatch.setattr(validate, "score_videos", score_videos)


def test_classes_are_matched_by_name(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["run", "swim", "jump", "run"])

    evaluation = evaluate(checkpoint, manifest_of("run", "swim", "jump", "swim"))

    assert evaluation.class_names == CLASSES
    assert evaluation.metrics.top1 == 3 / 4
    assert evaluation.metrics.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert evaluation.broken == ()


def test_data_may_have_fewer_classes_than_the_model(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["run", "swim"])

    evaluation = evaluate(checkpoint, manifest_of("run", "run"))

    assert evaluation.metrics.top1 == evaluation.metrics.mean_class_accuracy == 1 / 2


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_scores_may_arrive_in_any_order(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    say(monkeypatch, ["run", None, "jump", "swim"], order)
    told: list[int] = []

    evaluation = evaluate(
        checkpoint,
        manifest_of("run", "jump", "jump", "run"),
        count_broken_as_wrong=True,
        on_video=lambda: told.append(1),
    )

    assert len(told) == 4
    assert evaluation.metrics.num_videos == 4
    assert evaluation.metrics.num_broken == 1
    assert evaluation.metrics.top1 == 2 / 4
    assert evaluation.metrics.confusion.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert [path.name for path, _ in evaluation.broken] == ["1.mp4"]


def test_a_broken_video_raises_unless_it_counts(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["run", None])
    checkpoint.model.train()

    with pytest.raises(VideoError, match=r"1\.mp4: expected a video"):
        evaluate(checkpoint, manifest_of("run", "run"))
    assert checkpoint.model.training  # as it was before


def test_no_video_that_can_be_read(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, [None, None])

    with pytest.raises(DataError, match=r"with 2 videos, none of which can be read: .*the first one: videos/0\.mp4"):
        evaluate(checkpoint, manifest_of("run", "jump"), count_broken_as_wrong=True)


def test_classes_that_the_model_does_not_know(checkpoint: Checkpoint) -> None:
    with pytest.raises(DataError, match="with the class 'row': expected the classes jump, run, swim") as caught:
        evaluate(checkpoint, manifest_of("run", "row"))
    assert "\n" not in str(caught.value)


def test_videos_without_a_class(checkpoint: Checkpoint) -> None:
    with pytest.raises(DataError, match=r"1\.mp4 without a class"):
        evaluate(checkpoint, manifest_of("run", None))


@pytest.mark.parametrize("training", [True, False])
def test_real_videos_are_judged_once_each_and_as_predicted(
    checkpoint: Checkpoint, tmp_path: Path, training: bool
) -> None:
    labels = ["run", "jump", "swim", "run", "swim"]
    for number in range(5):
        frames = np.random.default_rng(number).integers(0, 256, (8, 3, 4, 3), dtype=np.uint8)
        write_video(tmp_path / f"{number}.mp4", frames.repeat(8, axis=1).repeat(8, axis=2), frames_per_second=10)
    checkpoint.model.train(training)
    manifest = manifest_of(*labels, folder=tmp_path)

    evaluation = evaluate(checkpoint, manifest)

    assert checkpoint.model.training is training
    checkpoint.model.eval()
    predictions = predict_videos(
        checkpoint,
        [entry.path for entry in manifest.entries],
        options=ViewOptions(num_clips=2, precision="fp32"),
        device=torch.device("cpu"),
    )
    confusion = np.zeros((3, 3), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        confusion[CLASSES.index(label), prediction.predictions[0].index] += 1
    assert evaluation.metrics.confusion.tolist() == confusion.tolist()
    assert evaluation.metrics.num_videos == 5
    assert evaluation.metrics.top1 == pytest.approx(np.trace(confusion) / 5)


def test_a_model_that_is_no_classifier_is_refused(checkpoint: Checkpoint) -> None:
    checkpoint.model.config.problem_type = "regression"
    with pytest.raises(ConfigError, match="problem_type='regression': expected a classifier"):
        evaluate(checkpoint, manifest_of("run", "jump"))


def test_scores_of_several_processes_count_each_video_once() -> None:
    manifest = manifest_of("run", "jump", "swim", "run", "jump")
    error = VideoError("4.mp4", expected="a video", hint="repair it")

    def says(name: str) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[CLASSES.index(name)]

    first = ScoredVideos({0: says("run"), 2: says("run"), 1: says("jump")}, {})
    second = ScoredVideos({3: says("run"), 0: says("run")}, {4: error, 1: error})  # 0 was there to fill a batch

    merged = first.merged([second])
    evaluation = evaluate_single_label(merged, manifest, CLASSES)

    assert (evaluation.metrics.num_videos, evaluation.metrics.num_broken) == (5, 1)
    assert evaluation.metrics.top1 == 3 / 5
    assert [result.entry.path.name for result in evaluation.results] == [f"{n}.mp4" for n in range(5)]
    assert [result.predicted for result in evaluation.results] == [2, 1, 2, 2, None]
    assert set(first.scores) == {0, 1, 2}  # as it was


def test_a_video_that_nobody_judged_is_a_fault() -> None:
    scored = ScoredVideos({0: np.ones(3, dtype=np.float32) / 3}, {})

    with pytest.raises(RuntimeError, match="1 of 2 videos have no scores, the first at 1"):
        evaluate_single_label(scored, manifest_of("run", "jump"), CLASSES)


def test_results_and_worst_mistakes(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["run", "swim", None, "jump"], [3, 1, 2, 0])

    evaluation = evaluate(checkpoint, manifest_of("run", "jump", "swim", "run"), count_broken_as_wrong=True)

    assert [(r.entry.path.name, r.true, r.predicted) for r in evaluation.results] == [
        ("0.mp4", 2, 2),
        ("1.mp4", 1, 0),
        ("2.mp4", 0, None),
        ("3.mp4", 2, 1),
    ]
    assert evaluation.results[0].probability == pytest.approx(0.8)
    assert evaluation.results[2].error is not None
    assert evaluation.results[2].probability is None
    assert [r.entry.path.name for r in evaluation.worst_results(9)] == ["1.mp4", "3.mp4"]
    assert [r.entry.path.name for r in evaluation.worst_results(1)] == ["1.mp4"]
