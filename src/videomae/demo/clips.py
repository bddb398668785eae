"""Generated demonstration clips: textured shapes over textured backgrounds, whose class is their motion, nothing else.

Why no single frame tells the class. Everything about a shape that moves is one point of a torus: its two coordinates
(a shape that leaves on one side comes back on the other), its angle, and its size, whose logarithm runs through a fixed
range and starts again (the shape fades out at one end while it fades in at the other). The point at frame 0 is drawn
uniformly, the look of the scene independently of it, and a motion adds a velocity, constant over the clip and
independent of both. A uniform point of a torus stays uniform under any shift, so at *every* frame index the point is
uniform and independent of look and motion: all classes share one distribution of frames, exactly. Reversing time only
swaps opposite motions.

Content is smooth and free of noise (gradients, gratings and outlines wider than a patch of a small model), because
targets that are normalized per patch blow faint noise up to unit variance. Edges are anti-aliased, motion is sub-pixel.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videomae.core.errors import InputError
from videomae.video.writer import write_video

MOTIONS = (
    "grow",
    "move_down",
    "move_left",
    "move_right",
    "move_up",
    "rotate_clockwise",
    "rotate_counterclockwise",
    "shrink",
)
"""The classes, sorted by name as class folders are."""

NUM_FRAMES = 24
SIZE = 32
FRAMES_PER_SECOND = 12.0
CRF = 2  # all but lossless: at 8, what the encoder loses already hangs a little on the motion

# Of the torus (x, y, angle, size), which coordinate a motion changes and in which direction. Image rows grow downwards,
# so a positive angle turns clockwise on the screen.
_DIRECTION = {
    "move_right": (0, 1.0),
    "move_left": (0, -1.0),
    "move_down": (1, 1.0),
    "move_up": (1, -1.0),
    "rotate_clockwise": (2, 1.0),
    "rotate_counterclockwise": (2, -1.0),
    "grow": (3, 1.0),
    "shrink": (3, -1.0),
}
# Least and greatest speed in turns of the torus per frame: frame widths, full rotations, runs through the size range.
_SPEED = ((0.020, 0.040), (0.020, 0.040), (0.020, 0.042), (0.028, 0.050))
# Least and greatest mean radius of a shape, in frame widths. Stretched and bulging, even the largest stays within half
# a frame of its center, so that it never meets itself around the torus.
_RADIUS = (0.16, 0.31)
_STRETCH = (1.2, 1.35)  # by how much a shape is longer, and narrower, than it would be round: rotation must show
_FADE = 0.06  # share of the size range over which a shape fades in, and again out


@dataclass(frozen=True)
class _Texture:
    """A gradient between two colors with a grating on top, in coordinates where the textured thing has radius 1."""

    colors: np.ndarray  # (2, 3) in 0-1
    gradient_angle: float
    grating_angle: float
    grating_cycles: float  # per unit length
    grating_phase: float
    grating_color: np.ndarray  # (3,), signed contrast

    def paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colors (..., 3) at the points (x, y)."""
        along = 0.5 + 0.5 * (x * np.float32(np.cos(self.gradient_angle)) + y * np.float32(np.sin(self.gradient_angle)))
        across = x * np.float32(np.cos(self.grating_angle)) + y * np.float32(np.sin(self.grating_angle))
        wave = np.sin(np.float32(2 * np.pi * self.grating_cycles) * across + np.float32(self.grating_phase))
        low, high = self.colors.astype(np.float32)
        return low + along[..., None] * (high - low) + wave[..., None] * self.grating_color.astype(np.float32)


