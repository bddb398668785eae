"""Views of many videos in forwards of one size: each video once and in order, whatever the forwards are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import CheckpointError, VideoError
from videomae.core.memory import OutOfMemory
from videomae.data.clips import Sample
from videomae.data.loader import ClipBatch, collate
from videomae.data.workers import Broken
from videomae.datasets.entries import VideoEntry
from videomae.inference import embed, forwards, scores
from videomae.inference.embed import EmbedOptions, embed_videos
from videomae.inference.forwards import run_batches, views_per_forward
from videomae.inference.scores import ViewOptions, score_videos
from videomae.models.config import VideoMAEConfig

CPU = torch.device("cpu")
UNREADABLE = VideoError("b.mp4", expected="a video", hint="repair it")


def batch_of(*items: tuple[int, int]) -> ClipBatch:
    """Items (index, number of views); the number 0 for one that cannot be read. All pixels are 10 · index + view."""
    samples: list[Sample | Broken] = []
    for index, num_views in items:
        views = (10 * index + torch.arange(num_views)).to(torch.uint8)
        clips = views.view(-1, 1, 1, 1, 1).expand(-1, 2, 3, 4, 4)
        samples.append(Sample(clips, index, -1) if num_views else Broken(index, UNREADABLE))
    found = collate(samples)
    assert isinstance(found, ClipBatch)
    return found


BATCHES = [
    batch_of((0, 2), (1, 0), (2, 2)),
    batch_of((3, 0)),
    batch_of((4, 5)),
    batch_of((5, 1), (6, 1), (7, 1), (8, 0)),
]
EXPECTED = {0: [0, 1], 1: None, 2: [20, 21], 3: None, 4: [40, 41, 42, 43, 44], 5: [50], 6: [60], 7: [70], 8: None}


class FirstPixel:
    """A network that gives the first pixel of each clip, and notes how many it was given."""

    def __init__(self, max_views: int = 99, error: BaseException | None = None) -> None:
        self.sizes: list[int] = []
        self.tried: list[int] = []
        self._max_views, self._error = max_views, error

    def __call__(self, clips: Tensor) -> Tensor:
        self.tried.append(len(clips))
        if len(clips) > self._max_views:
            assert self._error is not None
            raise self._error
        assert torch.is_inference_mode_enabled()
        self.sizes.append(len(clips))
        return clips.flatten(1)[:, :1].float()


@pytest.mark.parametrize("num_views", [1, 2, 3, 4, 12, 64])
def test_forwards_of_one_size_and_items_in_order(num_views: int) -> None:
    network = FirstPixel()

    found = list(run_batches(BATCHES, network, device=CPU, num_views=num_views))

    assert [index for index, _ in found] == list(EXPECTED)
    for index, rows in found:
        if isinstance(rows, VideoError):
            assert rows is UNREADABLE
            assert EXPECTED[index] is None
        else:
            assert rows.flatten().tolist() == EXPECTED[index]
            assert not rows.is_inference()
    assert sum(network.sizes) == 12
    assert network.sizes[:-1] == [num_views] * (len(network.sizes) - 1)
    assert 0 < network.sizes[-1] <= num_views


def test_no_items() -> None:
    assert list(run_batches([], FirstPixel(), device=CPU, num_views=4)) == []


def test_batches_are_read_no_further_than_needed() -> None:
    """However many videos there are, few of their clips are held."""
    num_read = 0

    def batches() -> Iterator[ClipBatch]:
        nonlocal num_read
        for index in range(20):
            num_read += 1
            yield batch_of((index, 2))

    network, num_given = FirstPixel(), 0
    for _ in run_batches(batches(), network, device=CPU, num_views=4):
        num_given += 1
        assert num_read - num_given <= 2
    assert num_given == 20


def test_results_are_fetched_one_forward_late_where_the_device_computes_by_itself() -> None:
    running = forwards._Forwards(FirstPixel(), CPU, 2, "")
    running.add(batch_of((0, 2)))
    assert list(running.finished(1)) == []
    running.add(batch_of((1, 2), (2, 0)))
    assert [index for index, _ in running.finished(1)] == [0]
    running.flush()
    assert [index for index, _ in running.finished(0)] == [1, 2]


def test_rows_that_are_not_finite_are_an_error_or_not() -> None:
    def network(clips: Tensor) -> Tensor:
        return clips.flatten(1)[:, :1].float().log()  # of 0: minus infinity

    with pytest.raises(CheckpointError, match=r"features that are NaN or infinite.*fp32"):
        list(run_batches(BATCHES, network, device=CPU, num_views=4, finite="features"))
    assert len(list(run_batches(BATCHES, network, device=CPU, num_views=4))) == len(EXPECTED)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."
        ),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_half_as_many_go_on(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    network = FirstPixel(max_views=2, error=error)

    with caplog.at_level("INFO", logger="videomae"):
        found = dict(run_batches(BATCHES, network, device=CPU, num_views=8))

    assert network.tried[:3] == [8, 4, 2]
    assert all(size <= 2 for size in network.sizes)
    assert {i: None if isinstance(r, VideoError) else r.flatten().tolist() for i, r in found.items()} == EXPECTED
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "8 clips of 2 × 3 × 4 × 4 at once",
        "4 clips of 2 × 3 × 4 × 4 at once",
    ]
    assert caplog.records[-1].message.endswith("continuing with 2")


def test_a_single_clip_that_does_not_fit_is_one_line() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
    with pytest.raises(OutOfMemory) as caught:
        list(run_batches(BATCHES, FirstPixel(0, error), device=CPU, num_views=2))
    assert caught.value.value.startswith("1 clip of 2 × 3 × 4 × 4 at once, out of memory (2.00 GiB more asked for, ")
    assert "--image-size" in caught.value.hint


def test_other_faults_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(run_batches(BATCHES, FirstPixel(0, RuntimeError("size mismatch")), device=CPU, num_views=2))


@pytest.mark.parametrize("options", [{}, {"num_clips": 3, "num_crops": 3}])
@pytest.mark.parametrize("num_views", [1, 2, 5, 64])
def test_scores_do_not_depend_on_the_forwards(
    classifier: Checkpoint,
    videos: list[Path],
    broken: Path,
    options: dict[str, int],
    num_views: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score() -> list[scores.VideoScores]:
        view_options = ViewOptions(precision="fp32", **options)
        return list(score_videos(classifier, [*videos, broken, videos[0]], options=view_options, device=CPU))

    plain = score()
    monkeypatch.setattr(scores, "views_per_forward", lambda *_: num_views)
    found = score()

    assert [one.index for one in found] == list(range(6))
    assert found[4].error is not None
    for one, other in zip(found, plain, strict=True):
        if one.index != 4:
            torch.testing.assert_close(one.probabilities, other.probabilities, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"windows": True, "overlap": 0.5}, {"dense": True}, {"num_crops": 3}])
def test_features_do_not_depend_on_the_forwards(
    pretrained: Checkpoint, videos: list[Path], broken: Path, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [VideoEntry(path) for path in [*videos, broken, videos[0]]]
    monkeypatch.setattr(embed, "_VIDEOS_AT_ONCE", 4)  # windows of several groups share forwards

    def rows() -> list[embed.Embedding]:
        embed_options = EmbedOptions(precision="fp32", num_workers=0, **options)
        return list(embed_videos(pretrained, entries, options=embed_options, device=CPU))

    plain = rows()
    assert len(plain) == (26 if options.get("windows") else 6)
    for num_views in (1, 3, 64):
        monkeypatch.setattr(embed, "views_per_forward", lambda *_, number=num_views: number)
        found = rows()
        assert [row.index for row in found] == [row.index for row in plain]
        for row, other in zip(found, plain, strict=True):
            assert (row.start_seconds, str(row.error)) == (other.start_seconds, str(other.error))
            if row.values is not None:
                torch.testing.assert_close(row.values, other.values, rtol=1e-4, atol=1e-5)


def test_views_per_forward_follow_the_clips_and_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    base, small_clips = VideoMAEConfig(), VideoMAEConfig(image_size=64)
    assert views_per_forward(base, CPU) == 2
    assert views_per_forward(small_clips, CPU) == 8
    gpu = torch.device("cuda", 0)
    for free, expected in ((140, 64), (8, 32), (4, 16), (0.01, 1)):
        monkeypatch.setattr(forwards, "available_bytes", lambda _, free=free: int(free * 2**30))
        assert views_per_forward(base, gpu) == expected
    assert views_per_forward(base, torch.device("mps")) == 8


# A command that may take so many MiB more than its imports.
_LIMITED = """
import resource, sys
from videomae.cli.main import main
import videomae.api.inference, videomae.api.evaluation, videomae.api.training
import psutil
limit = psutil.Process().memory_info().vms + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS holds on Linux")
@pytest.mark.parametrize("command", ["predict", "reconstruct"])
def test_memory_that_really_runs_out_is_one_line(
    command: str, classifier: Checkpoint, pretrained: Checkpoint, videos: list[Path], tmp_path: Path
) -> None:
    (pretrained if command == "reconstruct" else classifier).save(tmp_path / "model")
    more = ["--output", str(tmp_path / "f.png")] if command == "reconstruct" else ["--num-workers", "0"]

    # 32768 tokens of 96 pixels: 12 MiB each for pixels and tokens, and the network has more.
    words = [command, str(videos[0]), "--model", str(tmp_path / "model"), "--image-size", "512", *more]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, "30", *words, "--device", "cpu", "--precision", "fp32"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("videomae:")]
    assert "1 clip of 4 × 3 × 512 × 512" in line
    assert "out of memory" in line
    assert "more asked for" in line
    assert "--image-size" in line


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_views", [1, 4])
def test_nothing_waits_for_cuda_but_the_results(
    classifier: Checkpoint, videos: list[Path], num_views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda")
    options = ViewOptions(precision="fp32", num_clips=2)
    expected = list(score_videos(classifier, videos * 3, options=options, device=CPU))
    classifier.model.to(device)
    monkeypatch.setattr(scores, "views_per_forward", lambda *_: num_views)
    list(score_videos(classifier, videos[:1], options=options, device=device))  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = list(score_videos(classifier, videos * 3, options=options, device=device))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [one.index for one in found] == list(range(12))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.probabilities, other.probabilities, rtol=1e-3, atol=1e-4)
