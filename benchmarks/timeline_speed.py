"""A timeline over a long 1080p video beside calling a model window by window.

    python benchmarks/timeline_speed.py [--seconds 60] [--window 4] [--hops 4 1] [--size base] [--device cpu]
        [--rows frames labels] [--row-seconds 60] [--video FILE]

frames: from the file to the clips of all windows, without a model: what one decode of overlapping windows is worth.
labels: from the file to the scores of all windows. Peers do it as a user would: PyAV seeks to each window, decodes it
(with FFmpeg's own threads) and converts the frames that the model wants; then the model: ours, and that of transformers
with its processor, one window at a time. Peers take turns; both see the same frames, which is checked. Peak memory is
that of the process above what there was before; rows go to benchmarks/results one by one.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from measuring import Build, Step, as_text, compare, machine
from results import RESULTS, add_row

import videomae
from videomae.core.precision import autocast, choose_precision
from videomae.inference.segments import SegmentOptions
from videomae.inference.timeline_run import TimelineRun
from videomae.inference.window_clips import VideoWindows, read_ahead
from videomae.inference.window_layout import WindowOptions
from videomae.processing import center_crop_box, crop_and_resize
from videomae.recipes.sizes import size_keywords
from videomae.video.sampling import ClipSampling
from videomae.video.windows import window_starts

RATE, HEIGHT, WIDTH = 30, 1080, 1920
SAMPLING = ClipSampling("dense", 16, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=int, default=60, help="of the video that is made")
    parser.add_argument("--video", type=Path, help="a 30 frames/s video in its place")
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--hops", type=float, nargs="+", default=[4.0, 1.0])
    parser.add_argument("--size", default="base")
    parser.add_argument("--rows", nargs="+", choices=("frames", "labels"), default=("frames", "labels"))
    parser.add_argument("--row-seconds", type=float, default=60.0, help="of a row's rounds; at least two are made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or make_video(Path(folder) / "long.mp4", options.seconds)
        model = save_model(Path(folder) / "model", options.size) if "labels" in options.rows else None
        for kind in options.rows:
            for hop in options.hops:
                builds = frame_builds(video, options.window, hop)
                if kind == "labels":
                    assert model is not None
                    builds = label_builds(video, model, options.window, hop, device)
                name = f"{kind} window {options.window:g} s hop {hop:g} s" + (f" {options.size}" * (kind == "labels"))
                found = compare(builds, device, seconds=options.row_seconds)
                row = {"row": name, "video_seconds": seconds_of(video), **found}
                print(as_text(row), flush=True)
                add_row("timeline_speed", device, machine(device), row, options.results)


def make_video(path: Path, seconds: int) -> Path:
    """A moving texture as a camera's file has it: 1080p, H.264 with B-frames, a key frame every 8 seconds."""
    rows, columns = np.mgrid[0 : HEIGHT + 256, 0 : WIDTH + 256]
    waves = [
        np.sin(columns / (9 + 4 * c)) * np.cos(rows / (11 + 3 * c)) + np.sin((rows + columns) / 37) for c in range(3)
    ]
    noise = np.random.default_rng(0).normal(0, 6, (*rows.shape, 3))
    scene = np.clip(127 + 55 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23", "g": "240"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * RATE):
            top, left = (round(128 + 127 * np.sin(number / period)) for period in (41, 57))
            picture = np.ascontiguousarray(scene[top : top + HEIGHT, left : left + WIDTH])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def seconds_of(video: Path) -> float:
    return float(videomae.probe_video(video).duration_seconds or 0)


def save_model(folder: Path, size: str) -> Path:
    config = videomae.VideoMAEConfig(**size_keywords(size), id2label={n: f"class {n}" for n in range(400)})
    side = config.image_size
    videomae.VideoMAEForVideoClassification(config).save_pretrained(folder)
    processor = videomae.VideoMAEImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, sampling=SAMPLING.to_dict()
    )
    processor.save_pretrained(folder)
    return folder


def frame_builds(video: Path, window: float, hop: float) -> dict[str, Build]:
    def ours() -> Step:
        return lambda: sum(1 for _ in our_clips(video, window, hop))

    def theirs() -> Step:
        return lambda: sum(len(center_clip(frames)) > 0 for frames in their_windows(video, window, hop))

    return {"ours": ours, "PyAV, window by window": theirs}


def our_clips(video: Path, window: float, hop: float) -> Iterator[Any]:
    options = WindowOptions(window_seconds=window, hop_seconds=hop)
    return read_ahead(VideoWindows(video, sampling=SAMPLING, image_size=224, options=options), max_waiting=4)


def their_windows(video: Path, window: float, hop: float) -> Iterator[np.ndarray]:
    """The 16 frames in the center of each window, uint8 (16, H, W, 3): a seek for each."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate, number = float(stream.average_rate), stream.frames
        span = (SAMPLING.num_frames - 1) * SAMPLING.frame_stride + 1
        for start in window_starts(number / rate, window, hop, tolerance=0.5 / rate).tolist():
            first = round(start * rate) + max(round(window * rate) - span, 0) // 2
            wanted = {first + SAMPLING.frame_stride * step for step in range(SAMPLING.num_frames)}
            container.seek(round(first / rate / stream.time_base), stream=stream)
            frames = []
            for frame in container.decode(stream):
                place = round(frame.time * rate)
                if place in wanted:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if place >= max(wanted):
                    break
            yield np.stack(frames)


def center_clip(frames: np.ndarray) -> torch.Tensor:
    """(16, 3, 224, 224) uint8, as our processor cuts it."""
    return crop_and_resize(frames, center_crop_box(*frames.shape[1:3]), 224)


def label_builds(video: Path, folder: Path, window: float, hop: float, device: torch.device) -> dict[str, Build]:
    precision = choose_precision("auto", device).name

    def ours() -> Step:
        checkpoint = videomae.Checkpoint.open(folder)
        checkpoint.model.to(device)
        options = WindowOptions(window_seconds=window, hop_seconds=hop)

        def step() -> int:
            run = TimelineRun(
                checkpoint, video, windows=options, segments=SegmentOptions(), precision=precision, device=device
            )
            return len(list(run))

        return step

    def our_model() -> Step:
        checkpoint = videomae.Checkpoint.open(folder)
        return lambda: called(checkpoint.model.to(device), checkpoint.processor, {"return_tensors": "pt"})

    def theirs() -> Step:
        transformers = importlib.import_module("transformers")
        transformers.utils.logging.disable_progress_bar()
        model = transformers.VideoMAEForVideoClassification.from_pretrained(folder, attn_implementation="sdpa")
        processor = transformers.VideoMAEVideoProcessor.from_pretrained(folder)
        return lambda: called(model.eval().to(device), processor, {"return_tensors": "pt"})

    def called(model: Any, processor: Any, keywords: dict[str, Any]) -> int:
        count = 0
        for frames in their_windows(video, window, hop):
            pixels = processor(list(frames), **keywords)["pixel_values"].to(device)
            with torch.inference_mode(), autocast(device, precision):
                model(pixels.reshape(1, *pixels.shape[-4:])).logits.float().softmax(-1).cpu()
            count += 1
        return count

    return {"ours": ours, "our model, window by window": our_model, "transformers, window by window": theirs}


if __name__ == "__main__":
    main()