@dataclass(frozen=True)
class _Shape:
    """A stretched, rounded polygon with a bulge, so that no rotation maps it onto itself, and its texture."""

    num_corners: int
    sharpness: float  # 0 a disc, 1 a polygon
    stretch: float  # along the shape's own x axis; its y axis shrinks as much
    bulge: float  # on one side, in mean radii
    bulge_angle: float
    texture: _Texture

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far inside the outline (negative: outside) the points lie, in mean radii."""
        along, across = x / np.float32(self.stretch), y * np.float32(self.stretch)
        angle = np.arctan2(across, along)
        sector = np.float32(2 * np.pi / self.num_corners)
        polygon = 1.2 * np.cos(sector / 2) / np.cos(np.mod(angle, sector) - sector / 2)
        bulging = 1 + self.bulge * np.cos(angle - self.bulge_angle)
        outline = ((1 - self.sharpness) + self.sharpness * polygon) * bulging
        return outline - np.hypot(along, across)


@dataclass(frozen=True)
class _Scene:
    """What a clip looks like, whatever moves: drawn without a glance at the motion."""

    background: _Texture
    shape: _Shape


def _draw_texture(
    generator: np.random.Generator,
    *,
    low: np.ndarray,
    high: np.ndarray,
    gradient_angle: float,
    cycles: tuple[float, float],
    contrast: float,
) -> _Texture:
    """A texture around the given colors; each end of the gradient has its own tint."""
    tints = generator.uniform(-0.09, 0.09, size=(2, 3))
    return _Texture(
        colors=np.stack([low, high]) + tints - tints.mean(axis=1, keepdims=True),
        gradient_angle=gradient_angle,
        grating_angle=generator.uniform(0, 2 * np.pi),
        grating_cycles=generator.uniform(*cycles),
        grating_phase=generator.uniform(0, 2 * np.pi),
        grating_color=contrast * generator.uniform(0.5, 1.0, size=3) * generator.choice([-1.0, 1.0]),
    )


def _draw_scene(generator: np.random.Generator) -> _Scene:
    # A shape is dark and bluish at one end, lighter and reddish at the other: its head shows which way it turns.
    dark, bright = generator.uniform(0.2, 0.28), generator.uniform(0.68, 0.8)
    shape = _Shape(
        num_corners=int(generator.integers(3, 6)),
        sharpness=generator.uniform(0.2, 0.5),
        stretch=generator.uniform(*_STRETCH),
        bulge=generator.uniform(0.06, 0.10),
        bulge_angle=generator.uniform(0, 2 * np.pi),
        texture=_draw_texture(
            generator,
            low=dark + np.array([-0.25, -0.15, 0.05]),
            high=dark + np.array([0.40, 0.10, -0.10]),
            gradient_angle=generator.uniform(-0.3, 0.3),
            cycles=(0.35, 0.65),
            contrast=0.08,
        ),
    )
    background = _draw_texture(
        generator,
        low=np.full(3, bright - 0.06),
        high=np.full(3, bright + 0.06),
        gradient_angle=generator.uniform(0, 2 * np.pi),
        cycles=(0.25, 0.5),
        contrast=0.06,
    )
    return _Scene(background=background, shape=shape)


def _draw_states(generator: np.random.Generator, motion: str, num_frames: int) -> np.ndarray:
    """States (num_frames, 4) on the torus: x, y, angle, size, each in turns."""
    start, share = generator.uniform(size=4), generator.uniform()
    axis, sign = _DIRECTION[motion]
    slowest, fastest = _SPEED[axis]
    velocity = np.zeros(4)
    velocity[axis] = sign * (slowest + share * (fastest - slowest))
    return np.mod(start + np.arange(num_frames)[:, None] * velocity, 1.0)


def _render(scene: _Scene, states: np.ndarray, *, size: int) -> np.ndarray:
    """Frames uint8 (T, size, size, 3) of the scene in the states (T, 4); each depends on its own state only."""
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y, turn, phase = states.T.astype(np.float32)[:, :, None, None]  # each (T, 1, 1)
    radius = np.float32(_RADIUS[0]) * np.float32(_RADIUS[1] / _RADIUS[0]) ** phase
    right = np.mod(pixel[None, None, :] - x + 0.5, 1.0) - 0.5  # nearest way around the torus
    down = np.mod(pixel[None, :, None] - y + 0.5, 1.0) - 0.5
    cosine, sine = np.cos(2 * np.pi * turn, dtype=np.float32), np.sin(2 * np.pi * turn, dtype=np.float32)
    u = (right * cosine + down * sine) / radius  # (T, H, W), in the shape's own axes
    v = (down * cosine - right * sine) / radius
    inside = scene.shape.depth(u, v) * radius * size + 0.5  # an edge about 1 px wide
    visible = np.clip(np.minimum(phase, 1 - phase) / np.float32(_FADE), 0, 1)
    opacity = (np.clip(inside, 0, 1) * visible)[..., None]
    background = scene.background.paint(2 * pixel[None, :] - 1, 2 * pixel[:, None] - 1)  # (H, W, 3)
    frames = background + opacity * (scene.shape.texture.paint(u, v) - background)
    return np.clip(np.rint(frames * 255), 0, 255).astype(np.uint8)


def render_clip(
    *, seed: int, split: str, index: int, motion: str, num_frames: int = NUM_FRAMES, size: int = SIZE
) -> np.ndarray:
    """One clip, uint8 (num_frames, size, size, 3), a pure function of its arguments.

    Everything but the direction of motion is drawn from (seed, split, index): two motions of one index show the same
    scene from the same start.

    Args:
        seed: of the whole set of clips.
        split: name of the part of the set; parts share no clip.
        index: of the clip in its part.
        motion: one of `MOTIONS`.
        num_frames: length of the clip.
        size: height and width in pixels.
    """
    generator = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    states = _draw_states(generator, motion, num_frames)
    return _render(_draw_scene(generator), states, size=size)


@dataclass(frozen=True)
class ClipFolders:
    """Where `write_clips` put its files."""

    pretrain: Path
    """A flat folder of clips without labels."""
    finetune: Path
    """`train/CLASS/` and `val/CLASS/`."""


def write_clips(
    folder: str | os.PathLike[str],
    *,
    seed: int,
    num_unlabelled: int,
    num_train_per_class: int,
    num_val_per_class: int,
    num_frames: int = NUM_FRAMES,
    size: int = SIZE,
) -> ClipFolders:
    """Write the demonstration set as MP4 files (H.264) whose paths show the class only in the labelled folders.

    Layout: `pretrain/clip_00000.mp4` (motions in turn, not named), `finetune/train/CLASS/` and
    `finetune/val/CLASS/`. The parts share no scene. Files already there are replaced.

    Args:
        folder: made if it is missing.
        seed: of the whole set.
        num_unlabelled: clips in `pretrain/`.
        num_train_per_class: labelled clips of each of the `MOTIONS` to train with.
        num_val_per_class: held-out clips of each.
        num_frames: length of each clip.
        size: height and width in pixels.

    Raises:
        VideoError: a file cannot be written.
        InputError: the folder cannot be made.
    """
    folders = ClipFolders(pretrain=Path(folder) / "pretrain", finetune=Path(folder) / "finetune")
    jobs = [
        ("pretrain", index, MOTIONS[index % len(MOTIONS)], folders.pretrain / f"clip_{index:05d}.mp4")
        for index in range(num_unlabelled)
    ]
    for split, count in (("train", num_train_per_class), ("val", num_val_per_class)):
        for index in range(count * len(MOTIONS)):
            motion = MOTIONS[index % len(MOTIONS)]
            jobs.append((split, index, motion, folders.finetune / split / motion / f"clip_{index:05d}.mp4"))
    for parent in {path.parent for *_, path in jobs}:
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make {parent} ({error.strerror})",
                expected="a folder that can be written",
                hint="choose another output folder",
            ) from error
    for split, index, motion, path in jobs:
        frames = render_clip(seed=seed, split=split, index=index, motion=motion, num_frames=num_frames, size=size)
        write_video(path, frames, frames_per_second=FRAMES_PER_SECOND, crf=CRF)
    return folders
