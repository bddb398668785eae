"""Weights of the classes in the loss, worked by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Recorder, losses, tiny_finetune_recipe, write_data_set
from torch.nn import functional as F

from videomae.core.errors import ConfigError
from videomae.training.class_weights import class_weights, read_class_weights
from videomae.training.finetune import finetune
from videomae.training.losses import classification_loss
from videomae.training.run import prepare
from videomae.training.tasks.classification import ClassificationTask

COUNTS = {"cat": 6, "dog": 2, "owl": 0}


def _weights(words: Sequence[str], **options: Any) -> list[float]:
    found = class_weights(words, COUNTS, **{"num_videos": 8, **options})
    assert found.dtype == torch.float32
    return found.tolist()


def test_balanced_weights_are_the_inverse_of_the_frequency() -> None:
    # n / (K · n_c) over the K classes that there are: 8 / (2 · 6), 8 / (2 · 2).
    assert _weights(["balanced"]) == pytest.approx([2 / 3, 2, 1])


def test_what_sampling_has_balanced_is_not_balanced_again() -> None:
    assert _weights(["balanced"], class_balance=1.0) == pytest.approx([1, 1, 1])
    # Drawn as √6 to √2: mean (√6 + √2) / 2.
    mean = (math.sqrt(6) + math.sqrt(2)) / 2
    assert _weights(["balanced"], class_balance=0.5) == pytest.approx([mean / math.sqrt(6), mean / math.sqrt(2), 1])


def test_given_weights_have_a_mean_of_one_over_the_videos() -> None:
    # 6 videos of 1 and 2 of 5: a sum of 16 for 8 videos.
    assert _weights(["dog=5"]) == pytest.approx([0.5, 2.5, 0.5])
    assert _weights(["dog=50", "cat=10", "owl=10"]) == pytest.approx([0.5, 2.5, 0.5])


def test_weights_of_several_labels_are_those_of_the_positives() -> None:
    assert _weights(["balanced"], num_videos=10, is_multi_label=True) == pytest.approx([4 / 6, 8 / 2, 1])
    assert _weights(["dog=3"], num_videos=10, is_multi_label=True) == [1, 3, 1]


def test_the_weighted_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.5, 1.5]])
    targets = torch.tensor([[0.9, 0.1], [0.0, 1.0]])
    weights = torch.tensor([0.5, 3.0])
    log = logits.log_softmax(1)
    by_hand = -(0.5 * 0.9 * log[0, 0] + 3 * 0.1 * log[0, 1] + 3 * log[1, 1])
    assert float(classification_loss(logits, targets, is_multi_label=False, class_weights=weights)) == pytest.approx(
        float(by_hand)
    )
    multi = -(weights * targets * logits.sigmoid().log() + (1 - targets) * (-logits).sigmoid().log()).sum() / 2
    assert float(classification_loss(logits, targets, is_multi_label=True, class_weights=weights)) == pytest.approx(
        float(multi)
    )
    plain = classification_loss(logits, targets, is_multi_label=False)
    assert torch.equal(plain, F.cross_entropy(logits, targets, reduction="sum"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.csv", "name,weight\ncat,2\ndog,0.5\n"),
        ("w.csv", "cat,2\ndog,.5\n"),
        ("w.tsv", "cat\t2\ndog\t0.5\n"),
        ("w.json", json.dumps({"cat": 2, "dog": 0.5})),
    ],
)
def test_weights_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_weights([str(tmp_path / name)]) == ("cat=2.0", "dog=0.5")


@pytest.mark.parametrize("text", ["", "cat\n", "cat,2,3\n", "cat,two\ndog,one\n", "[1, 2]"])
def test_files_that_hold_no_weights(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("w.json" if text.startswith("[") else "w.csv")
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected a line NAME,WEIGHT for each class"):
        read_class_weights([str(path)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["blanced"], "class_weights='blanced' \\(No such file or directory\\): expected balanced, NAME=WEIGHT"),
        (["dgo=2"], "class_weights='dgo=2': expected one of the classes cat, dog, owl; did you mean dog"),
        (["dog=0"], "class_weights='dog=0'.*above 0"),
        (["dog=nan"], "class_weights='dog=nan'.*above 0"),
        (["dog=2", "balanced"], "class_weights='balanced'"),
        (["=2"], "class_weights='=2'"),
    ],
)
def test_words_that_are_no_weights(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        class_weights(read_class_weights(words), COUNTS, num_videos=8)


def test_a_run_with_weights(tmp_path: Path) -> None:
    """The rare class counts more; the file may change afterwards, the run keeps what it said."""
    data = write_data_set(tmp_path / "data", per_class=1, classes=("red", "blue"))
    write_data_set(data, per_class=3, classes=("blue",))
    weights, monitor = tmp_path / "weights.csv", Recorder()
    weights.write_text("red,3\n")
    recipe = tiny_finetune_recipe(epochs=1, batch_size=4, class_weights=(str(weights),))
    finetune(data, tmp_path / "run", recipe, init="scratch", monitor=monitor)
    # 3 videos of 1 and 1 of 3: a sum of 6 for 4 videos.
    assert "class weights in the loss: blue 0.667, red 2" in monitor.notes
    stored = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert stored["class_weights"] == ["red=3.0"]
    again = finetune(data, tmp_path / "run", recipe, init="scratch")
    assert again.was_finished
    weights.write_text("red,4\n")
    with pytest.raises(ConfigError, match="class_weights"):
        finetune(data, tmp_path / "run", recipe, init="scratch")
    finetune(data, tmp_path / "plain", tiny_finetune_recipe(epochs=1, batch_size=4), init="scratch")
    assert losses(tmp_path / "plain") != losses(tmp_path / "run")


def test_unknown_classes_are_refused_before_anything_is_written(colors: Path, tmp_path: Path) -> None:
    task = ClassificationTask(colors, tiny_finetune_recipe(class_weights={"rde": 2}), init="scratch")
    with pytest.raises(ConfigError, match="did you mean red"):
        prepare(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()
