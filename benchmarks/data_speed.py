"""From files to clips: ours beside the peers, interleaved in one run.

    python benchmarks/data_speed.py [--v1 CHECKOUT] [--only raw,pack,views,loader,processor,long] [--quick]
        [--rounds 5] [--clock wall|cpu] [--videos DIR] [--actions DIR]

Each row runs in a process of its own, so that no library finds another's threads. Prints medians and ratios (above 1:
ours is faster) beside their targets, and writes benchmarks/results/*.json. `--clock cpu` compares processor time, for
machines with other work to do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import data_files
import numpy as np
from data_files import made_file, shared_files
from data_peers import V1, ReadClip, decord_reader, fault_of, interleaved, load_v1, medians, peer_readers, seeded
from data_table import Row, print_table, target

from videomae.core.errors import VideoError
from videomae.video.packing import pack_video
from videomae.video.reader import PacketIndex, VideoReader
from videomae.video.sampling import ClipSampling

SHARED = Path(__file__).parents[2] / "shared"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAMPLING = ClipSampling()  # 16 frames at stride 4
_EPOCHS = 3  # of a loader, so that starting its workers does not decide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--v1", type=Path, help="a checkout of MCG-NJU/VideoMAE")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas between them")
    parser.add_argument("--quick", action="store_true", help="few files and rounds: a look, no result")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--videos", type=Path, default=SHARED / "videos")
    parser.add_argument("--actions", type=Path, default=SHARED / "actions")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds = min(options.rounds, 2)
    if options.row:
        document = ROWS[options.row](options)
        (options.folder / f"{options.row}.json").write_text(json.dumps(document, default=str))
        return
    unknown = set(options.only.split(",")) - set(ROWS)
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(ROWS)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: _run_row(name, Path(folder)) for name in options.only.split(",")}
    print_table(rows)
    if not options.quick:
        _write(options, rows)


def _run_row(name: str, folder: Path) -> Row:
    print(f"— {name}", flush=True)
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--only=")]
    command = [sys.executable, __file__, *given, "--row", name, "--folder", str(folder)]
    status = subprocess.run(command, check=False).returncode
    result = folder / f"{name}.json"
    if status or not result.exists():
        return {"targets": [], "note": f"the row ended with status {status}"}
    document: Row = json.loads(result.read_text())
    return document


def _write(options: argparse.Namespace, rows: dict[str, Row]) -> None:
    import torch
    from results import write_results

    versions = {"torch": torch.__version__, "av": av.__version__}
    given = {name: value for name, value in vars(options).items() if name in ("only", "rounds", "clock")}
    write_results("data_speed", "cpu", {"options": given, "versions": versions, "rows": rows})


def our_reader(indices_of_files: dict[Path, PacketIndex] | None = None, *, num_threads: int | None = 1) -> ReadClip:
    def read(path: Path, indices: np.ndarray) -> np.ndarray:
        known = indices_of_files[path] if indices_of_files else None
        with VideoReader(path, index=known, num_threads=num_threads) as reader:
            return reader.read(indices)

    return read


def raw(options: argparse.Namespace) -> Row:
    """One random clip of each file, opening included."""
    with tempfile.TemporaryDirectory() as folder:
        made = made_file(options, Path(folder))
        files = [made, *shared_files(options)]
        rows = [row for file in files if (row := _raw_file(file, options)) is not None]
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    with_b = [row["ratio"] for row in rows if row["ratio"] is not None and row["is_h264_with_b_frames"]]
    without = [row["ratio_without_index"] for row in rows if row["ratio_without_index"] is not None]
    targets = [
        target("raw: slowest file, against the best peer", min(ratios), 0.95),
        target("raw: geometric mean over all files, against the best peer", _mean(ratios), 1.2),
        target("raw: geometric mean of H.264 with B-frames", _mean(with_b), 1.35),
    ]
    note = f"without a kept packet index: geometric mean {_mean(without):.2f}, slowest {min(without):.2f}"
    return {"targets": targets, "files": rows, "note": note}


def _raw_file(path: Path, options: argparse.Namespace) -> Row | None:
    try:
        with VideoReader(path) as reader:
            index, info = reader.index, reader.info
            random = seeded(0)
            clips = [SAMPLING.training_indices(info.num_frames, random) for _ in range(options.rounds)]
            expected = reader.read(clips[0])
    except VideoError as error:
        print(f"{path.name:<32} ours: {error}", flush=True)
        return None
    readers = peer_readers()
    faults = {name: fault_of(read, path, clips[0], expected) for name, read in readers.items()}
    able = {name: read for name, read in readers.items() if faults[name] is None}
    # Peers use the cores as their defaults have it (decord2: all); so does ours, as `read_video` does.
    num_threads = None if options.clock == "wall" else 1
    known = {path: index}
    jobs = {
        "ours": our_reader(known, num_threads=num_threads),
        "ours, 1 thread": our_reader(known),
        "ours, no index": our_reader(num_threads=num_threads),
        **able,
    }
    samples: dict[str, list[Any]] = {name: [] for name in jobs}
    for number, clip in enumerate(clips):
        names = list(jobs)[:: 1 if number % 2 == 0 else -1]
        found = interleaved({name: lambda name=name, clip=clip: jobs[name](path, clip) for name in names}, 1)
        for name in names:
            samples[name] += found[name]
    seconds = medians(samples, options.clock)
    best = min((seconds[name] for name in able), default=None)
    is_reordered = bool((np.diff(index.frame_packets) < 0).any())
    row = {
        "file": path.name,
        "codec": info.codec,
        "num_frames": info.num_frames,
        "is_h264_with_b_frames": info.codec == "h264" and is_reordered,
        "milliseconds": {name: 1e3 * value for name, value in seconds.items()},
        "faults": {name: fault for name, fault in faults.items() if fault},
        "ratio": best / seconds["ours"] if best else None,
        "ratio_without_index": best / seconds["ours, no index"] if best else None,
    }
    times = "  ".join(f"{name} {1e3 * value:.1f}" for name, value in seconds.items())
    found_faults = "".join(f"; {name} {fault}" for name, fault in row["faults"].items())
    print(f"{path.name:<32} {row['ratio'] or math.nan:5.2f}  {times}{found_faults}", flush=True)
    return row


def pack(options: argparse.Namespace) -> Row:
    """The file with one key frame, packed, beside the best peer on the file as it was."""
    with tempfile.TemporaryDirectory() as folder:
        made = made_file(options, Path(folder))
        packed = Path(folder) / "packed.mp4"
        with VideoReader(made) as reader:
            result = pack_video(reader, packed)
        random = seeded(0)
        clips = [SAMPLING.training_indices(result.num_frames, random) for _ in range(3 * options.rounds)]
        readers: dict[str, tuple[ReadClip, Path]] = {
            "ours, packed": (our_reader({packed: result.index}), packed),
            "ours, packed, no index": (our_reader(), packed),
            **{f"{name}, raw": (read, made) for name, read in peer_readers().items()},
            **{f"{name}, packed": (read, packed) for name, read in peer_readers().items()},
        }
        remaining = {name: iter(clips) for name in readers}
        jobs = {
            name: lambda name=name, read=read, path=path: read(path, next(remaining[name]))
            for name, (read, path) in readers.items()
        }
        seconds = medians(interleaved(jobs, len(clips)), options.clock)
        sizes = {"raw": made.stat().st_size, "packed": packed.stat().st_size}
    best = min(value for name, value in seconds.items() if name.endswith(", raw"))
    _print_seconds(seconds)
    value = best / seconds["ours, packed"]
    return {
        "targets": [target("packed, against the best peer on the raw file", value, 8.0)],
        "milliseconds": {name: 1e3 * second for name, second in seconds.items()},
        "bytes": sizes,
        "psnr": result.psnr,
    }


def views(options: argparse.Namespace) -> Row:
    """5 × 3 test views of one video, normalized; one thread, as a loader's worker has."""
    import torch

    from videomae.data.clips import ViewClips
    from videomae.processing.transforms import normalize

    v1 = load_v1(options.v1)
    if not isinstance(v1, V1):
        return {"targets": [], "note": f"views: {v1}"}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = made_file(options, Path(folder))
        theirs = v1.test_views(made, Path(folder) / "list.txt")
        ours = ViewClips([made], sampling=SAMPLING, image_size=224, num_clips=5, num_crops=3)
        jobs = {
            "ours": lambda: normalize(ours.read(0)[0], MEAN, STD),
            "V1": lambda: [theirs[number] for number in range(len(theirs))],
        }
        seconds = medians(interleaved(jobs, max(2, options.rounds // 2)), options.clock)
    _print_seconds(seconds)
    value = seconds["V1"] / seconds["ours"]
    return {"targets": [target("5 × 3 test views, against V1", value, 8.0)], "seconds": seconds}


def loader(options: argparse.Namespace) -> Row:
    """Clips of a loader with two workers and the pre-training transform."""
    from torch.utils.data import DataLoader

    from videomae.data.clips import Crop, TrainingClips
    from videomae.data.loader import training_loader
    from videomae.data.order import BatchOrder
    from videomae.datasets.catalog import Catalog, VideoRecord
    from videomae.datasets.entries import VideoEntry

    v1 = load_v1(options.v1)
    if not isinstance(v1, V1):
        return {"targets": [], "note": f"loader: {v1}"}
    with tempfile.TemporaryDirectory() as folder:
        indices = _files_for_v1(options, Path(folder))
        files = list(indices)
        theirs = v1.pretraining(files, Path(folder) / "list.txt")
        os.environ["VIDEOMAE_CACHE"] = folder
        catalog = Catalog()  # as `videomae scan` leaves it
        for path, index in indices.items():
            catalog.put(path, VideoRecord(num_frames=index.num_frames), packet_index=index)
        catalog.close()

        def run_ours(num_views: int) -> None:
            clips = TrainingClips(
                [VideoEntry(path) for path in files],
                (),
                sampling=SAMPLING,
                crop=Crop("multi-scale"),
                image_size=224,
                seed=0,
                num_views=num_views,
            )
            order = BatchOrder(len(files), batch_size=4, epochs=_EPOCHS, seed=0)
            for batch in training_loader(clips, order, num_workers=2, pin_memory=False):
                for failed in batch.broken:
                    raise failed.error

        def run_v1() -> None:
            loader = DataLoader(theirs, batch_size=4, shuffle=True, num_workers=2, persistent_workers=True)
            for _ in range(_EPOCHS):
                for _ in loader:
                    pass

        jobs = {
            "ours": lambda: run_ours(1),
            "ours, 4 views": lambda: run_ours(4),
            "V1": run_v1,
        }
        seconds = medians(interleaved(jobs, options.rounds), options.clock)
    rates = {name: _EPOCHS * len(files) * (4 if "4" in name else 1) / value for name, value in seconds.items()}
    print("  ".join(f"{name} {value:.1f} clips/s" for name, value in rates.items()), flush=True)
    targets = [
        target("loader, 2 workers, against V1", rates["ours"] / rates["V1"], 1.5),
        target("loader, 2 workers, 4 views of each decode, against V1", rates["ours, 4 views"] / rates["V1"], 3.0),
    ]
    return {"targets": targets, "clips_per_second": rates, "num_files": len(files)}


def _files_for_v1(options: argparse.Namespace, folder: Path) -> dict[Path, PacketIndex]:
    """Videos as long as a clip that V1's reader can read, and their packet indices."""
    indices = {}
    for path in [made_file(options, folder), *shared_files(options)]:
        try:
            with VideoReader(path) as reader:
                clip = SAMPLING.test_indices(reader.num_frames, num_clips=1)[0]
                expected, index = reader.read(clip), reader.index
        except VideoError:
            continue
        # V1 counts 16 · 4 frames to a clip.
        if index.num_frames > 64 and fault_of(decord_reader, path, clip, expected) is None:
            indices[path] = index
    return indices


def processor(options: argparse.Namespace) -> Row:
    """16 frames of 640×360 to 224, tensors in and out, with one thread and with all."""
    import torch

    counts = sorted({1, torch.get_num_threads()}) if options.clock == "wall" else [1]  # threads that wait spin
    rows = []
    for num_threads in counts:
        torch.set_num_threads(num_threads)
        rows.append(_processor(options, f"{num_threads} thread{'' if num_threads == 1 else 's'}"))
    return {
        "targets": [line for row in rows for line in row["targets"]],
        "milliseconds": {num_threads: row["milliseconds"] for num_threads, row in zip(counts, rows, strict=True)},
    }


def _processor(options: argparse.Namespace, threads: str) -> Row:
    import torch
    from transformers import VideoMAEVideoProcessor

    from videomae import VideoMAEImageProcessor
    from videomae.processing.transforms import crop_and_resize, multi_scale_crop, normalize

    decoded = np.stack(data_files.drawn_frames(16, 360, 640))  # (T, H, W, C)
    as_decoded = torch.from_numpy(decoded).permute(0, 3, 1, 2)
    planes = as_decoded.contiguous()
    clips = {"planes": planes, "as decoded": as_decoded, "list": [frame.clone() for frame in planes]}
    ours, theirs = (make(image_mean=MEAN, image_std=STD) for make in (VideoMAEImageProcessor, VideoMAEVideoProcessor))
    generator = torch.Generator().manual_seed(0)
    jobs: dict[str, Callable[[], object]] = {
        "ours, training transform": lambda: normalize(
            crop_and_resize(decoded, multi_scale_crop(360, 640, generator), 224), MEAN, STD
        )
    }
    for name, clip in clips.items():
        jobs[f"ours, {name}"] = lambda clip=clip: ours(clip, return_tensors="pt")
        jobs[f"transformers, {name}"] = lambda clip=clip: theirs(clip, return_tensors="pt")
    interleaved(jobs, 2)
    seconds = medians(interleaved(jobs, 8 * options.rounds), options.clock)
    _print_seconds(seconds)
    best = min(value for name, value in seconds.items() if name.startswith("transformers"))
    targets = [
        target(
            f"processor, {name}, {threads}, against transformers",
            seconds[f"transformers, {name}"] / seconds[f"ours, {name}"],
            1.5,
        )
        for name in clips
    ]
    training = best / seconds["ours, training transform"]
    targets.append(target(f"training transform, {threads}, against that processor's best", training, 2.0))
    return {"targets": targets, "milliseconds": {name: 1e3 * value for name, value in seconds.items()}}


def long(options: argparse.Namespace) -> Row:
    """Five clips of an hour, and of a minute."""
    lengths = {"minute": 60, "hour": 3600}
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, length in lengths.items():
            video = data_files.make_long(Path(folder) / f"{name}.mp4", seconds=length)
            with VideoReader(video) as reader:
                (Path(folder) / f"{name}.index").write_bytes(reader.index.to_bytes())
        for _ in range(options.rounds):
            for name in lengths:
                for kept in (f"{folder}/{name}.index", "-"):
                    command = [sys.executable, data_files.__file__, f"{folder}/{name}.mp4", kept]
                    child = subprocess.run(command, check=True, capture_output=True, text=True)
                    results.setdefault(f"{name}{'' if kept != '-' else ', no index'}", []).append(
                        json.loads(child.stdout)
                    )
    seconds = {name: statistics.median(found[options.clock] for found in runs) for name, runs in results.items()}
    peak = max(found["peak_megabytes"] for runs in results.values() for found in runs)
    _print_seconds(seconds)
    targets = [
        target("5 clips of one hour, against one minute", seconds["hour"] / seconds["minute"], 1.5, is_most=True),
        target("their peak of memory, MB", peak, 500, is_most=True),
    ]
    ratio = seconds["hour, no index"] / seconds["minute, no index"]
    return {
        "targets": targets,
        "seconds": seconds,
        "note": f"the first clip of a file that is not known: {ratio:.2f} times",
    }


ROWS: dict[str, Callable[[argparse.Namespace], Row]] = {
    "raw": raw,
    "pack": pack,
    "views": views,
    "loader": loader,
    "processor": processor,
    "long": long,
}


def _mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else math.nan


def _print_seconds(seconds: dict[str, float]) -> None:
    print("  ".join(f"{name} {1e3 * value:.1f} ms" for name, value in seconds.items()), flush=True)


if __name__ == "__main__":
    main()
