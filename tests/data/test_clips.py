"""Clips: which frames, which part of them, and what takes the place of a video that cannot be read."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videomae.core.errors import VideoError
from videomae.core.random_keys import generator_for
from videomae.data.clips import Broken, Crop, Sample, TrainingClips, ViewClips, cut_clips, label_indices
from videomae.datasets.catalog import Catalog, VideoRecord
from videomae.datasets.manifest import VideoEntry
from videomae.processing.transforms import CropBox, crop_and_resize, evaluation_crop_boxes as crop_boxes
from videomae.video.reader import VideoReader, read_video
from videomae.video.sampling import ClipSampling
from videomae.video.writer import write_video

SAMPLING = ClipSampling("dense", num_frames=4, frame_stride=3)


def entries(paths: list[Path], labels: str = "abcabc") -> list[VideoEntry]:
    return [VideoEntry(path, label) for path, label in zip(paths, labels, strict=False)]


def training(paths: list[Path], *, seed: int = 0, crop: Crop | None = None, size: int = 16) -> TrainingClips:
    crop = crop or Crop("multi-scale")
    return TrainingClips(entries(paths), ("a", "b", "c"), sampling=SAMPLING, crop=crop, image_size=size, seed=seed)


def test_labels_are_matched_by_name() -> None:
    videos = [VideoEntry(Path("x"), label) for label in ("b", "a", None, "z", "b")]

    assert label_indices(videos, ("a", "b")) == [1, 0, -1, -1, 1]
    assert label_indices(videos, ("b", "c", "a")) == [0, 2, -1, -1, 0]
    assert label_indices(videos, ()) == [-1] * 5


def test_a_training_clip(videos: list[Path]) -> None:
    sample = training(videos)[(0, 4)]

    assert isinstance(sample, Sample)
    assert sample.clips.shape == (1, 4, 3, 16, 16)
    assert sample.clips.dtype == torch.uint8
    assert (sample.index, sample.label) == (4, 1)


def test_a_training_clip_follows_from_seed_epoch_and_index(videos: list[Path]) -> None:
    first, again = training(videos), training(videos)
    keys = [(epoch, index) for epoch in range(3) for index in range(3)]
    before = torch.get_rng_state()

    forward = {key: first[key].clips for key in keys}
    backward = {key: again[key].clips for key in reversed(keys)}

    for key in keys:
        assert torch.equal(forward[key], backward[key])
    assert torch.equal(torch.get_rng_state(), before)
    one_video = [forward[epoch, 0] for epoch in range(3)] + [training(videos, seed=1)[(0, 0)].clips]
    assert len({clip.numpy().tobytes() for clip in one_video}) == 4


def test_a_training_clip_is_a_run_of_frames_at_the_stride(videos: list[Path]) -> None:
    """Its center crop in full size shows the very frames of the file."""
    dataset = training(videos, crop=Crop("center"), size=32)
    whole = read_video(videos[2], range(30))

    starts = set()
    for epoch in range(12):
        clip = dataset[(epoch, 2)].clips[0].permute(0, 2, 3, 1).numpy()
        (start,) = [s for s in range(21) if all((clip[k] == whole[s + 3 * k][:, 8:40]).all() for k in range(4))]
        starts.add(start)
    assert len(starts) > 4


@pytest.mark.parametrize("kind", ["multi-scale", "resized", "center"])
def test_crops_stay_inside_and_flip_half_of_the_time(kind: str) -> None:
    boxes = [Crop(kind, flip=True).draw(30, 50, generator_for(seed)) for seed in range(200)]

    assert all(box.top + box.height <= 30 and box.left + box.width <= 50 for box in boxes)
    assert 70 < sum(box.flip for box in boxes) < 130
    assert not any(Crop(kind).draw(30, 50, generator_for(seed)).flip for seed in range(50))
    assert len({(box.top, box.left, box.height, box.width) for box in boxes}) == 1 or kind != "center"


def test_a_flipped_clip_is_mirrored(videos: list[Path]) -> None:
    plain, flipping = (training(videos, crop=Crop("center", flip=flip), size=32) for flip in (False, True))

    ways = set()
    for epoch in range(12):
        straight, drawn = plain[(epoch, 0)].clips, flipping[(epoch, 0)].clips
        assert torch.equal(drawn, straight) or torch.equal(drawn, straight.flip(-1))
        ways.add(torch.equal(drawn, straight))
    assert ways == {True, False}


def test_the_smallest_area_is_kept() -> None:
    boxes = [Crop("resized", min_area=0.8).draw(64, 64, generator_for(seed)) for seed in range(100)]

    assert min(box.height * box.width for box in boxes) > 0.75 * 64 * 64


def test_what_cannot_be_read_is_broken_and_named(videos: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    paths = [text, tmp_path / "empty.mp4", tmp_path / "absent.mp4"]

    for dataset, key in (
        (training(paths), lambda index: (0, index)),
        (ViewClips(paths, sampling=SAMPLING, image_size=16), int),
    ):
        for index, path in enumerate(paths):
            broken = dataset[key(index)]
            assert isinstance(broken, Broken)
            assert broken.index == index
            assert isinstance(broken.error, VideoError)
            assert path.name in str(broken.error)
            assert "\n" not in str(broken.error)


@pytest.mark.parametrize(("num_clips", "num_crops"), [(1, 1), (3, 1), (1, 3), (2, 3), (5, 3)])
def test_views_are_those_that_single_reads_give(videos: list[Path], num_clips: int, num_crops: int) -> None:
    dataset = ViewClips(
        videos, list(range(6)), sampling=SAMPLING, image_size=16, num_clips=num_clips, num_crops=num_crops
    )

    sample = dataset[3]

    assert isinstance(sample, Sample)
    assert sample.clips.shape == (num_clips * num_crops, 4, 3, 16, 16)
    assert (sample.index, sample.label) == (3, 3)
    lefts = {1: [8], 3: [0, 8, 16]}[num_crops]
    view = 0
    for indices in SAMPLING.test_indices(30, num_clips=num_clips):
        frames = read_video(videos[3], indices)
        for left in lefts:
            alone = crop_and_resize(frames, CropBox(0, left, 32, 32), 16)
            assert torch.equal(sample.clips[view], alone)
            view += 1


def test_views_of_an_upright_video_lie_one_below_the_other(tmp_path: Path) -> None:
    frames = np.zeros((4, 48, 32, 3), np.uint8)
    frames[:, :16, :, 0], frames[:, 32:, :, 2] = 250, 250
    write_video(tmp_path / "upright.mp4", frames, frames_per_second=10)

    clips, indices = ViewClips(
        [tmp_path / "upright.mp4"], sampling=ClipSampling("dense", 2, 1), image_size=32, num_crops=3
    ).read(0)

    means = clips.float().mean(dim=(1, 3, 4))
    assert means[0, 0] > 90 > 60 > means[2, 0]
    assert means[2, 2] > 90 > 60 > means[0, 2]
    assert indices.tolist() == [[1, 2]]


def test_a_video_is_opened_once_for_all_its_views(videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = VideoReader.__init__

    def counting(self: VideoReader, path: Path, **options: object) -> None:
        opened.append(path)
        original(self, path, **options)

    monkeypatch.setattr(VideoReader, "__init__", counting)
    ViewClips(videos, sampling=SAMPLING, image_size=16, num_clips=5, num_crops=3)[0]

    assert opened == [videos[0]]


def test_a_video_shorter_than_its_clip_repeats_its_last_frame(tmp_path: Path) -> None:
    frames = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (20, 120, 220)])
    write_video(tmp_path / "short.mp4", frames, frames_per_second=10)
    sampling = ClipSampling("dense", num_frames=8, frame_stride=2)

    views, indices = ViewClips([tmp_path / "short.mp4"], sampling=sampling, image_size=16).read(0)
    drawn = TrainingClips(
        [VideoEntry(tmp_path / "short.mp4")], (), sampling=sampling, crop=Crop("center"), image_size=16, seed=0
    )[(0, 0)]

    assert indices.tolist() == [[0, 2, 2, 2, 2, 2, 2, 2]]
    assert torch.equal(views[0], drawn.clips[0])
    assert drawn.label == -1


def test_clips_of_another_shape_than_square(videos: list[Path]) -> None:
    views = ViewClips(videos, sampling=SAMPLING, image_size=(16, 24))[0]
    drawn = TrainingClips(entries(videos), (), sampling=SAMPLING, crop=Crop("resized"), image_size=(16, 24), seed=0)[
        (0, 0)
    ]

    assert views.clips.shape == drawn.clips.shape == (1, 4, 3, 16, 24)


def test_a_view_is_the_same_however_many_views_there_are(videos: list[Path]) -> None:
    def drawn(num_views: int, crop: Crop) -> torch.Tensor:
        dataset = TrainingClips(
            entries(videos), (), sampling=SAMPLING, crop=crop, image_size=16, seed=3, num_views=num_views
        )
        sample = dataset[(1, 2)]
        assert isinstance(sample, Sample)
        return sample.clips

    for crop in (Crop("multi-scale"), Crop("resized", flip=True)):
        eight = drawn(8, crop)
        for num_views in (1, 2, 5):
            assert torch.equal(drawn(num_views, crop), eight[:num_views])
        assert len({view.numpy().tobytes() for view in eight}) > 4


def test_training_views_are_those_of_the_whole_clip_in_full_size(videos: list[Path]) -> None:
    """Cut frame by frame as they are decoded, they are bit for bit what the plain way gives."""
    crop = Crop("resized", flip=True)
    dataset = TrainingClips(entries(videos), (), sampling=SAMPLING, crop=crop, image_size=(24, 20), seed=3, num_views=3)

    for index in range(3):
        sample = dataset[(4, index)]

        frames = read_video(videos[index], SAMPLING.training_indices(30, generator_for(3, 4, index)))
        assert isinstance(sample, Sample)
        for view in range(3):
            box = crop.draw(32, 48, generator_for(3, 4, index, view + 1), 20 / 24)
            assert torch.equal(sample.clips[view], crop_and_resize(frames, box, (24, 20)))


class Frames:
    """Stands in for a reader: counts the frames that are held at once."""

    def __init__(
        self,
        num_frames: int,
        shapes: dict[int, tuple[int, ...]] | None = None,
        shape: tuple[int, ...] = (40, 60, 3),
    ) -> None:
        self.num_frames = num_frames
        self.shape = shape
        self.shapes = shapes or {}
        self.alive: list[weakref.ref[np.ndarray]] = []
        self.most = 0
        self.info = SimpleNamespace(path="frames.mp4")

    def stream(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        for number in np.unique(indices).tolist():
            frame = np.full(self.shapes.get(number, self.shape), number, dtype=np.uint8)
            self.alive = [other for other in self.alive if other() is not None] + [weakref.ref(frame)]
            self.most = max(self.most, len(self.alive))
            yield number, frame
            del frame


# Of large frames the one that is cut, and the one before it until its name is taken; of small ones a quarter of a MiB.
@pytest.mark.parametrize(("shape", "most"), [((300, 400, 3), 2), ((40, 60, 3), 2**18 // (40 * 60 * 3))])
def test_no_more_frames_are_held_than_can_be_cut_at_once(shape: tuple[int, ...], most: int) -> None:
    reader = Frames(200, shape=shape)
    indices = ClipSampling("dense", 8, 4).test_indices(200, num_clips=5)

    clips = cut_clips(reader, indices, lambda height, width: crop_boxes(height, width, 3), 16)

    assert 1 < reader.most <= most
    assert clips.shape == (5, 3, 8, 3, 16, 16)
    assert (clips == torch.from_numpy(indices)[:, None, :, None, None, None]).all()


def test_frames_that_change_their_size_are_refused() -> None:
    reader = Frames(8, {3: (60, 40, 3)})
    with pytest.raises(
        VideoError, match=r"frame 3 of 40x60 pixels in frames\.mp4: expected .* 60x40; the size changes"
    ):
        cut_clips(reader, np.array([[2, 3]]), lambda height, width: crop_boxes(height, width, 1), 16)


def test_only_the_part_of_a_video_counts(videos: list[Path]) -> None:
    """Ten frames a second: 1.0 to 2.2 s are the frames 10 to 21."""
    part = VideoEntry(videos[0], start_seconds=1.0, end_seconds=2.2)
    _, frames = ViewClips([part], sampling=SAMPLING, image_size=16).read(0)
    assert frames.tolist() == [[11, 14, 17, 20]]

    whole = read_video(videos[0], range(30))
    dataset = TrainingClips([part], (), sampling=SAMPLING, crop=Crop("center"), image_size=32, seed=0)
    starts = set()
    for epoch in range(12):
        clip = dataset[(epoch, 0)].clips[0].permute(0, 2, 3, 1).numpy()
        (start,) = [s for s in range(21) if all((clip[k] == whole[s + 3 * k][:, 8:40]).all() for k in range(4))]
        starts.add(start)
    assert starts == {10, 11, 12}


def test_a_part_that_the_video_does_not_have_is_broken(videos: list[Path]) -> None:
    broken = ViewClips([VideoEntry(videos[0], start_seconds=9.0)], sampling=SAMPLING, image_size=16)[0]

    assert isinstance(broken, Broken)
    assert "0.mp4 from 9 to its end s" in str(broken.error)


def test_clips_by_time(videos: list[Path]) -> None:
    sampling = ClipSampling("dense", 4, frame_rate=2.5)
    _, frames = ViewClips([videos[0]], sampling=sampling, image_size=16, num_clips=2).read(0)
    assert frames.tolist() == [[0, 4, 8, 12], [17, 21, 25, 29]]

    part = VideoEntry(videos[0], start_seconds=0.5, end_seconds=1.8)
    _, frames = ViewClips([part], sampling=sampling, image_size=16).read(0)
    assert frames.tolist() == [[5, 9, 13, 17]]


def test_a_video_too_large_for_memory_is_broken(videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> Iterator[object]:
        raise MemoryError
        yield

    monkeypatch.setattr(VideoReader, "stream", hungry)
    broken = training(videos)[(0, 1)]

    assert isinstance(broken, Broken)
    assert "1.mp4 (memory ran out): expected frames that fit" in str(broken.error)


# --- packet indices ----------------------------------------------------------------------------------------------


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The packet index that each reader is given."""
    indices: list[object] = []
    original = VideoReader.__init__

    def recording(self: VideoReader, path: Path, **options: object) -> None:
        indices.append(options["index"])
        original(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoReader, "__init__", recording)
    return indices


