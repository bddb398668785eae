"""A hash of a video's compressed pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import av

from ._decoder_session import DecoderSession
from ._limits import ReadLimits


def hash_packets(file: Path | BinaryIO, *, name: str | None, limits: ReadLimits) -> str:
    """Hash the packets of the video stream, without sound, names, dates and container, so that copies share the hash.

    A remuxed copy (MP4 to MKV, for instance) has the same hash; a re-encoded one has another.

    Args:
        file: a path, or a binary file object.
        name: of the video in messages, where it is a file object.
        limits: the most that reading may take.

    Returns:
        32 hexadecimal digits.

    Raises:
        VideoError: the file cannot be opened.
    """
    digest = hashlib.blake2b(digest_size=16)
    video = DecoderSession(file, limits=limits, name=name)
    try:
        for packet in video.packets():
            digest.update(packet)
        if video.is_cut_off:
            digest.update(b"cut off")
    except av.FFmpegError:
        digest.update(b"cut off")  # the reader of the same file has reported where
    finally:
        video.close()
    return digest.hexdigest()
