"""Splits of one's own: what belongs together stays together, classes are shared out, the seed decides alone."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from videomae.core.errors import ConfigError, DataError
from videomae.curation.scan import scan_videos
from videomae.datasets.catalog import Catalog
from videomae.datasets.entries import VideoEntry
from videomae.datasets.groups import leaking_groups
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.datasets.splitting import leaks_between, read_train_and_val, split_by_group

HALVES = {"train": 0.5, "val": 0.5}
FIFTH = {"train": 0.8, "val": 0.2}


def manifest_of(*groups: tuple[str | None, str, int]) -> Manifest:
    """Videos as (group, class, how many)."""
    entries = [
        VideoEntry(Path(f"{group}_{label}_{place}_{number}.mp4"), label=label, group=group)
        for place, (group, label, count) in enumerate(groups)
        for number in range(count)
    ]
    names = tuple(sorted({label for _, label, _ in groups}))
    return Manifest(Path("set"), tuple(entries), names)


def shares(manifest: Manifest) -> dict[str, Counter[str | None]]:
    found: dict[str, Counter[str | None]] = {}
    for entry in manifest.entries:
        assert entry.split is not None
        found.setdefault(entry.split, Counter())[entry.label] += 1
    return found


def test_videos_without_groups_are_divided_by_class() -> None:
    whole = manifest_of((None, "run", 50), (None, "jump", 20), (None, "swim", 5), (None, "fly", 2))

    divided = split_by_group(whole, FIFTH, seed=0)

    assert shares(divided) == {
        "train": Counter(run=40, jump=16, swim=4, fly=1),
        "val": Counter(run=10, jump=4, swim=1, fly=1),
    }
    assert [entry.path for entry in divided.entries] == [entry.path for entry in whole.entries]
    assert divided.notices == ()


def test_groups_stay_together_and_classes_are_shared_out() -> None:
    whole = manifest_of(*((f"g{number}", label, 1 + number % 3) for number in range(40) for label in ("run", "jump")))

    divided = split_by_group(whole, FIFTH, seed=3)

    assert leaking_groups(divided.entries) is None
    for label in ("run", "jump"):
        parts = {split: count[label] for split, count in shares(divided).items()}
        assert parts["val"] / sum(parts.values()) == pytest.approx(0.2, abs=0.02)


def test_three_splits() -> None:
    whole = manifest_of(*((f"g{number}", f"c{number % 3}", 2) for number in range(60)))

    divided = split_by_group(whole, {"train": 0.6, "val": 0.2, "test": 0.2}, seed=1)

    assert {split: count.total() for split, count in shares(divided).items()} == {"train": 72, "val": 24, "test": 24}
    assert divided.splits == ("train", "val", "test")


def test_the_seed_decides_alone() -> None:
    whole = manifest_of(*((f"g{number}", "run" if number % 2 else "jump", 1) for number in range(40)))

    assert split_by_group(whole, FIFTH, seed=5) == split_by_group(whole, FIFTH, seed=5)
    assert split_by_group(whole, FIFTH, seed=5) != split_by_group(whole, FIFTH, seed=6)


def test_two_groups_of_each_class_are_on_both_sides_whatever_the_shares() -> None:
    whole = manifest_of(*((f"{label}{number}", label, 9) for label in ("run", "jump", "swim") for number in range(2)))

    for fractions in (FIFTH, HALVES, {"train": 0.05, "val": 0.95}):
        divided = split_by_group(whole, fractions, seed=0)
        assert {split: set(count) for split, count in shares(divided).items()} == {
            "train": {"run", "jump", "swim"},
            "val": {"run", "jump", "swim"},
        }


def test_a_class_of_one_group_is_learnt_and_told() -> None:
    whole = manifest_of(("a", "run", 5), ("b", "run", 5), ("c", "jump", 5), ("d", "run", 5))

    divided = split_by_group(whole, HALVES, seed=0)

    assert "jump" not in shares(divided)["val"]
    assert divided.notices == ("val has no video of jump: too few groups have that class",)


@pytest.mark.parametrize("seed", range(8))
def test_groups_of_several_classes(seed: int) -> None:
    whole = manifest_of(
        *(("big", label, 30) for label in ("run", "jump")),
        *((f"g{number}", "run", 3) for number in range(6)),
        *((f"h{number}", "jump", 3) for number in range(6)),
        *((f"m{number}", label, 2) for number in range(3) for label in ("run", "jump", "swim")),
    )

    divided = split_by_group(whole, {"train": 0.75, "val": 0.25}, seed=seed)

    assert leaking_groups(divided.entries) is None
    assert all(set(count) == {"run", "jump", "swim"} for count in shares(divided).values())
    assert 0.15 < shares(divided)["val"].total() / len(whole) < 0.35


def test_one_group_of_everything() -> None:
    with pytest.raises(DataError, match=r"set with 1 group: expected a group or more for each of train, val; .*finer"):
        split_by_group(manifest_of(("all", "run", 5), ("all", "jump", 5)), FIFTH, seed=0)


def test_groups_that_are_the_classes() -> None:
    with pytest.raises(DataError, match="leaves nothing for val: expected classes that come from several groups"):
        split_by_group(manifest_of(("run", "run", 5), ("jump", "jump", 5)), FIFTH, seed=0)


@pytest.mark.parametrize(
    "fractions",
    [{"train": 1.0, "val": 0.0}, {"train": 0.5, "val": 0.6}, {"train": 1.0}, {"learn": 0.5, "val": 0.5}, {}],
)
def test_fractions_that_are_none(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected shares between 0 and 1 that sum to 1"):
        split_by_group(manifest_of(("a", "run", 5), ("b", "jump", 5)), fractions, seed=0)


def test_videos_without_labels() -> None:
    entries = tuple(VideoEntry(Path(f"{number}.mp4")) for number in range(10))

    divided = split_by_group(Manifest(Path("set"), entries, ()), FIFTH, seed=0)

    assert {split: count.total() for split, count in shares(divided).items()} == {"train": 8, "val": 2}


# --- what a group is


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name in ("fight/s01_a.mp4", "fight/s02_b.mp4", "calm/s01_c.mp4", "calm/s03_d.mp4"):
        (tmp_path / "s99_set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s99_set" / name).write_bytes(b"x")
    return tmp_path / "s99_set"


def groups(manifest: Manifest) -> list[str | None]:
    return [entry.group for entry in manifest.entries]


def test_a_group_from_the_path_below_the_data(sources: Path) -> None:
    # The folder above is called s99_set, and must not count.
    assert groups(read_manifest(sources, group=r"(s\d+)_")) == ["s01", "s03", "s01", "s02"]


def test_a_group_from_the_paths_of_a_list(sources: Path) -> None:
    (sources / "list.csv").write_text("path,label\nfight/s01_a.mp4,fight\ncalm/s03_d.mp4,calm\n")

    assert groups(read_manifest(sources / "list.csv", group=r"(s\d+)_")) == ["s01", "s03"]


def test_a_group_from_the_folder(sources: Path) -> None:
    found = groups(read_manifest(sources, group="parent"))

    assert found == [str(sources / "calm")] * 2 + [str(sources / "fight")] * 2


def test_a_group_from_other_columns(sources: Path) -> None:
    (sources / "list.csv").write_text("path,Person\nfight/s01_a.mp4,ann\ncalm/s03_d.mp4,bob\n")

    assert groups(read_manifest(sources / "list.csv", group="person")) == ["ann", "bob"]
    with pytest.raises(DataError, match=r"group 'who': expected a column \(path, person\), parent, or a regular"):
        read_manifest(sources / "list.csv", group="who")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (r"s\d+_", "expected parent, or a regular expression .*; put brackets round"),
        (r"(s)(\d+)_", "put brackets round"),
        (r"(s\d+", "correct the expression"),
        (r"(x\d+)_", r"s01_c\.mp4 without a group: expected a group for every video, by '\(x"),
    ],
)
def test_groups_that_are_none(sources: Path, group: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(sources, group=group)


def test_leaks_of_split_folders_are_told(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "both/train").symlink_to(sources)
    (tmp_path / "both/val").symlink_to(sources)

    (notice,) = read_manifest(tmp_path / "both", group=r"(s\d+)_").notices

    assert "group 's01' has videos in train and in val, and so have 2 more of 3 groups" in notice


def test_leaks_between_two_data_sets() -> None:
    train = manifest_of(("a", "run", 2), ("b", "jump", 2))
    clean = manifest_of(("c", "swim", 2))
    same_group = Manifest(Path("val"), (VideoEntry(Path("new.mp4"), label="run", group="b"),), ("run",))

    assert leaks_between(train, clean) is None
    assert "group 'b' has videos in train and in val" in str(leaks_between(train, same_group))
    assert "a_run_0_0.mp4 is also a training video, as are 4 of 4 validation videos" in str(leaks_between(train, train))


# --- what a training command asks for


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    for label in ("run", "jump"):
        for source in range(5):
            for clip in range(2):
                target = tmp_path / "labelled" / label / f"s{source}_{clip}.mp4"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(b"x")
    return tmp_path / "labelled"


def test_a_share_is_held_out(labelled: Path) -> None:
    train, val = read_train_and_val(labelled, val_share=0.2, group=r"(s\d)_", seed=1)

    assert val is not None
    assert (len(train), len(val)) == (16, 4)
    assert set(groups(train)).isdisjoint(groups(val))
    assert train.notices == ("4 of 20 videos in 1 of 5 groups are held out for validation",)
    alone, held = read_train_and_val(labelled, val_share=0.1, seed=1)
    assert held is not None
    assert (len(alone), len(held)) == (18, 2)
    assert alone.notices == ("2 of 20 videos are held out for validation",)


def test_nothing_judges_unless_asked_for(labelled: Path) -> None:
    train, val = read_train_and_val(labelled)

    assert (len(train), val) == (20, None)


def test_other_videos_judge(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("path,label\nlabelled/run/s0_0.mp4,run\n")

    train, val = read_train_and_val(labelled, val=tmp_path / "val.csv")

    assert val is not None
    assert len(val) == 1
    assert "val.csv, line 2" in train.notices[0]
    assert "is also a training video, as are 1 of 1 validation videos" in train.notices[0]


def test_a_share_beside_other_videos(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--val-share 0\.2 with --val: expected one of the two"):
        read_train_and_val(labelled, val=labelled, val_share=0.2)
    (tmp_path / "both").mkdir()
    (tmp_path / "both/train").symlink_to(labelled)
    (tmp_path / "both/val").symlink_to(labelled)
    with pytest.raises(ConfigError, match=r"--val-share 0\.2 with the split val"):
        read_train_and_val(tmp_path / "both", val_share=0.2)
    with pytest.raises(ConfigError, match="--val-share 2: expected a share between 0 and 1"):
        read_train_and_val(labelled, val_share=2)


def test_a_class_that_is_not_learnt_is_named_with_its_line(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("path,label\nlabelled/run/s0_0.mp4,run\nlabelled/run/s0_1.mp4,swim\n")

    with pytest.raises(DataError, match=r"val\.csv, line 3: .*s0_1\.mp4 with the class 'swim'"):
        read_train_and_val(labelled, val=tmp_path / "val.csv")


def test_the_sources_of_real_actions_are_divided(shared_actions: Path) -> None:
    manifest = read_manifest(shared_actions, group=r"(s\d+)_")

    divided = split_by_group(manifest, FIFTH, seed=0)

    assert leaking_groups(divided.entries) is None
    assert all(set(count) == set(manifest.class_names) for count in shares(divided).values())


@pytest.fixture
def shared_actions() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "actions"
    if not folder.is_dir():
        pytest.skip("the folder of real actions is not there")
    return folder


# --- what a scan has found


@pytest.fixture
def scanned(tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """train/ and val/ with a copy in both, a video in two classes, and a broken one; the catalog is its own."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    names = ["train/run/a", "train/jump/b", "train/run/c", "train/jump/c again", "val/run/a again", "val/jump/d"]
    for name, number in zip(names, (0, 1, 2, 2, 0, 3), strict=True):
        target = tmp_path / "my data" / f"{name}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos[number], target)
    (tmp_path / "my data/train/run/broken.mp4").write_bytes(b"no video")
    return tmp_path / "my data"


