"""`reconstruct`: what a pre-trained model makes of what it does not see."""

from __future__ import annotations

from pathlib import Path

import torch

from videomae.api._models import Model, clip_changes, open_checkpoint, progress_bar, require_at_least
from videomae.api._public import public
from videomae.core.choices import ImageSize, MaskName, PrecisionName
from videomae.core.device import choose_device
from videomae.core.errors import ConfigError
from videomae.core.precision import choose_precision
from videomae.core.random_keys import generator_for
from videomae.inference.reconstruct import Reconstruction, reconstruct_video
from videomae.inference.reconstruct_whole import WholeReconstruction, check_whole_output, reconstruct_whole_video
from videomae.video.live import is_stream
from videomae.video.source import FrameFolder, VideoSource


@public
def reconstruct(
    video: str | Path,
    *,
    model: Model,
    output: str | Path | None = None,
    mask: MaskName = "tube",
    mask_ratio: float = 0.9,
    seed: int = 0,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
) -> Reconstruction:
    """Hide most of a video's center clip and let a pre-trained model rebuild it.

    Args:
        video: a video file, or a folder of numbered frames.
        model: pre-training checkpoint: a folder, a hub name, or an opened `Checkpoint`.
        output: also save the picture, see `Reconstruction.save`.
        mask: "tube" hides the same places in every frame, "random" any tubelet.
        mask_ratio: share of the tubelets to hide, between 0 and 1.
        seed: of the mask, 0 or more.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast.

    Returns:
        Frames before, masked and rebuilt; `.save("rebuilt.gif")` draws them, a notebook shows them.

    Raises:
        InputError: if the video, the checkpoint or an option does not fit.
    """
    place = _check_reconstruction(video, output, mask_ratio, seed, device, precision)
    opened = open_checkpoint(model, "pretraining", clip_changes(num_frames, image_size))
    result = reconstruct_video(
        opened,
        _one_video(video),
        mask=mask,
        mask_ratio=mask_ratio,
        generator=generator_for(seed),
        device=place,
        precision=precision,
    )
    if output is not None:
        result.save(output)
    return result


@public
def reconstruct_whole(
    video: str | Path,
    *,
    model: Model,
    output: str | Path,
    mask: MaskName = "tube",
    mask_ratio: float = 0.9,
    seed: int = 0,
    max_seconds: float | None = None,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    progress: bool = True,
) -> WholeReconstruction:
    """Let a pre-trained model rebuild a whole video clip after clip, and write it as a moving picture.

    Args:
        video: a video file, a folder of numbered frames, or a stream (see `timeline`).
        model: pre-training checkpoint: a folder, a hub name, or an opened `Checkpoint`.
        output: .mp4, written in constant memory, or .gif for at most 600 frames.
        mask: "tube" hides the same places in every frame of a clip, "random" any tubelet.
        mask_ratio: share of the tubelets to hide, between 0 and 1.
        seed: of the masks, 0 or more; each clip has another one.
        max_seconds: of the video that are rebuilt; None for all.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast.
        progress: show a bar.

    Returns:
        What was written, and the mean loss.

    Raises:
        InputError: if the video, the checkpoint or an option does not fit.
    """
    place = _check_reconstruction(video, output, mask_ratio, seed, device, precision)
    check_whole_output(output)
    opened = open_checkpoint(model, "pretraining", clip_changes(num_frames, image_size))
    with progress_bar(progress) as bar:
        task = bar.add_task("rebuilding", total=None)
        return reconstruct_whole_video(
            opened,
            video if is_stream(video) else _one_video(video),
            Path(output),
            mask=mask,
            mask_ratio=mask_ratio,
            generator=generator_for(seed),
            device=place,
            precision=precision,
            max_seconds=max_seconds,
            on_clip=lambda seconds, duration: bar.update(task, completed=seconds, total=duration),
        )


def _check_reconstruction(
    video: str | Path, output: str | Path | None, mask_ratio: float, seed: int, device: str, precision: PrecisionName
) -> torch.device:
    """Raise before anything is loaded; returns where to compute."""
    if not 0 < mask_ratio < 1:
        raise ConfigError(f"--mask-ratio {mask_ratio}", expected="a share between 0 and 1", hint="try 0.9")
    require_at_least(0, "--seed", seed)
    if output is not None:
        Reconstruction.check_output(output, video)
    place = choose_device(device)
    choose_precision(precision, place)
    return place


def _one_video(video: str | Path) -> VideoSource:
    return FrameFolder(Path(video)) if Path(video).is_dir() else Path(video)
