"""Which layout of frames should `videomae pack` write? Packs videos in each of them and reads random clips.

A row a layout: CPU milliseconds for a random clip of 16 frames (at stride 4, unless told) with our reader (file opened
anew, packet index kept, RGB frames out), size against the original file, PSNR against the original frames brought to
the same size, and CPU milliseconds for encoding a frame. The first lines are peers on the original files. All in CPU
time of one thread, layouts interleaved.

Run: python benchmarks/pack_layouts.py VIDEO… [--clips 12] [--stride 4] [--short-side 256] [--results DIR]
A ten-second video with a single key frame, made from the first VIDEO, is always among the files.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from results import RESULTS, write_results

from videomae.video.packing import CRF, LAYOUT, FrameLayout, PackedVideo, pack_video, x264_layout
from videomae.video.reader import VideoReader

NUM_FRAMES = 16

LAYOUTS: dict[str, FrameLayout] = {
    "key 32, 7 B": x264_layout(key_distance=32, num_b_frames=7),
    "key 32, 7 B, mbtree off": x264_layout(key_distance=32, num_b_frames=7, extra="mbtree=0"),
    "key 32, 7 B, 1 reference": x264_layout(key_distance=32, num_b_frames=7, extra="ref=1"),
    "key 32, 7 B, no small partitions": x264_layout(key_distance=32, num_b_frames=7, extra="partitions=none"),
    "key 32, 7 B, preset fast": x264_layout(key_distance=32, num_b_frames=7, preset="fast"),
    "key 32, 7 B, preset slow": x264_layout(key_distance=32, num_b_frames=7, preset="slow"),
    "key 32, 7 B, CABAC and deblocking": x264_layout(key_distance=32, num_b_frames=7, fast_decode=False),
    "key 64, 7 B": x264_layout(key_distance=64, num_b_frames=7),
    "key 16, 7 B": x264_layout(key_distance=16, num_b_frames=7),
    "key 32, 15 B": x264_layout(key_distance=32, num_b_frames=15),
    "key 64, 15 B": x264_layout(key_distance=64, num_b_frames=15),
    "key 16, 3 B": x264_layout(key_distance=16, num_b_frames=3),
    "key 32, 3 B": x264_layout(key_distance=32, num_b_frames=3),
    "key 8, no B": x264_layout(key_distance=8, num_b_frames=0),
    "all key frames": x264_layout(key_distance=1, num_b_frames=0),
    "MJPEG q6": FrameLayout(codec="mjpeg", pixels="yuvj420p", options={"qmin": "6", "qmax": "6"}),
}


def cpu_ms(action: Callable[[], object]) -> float:
    """CPU milliseconds of this process, all its threads."""
    started = time.process_time()
    action()
    return 1000 * (time.process_time() - started)


def make_one_key_frame(source: Path, target: Path) -> Path:
    """300 frames of the source (as often as it takes) at 640×360, x264 as most files come, one key frame."""
    with VideoReader(source) as reader, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "g": "100000", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(300):
            picture = reader.read([number % reader.num_frames])[0]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(640, 360, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def random_clips(num_frames: int, count: int, stride: int, generator: np.random.Generator) -> list[np.ndarray]:
    span = (NUM_FRAMES - 1) * stride + 1
    starts = generator.integers(0, max(1, num_frames - span + 1), count)
    return [np.minimum(start + stride * np.arange(NUM_FRAMES), num_frames - 1) for start in starts]


def read_ours(path: Path, packed: PackedVideo, clip: np.ndarray) -> None:
    with VideoReader(path, index=packed.index) as reader:
        reader.read(clip)


def read_by_seeking_to_the_start(path: Path, clip: np.ndarray) -> None:
    """The way of the interface's documentation."""
    with av.open(str(path)) as container:
        container.seek(0)
        wanted, last = set(clip.tolist()), int(clip[-1])
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frame.to_ndarray(format="rgb24")
            if number == last:
                return


def read_torchcodec(path: Path, clip: np.ndarray) -> None:
    from torchcodec.decoders import VideoDecoder

    VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(clip.tolist())


def read_decord(path: Path, clip: np.ndarray) -> None:
    import decord

    decord.VideoReader(str(path), num_threads=1).get_batch(clip.tolist()).asnumpy()