def test_what_a_scan_has_found_is_told_without_a_scan(scanned: Path) -> None:
    train, _ = read_train_and_val(scanned)
    assert train.notices == ()  # nothing is known
    assert train.used == "5 training videos, 2 validation videos (val)"

    scan_videos(read_manifest(scanned), catalog=Catalog(), num_workers=0)
    train, _ = read_train_and_val(scanned)

    assert train.notices[0] == (
        f"of 7 scanned videos: 1 broken (such as {scanned}/train/run/broken.mp4), "
        f"1 in several splits (such as {scanned}/val/run/a again.mp4), "
        f"1 under several classes (such as {scanned}/train/run/c.mp4); `videomae scan '{scanned}'` lists them"
    )
    assert len(train.notices) == 1


def test_a_copy_in_other_validation_videos_is_told(scanned: Path) -> None:
    for part in ("train", "val"):
        scan_videos(read_manifest(scanned / part), catalog=Catalog(), num_workers=0)

    train, _ = read_train_and_val(scanned / "train", val=scanned / "val")

    assert f"1 in several splits (such as {scanned}/val/run/a again.mp4)" in train.notices[0]
    assert train.notices[0].endswith(f"`videomae scan '{scanned}/train'` and `videomae scan '{scanned}/val'` list them")


def test_a_sound_data_set_gives_no_notice(scanned: Path) -> None:
    scan_videos(read_manifest(scanned / "val"), catalog=Catalog(), num_workers=0)

    assert read_train_and_val(scanned / "val")[0].notices == ()
