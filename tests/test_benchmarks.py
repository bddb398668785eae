"""What benchmarks compute and draw: limits, medians, tables and charts, from figures made by hand."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import limits
import measuring
import model_peers
import performance_table
import results
import timeline_speed

from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification

CPU = torch.device("cpu")


@pytest.mark.parametrize("job", model_peers.JOBS)
def test_the_products_of_a_row_are_those_that_torch_counts(job: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    row = model_peers.Row(job, "tiny", "fp32", 2)
    clips, hidden, left, labels = row.inputs(CPU)
    counter = FlopCounterMode(display=False)
    if job in model_peers.FROM_PIXELS:
        classifier = VideoMAEForVideoClassification(VideoMAEConfig(**row.config))
        with counter:
            loss = classifier(clips, labels=labels).loss
            if job == "finetune":
                loss.backward()
    else:
        model = VideoMAEForPreTraining(VideoMAEConfig(**row.config))
        with counter:
            model(clips, hidden, decoder_masked_pos=left if job == "dual" else None).loss.backward()
    counted = sum(
        number for name, number in counter.get_flop_counts()["Global"].items() if "attention" not in str(name)
    )
    products = [(number, product) for number, product in limits.products(row)]
    linear = [(number, product) for number, product in products if isinstance(product, limits.Product)]
    trains = job != "classify"
    assert counted == sum(n * (p.forward_flops + (p.backward_flops if trains else 0)) for n, p in linear)
    assert limits.flops(row) > counted


def test_flops_of_the_published_network() -> None:
    # VideoMAE's paper has 180 GFLOPs of ViT-B at 16 × 224 × 224, where a multiplication and an addition count one.
    assert limits.flops(model_peers.Row("classify", "base", "fp32", 1)) == pytest.approx(2 * 180e9, rel=0.01)
    one, eight = (limits.flops(model_peers.Row("pretrain", "base", "bf16", batch)) for batch in (1, 8))
    assert eight == 8 * one


def test_attention_counts_scores_and_sums() -> None:
    product = limits.AttentionProducts(heads=3, queries=7, tokens=10, width=4)
    assert product.forward_flops == 3 * 2 * (2 * 7 * 10 * 4)
    assert product.backward_flops == 3 * 4 * (2 * 7 * 10 * 4)


def test_products_are_timed_forward_and_back() -> None:
    for product in (limits.Product(6, 5, 4), limits.AttentionProducts(heads=3, queries=7, tokens=10, width=4)):
        assert 0 < limits.product_seconds(product, True, torch.float32, CPU) < 1


def test_rows_are_read_from_words() -> None:
    assert model_peers.Row.parse("pretrain/base/bf16/32") == model_peers.Row("pretrain", "base", "bf16", 32)
    assert str(model_peers.Row.parse("classify/large/fp32/1/compiled")) == "classify large fp32 batch 1 compiled"
    for text in ("pretrain", "train/base/fp32/1", "pretrain/base/fp32/0", "pretrain/none/fp32/1", "dual/base/fp32/1/x"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected classify"):
            model_peers.Row.parse(text)


def test_ratio_is_the_median_of_the_rounds_against_the_fastest_peer() -> None:
    found = measuring.summary({"ours": [1.0, 2.0, 4.0], "slow": [9.0, 9.0, 9.0], "fast": [3.0, 3.0, 6.0]})
    assert found["seconds"] == {"ours": 2.0, "slow": 9.0, "fast": 3.0}
    assert found["best_peer"] == "fast"
    assert found["ratio"] == 1.5
    assert found["spread"]["ours"] == [1.0, 4.0]
    assert measuring.summary({"ours": [1.0]})["ratio"] is None
    assert measuring.summary({"other": [1.0]})["best_peer"] is None


def test_a_peer_that_fails_is_named_and_costs_no_other() -> None:
    def fails() -> None:
        raise RuntimeError("out of memory\nmore words")

    builds: dict[str, Any] = {"ours": lambda: lambda: sum(range(1000)), "broken": fails, "without": lambda: None}
    found = measuring.compare(builds, CPU, seconds=0.0)
    assert list(found["seconds"]) == ["ours"]
    assert found["failed"] == {"broken": "out of memory"}
    assert found["rounds"] == measuring.LEAST_ROUNDS


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_step_is_what_it_takes_above_what_stays() -> None:
    kept: list[torch.Tensor] = []

    def build() -> measuring.Step:
        kept.append(torch.ones(32, 2**20))  # 128 MiB
        return lambda: torch.ones(64, 2**20).sum()  # 256 MiB

    _, memory, _ = measuring.built(build, CPU)
    assert memory["step"] / 2**20 == pytest.approx(256, abs=30)
    assert memory["peak"] / 2**20 == pytest.approx(384, abs=60)


def test_rows_of_a_day_are_kept_side_by_side(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        path = results.add_row("speed", "cpu", {"name": "made"}, {"row": name, "value": value}, tmp_path)
    document = json.loads(path.read_text())
    assert document["hardware"] == results.hardware("cpu")
    assert document["rows"] == [{"row": "b", "value": 2}, {"row": "a", "value": 3}]


def made_row(name: str, ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    memory = {"ours": {"step": 2**29, "peak": 2**30}, "transformers sdpa": {"step": 2**30, "peak": 2**31}}
    summary = measuring.summary({"ours": [ours], "transformers sdpa": [theirs]})
    return {"row": name, **summary, "memory": memory, "failed": {}, "limit": ours / 4, "share": 0.25, **more}


def write_made(folder: Path, benchmark: str, hardware: str, date: str, rows: list[dict[str, Any]]) -> None:
    about = {"name": f"Made {hardware}", "cpu_capability": "AVX2", "num_threads": 2, "versions": {"torch": "2.11"}}
    document = {"hardware": hardware, "date": date, "machine": about, "rows": rows}
    (folder / f"{benchmark}-{hardware}-{date}.json").write_text(json.dumps(document))


def test_tables_show_the_newest_results_of_each_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_made(tmp_path, "model_speed", "nvidia-x", "2026-01-01", [made_row("pretrain", 0.001, 0.003)])
    write_made(tmp_path, "model_speed", "cpu2-avx2", "2026-01-01", [made_row("old", 1, 2)])
    failed = {"V1": "out of memory"}
    write_made(tmp_path, "model_speed", "cpu2-avx2", "2026-02-01", [made_row("new", 2, 3, failed=failed)])
    write_made(tmp_path, "pipeline_speed", "cpu2-avx2", "2026-02-02", [made_row("file to label", 5, 10, memory={})])
    rates = {"clips_per_second": 12.5, "data_wait_share": 0.04, "gpu_busy": None}
    write_made(tmp_path, "loop_speed", "cpu2-avx2", "2026-02-02", [made_row("pretrain run", 0.08, 1, **rates)])
    (tmp_path / "model_speed-cpu9-2026-03-01.json").write_text('{"hardware": "cpu9", "rows": []}')  # of an older form
    document = tmp_path / "performance.md"
    before, after = "words before\n", "\nwords after\n"
    document.write_text(f"{before}{performance_table.BEGIN}\nold tables\n{performance_table.END}{after}")
    monkeypatch.setattr(performance_table, "RESULTS", tmp_path)
    monkeypatch.setattr(performance_table, "DOCUMENT", document)

    performance_table.main()
    text = document.read_text()
    assert text.startswith(before)
    assert text.endswith(after)
    assert "old" not in text
    assert text.index("Made cpu2-avx2 (2 threads, AVX2)") < text.index("### Made nvidia-x\n")
    assert "| new | 2 s | 3 s | 1.50 × (transformers sdpa) | 0.5 s | 25% |" in text
    assert "| new | 0.50 (1.00) | 1.00 (2.00) | 50% |" in text
    assert "Not measured: new: V1: out of memory" in text
    assert "| file to label | 5 s | transformers sdpa 10 s | 2.00 × (transformers sdpa) | 25% |  |" in text
    assert "| pretrain run | 12.5 | 4% |  | 25% |" in text
    assert "| pretrain | 1 ms | 3 ms | 3.00 × (transformers sdpa) | 0.25 ms | 25% |" in text
    charts = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
    assert set(charts) == {"performance-cpu2-avx2.svg", "performance-nvidia-x.svg"}
    assert b"memory of a step" in charts["performance-cpu2-avx2.svg"]
    assert all(name in text for name in charts)

    performance_table.main()  # again: nothing changes
    assert document.read_text() == text
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")} == charts


def test_both_ways_to_a_timeline_see_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_speed, "HEIGHT", 48)
    monkeypatch.setattr(timeline_speed, "WIDTH", 64)
    video = timeline_speed.make_video(tmp_path / "x.mp4", 9)
    ours = [clips[0] for _, clips in timeline_speed.our_clips(video, 4, 1.5)]
    theirs = list(map(timeline_speed.center_clip, timeline_speed.their_windows(video, 4, 1.5)))
    assert len(ours) == len(theirs) == 5
    for one, other in zip(ours, theirs, strict=True):
        # PyAV's own conversion filters chroma in another way than FFmpeg's graph.
        assert (one.int() - other.int()).abs().float().mean() < 1.5
