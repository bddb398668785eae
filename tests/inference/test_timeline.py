"""Timelines: the same scores as of each window alone, from one decode, of files and of streams."""

from __future__ import annotations

import functools
import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from video_files import encode, moving_texture

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, VideoError
from videomae.datasets.entries import VideoEntry
from videomae.inference import window_clips
from videomae.inference.scores import ViewOptions, score_videos
from videomae.inference.segments import SegmentOptions
from videomae.inference.timeline_run import TimelineRun
from videomae.inference.window_clips import VideoWindows, read_ahead
from videomae.inference.window_layout import MAX_THUMBNAILS, Thumbnails, WindowOptions, clip_note
from videomae.video.live import LiveVideo, is_real_time, is_stream
from videomae.video.reader import ReadLimits, VideoReader
from videomae.video.sampling import ClipSampling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 seconds at 10 frames a second, of 40 × 24 pixels, every frame another one."""
    path = tmp_path_factory.mktemp("film") / "a film.mp4"
    return encode(path, "libx264", num_frames=120, size=(40, 24), rate=10, key_distance=25)


def make_run(
    checkpoint: Checkpoint, source: Any, *, known: Any = (), pictures: bool = False, **windows: Any
) -> TimelineRun:
    return TimelineRun(
        checkpoint,
        source,
        windows=WindowOptions(**windows),
        segments=SegmentOptions(threshold=0.1),
        precision="fp32",
        device=CPU,
        known=known,
        needs_pictures=pictures,
    )


def windows_of(source: Any, sampling: ClipSampling | None = None, **options: Any) -> VideoWindows:
    return VideoWindows(
        source, sampling=sampling or ClipSampling("dense", 4, 2), image_size=16, options=WindowOptions(**options)
    )


@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (1, 2)])
def test_scores_are_those_of_each_window_alone(classifier: Checkpoint, film: Path, clips: int, crops: int) -> None:
    run = make_run(classifier, film, window_seconds=3, hop_seconds=1, num_clips=clips, num_crops=crops)
    found = list(run)
    assert [window.number for window in found] == list(range(10))
    assert [(window.start_seconds, window.end_seconds) for window in found] == [(n, n + 3) for n in range(10)]
    parts = [VideoEntry(film, start_seconds=n, end_seconds=n + 3) for n in range(10)]
    options = ViewOptions(num_clips=clips, num_crops=crops, precision="fp32")
    alone = score_videos(classifier, parts, options=options, device=CPU)
    for window, scores in zip(found, alone, strict=True):
        assert window.scores == pytest.approx(scores.probabilities.numpy(), abs=1e-6)
    timeline = run.timeline()
    assert timeline.num_windows == 10
    assert timeline.duration_seconds == pytest.approx(12)
    assert timeline.ended is None
    assert timeline.labels == tuple("abcdefg")


def test_each_frame_is_decoded_and_cut_once(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that overlap fourfold: 16 of 20 frames of a second are shown by some clip, each by up to four."""
    cut: list[float] = []
    plain = VideoWindows._cut

    def counted(self: VideoWindows, frame: np.ndarray, seconds: float) -> Any:
        cut.append(seconds)
        return plain(self, frame, seconds)

    monkeypatch.setattr(VideoWindows, "_cut", counted)
    asked: list[list[int]] = []
    stream = VideoReader.stream
    monkeypatch.setattr(VideoReader, "stream", lambda self, frames: asked.append(list(frames)) or stream(self, frames))
    windows = list(windows_of(film, ClipSampling("dense", 10, 2), window_seconds=2, hop_seconds=0.5))
    assert len(windows) == 21
    assert len(asked) == 1
    assert len(cut) == len(set(cut)) == len(asked[0]) <= 120


