"""Splits of one's own, which keep what belongs together on one side."""

from __future__ import annotations

import random
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from videomae.core.errors import ConfigError, DataError
from videomae.datasets.entries import SPLITS, VideoEntry
from videomae.datasets.groups import leaking_groups
from videomae.datasets.manifest import Manifest, read_manifest, used_splits
from videomae.datasets.scan_problems import known_problems


def read_train_and_val(
    data: str | Path,
    *,
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
) -> tuple[Manifest, Manifest | None]:
    """The training and validation videos; the latter are `val`, DATA's split val, or a share or fold held out.

    Args:
        data: DATA; of data with splits, train is used.
        val: other DATA for validation.
        val_share: share of the videos to hold out, between 0 and 1; groups stay together.
        group: what a group is, as for `read_manifest`.
        root: where the videos of lists are, as for `read_manifest`.
        seed: of the choice of the videos that are held out.
        fold: (number from 1, of how many) of a cross-validation, instead: the videos of this fold are held out. Those
            of a split test are in none.

    Returns:
        Both manifests, the second None without validation videos; the first holds the notices for the user.

    Raises:
        ConfigError: if `val_share` is not between 0 and 1, or there are other validation videos.
        DataError: if a video has no class, or one without training videos; if there are too few groups.
    """
    whole = read_manifest(data, root=root, group=group)
    divided = whole
    if val_share is not None:
        divided = _hold_out(whole, val_share, others="--val" if val is not None else "", seed=seed)
    if fold is not None:
        divided = _take_fold(whole, *fold, seed=seed)
    manifest = divided.take_split("train")
    manifest = manifest.require_scores() if manifest.is_scored else manifest.require_classes(multi_label=None)
    validation = None
    other_notices: tuple[str, ...] = ()
    if val is not None:
        other = read_manifest(val, root=root, group=group)
        validation = other.take_split("val", "test")
        leak = leaks_between(manifest, validation)
        other_notices = other.notices if leak is None else (*other.notices, leak)
    elif "val" in divided.splits:
        validation = divided.take_split("val")
    used = (
        ""
        if divided is not whole and (fold is not None or not whole.splits)
        else used_splits(whole, manifest, validation, purpose="validation")
    )
    entries, sources = divided.entries, [whole.source]
    if val is not None and validation is not None:
        train, other_side = (_in_split(one, name) for one, name in ((manifest, "train"), (validation, "val")))
        entries, sources = (*train, *other_side), [whole.source, validation.source]
    options = "" if root is None else f" --video-root {shlex.quote(str(root))}"
    problems = known_problems(entries, *sources, options=options)
    manifest = replace(manifest, notices=tuple(filter(None, (*manifest.notices, *other_notices, problems))), used=used)
    if validation is None:
        return manifest, None
    if manifest.is_scored:
        return manifest, validation.require_scores()
    return manifest, validation.require_classes(manifest.class_names, multi_label=manifest.is_multi_label)


def _hold_out(whole: Manifest, val_share: float, *, others: str, seed: int) -> Manifest:
    """Divide the training videos into train and val, with a notice."""
    others = others or ("the split val" if "val" in whole.splits else "")
    if others:
        raise ConfigError(
            f"--val-share {val_share} with {others}", expected="one of the two", hint="leave --val-share out"
        )
    if not 0 < val_share < 1:
        raise ConfigError(f"--val-share {val_share}", expected="a share between 0 and 1", hint="0.2 is a fifth")
    training = whole.take_split("train")
    divided = split_by_group(training, {"train": 1 - val_share, "val": val_share}, seed=seed)
    held = divided.take_split("val")
    groups = {entry.group for entry in divided.entries if entry.group is not None}
    of_groups = f" in {len({entry.group for entry in held.entries})} of {len(groups)} groups" if groups else ""
    notice = f"{len(held)} of {len(training)} videos{of_groups} are held out for validation"
    return replace(divided, notices=(*divided.notices, notice))


def _take_fold(whole: Manifest, number: int, num_folds: int, *, seed: int) -> Manifest:
    """Put the videos of one fold into val and those of the others into train, with a notice."""
    pool = replace(whole, entries=tuple(entry for entry in whole.entries if entry.split != "test"))
    folds = folds_of(pool, num_folds, seed=seed)
    entries = tuple(
        replace(entry, split="val" if found == number else "train")
        for entry, found in zip(pool.entries, folds, strict=True)
    )
    unused = f"; not used: test {len(whole) - len(pool)}" if len(pool) < len(whole) else ""
    notice = f"fold {number} of {num_folds}: {folds.count(number)} of {len(pool)} videos are for validation{unused}"
    return replace(pool, entries=entries, notices=(*pool.notices, notice))


