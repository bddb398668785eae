"""Many short videos through predict and embed: videos a second, and how long the network has nothing to do.

The videos are made of moving waves, 320×240 pixels, 32 frames each, all different files. A run is timed from the first
clip that the network gets to the last result, so that starting the workers does not count. `idle` is the share of that
time in which the network waits for clips: on a CPU the time in which the next batch is waited for; on a GPU the time in
which no forward runs, by the GPU's own clock. Each number of views per forward (--views, 0 for the automatic one) takes
turns with the others.

Run: python benchmarks/inference_speed.py [--device cuda] [--size base] [--videos 64] [--views 0,8,1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import RESULTS, write_results

from videomae.checkpoint import Checkpoint, new_processor
from videomae.core.precision import choose_precision
from videomae.datasets.entries import VideoEntry
from videomae.inference import embed, forwards, scores
from videomae.inference.embed import EmbedOptions, embed_videos
from videomae.inference.scores import ViewOptions, score_videos
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.recipes.sizes import size_keywords
from videomae.video.sampling import ClipSampling
from videomae.video.writer import write_video


def write_videos(folder: Path, number: int) -> list[Path]:
    """Short videos whose patterns differ."""
    t, y, x = np.ogrid[0:32, 0:240, 0:320]
    waves = np.broadcast_arrays(np.sin(x / 9 + t / 3), np.cos(y / 7 - t / 2), np.sin((x + y) / 19 + t / 9))
    frames = (127 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)
    paths = []
    for index in range(number):
        paths.append(folder / f"{index:04}.mp4")
        write_video(paths[-1], np.roll(frames, 7 * index, axis=2), frames_per_second=25, preset="ultrafast")
    return paths


class Clock:
    """When the network began, how long it was waited for clips, and the forwards of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begin = 0.0
        self.waited = 0.0
        self.events: list[tuple[Any, Any]] = []

    def batches(self, loader: Any) -> Iterator[Any]:
        """The batches of a loader, timing how long each is in coming; the first one begins the run."""
        while True:
            before = time.perf_counter()
            batch = next(loader, None)
            now = time.perf_counter()
            if self.begin:
                self.waited += now - before
            else:
                self.begin = now
            if batch is None:
                return
            yield batch

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Around a forward."""
        if self.device.type != "cuda":
            yield
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        yield
        end.record()
        self.events.append((start, end))

    def idle(self, seconds: float) -> float:
        """The share of the time in which the network had nothing to do."""
        if self.device.type != "cuda":
            return self.waited / seconds
        torch.cuda.synchronize(self.device)
        return 1 - sum(start.elapsed_time(end) for start, end in self.events) / 1000 / seconds


def timed(checkpoint: Checkpoint, run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds and idle share of a run."""
    clock = Clock(device)
    loaders = {module: module.view_loader for module in (scores, embed)}
    whole = checkpoint.model.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        with clock.forward():
            return whole(*arguments, **keywords)

    try:
        for module, loader in loaders.items():
            module.view_loader = lambda *a, _loader=loader, **k: _Closing(_loader(*a, **k), clock)  # type: ignore[attr-defined]
        checkpoint.model.forward = forward
        run()
    finally:
        for module, loader in loaders.items():
            module.view_loader = loader  # type: ignore[attr-defined]
        del checkpoint.model.forward
    seconds = time.perf_counter() - clock.begin
    return seconds, clock.idle(seconds)


class _Closing:
    """A loader's batches, timed, with its `close`."""

    def __init__(self, loader: Any, clock: Clock) -> None:
        self._batches, self.close = clock.batches(loader), loader.close

    def __iter__(self) -> Iterator[Any]:
        return self._batches


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians over the rounds, for each job and number of views per forward."""
    device = torch.device(arguments.device)
    config = VideoMAEConfig(**size_keywords(arguments.size), image_size=arguments.image_size, num_labels=400)
    sampling = ClipSampling("dense", num_frames=16, frame_stride=2)
    model = VideoMAEForVideoClassification(config).eval().to(device)
    checkpoint = Checkpoint(model, new_processor(config, sampling), sampling)
    precision = choose_precision(arguments.precision, device).name
    shared: dict[str, Any] = {"precision": precision, "num_workers": arguments.num_workers}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_videos(Path(folder), arguments.videos)
        entries = [VideoEntry(path) for path in paths]
        jobs: dict[str, Callable[[], Any]] = {
            "predict": lambda: list(score_videos(checkpoint, paths, options=ViewOptions(**shared), device=device)),
            "predict 5 × 3 views": lambda: list(
                score_videos(
                    checkpoint,
                    paths[: max(2, len(paths) // 15)],
                    options=ViewOptions(num_clips=5, num_crops=3, **shared),
                    device=device,
                )
            ),
            "embed": lambda: list(embed_videos(checkpoint, entries, options=EmbedOptions(**shared), device=device)),
        }
        jobs = {name: job for name, job in jobs.items() if name in arguments.jobs.split(",")}
        automatic = forwards.views_per_forward(config, device)
        times: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for name, job in jobs.items():
                for views in map(int, arguments.views.split(",")):
                    for module in (scores, embed):
                        module.views_per_forward = lambda *_, _n=views or automatic: _n  # type: ignore[attr-defined]
                    times.setdefault((name, views or automatic), []).append(timed(checkpoint, job, device))
    rows = {}
    for (name, views), found in times.items():
        number = max(2, len(paths) // 15) if "views" in name else len(paths)
        seconds, idle = (statistics.median(values) for values in zip(*found, strict=True))
        rows[f"{name}, {views} at once"] = {"videos_per_second": number / seconds, "idle": idle}
    settings = {key: str(value) for key, value in vars(arguments).items() if key != "results"}
    return {"settings": {**settings, "precision": precision}, "automatic_views": automatic, "rows": rows}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="small")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--views", default="0,8,1")
    parser.add_argument("--jobs", default="predict,predict 5 × 3 views,embed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-workers", type=int, default=-1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(arguments)
    for name, row in results["rows"].items():
        print(f"{name:>36}  {row['videos_per_second']:8.2f} videos/s  network idle {row['idle']:5.1%}")
    write_results("inference_speed", arguments.device, results, arguments.results)


if __name__ == "__main__":
    main()