def test_memory_does_not_grow_with_the_video(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = 0
    most = 0
    plain = VideoWindows._cut

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def counted(self: VideoWindows, frame: np.ndarray, seconds: float) -> Any:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return plain(self, frame, seconds).as_subclass(Counted)

    monkeypatch.setattr(VideoWindows, "_cut", counted)
    monkeypatch.setattr(window_clips, "_stacked", lambda clips: torch.zeros(1))
    assert len(list(windows_of(film, window_seconds=1, hop_seconds=0.5))) == 23
    assert most <= 12


def test_a_video_no_longer_than_a_window_is_one_window(classifier: Checkpoint, film: Path, videos: list[Path]) -> None:
    (window,) = make_run(classifier, videos[0], window_seconds=10, hop_seconds=2)
    (whole,) = score_videos(classifier, videos[:1], options=ViewOptions(precision="fp32"), device=CPU)
    assert window.scores == pytest.approx(whole.probabilities.numpy(), abs=1e-6)
    assert (window.start_seconds, window.end_seconds) == (0, pytest.approx(2))
    assert len(list(make_run(classifier, film, window_seconds=12))) == 1


def test_without_a_window_clips_follow_one_another(classifier: Checkpoint, film: Path) -> None:
    run = make_run(classifier, film)
    assert len(list(run)) == 15  # of 4 · 2 frames
    assert run.windows.layout is not None
    assert clip_note(run.windows.layout, 1) == ""
    longer = windows_of(film, window_seconds=6)
    list(longer)
    assert longer.layout is not None
    assert "the model sees 1 clip of 0.8 s; --clips 8 covers it" in clip_note(longer.layout, 1)
    assert clip_note(longer.layout, 8) == ""


def test_a_part_of_a_video(classifier: Checkpoint, film: Path) -> None:
    part = make_run(classifier, VideoEntry(film, start_seconds=4, end_seconds=8), window_seconds=2)
    whole = list(make_run(classifier, film, window_seconds=2))
    found = list(part)
    assert [window.start_seconds for window in found] == pytest.approx([4, 6])
    for window, same in zip(found, whole[2:4], strict=True):
        assert window.scores == pytest.approx(same.scores, abs=1e-6)


def test_max_seconds(classifier: Checkpoint, film: Path) -> None:
    run = make_run(classifier, film, window_seconds=2, max_seconds=5)
    assert [(w.start_seconds, w.end_seconds) for w in run] == [(0, 2), (2, 4), (pytest.approx(3), pytest.approx(5))]
    assert run.timeline().duration_seconds == pytest.approx(5)


def test_what_is_known_is_not_scored_again(classifier: Checkpoint, film: Path) -> None:
    whole = list(make_run(classifier, film, window_seconds=2, hop_seconds=1))
    rest = make_run(classifier, film, window_seconds=2, hop_seconds=1, num_done=4, known=tuple(whole[:4]))
    found = list(rest)
    assert [window.number for window in found] == list(range(4, 11))
    for window, same in zip(found, whole[4:], strict=True):
        assert window.scores == pytest.approx(same.scores, abs=1e-6)
    assert rest.timeline().num_windows == 11
    done = make_run(classifier, film, window_seconds=2, hop_seconds=1, num_done=11, known=tuple(whole))
    assert list(done) == []
    assert done.timeline().num_windows == 11


def test_variable_rate_goes_by_time_stamps(tmp_path: Path) -> None:
    """5 s at 10 frames a second, then 5 s at 2: windows are of equal seconds, not frames."""
    times = [10 * n for n in range(50)] + [500 + 50 * n for n in range(10)]  # hundredths
    path = encode(tmp_path / "v.mkv", "libx264", num_frames=60, size=(40, 24), times=times)
    found = list(windows_of(path, ClipSampling("dense", 4, frame_rate=2), window_seconds=2.5))
    assert [window.start_seconds for window, _ in found] == pytest.approx([0, 2.5, 5, 7.2], abs=0.1)
    early, late = found[0][1], found[3][1]
    # Four frames half a second apart are different ones in both parts.
    for clips in (early, late):
        assert len({clips[0, t].numpy().tobytes() for t in range(4)}) == 4


def test_uniform_sampling_reaches_over_the_window_and_needs_one(film: Path) -> None:
    sampling = ClipSampling("uniform", 4)
    with pytest.raises(ConfigError, match="give --window SECONDS"):
        list(windows_of(film, sampling))
    windows = windows_of(film, sampling, window_seconds=4)
    assert len(list(windows)) == 3
    assert windows.layout is not None
    assert windows.layout.offsets.tolist() == [[0.5, 1.5, 2.5, 3.5]]


def test_a_file_that_is_damaged_gives_what_can_be_read(classifier: Checkpoint, film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    found = list(make_run(classifier, path, window_seconds=2, hop_seconds=1))
    assert [window.number for window in found] == list(range(len(found)))
    assert len(found) >= 9


def test_a_file_that_is_no_video(classifier: Checkpoint, broken: Path, tmp_path: Path) -> None:
    for path in (broken, tmp_path / "missing.mp4"):
        with pytest.raises(VideoError):
            list(make_run(classifier, path, window_seconds=2))


@pytest.mark.parametrize(
    "bad",
    [
        {"window_seconds": 0},
        {"hop_seconds": -1},
        {"max_seconds": float("nan")},
        {"window_seconds": 2, "hop_seconds": 3},
    ],
)
def test_values_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        WindowOptions(**bad)


def test_thumbnails_stay_few_and_even() -> None:
    kept = Thumbnails()
    for number in range(5000):
        kept.offer(number / 10, np.full((60, 90, 3), number % 256, dtype=np.uint8))
    times = [seconds for seconds, _ in kept.pictures]
    assert MAX_THUMBNAILS // 2 <= len(times) <= MAX_THUMBNAILS
    assert times[0] == 0
    assert times[-1] > 400
    steps = np.diff(times)
    assert steps.max() < 1.5 * steps.min()
    assert all(picture.shape == (144, 216, 3) for _, picture in kept.pictures)


def test_closing_ends_the_thread(film: Path) -> None:
    before = threading.active_count()
    with closing(read_ahead(windows_of(film, window_seconds=1, hop_seconds=0.1), max_waiting=2)) as windows:
        next(windows)
    assert threading.active_count() == before


# Streams


@contextmanager
def served(folder: Path, *, stall_after: int | None = None, dies: bool = False) -> Iterator[str]:
    """A web server of a folder; with `stall_after` it sends so many bytes of each file and then no more."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *about: Any) -> None:
            pass

        def copyfile(self, source: Any, outputfile: Any) -> None:
            if stall_after is None:
                super().copyfile(source, outputfile)
                return
            outputfile.write(source.read(stall_after))
            outputfile.flush()
            if not dies:
                stopped.wait(30)

    stopped = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film as a transport stream."""
    return encode(
        tmp_path_factory.mktemp("stream") / "film.ts",
        "libx264",
        num_frames=120,
        size=(40, 24),
        rate=10,
        key_distance=10,
        container_format="mpegts",
    )


def test_a_stream_over_http_is_scored_like_the_file(classifier: Checkpoint, broadcast: Path) -> None:
    of_file = list(make_run(classifier, broadcast, window_seconds=2, hop_seconds=1))
    with served(broadcast.parent) as url:
        run = make_run(classifier, f"{url}/film.ts", window_seconds=2, hop_seconds=1, pictures=True)
        of_stream = list(run)
    assert len(of_stream) == len(of_file) == 11
    for stream, file in zip(of_stream, of_file, strict=True):
        assert (stream.start_seconds, stream.end_seconds) == (file.start_seconds, file.end_seconds)
        assert stream.scores == pytest.approx(file.scores, abs=1e-5)
    timeline = run.timeline()
    assert timeline.duration_seconds == pytest.approx(12, abs=0.05)
    assert timeline.ended is None
    assert len(timeline.thumbnails) > 5


def test_a_pipe(classifier: Checkpoint, broadcast: Path, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert is_stream(pipe)

    def write() -> None:
        pipe.write_bytes(broadcast.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    found = list(make_run(classifier, pipe, window_seconds=2))
    writer.join()
    assert len(found) == 6


def test_a_stream_that_stalls_keeps_what_came_before(classifier: Checkpoint, broadcast: Path) -> None:
    half = broadcast.stat().st_size // 2
    with served(broadcast.parent, stall_after=half) as url:
        run = make_run(classifier, f"{url}/film.ts", window_seconds=1, stall_seconds=1)
        started = time.monotonic()
        found = list(run)
        assert time.monotonic() - started < 10
    assert 2 <= len(found) <= 7
    assert run.ended is not None
    assert "no new frame for 1 s): expected a stream that goes on" in str(run.ended)
    assert run.timeline().ended == str(run.ended)


def test_a_stream_that_breaks_off(classifier: Checkpoint, broadcast: Path) -> None:
    half = broadcast.stat().st_size // 2
    with served(broadcast.parent, stall_after=half, dies=True) as url:
        run = make_run(classifier, f"{url}/film.ts", window_seconds=1, stall_seconds=5)
        found = list(run)
    assert 2 <= len(found) <= 7


def test_a_pipe_that_nobody_writes_to(classifier: Checkpoint, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VideoError, match=r"pipe \(no new frame for 0.5 s\)"):
        list(make_run(classifier, tmp_path / "pipe", window_seconds=2, stall_seconds=0.5))
    with (tmp_path / "pipe").open("wb"):  # lets the thread go
        pass


def test_max_seconds_of_a_stream(classifier: Checkpoint, broadcast: Path) -> None:
    with served(broadcast.parent) as url:
        run = make_run(classifier, f"{url}/film.ts", window_seconds=2, max_seconds=4.9)
        assert len(list(run)) == 2
        assert run.timeline().duration_seconds == pytest.approx(4.9, abs=0.1)


def test_a_stream_shorter_than_a_window_is_one_window(classifier: Checkpoint, broadcast: Path) -> None:
    with served(broadcast.parent) as url:
        (window,) = make_run(classifier, f"{url}/film.ts", window_seconds=60)
    assert (window.start_seconds, window.end_seconds) == (0, pytest.approx(12, abs=0.05))


def test_addresses_where_nothing_is(classifier: Checkpoint, broadcast: Path) -> None:
    with served(broadcast.parent) as url:
        for address in (f"{url}/none.ts", "http://127.0.0.1:1/x.ts"):
            with pytest.raises(VideoError) as error:
                list(make_run(classifier, address, window_seconds=2, stall_seconds=5))
            assert address in str(error.value)


def test_windows_of_a_stream_in_real_time_are_dropped_while_the_model_is_busy(
    broadcast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(broadcast.parent) as url:
        windows = windows_of(f"{url}/film.ts", window_seconds=1)
        windows.is_real_time = True
        found = []
        with closing(read_ahead(windows, max_waiting=2)) as reading:
            for window, _ in reading:
                found.append(window.number)
                time.sleep(0.4 if len(found) == 1 else 0)
    assert windows.num_dropped > 0
    assert len(found) + windows.num_dropped == 12
    assert found == sorted(found)


def test_times_of_a_stream_never_go_back(tmp_path: Path) -> None:
    """Two recordings one after the other, as a camera that was switched off and on sends them."""
    for name in ("a.ts", "b.ts"):
        pictures = moving_texture(20, 40, 24)
        encode(tmp_path / name, "libx264", pictures=pictures, rate=10, container_format="mpegts")
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with served(tmp_path) as url:
        video = LiveVideo(f"{url}/both.ts", limits=ReadLimits(max_seconds=10))
        times = [seconds for seconds, _ in video.frames()]
        video.close()
    assert len(times) >= 38
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(3.9, abs=0.3)


def test_a_password_is_not_shown(classifier: Checkpoint) -> None:
    run = make_run(classifier, "http://me:se@cret@127.0.0.1:1/x.ts?a=b@c", window_seconds=2, stall_seconds=5)
    with pytest.raises(VideoError) as error:
        list(run)
    assert "cret" not in str(error.value)
    assert run.timeline().path == "http://127.0.0.1:1/x.ts?a=b@c"


def test_what_is_a_stream(tmp_path: Path, film: Path) -> None:
    assert is_stream("rtsp://camera/live")
    assert is_real_time("rtsp://camera/live")
    assert is_real_time("/dev/video0")
    assert not is_real_time("https://example.org/film.mp4")
    assert not is_stream(film)
    assert not is_stream(tmp_path)
    assert not is_stream("missing.mp4")
    assert not is_stream(VideoEntry(film))