def folds_of(manifest: Manifest, num_folds: int, *, seed: int) -> list[int]:
    """The fold of each video, from 1; no group is in two of them, and a video without a group is one of its own.

    Stratified, as `split_by_group`; a function of the manifest, the number and the seed alone.

    Raises:
        ConfigError: for fewer than two folds.
        DataError: if there are too few groups.
    """
    if num_folds < 2:
        raise ConfigError(f"--folds {num_folds}", expected="2 or more", hint="5 is common")
    members = _members_of(manifest)
    if len(members) < num_folds:
        raise DataError(
            f"{manifest.source} with {len(members)} groups for {num_folds} folds",
            expected="a group or more for each fold",
            hint="take fewer folds, or a finer group: all videos of one group stay together",
        )
    names = {str(number): 1 / num_folds for number in range(1, num_folds + 1)}
    division = _Division(_class_counts(manifest, members), names, seed, learning=None)
    division.assign()
    division.spread_classes()
    if division.empty_splits():
        raise DataError(
            f"{manifest.source} divided by groups leaves nothing for fold {division.empty_splits()[0]}",
            expected="groups of about one size",
            hint="take fewer folds, or a finer group",
        )
    folds = [0] * len(manifest)
    for group, found in members.items():
        for index in found:
            folds[index] = int(division.split_of[group])
    return folds


def _members_of(manifest: Manifest) -> dict[object, list[int]]:
    """Places of the videos of each group."""
    members: dict[object, list[int]] = defaultdict(list)
    for index, entry in enumerate(manifest.entries):
        members[index if entry.group is None else entry.group].append(index)
    return members


def _class_counts(manifest: Manifest, members: Mapping[object, list[int]]) -> dict[object, Counter[str | None]]:
    """Videos of each class in each group."""
    return {
        group: Counter(name for index in found for name in manifest.entries[index].classes or (None,))
        for group, found in members.items()
    }


def _in_split(manifest: Manifest, split: str) -> tuple[VideoEntry, ...]:
    return tuple(replace(entry, split=split) for entry in manifest.entries)


def leaks_between(train: Manifest, other: Manifest) -> str | None:
    """One line about groups or videos of `other` that `train` has too; None if there are none."""
    found = leaking_groups([*_in_split(train, "train"), *_in_split(other, "val")])
    training = {str(entry.path) for entry in train.entries}
    shared = [entry for entry in other.entries if str(entry.path) in training]
    if shared:
        return f"{shared[0].named} is also a training video, as are {len(shared)} of {len(other)} validation videos"
    return found


def split_by_group(manifest: Manifest, fractions: Mapping[str, float], *, seed: int) -> Manifest:
    """Divide videos into splits so that no group is in two of them; a video without a group is one of its own.

    Stratified: each class is divided by the fractions as far as its groups allow, and is in every split where it has
    as many groups as there are splits. A function of the manifest and the seed alone.

    Args:
        manifest: the videos; splits that they have are forgotten.
        fractions: what share of the videos each split gets, as {"train": 0.8, "val": 0.2}; the first split is the one
            that learns, and keeps the classes that have too few groups.
        seed: of the choice among groups of one size.

    Returns:
        The manifest with a split for each video, in the same order, and a notice about classes that a split lacks.

    Raises:
        ConfigError: if the fractions are none, or do not sum to 1.
        DataError: if there are too few groups.
    """
    _check_fractions(fractions)
    members = _members_of(manifest)
    if len(members) < len(fractions):
        raise DataError(
            f"{manifest.source} with {len(members)} group{'s' if len(members) > 1 else ''}",
            expected=f"a group or more for each of {', '.join(fractions)}",
            hint="choose a finer group: all videos of one group stay together",
        )
    division = _Division(_class_counts(manifest, members), fractions, seed, learning=next(iter(fractions)))
    division.assign()
    division.spread_classes()
    empty = division.empty_splits()
    if empty:
        raise DataError(
            f"{manifest.source} divided by groups leaves nothing for {' and '.join(empty)}",
            expected="classes that come from several groups each",
            hint="each group holds a class of its own (is it the class folder?); choose a finer group",
        )
    entries = list(manifest.entries)
    for group, found in members.items():
        for index in found:
            entries[index] = replace(entries[index], split=division.split_of[group])
    return replace(manifest, entries=tuple(entries), notices=(*manifest.notices, *division.notices()))