def test_packets_are_gone_through_once_while_the_file_stays(videos: list[Path], given: list[object]) -> None:
    path = videos[0].with_name("changing.mp4")
    shutil.copy(videos[0], path)
    dataset = training([path])
    first = dataset[(0, 0)]
    again = dataset[(0, 0)]
    shutil.copy(videos[1], path)
    os.utime(path, ns=(1, 1))
    dataset[(0, 0)]

    assert torch.equal(first.clips, again.clips)
    assert given[0] is None
    assert given[1] is not None
    assert given[2] is None


def test_a_catalog_spares_the_first_time_as_well(
    videos: list[Path], tmp_path: Path, given: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    with VideoReader(videos[0], index=None) as reader:
        index = reader.index
    given.clear()

    plain = ViewClips([videos[0]], sampling=SAMPLING, image_size=16)[0]
    Catalog().put(videos[0], VideoRecord(num_frames=30), packet_index=index)
    indexed = ViewClips([videos[0]], sampling=SAMPLING, image_size=16)[0]

    assert given[0] is None
    assert given[1] is not None
    assert torch.equal(plain.clips, indexed.clips)


def test_the_index_of_another_file_is_noticed_and_replaced(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file was exchanged for a shorter one behind the catalog's back."""
    write_video(tmp_path / "short.mp4", np.zeros((12, 32, 48, 3), np.uint8), frames_per_second=10)
    with VideoReader(videos[0]) as reader:
        wrong = reader.index
    dataset = ViewClips([tmp_path / "short.mp4"], sampling=SAMPLING, image_size=16, num_clips=2)
    monkeypatch.setattr(dataset._indices, "find", lambda source: wrong)

    clips, frames = dataset.read(0)

    assert frames.max() < 12
    plain, _ = ViewClips([tmp_path / "short.mp4"], sampling=SAMPLING, image_size=16, num_clips=2).read(0)
    assert torch.equal(clips, plain)


def test_the_memory_of_a_sample(videos: list[Path]) -> None:
    views = ViewClips(videos, sampling=SAMPLING, image_size=(16, 24), num_clips=2, num_crops=3)

    assert views.sample_num_bytes == views[0].clips.numel()
    assert training(videos).sample_num_bytes == training(videos)[(0, 0)].clips.numel()
