"""Knowledge distillation: whose scores are learned, and how far from them a student is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import losses, stop_after, tiny_finetune_recipe, write_data_set
from torch.nn import functional as F

import videomae
from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, InputError
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.losses import distillation_loss
from videomae.training.run import prepare
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.teacher import Teacher
from videomae.training.trainer import TrainingStopped


def test_the_divergence_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.5, 2.0]])
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    by_hand = 4 * float((p * (p / q).log()).sum())
    found = distillation_loss(student, teacher, is_multi_label=False, temperature=2.0)
    assert float(found) == pytest.approx(by_hand)
    p, q = teacher.sigmoid(), student.sigmoid()
    by_hand = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()) / 3
    found = distillation_loss(student, teacher, is_multi_label=True, temperature=1.0)
    assert float(found) == pytest.approx(by_hand)
    assert float(distillation_loss(student, student, is_multi_label=False, temperature=1.0)) == pytest.approx(0)


def test_at_temperature_one_the_gradient_is_that_of_soft_targets() -> None:
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    distillation_loss(student, teacher, is_multi_label=False, temperature=1.0).backward()
    assert student.grad is not None
    own = student.grad.clone()
    student.grad = None
    F.cross_entropy(student, teacher.softmax(-1), reduction="sum").backward()
    assert torch.allclose(own, student.grad, atol=1e-6)


def _task(colors: Path, teacher: FinetuneResult | str, **changes: Any) -> ClassificationTask:
    return ClassificationTask(colors, tiny_finetune_recipe(teacher=teacher, **changes), init="scratch")


def test_a_student_learns_from_its_teacher_alone(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    """The labels are wrong: only the teacher knows the colors."""
    rows = ["path,label,split"]
    names = ["blue", "green", "red"]
    for place, path in enumerate(sorted((colors / "train").rglob("*.mp4"))):
        rows.append(f"{path},{names[place % 3]},train")
    rows += [f"{path},{path.parent.name},val" for path in sorted((colors / "val").rglob("*.mp4"))]
    (tmp_path / "wrong.csv").write_text("\n".join(rows) + "\n")
    recipe = tiny_finetune_recipe(epochs=8, teacher=str(finetuned.folder), layer_decay=1.0)
    result = finetune(tmp_path / "wrong.csv", tmp_path / "run", recipe, init="scratch")
    assert result.best_top1 is not None
    assert result.best_top1 >= 5 / 6
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]


def test_the_share_of_the_labels(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    for share in (0.0, 0.25, 1.0):
        recipe = tiny_finetune_recipe(epochs=1, teacher=str(finetuned.folder), distill_share=share)
        finetune(colors, tmp_path / str(share), recipe, init="scratch")
    finetune(colors, tmp_path / "plain", tiny_finetune_recipe(epochs=1), init="scratch")
    first = {name: losses(tmp_path / name)[0] for name in ("0.0", "0.25", "1.0", "plain")}
    assert first["0.0"] == first["plain"]
    assert first["0.25"] == pytest.approx(0.75 * first["plain"] + 0.25 * first["1.0"], rel=1e-6)


def test_a_teacher_that_is_its_student_has_nothing_to_teach(
    colors: Path, finetuned: FinetuneResult, tmp_path: Path
) -> None:
    recipe = tiny_finetune_recipe(epochs=1, teacher=str(finetuned.folder))
    finetune(colors, tmp_path, recipe, init=str(finetuned.folder))
    assert losses(tmp_path)[0] == pytest.approx(0, abs=1e-6)


def test_the_teacher_is_not_trained_and_not_saved(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    trainer = prepare(_task(colors, finetuned), tmp_path)
    assert set(trainer.model.state_dict()) == set(Checkpoint.open(finetuned.folder).model.state_dict())
    teacher = trainer.task._teacher  # type: ignore[attr-defined]
    assert not teacher._model.training
    assert not any(parameter.requires_grad for parameter in teacher._model.parameters())


def test_a_stopped_run_resumes(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    recipe = tiny_finetune_recipe(epochs=2, teacher=str(finetuned.folder), mixup=0.8)
    finetune(colors, tmp_path / "whole", recipe, init="scratch")
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "parts", recipe, init="scratch", monitor=stop_after(4))
    finetune(colors, tmp_path / "parts", recipe, init="scratch")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_a_teacher_of_other_clips_pixels_and_more_classes(finetuned: FinetuneResult) -> None:
    student = Checkpoint.open(finetuned.folder, num_frames=8, image_size=48)
    student.processor.image_mean, student.processor.image_std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    teacher = Teacher(str(finetuned.folder), student, ["red", "blue"])
    pixels = torch.rand(2, 8, 3, 48, 48)
    own_mean, own_std = (torch.tensor(values).view(-1, 1, 1) for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    same = Checkpoint.open(finetuned.folder, num_frames=8, image_size=48)
    mean, std = (
        torch.tensor(values).view(-1, 1, 1) for values in (same.processor.image_mean, same.processor.image_std)
    )
    with torch.no_grad():
        expected = same.model((pixels - mean) / std).logits[:, [2, 0]]
    assert torch.allclose(teacher((pixels - own_mean) / own_std), expected, atol=1e-4)


def test_who_cannot_teach(colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=2)
    (data / "blue").rename(data / "sky")
    with pytest.raises(ConfigError, match="without the class 'sky': expected a classifier of the classes of the data"):
        prepare(_task(data, finetuned), tmp_path / "run")
    with pytest.raises(InputError):
        prepare(_task(colors, str(tmp_path / "nowhere")), tmp_path / "run")


def test_a_pretrained_encoder_cannot_teach(colors: Path, pretrained: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        prepare(_task(colors, pretrained), tmp_path / "run")


def test_a_number_of_the_recipe_out_of_range(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distill_share=2.0.*distill_temperature=0"):
        videomae.finetune(
            colors, output=tmp_path / "run", init="scratch", teacher="x", distill_share=2.0, distill_temperature=0.0
        )
