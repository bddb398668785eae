"""Training on a GPU: the CPU's losses, and steps that do not wait for it. Nothing of this runs without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import losses, tiny_finetune_recipe, tiny_pretrain_recipe

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
    assert len(_run(job, colors, tmp_path, device="cuda", precision=precision)) >= 2
