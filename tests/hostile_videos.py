"""Damaged videos by the thousand, read in a process of their own so that a crash is seen and named.

As a program: `python -m hostile_videos FOLDER FIRST COUNT`, where FOLDER holds small sound videos. Case i cuts or
alters one of them. Before each case its number goes to standard output; "done" means that all came out as they should.
"""

from __future__ import annotations

import io
import random
import resource
import sys
from pathlib import Path

from videomae.core.errors import VideoError
from videomae.video.reader import PacketIndex, ReadLimits, VideoReader

LIMITS = ReadLimits(max_pixels=2**20, max_seconds=20)
MAX_BYTES = 3 * 2**30  # of address space, most of which is the interpreter and its libraries


def damage(data: bytes, case: int) -> bytes:
    """Cut the data off, flip bits, or overwrite, move or zero a piece of it."""
    pick = random.Random(case)
    changed = bytearray(data)
    kind = pick.randrange(8)
    if kind < 2:
        return bytes(data[: pick.randrange(len(data))])
    # Headers hold the lengths and counts that readers trust, and they are a small part of the file.
    end = len(data) if kind < 6 else min(len(data), 512)
    for _ in range(pick.choice([1, 1, 2, 8, 32])):
        place = pick.randrange(end)
        if kind == 5:
            piece = changed[place : place + pick.choice([4, 16, 64])]
            other = pick.randrange(len(data))
            changed[other : other + len(piece)] = piece
        elif kind in (4, 7):
            piece = pick.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", pick.randbytes(4)])
            changed[place : place + 4] = piece
        else:
            changed[place] ^= 1 << pick.randrange(8)
    return bytes(changed)


def check(data: bytes, path: Path | None, kept: PacketIndex | None) -> str:
    """Read some frames of the data, from a file or from memory; frames of the right shape or a VideoError."""
    if path is not None:
        path.write_bytes(data)
    try:
        with VideoReader(path or io.BytesIO(data), limits=LIMITS, index=kept) as reader:
            last = reader.num_frames - 1
            info = reader.info
            wanted = [0, last, last // 2, last]
            pictures = reader.read(wanted)
            assert pictures.shape[0] == 4, pictures.shape
            assert pictures.shape[3] == 3, pictures.shape
            assert pictures.shape[1] * pictures.shape[2] <= LIMITS.max_pixels, pictures.shape
            assert pictures.shape[1:3] == (info.height, info.width), (pictures.shape, info)
            assert len(reader.frame_times) == reader.num_frames
    except VideoError as error:
        message = str(error)
    else:
        return "frames"
    assert "\n" not in message, message
    return "error"


def main(folder: Path, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    videos = sorted(path for path in folder.iterdir() if path.stem != "damaged")
    sound = [path.read_bytes() for path in videos]
    indices = []
    for path in videos:
        with VideoReader(path) as reader:
            indices.append(reader.index)
    outcomes = {"frames": 0, "error": 0}
    for case in range(first, first + count):
        which = case % len(videos)
        print(case, videos[which].name, flush=True)
        path = folder / f"damaged{videos[which].suffix}" if case % 2 else None
        outcomes[check(damage(sound[which], case), path, indices[which] if case % 3 == 0 else None)] += 1
    print("done", outcomes["frames"], outcomes["error"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
