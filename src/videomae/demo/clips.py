"""Generated demonstration clips: textured shapes over textured backgrounds, whose class is their motion, nothing else.

Why no single frame tells the class. Everything about a shape that moves is one point of a torus: its two coordinates
(a shape that leaves on one side comes back on the other), its angle, and its size, whose logarithm runs through a fixed
range and starts again (the shape fades out at one end while it fades in at the other). The point at frame 0 is drawn
uniformly, the look of the scene independently of it, and a motion adds a velocity, constant over the clip and
independent of both. A uniform point of a torus stays uniform under any shift, so at *every* frame index the point is
uniform and independent of look and motion: all classes share one distribution of frames, exactly. Reversing time only
swaps opposite motions.

Content is smooth and free of noise (gradients, gratings and outlines wider than a patch of a small model), because
targets that are normalised per patch blow faint noise up to unit variance. Edges are anti-aliased, motion is sub-pixel.
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
NUM_SHAPES = 2
FRAMES_PER_SECOND = 12.0
CRF = 8  # near lossless: neither texture nor class may hang on what the encoder makes of it

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
_SPEED = ((0.020, 0.040), (0.020, 0.040), (0.012, 0.028), (0.022, 0.045))
# Least and greatest mean radius of a shape, in frame widths. With the outline's bulges (at most 1.4) even the largest
# stays under half a frame, so that it never meets itself around the torus.
_RADIUS = (0.10, 0.34)
_FADE = 0.12  # share of the size range over which a shape fades in, and again out


@dataclass(frozen=True)
class _Texture:
    """A gradient between two colours with a grating on top, in coordinates where the textured thing has radius 1."""

    colours: np.ndarray  # (2, 3) in 0-1
    gradient_angle: float
    grating_angle: float
    grating_cycles: float  # per unit length
    grating_phase: float
    grating_colour: np.ndarray  # (3,), signed contrast

    def paint(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colours (..., 3) at the points (x, y)."""
        along = 0.5 + 0.5 * (x * np.float32(np.cos(self.gradient_angle)) + y * np.float32(np.sin(self.gradient_angle)))
        across = x * np.float32(np.cos(self.grating_angle)) + y * np.float32(np.sin(self.grating_angle))
        wave = np.sin(np.float32(2 * np.pi * self.grating_cycles) * across + np.float32(self.grating_phase))
        low, high = self.colours.astype(np.float32)
        return low + along[..., None] * (high - low) + wave[..., None] * self.grating_colour.astype(np.float32)


@dataclass(frozen=True)
class _Shape:
    """A star-shaped outline (a rounded polygon with bulges that no rotation maps onto itself) with a texture."""

    num_corners: int
    sharpness: float  # 0 a disc, 1 a polygon
    bulges: np.ndarray  # (2,) amplitude of one and two bulges around
    bulge_phases: np.ndarray  # (2,)
    texture: _Texture

    def radius_at(self, angle: np.ndarray) -> np.ndarray:
        """Distance of the outline from the centre in the direction `angle`, in mean radii."""
        sector = np.float32(2 * np.pi / self.num_corners)
        polygon = 1.2 * np.cos(sector / 2) / np.cos(np.mod(angle, sector) - sector / 2)
        bulging = sum(
            amplitude * np.cos((k + 1) * angle + np.float32(phase))
            for k, (amplitude, phase) in enumerate(zip(self.bulges.astype(np.float32), self.bulge_phases, strict=True))
        )
        return ((1 - self.sharpness) + self.sharpness * polygon) * (1 + bulging)


@dataclass(frozen=True)
class _Scene:
    """What a clip looks like, whatever moves: drawn without a glance at the motion."""

    background: _Texture
    shapes: tuple[_Shape, ...]


def _draw_texture(
    generator: np.random.Generator, *, luminance: float, cycles: tuple[float, float], contrast: float
) -> _Texture:
    def colour(spread: float) -> np.ndarray:
        chroma = generator.uniform(-0.22, 0.22, size=3)
        return luminance + chroma - chroma.mean() + generator.uniform(-spread, spread)

    first, second = colour(0.12), colour(0.12)
    return _Texture(
        colours=np.stack([first, second]),
        gradient_angle=generator.uniform(0, 2 * np.pi),
        grating_angle=generator.uniform(0, 2 * np.pi),
        grating_cycles=generator.uniform(*cycles),
        grating_phase=generator.uniform(0, 2 * np.pi),
        grating_colour=contrast * generator.uniform(0.5, 1.0, size=3) * generator.choice([-1.0, 1.0]),
    )


