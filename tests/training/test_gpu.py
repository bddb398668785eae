"""Training on a GPU: the CPU's losses, and steps that do not wait for it. Nothing of this runs without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import losses, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.processing.rand_augment import OPERATIONS, RandAugment
from videomae.training.finetune import SCRATCH, finetune
from videomae.training.pretrain import pretrain
from videomae.training.trainer import Trainer

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and TEST_GPU=1"),
    # torch says so when the watch over waiting is first set.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
]


def _run(job: str, data: Path, folder: Path, **changes: Any) -> list[float]:
    if job == "pretrain":
        pretrain(data, folder, tiny_pretrain_recipe(**changes))
    else:
        finetune(data, folder, tiny_finetune_recipe(**changes), init=SCRATCH)
    return losses(folder)


@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_a_gpu_gives_the_cpus_losses(job: str, colors: Path, tmp_path: Path) -> None:
    expected = _run(job, colors, tmp_path / "cpu", device="cpu", precision="fp32")
    assert _run(job, colors, tmp_path / "gpu", device="cuda", precision="fp32") == pytest.approx(expected, rel=1e-3)


def test_a_gpu_augments_as_a_cpu_does() -> None:
    """Up to rounding: one operation is at most a level off, and what follows may enlarge that."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(256, (30, 4, 3, 50, 70), dtype=torch.uint8, generator=generator)
    augment = RandAugment(num_ops=100, probability=1.0)
    given = dict(augment.draw(generator))
    single = [[(name, given[name])] for name in OPERATIONS]
    mixtures = [RandAugment(probability=0.7).draw(generator) for _ in range(15)]
    found = augment.apply(clips.cuda(), single + mixtures).cpu().int()
    difference = (found - augment.apply(clips, single + mixtures).int()).abs()
    assert difference[:15].max() <= 1
    assert difference.float().mean() < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_no_step_waits_for_the_gpu(
    job: str, precision: str, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Trainer.take_step

    def watched(self: Trainer, *args: Any) -> Any:
        # The first steps make the optimizer's state and the libraries' work spaces.
        torch.cuda.set_sync_debug_mode("error" if self.step > 1 else "default")
        try:
            return take(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "take_step", watched)
    ingredients: dict[str, Any] = {
        "rand_augment": "rand-m7-n4-mstd0.5-inc1",
        "mixup": 0.8,
        "cutmix": 1.0,
        "erasing": 0.5,
    }
    changes = ingredients if job == "finetune" else {}
    assert len(_run(job, colors, tmp_path, device="cuda", precision=precision, **changes)) >= 2
