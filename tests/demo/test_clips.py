from __future__ import annotations

import numpy as np
import pytest

from videomae.core.errors import InputError
from videomae.demo import clips
from videomae.video.reader import read_video

OPPOSITE = {
    "move_up": "move_down",
    "move_left": "move_right",
    "rotate_clockwise": "rotate_counterclockwise",
    "grow": "shrink",
}


def states_of(motion: str, *, count: int, num_frames: int = 24) -> np.ndarray:
    """(count, num_frames, 4) states on the torus."""
    return np.stack([clips._draw_states(np.random.default_rng([5, i]), motion, num_frames) for i in range(count)])


def mean_displacement(motion: str, *, window: int) -> np.ndarray:
    """Signed progress of the torus coordinates over `window` frames, (4,), averaged over clips."""
    steps = np.diff(states_of(motion, count=32, num_frames=window + 1), axis=1)
    return (np.mod(steps + 0.5, 1.0) - 0.5).sum(axis=1).mean(axis=0)


def test_the_eight_motions_are_sorted_as_class_folders_are():
    assert list(clips.MOTIONS) == sorted(clips.MOTIONS)
    assert len(clips.MOTIONS) == 8
    assert set(OPPOSITE) | set(OPPOSITE.values()) == set(clips.MOTIONS)


@pytest.mark.parametrize("motion", clips.MOTIONS)
def test_a_clip_is_a_pure_function_of_its_arguments(motion):
    first = clips.render_clip(seed=3, split="train", index=7, motion=motion)
    again = clips.render_clip(seed=3, split="train", index=7, motion=motion)
    assert first.shape == (clips.NUM_FRAMES, clips.SIZE, clips.SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    for other in ({"seed": 4}, {"split": "val"}, {"index": 8}):
        changed = clips.render_clip(**{"seed": 3, "split": "train", "index": 7, "motion": motion} | other)
        assert not np.array_equal(first, changed), other


def test_a_longer_clip_begins_with_the_shorter_one():
    short = clips.render_clip(seed=0, split="s", index=0, motion="grow", num_frames=8)
    long = clips.render_clip(seed=0, split="s", index=0, motion="grow", num_frames=20)
    np.testing.assert_array_equal(short, long[:8])


def test_all_motions_of_an_index_start_from_the_same_frame():
    starts = [clips.render_clip(seed=1, split="s", index=2, motion=m, num_frames=1) for m in clips.MOTIONS]
    for start in starts[1:]:
        np.testing.assert_array_equal(starts[0], start)


def test_a_motion_only_shifts_the_state_and_any_frame_could_start_any_other_motion():
    """The proof that a frame tells nothing: states of two motions differ by a shift that no look or start enters."""
    reference = states_of("grow", count=20)
    for motion in clips.MOTIONS:
        shifts = np.mod(states_of(motion, count=20) - reference[:, :1], 1.0)  # from the common first state
        axis, _ = clips._DIRECTION[motion]
        others = np.delete(shifts, axis, axis=-1)
        assert np.allclose(np.minimum(others, 1 - others), 0, atol=1e-9), "one coordinate moves, the others rest"


@pytest.mark.parametrize("frame", [0, 11, 23])
@pytest.mark.parametrize("motion", clips.MOTIONS)
def test_the_state_is_uniform_at_every_frame(motion, frame):
    count = 3000
    state = states_of(motion, count=count)[:, frame]  # (count, 4)
    grid = (np.arange(count) + 0.5) / count
    for axis in range(4):
        distance = np.abs(np.sort(state[:, axis]) - grid).max()
        assert distance < 1.95 / count**0.5, axis  # Kolmogorov-Smirnov, p = 0.001


def test_pixel_statistics_agree_between_the_motions_at_every_frame():
    """Mean frame and its spread, per class and frame index, over many clips: no class stands out."""
    count = 160
    means = []
    for number, motion in enumerate(clips.MOTIONS):
        rendered = [
            clips.render_clip(seed=number, split="marginals", index=i, motion=motion)[[0, 12, 23]] for i in range(count)
        ]
        brightness = np.stack(rendered).astype(np.float64)
        means.append(np.stack([brightness.mean(axis=(2, 3, 4)), brightness.std(axis=(2, 3, 4))]))  # (2, count, 3)
    stacked = np.stack(means)  # (motions, statistic, count, frame)
    center, error = stacked.mean(axis=2), stacked.std(axis=2) / count**0.5
    overall = center.mean(axis=0)
    assert np.abs((center - overall) / error).max() < 4.5


@pytest.mark.parametrize(("forward", "backward"), sorted(OPPOSITE.items()))
def test_opposite_motions_go_opposite_ways(forward, backward):
    there, back = mean_displacement(forward, window=6), mean_displacement(backward, window=6)
    np.testing.assert_allclose(there, -back, atol=1e-9)
    axis, sign = clips._DIRECTION[forward]
    assert there[axis] * sign > 0.05


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("move_right", 1, 1), ("move_left", 1, -1), ("move_down", 0, 1), ("move_up", 0, -1)]
)
def test_translation_moves_the_picture_the_way_it_is_named(motion, axis, sign):
    """The frame's difference, shifted back along the named direction, shrinks; shifted the other way it does not."""
    better = 0
    for index in range(20):
        clip = clips.render_clip(seed=0, split="direction", index=index, motion=motion, num_frames=3).astype(float)
        there = np.abs(np.roll(clip[0], sign, axis=axis) - clip[2]).mean()
        away = np.abs(np.roll(clip[0], -sign, axis=axis) - clip[2]).mean()
        better += there < away
    assert better == 20