PEERS = {"PyAV seek(0)": read_by_seeking_to_the_start, "torchcodec": read_torchcodec, "decord2": read_decord}


def measure_file(
    video: Path, folder: Path, *, num_clips: int, stride: int, short_side: int, crf: int, seed: int
) -> dict[str, dict]:
    """Rows by name: layouts in all figures, peers on the original file in time only."""
    rows: dict[str, dict] = {}
    with VideoReader(video) as reader:
        clips = random_clips(reader.num_frames, num_clips, stride, np.random.default_rng(seed))
        num_frames = reader.num_frames
        for name, layout in LAYOUTS.items():
            target = folder / f"{len(rows)}.mp4"
            packed: list[PackedVideo] = []

            def pack(target: Path = target, layout: FrameLayout = layout, packed: list = packed) -> None:
                packed.append(pack_video(reader, target, short_side=short_side, crf=crf, layout=layout))

            encoding = cpu_ms(pack) / num_frames
            share = packed[0].size_bytes / video.stat().st_size
            rows[name] = {"packed": packed[0], "path": target, "psnr": packed[0].psnr, "size_share": share}
            rows[name] |= {"encode_ms_per_frame": encoding, "clip_ms": []}
    peers: dict[str, dict] = {f"original, {name}": {"clip_ms": []} for name in PEERS}
    for clip in [clips[0], *clips]:  # the first round warms up
        for name, read in PEERS.items():
            peers[f"original, {name}"]["clip_ms"].append(cpu_ms(lambda read=read, clip=clip: read(video, clip)))
        for row in rows.values():
            path, packed_video = row["path"], row["packed"]
            row["clip_ms"].append(cpu_ms(lambda p=path, v=packed_video, c=clip: read_ours(p, v, c)))
    merged = peers | rows
    for row in merged.values():
        row["clip_ms"] = statistics.mean(row["clip_ms"][1:])
    return {name: {key: row[key] for key in row if key not in ("packed", "path")} for name, row in merged.items()}


def print_table(title: str, rows: dict[str, dict]) -> None:
    print(f"\n{title}\n{'':<36}{'clip ms':>9}{'size':>8}{'PSNR dB':>9}{'encode ms/frame':>17}")
    for name, row in rows.items():
        name += " (default)" * (LAYOUTS.get(name) == LAYOUT)
        line = f"{name:<36}{row['clip_ms']:>9.1f}"
        if "psnr" in row:
            line += f"{row['size_share']:>8.2f}{row['psnr']:>9.2f}{row['encode_ms_per_frame']:>17.1f}"
        print(line, flush=True)


def over_files(tables: list[dict[str, dict]]) -> dict[str, dict]:
    """Geometric means of times and sizes, mean PSNR."""
    merged: dict[str, dict] = {}
    for name, first in tables[0].items():
        mean = {key: statistics.geometric_mean(table[name][key] for table in tables) for key in first}
        if "psnr" in first:
            mean["psnr"] = statistics.mean(table[name]["psnr"] for table in tables)
        merged[name] = mean
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--short-side", type=int, default=256)
    parser.add_argument("--crf", type=int, default=CRF)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layouts", nargs="*", help="only those whose name contains one of these")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.layouts:
        for name in [name for name in LAYOUTS if not any(part in name for part in options.layouts)]:
            del LAYOUTS[name]
    tables: dict[str, dict[str, dict]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        one_key_frame = make_one_key_frame(options.videos[0], folder / "one key frame.mp4")
        for video in [one_key_frame, *options.videos]:
            tables[video.name] = measure_file(
                video,
                folder,
                num_clips=options.clips,
                stride=options.stride,
                short_side=options.short_side,
                crf=options.crf,
                seed=options.seed,
            )
            print_table(video.name, tables[video.name])
    tables["all files"] = over_files(list(tables.values()))
    print_table("all files (geometric means; PSNR: mean)", tables["all files"])
    settings = {key: getattr(options, key) for key in ("clips", "stride", "short_side", "crf", "seed")}
    write_results("pack_layouts", "cpu", {"settings": settings, "files": tables}, options.results)


if __name__ == "__main__":
    main()