def _check_fractions(fractions: Mapping[str, float]) -> None:
    values = list(fractions.values())
    good = len(values) > 1 and all(0 < value < 1 for value in values) and abs(sum(values) - 1) < 1e-6
    if not good or not fractions.keys() <= set(SPLITS):
        raise ConfigError(
            f"fractions {dict(fractions)}",
            expected=f"shares between 0 and 1 that sum to 1, of {' or '.join(SPLITS)}",
            hint="give each split a part of 1",
        )


class _Division:
    """Groups dealt out to splits, the largest first, each to where its classes lack most.

    Args:
        counts: videos of each class in each group.
        fractions: what share of the videos each split gets.
        seed: of the order of groups of one size.
        learning: the split that gets classes of a single group; None for whichever lacks most.
    """

    def __init__(
        self,
        counts: Mapping[object, Counter[str | None]],
        fractions: Mapping[str, float],
        seed: int,
        *,
        learning: str | None,
    ) -> None:
        self.counts = counts
        self.learning = learning
        self.fractions = fractions
        self.totals: Counter[str | None] = Counter()
        self.num_groups: Counter[str | None] = Counter()
        for count in counts.values():
            self.totals.update(count)
            self.num_groups.update(count.keys())
        self.held: dict[str, Counter[str | None]] = {split: Counter() for split in fractions}
        self.groups_held: dict[str, Counter[str | None]] = {split: Counter() for split in fractions}
        self.split_of: dict[object, str] = {}
        self.order = list(counts)
        random.Random(seed).shuffle(self.order)
        self.order.sort(key=lambda group: -counts[group].total())

    def assign(self) -> None:
        """Deal out every group."""
        for group in self.order:
            if self.learning is not None and any(self.num_groups[label] < 2 for label in self.counts[group]):
                self._put(group, self.learning)
            else:
                self._put(group, min(self.fractions, key=lambda split: (self._cost(group, split), self._size(split))))

    def spread_classes(self) -> None:
        """Give each split a group of each class that has enough of them, taking no split's last one of any class."""
        for label in sorted(self.totals, key=lambda label: (self.num_groups[label], str(label))):
            for split in self.fractions:
                if self.groups_held[split][label] or self.num_groups[label] < len(self.fractions):
                    continue
                # The smallest that can be spared, so that the shares stay as near as may be.
                spare = next((group for group in reversed(self.order) if self._can_spare(group, label)), None)
                if spare is not None:
                    self._take(spare)
                    self._put(spare, split)

    def empty_splits(self) -> list[str]:
        """The splits that got no group."""
        return [split for split in self.fractions if not self.held[split].total()]

    def notices(self) -> tuple[str, ...]:
        """One line for each split that lacks a class."""
        found = []
        for split in self.fractions:
            lacking = sorted(label for label in self.totals if label is not None and not self.held[split][label])
            if lacking:
                shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
                found.append(f"{split} has no video of {shown}: too few groups have that class")
        return tuple(found)

    def _cost(self, group: object, split: str) -> float:
        """How much the squared distance from the wanted shares grows, over the classes of the group."""
        cost = 0.0
        for label, count in self.counts[group].items():
            part, share = count / self.totals[label], self.held[split][label] / self.totals[label]
            cost += part * (2 * share + part - 2 * self.fractions[split])
        return cost

    def _size(self, split: str) -> int:
        """Of folds, which are all alike, the smallest comes first where costs are equal."""
        return self.held[split].total() if self.learning is None else 0

    def _can_spare(self, group: object, label: str | None) -> bool:
        held = self.groups_held[self.split_of[group]]
        return label in self.counts[group] and all(held[other] > 1 for other in self.counts[group])

    def _put(self, group: object, split: str) -> None:
        self.split_of[group] = split
        self.held[split].update(self.counts[group])
        self.groups_held[split].update(self.counts[group].keys())

    def _take(self, group: object) -> None:
        split = self.split_of.pop(group)
        self.held[split].subtract(self.counts[group])
        self.groups_held[split].subtract(dict.fromkeys(self.counts[group], 1))