def one_shape(state: tuple[float, float, float, float], *, size: int = 48) -> np.ndarray:
    """A mask (size, size) of the shape in one state: where the frame is dark."""
    scene = clips._draw_scene(np.random.default_rng(0))
    return clips._render(scene, np.array([state]), size=size)[0].mean(axis=-1) < 115


def test_growing_makes_a_shape_larger_and_turning_clockwise_turns_it_clockwise():
    areas = [one_shape((0.5, 0.5, 0.0, phase)).sum() for phase in (0.2, 0.4, 0.6, 0.8)]
    assert areas == sorted(areas)
    assert areas[-1] > 2 * areas[0]
    upright, turned = one_shape((0.5, 0.5, 0.0, 0.8)), one_shape((0.5, 0.5, 0.25, 0.8))
    clockwise, counterclockwise = np.rot90(upright, -1), np.rot90(upright, 1)
    assert (turned ^ clockwise).mean() < 0.02
    assert (turned ^ counterclockwise).mean() > (turned ^ clockwise).mean()


@pytest.mark.parametrize("turns", [1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4])
def test_no_rotation_maps_a_shape_onto_itself(turns):
    """Or a clip that rotates could look like one that rests, or turns the other way."""
    for index in range(10):
        scene = clips._draw_scene(np.random.default_rng([9, index]))
        states = np.array([(0.5, 0.5, 0.1, 0.7), (0.5, 0.5, 0.1 + turns, 0.7)])
        frames = clips._render(scene, states, size=32).astype(int)
        assert np.abs(frames[0] - frames[1]).max() > 25, index


def test_a_shape_never_jumps_where_the_size_range_starts_again():
    states = np.array([(0.5, 0.5, 0.0, 1 - 1e-6), (0.5, 0.5, 0.0, 1e-6)])
    for index in range(5):
        scene = clips._draw_scene(np.random.default_rng([4, index]))
        frames = clips._render(scene, states, size=32).astype(int)
        assert np.abs(frames[0] - frames[1]).max() <= 1


def test_edges_are_anti_aliased_and_motion_is_sub_pixel():
    """A fortieth of a pixel changes the picture a little, and no pixel much."""
    scene = clips._draw_scene(np.random.default_rng(2))
    states = np.tile(np.array([0.5, 0.5, 0.0, 0.5]), (2, 1))
    states[1, 0] += 0.2 / 32
    frames = clips._render(scene, states, size=32).astype(int)
    assert 0 < np.abs(frames[0] - frames[1]).max() < 60


def test_writes_real_videos_in_the_folders_of_a_data_set(tmp_path):
    folders = clips.write_clips(tmp_path / "set", seed=0, num_unlabelled=9, num_train_per_class=2, num_val_per_class=1)
    assert sorted(path.name for path in folders.pretrain.iterdir()) == [f"clip_{i:05d}.mp4" for i in range(9)]
    for split, count in (("train", 2), ("val", 1)):
        assert sorted(path.name for path in (folders.finetune / split).iterdir()) == list(clips.MOTIONS)
        for motion in clips.MOTIONS:
            assert len(list((folders.finetune / split / motion).glob("*.mp4"))) == count
    path = folders.finetune / "train" / "move_up" / "clip_00012.mp4"
    decoded = read_video(path, range(clips.NUM_FRAMES))
    rendered = clips.render_clip(seed=0, split="train", index=12, motion="move_up")
    assert decoded.shape == rendered.shape
    luminance = np.abs(decoded.astype(float) - rendered) @ [0.299, 0.587, 0.114]
    assert luminance.mean() < 3, "the texture survives the encoder"


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot make"):
        clips.write_clips(tmp_path / "file", seed=0, num_unlabelled=1, num_train_per_class=0, num_val_per_class=0)