def _draw_scene(generator: np.random.Generator) -> _Scene:
    dark, bright = generator.uniform(0.22, 0.36), generator.uniform(0.64, 0.78)
    behind, before = (dark, bright) if generator.random() < 0.5 else (bright, dark)
    shapes = tuple(
        _Shape(
            num_corners=int(generator.integers(3, 6)),
            sharpness=float(np.float32(generator.uniform(0.3, 0.9))),
            bulges=generator.uniform((0.08, 0.05), (0.16, 0.14)),
            bulge_phases=generator.uniform(0, 2 * np.pi, size=2),
            texture=_draw_texture(generator, luminance=before, cycles=(0.35, 0.65), contrast=0.18),
        )
        for _ in range(NUM_SHAPES)
    )
    background = _draw_texture(generator, luminance=behind, cycles=(0.5, 1.0), contrast=0.10)
    return _Scene(background=background, shapes=shapes)


def _draw_states(generator: np.random.Generator, motion: str, num_frames: int) -> np.ndarray:
    """States (num_frames, NUM_SHAPES, 4) on the torus: x, y, angle, size, each in turns."""
    start = generator.uniform(size=4)
    # The shapes of a clip stand apart in place and size, by an offset that no motion changes.
    apart = np.stack([np.full(4, shape / NUM_SHAPES) for shape in range(NUM_SHAPES)])
    apart[1:, :3] += generator.uniform((-0.15, -0.15, -0.5), (0.15, 0.15, 0.5), size=(NUM_SHAPES - 1, 3))
    share = generator.uniform()
    axis, sign = _DIRECTION[motion]
    slowest, fastest = _SPEED[axis]
    velocity = np.zeros(4)
    velocity[axis] = sign * (slowest + share * (fastest - slowest))
    return np.mod(start + apart + np.arange(num_frames)[:, None, None] * velocity, 1.0)


def _render(scene: _Scene, states: np.ndarray, *, size: int) -> np.ndarray:
    """Frames uint8 (T, size, size, 3) of the scene in the states (T, NUM_SHAPES, 4); each depends on its state only."""
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    background = scene.background.paint(2 * pixel[None, :] - 1, 2 * pixel[:, None] - 1)  # (H, W, 3)
    frames = np.repeat(background[None], len(states), axis=0)
    for shape, path in zip(scene.shapes, states.transpose(1, 2, 0).astype(np.float32), strict=True):
        x, y, turn, phase = path[:, :, None, None]  # each (T, 1, 1)
        radius = np.float32(_RADIUS[0]) * np.float32(_RADIUS[1] / _RADIUS[0]) ** phase
        right = np.mod(pixel[None, None, :] - x + 0.5, 1.0) - 0.5  # nearest way around the torus
        down = np.mod(pixel[None, :, None] - y + 0.5, 1.0) - 0.5
        cosine, sine = np.cos(2 * np.pi * turn, dtype=np.float32), np.sin(2 * np.pi * turn, dtype=np.float32)
        u = (right * cosine + down * sine) / radius  # (T, H, W), in the shape's own axes
        v = (down * cosine - right * sine) / radius
        inside = (shape.radius_at(np.arctan2(v, u)) - np.hypot(u, v)) * radius * size + 0.5  # 1 px wide edge
        visible = np.clip(np.minimum(phase, 1 - phase) / np.float32(_FADE), 0, 1)
        opacity = (np.clip(inside, 0, 1) * visible)[..., None]
        frames += opacity * (shape.texture.paint(u, v) - frames)
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
    """Write the demonstration set as MP4 files (H.264) that tell their class only where it is meant to be known.

    Layout: `pretrain/clip_00000.mp4` (motions in turn, nothing in the name says which), `finetune/train/CLASS/` and
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
