"""Features are the encoder's own, of every token, whatever the batches, views and windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError
from videomae.datasets.entries import VideoEntry
from videomae.inference import features
from videomae.inference.embed import Embedding, EmbedOptions, embed_clips, embed_videos
from videomae.inference.features import FeatureFile
from videomae.processing.transforms import center_crop_box, crop_and_resize
from videomae.video.reader import read_video

CPU = torch.device("cpu")


def rows_of(checkpoint: Checkpoint, videos: list[Path], **options: object) -> list[Embedding]:
    entries = [VideoEntry(path) for path in videos]
    settings = {"num_workers": 0, **options}
    return list(embed_videos(checkpoint, entries, options=EmbedOptions(**settings), device=CPU))  # type: ignore[arg-type]


def tokens_of(checkpoint: Checkpoint, path: Path, frames: list[int]) -> torch.Tensor:
    """(N, D) of the center crop of some frames, from the whole model at once."""
    video = read_video(path, frames)
    clip = crop_and_resize(video, center_crop_box(*video.shape[1:3]), 16)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (checkpoint.processor.image_mean, checkpoint.processor.image_std)
    )
    with torch.no_grad():
        return checkpoint.model.videomae(((clip.float() / 255 - mean) / std)[None]).last_hidden_state[0]


def test_pooled_features_of_an_encoder_are_the_mean_of_all_tokens(pretrained: Checkpoint, videos: list[Path]) -> None:
    rows = rows_of(pretrained, videos)
    assert [row.index for row in rows] == [0, 1, 2, 3]
    for row, path in zip(rows, videos, strict=True):
        tokens = tokens_of(pretrained, path, [6, 8, 10, 12])  # the center: 20 frames, a span of 7
        assert tokens.shape == (2 * 4 * 4, 16)  # nothing is masked
        torch.testing.assert_close(row.values, tokens.mean(dim=0), rtol=1e-4, atol=1e-5)
        assert (row.start_seconds, row.end_seconds, row.error) == (None, None, None)


def test_features_of_a_classifier_are_what_its_head_reads(classifier: Checkpoint, videos: list[Path]) -> None:
    (row,) = rows_of(classifier, videos[:1])
    model = classifier.model
    with torch.no_grad():
        expected = model.fc_norm(tokens_of(classifier, videos[0], [6, 8, 10, 12]).mean(dim=0))
    torch.testing.assert_close(row.values, expected, rtol=1e-4, atol=1e-5)


def test_dense_features_keep_the_order_of_tokens(pretrained: Checkpoint, videos: list[Path]) -> None:
    (row,) = rows_of(pretrained, videos[:1], dense=True)
    assert row.values is not None
    assert row.values.shape == (2, 4, 4, 16)
    expected = tokens_of(pretrained, videos[0], [6, 8, 10, 12])
    torch.testing.assert_close(row.values.flatten(0, 2), expected, rtol=1e-4, atol=1e-5)


def test_views_are_averaged(pretrained: Checkpoint, videos: list[Path]) -> None:
    from videomae.data.clips import ViewClips

    (row,) = rows_of(pretrained, videos[:1], num_clips=2, num_crops=3)
    views, _ = ViewClips(videos[:1], sampling=pretrained.sampling, image_size=16, num_clips=2, num_crops=3).read(0)
    each = embed_clips(pretrained, views, dense=False, precision="fp32")
    assert len(each) == 6
    torch.testing.assert_close(row.values, each.mean(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("overlap", "starts"), [(0.0, [0, 8, 13]), (0.5, [0, 4, 8, 12, 13])])
def test_windows_cover_the_whole_video(
    pretrained: Checkpoint, videos: list[Path], overlap: float, starts: list[int]
) -> None:
    """20 frames at 10 a second; a window has 4 frames at stride 2: a span of 7, and the next one begins 8 later."""
    rows = rows_of(pretrained, videos[:2], windows=True, overlap=overlap)
    assert [row.index for row in rows] == [0] * len(starts) + [1] * len(starts)
    for row, start in zip(rows, starts, strict=False):
        expected = tokens_of(pretrained, videos[0], [start, start + 2, start + 4, start + 6]).mean(dim=0)
        torch.testing.assert_close(row.values, expected, rtol=1e-4, atol=1e-5)
        assert row.start_seconds == pytest.approx(start / 10)
        assert row.end_seconds == pytest.approx((start + 6) / 10)


def test_windows_of_a_part(pretrained: Checkpoint, videos: list[Path]) -> None:
    entry = VideoEntry(videos[0], start_seconds=0.5, end_seconds=0.75)  # frames 5, 6, 7
    options = EmbedOptions(windows=True, num_workers=0)
    (row,) = embed_videos(pretrained, [entry], options=options, device=CPU)
    expected = tokens_of(pretrained, videos[0], [5, 7, 7, 7]).mean(dim=0)
    torch.testing.assert_close(row.values, expected, rtol=1e-4, atol=1e-5)
    assert (row.start_seconds, row.end_seconds) == (pytest.approx(0.5), pytest.approx(0.7))


@pytest.mark.parametrize("windows", [False, True])
def test_a_broken_video_comes_once_with_its_reason(
    pretrained: Checkpoint, videos: list[Path], broken: Path, windows: bool
) -> None:
    rows = rows_of(pretrained, [videos[0], broken, videos[1]], windows=windows, num_workers=1)
    (bad,) = [row for row in rows if row.index == 1]
    assert bad.values is None
    assert "broken.mp4" in str(bad.error)
    assert {row.index for row in rows if row.values is not None} == {0, 2}


@pytest.mark.parametrize(
    "options", [{"num_clips": 0}, {"overlap": 1.0}, {"dense": True, "num_crops": 3}, {"windows": True, "num_clips": 2}]
)
def test_options_that_do_not_go_together(options: dict) -> None:
    with pytest.raises(ConfigError):
        EmbedOptions(**options)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_hold_what_was_added(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"new folder/features{suffix}"
    values = np.random.default_rng(0).normal(size=(300, 2, 3)).astype(np.float32)
    with FeatureFile(path) as file:
        for number, row in enumerate(values):
            start = None if number % 2 else number / 4
            file.add(f"v{number}.mp4", None if number % 3 else "a b", row, start_seconds=start, end_seconds=start)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    if suffix == ".npz":
        found = dict(np.load(path))
        assert np.array_equal(found["features"], values)
        labels, starts = found["label"].tolist(), found["start_seconds"]
        assert labels[:4] == ["a b", "", "", "a b"]
        assert np.isnan(starts[1])
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        shape = tuple(map(int, table.schema.metadata[b"feature_shape"].split(b",")))
        stored = np.stack([np.array(row, dtype=np.float32) for row in table["features"].to_pylist()])
        assert np.array_equal(stored.reshape(-1, *shape), values)
        assert table["label"].to_pylist()[:4] == ["a b", None, None, "a b"]
        assert table["start_seconds"].to_pylist()[:3] == [0.0, None, 0.5]
        assert table["path"].to_pylist()[-1] == "v299.mp4"


def test_large_rows_are_written_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(features, "_NUMBERS_AT_ONCE", 20)
    values = np.random.default_rng(0).normal(size=(7, 2, 4)).astype(np.float32)
    with FeatureFile(tmp_path / "f.parquet") as file:
        for row in values:
            file.add("v.mp4", None, row)
    pieces = parquet.ParquetFile(tmp_path / "f.parquet")
    assert [pieces.metadata.row_group(index).num_rows for index in range(pieces.num_row_groups)] == [3, 3, 1]
    stored = np.array(pieces.read()["features"].to_pylist(), dtype=np.float32)
    assert np.array_equal(stored.reshape(values.shape), values)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_an_error_half_way_leaves_the_older_file(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"features{suffix}"
    path.write_text("older")

    def write() -> None:
        with FeatureFile(path) as file:
            for _ in range(600):
                file.add("v.mp4", None, np.zeros(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="npz or"):
        FeatureFile(tmp_path / "features.csv")
