"""Videos that the data benchmark makes: ten seconds with one key frame, and hours that compress to nothing.

    python benchmarks/data_files.py VIDEO INDEX

reads five random clips of a video, with the packet index in the file INDEX (`-`: none), and prints seconds and memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAMES_PER_SECOND = 30
LONG_KEY_DISTANCE = 60
LONG_CLIPS = 5
NUM_ACTIONS = 8


def make_one_key_frame(source: Path | None, target: Path, *, num_frames: int = 300) -> Path:
    """Ten seconds of 640×360 H.264 with B-frames and a single key frame, of a real video's frames if one is given."""
    frames = _frames_of(source, num_frames) if source is not None else drawn_frames(num_frames, 360, 640)
    parameters = "keyint=infinite:min-keyint=infinite:scenecut=0"
    options = {"crf": "23", "preset": "medium", "x264-params": parameters}
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width, stream.pix_fmt = 360, 640, "yuv420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(640, 360, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def make_long(target: Path, *, seconds: int) -> Path:
    """A 1080p video as long as wanted: one group of pictures is encoded, and its packets are repeated."""
    first = target.with_suffix(".first.mp4")
    parameters = f"keyint={LONG_KEY_DISTANCE}:min-keyint={LONG_KEY_DISTANCE}:scenecut=0:open-gop=0"
    with av.open(str(first), "w") as container:
        options = {"crf": "32", "preset": "veryfast", "x264-params": parameters}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width, stream.pix_fmt = 1080, 1920, "yuv420p"
        for number, picture in enumerate(drawn_frames(LONG_KEY_DISTANCE, 1080, 1920)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(first)) as source, av.open(str(target), "w") as container:
        template = source.streams.video[0]
        stream = container.add_stream_from_template(template)
        packets = [packet for packet in source.demux(template) if packet.size]
        group = round(Fraction(LONG_KEY_DISTANCE, FRAMES_PER_SECOND) / template.time_base)
        for repeat in range(seconds * FRAMES_PER_SECOND // LONG_KEY_DISTANCE):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + repeat * group, packet.dts + repeat * group
                copy.time_base, copy.duration = packet.time_base, packet.duration
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                container.mux(copy)
    first.unlink()
    return target


def made_file(options: argparse.Namespace, folder: Path) -> Path:
    """The file with one key frame, of the best known of the shared videos."""
    source = options.videos / "eating_spaghetti.mp4"
    return make_one_key_frame(source if source.exists() else None, folder / "one_key_frame.mp4")


def shared_files(options: argparse.Namespace) -> list[Path]:
    """The videos of `--videos`, and a sample of those of `--actions`."""
    if not options.videos.is_dir():
        print(f"{options.videos} is not there: only the file that is made is read")
        return []
    files = sorted(path for path in options.videos.iterdir() if path.is_file())
    return [*(files[:3] if options.quick else files), *actions(options, 1 if options.quick else NUM_ACTIONS)]


def actions(options: argparse.Namespace, count: int) -> list[Path]:
    """So many of the videos of `--actions`, always the same."""
    files = sorted(options.actions.rglob("*.mp4"))
    chosen = np.random.default_rng(0).permutation(len(files))[:count]
    return [files[number] for number in chosen]


def _frames_of(source: Path, num_frames: int) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    with av.open(str(source)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.reformat(640, 360, "rgb24").to_ndarray())
            if len(frames) == num_frames:
                break
    # A shorter source goes back and forth.
    there_and_back = [*frames, *frames[-2:0:-1]] or frames
    return [there_and_back[number % len(there_and_back)] for number in range(num_frames)]


def drawn_frames(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    """Gratings that move over one another: smooth, and never at rest."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for number in range(num_frames):
        waves = [
            np.sin((rows * a + columns * b) / 40 + number / c) for a, b, c in ((1, 0.3, 5), (0.2, 1, 7), (1, 1, 9))
        ]
        frames.append(np.stack([127 + 120 * wave for wave in waves], axis=-1).astype(np.uint8))
    return frames


def read_clips(path: Path, index_file: str) -> dict[str, float]:
    """Seconds and memory of five random clips; in a process of its own, as the peak of memory is the process's."""
    from videomae.video.reader import PacketIndex, VideoReader
    from videomae.video.sampling import ClipSampling

    index = None if index_file == "-" else PacketIndex.from_bytes(Path(index_file).read_bytes())
    random = np.random.default_rng(0)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(LONG_CLIPS):
        with VideoReader(path, index=index) as reader:
            reader.read(ClipSampling().training_indices(reader.num_frames, random))
            index = reader.index  # as a loader does, which keeps it while it lives
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> float:
    """The most memory that this program had; what getrusage tells may be its parent's, from before it began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    print(json.dumps(read_clips(Path(sys.argv[1]), sys.argv[2])))
