"""Data order: pure, complete, and the same from wherever it goes on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from videomae.core.errors import ConfigError
from videomae.core.random_keys import generator_for
from videomae.data.order import BatchOrder, epoch_order, num_steps_per_epoch


def test_an_epoch_is_a_permutation_of_all_clips() -> None:
    for num_clips in (1, 2, 17, 1000):
        assert sorted(epoch_order(num_clips, seed=3, epoch=5)) == list(range(num_clips))


def test_order_follows_from_seed_and_epoch_alone() -> None:
    first = epoch_order(50, seed=1, epoch=2)
    np.random.seed(0)
    torch.manual_seed(0)
    epoch_order(50, seed=9, epoch=9)

    assert (epoch_order(50, seed=1, epoch=2) == first).all()
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch)) for seed in range(6) for epoch in range(6)}
    assert len(orders) == 36


@pytest.mark.parametrize(("num_clips", "batch_size", "steps"), [(10, 5, 2), (11, 5, 3), (3, 8, 1), (1, 1, 1)])
def test_steps_of_an_epoch(num_clips: int, batch_size: int, steps: int) -> None:
    assert num_steps_per_epoch(num_clips, batch_size) == steps


@pytest.mark.parametrize(("num_clips", "batch_size", "epochs"), [(10, 4, 3), (8, 4, 2), (3, 8, 4), (5, 1, 2)])
def test_every_start_gives_the_tail_of_the_whole_order(num_clips: int, batch_size: int, epochs: int) -> None:
    whole = list(BatchOrder(num_clips, batch_size=batch_size, epochs=epochs, seed=7))

    assert len(whole) == epochs * num_steps_per_epoch(num_clips, batch_size)
    for first_step in range(len(whole) + 1):
        order = BatchOrder(num_clips, batch_size=batch_size, epochs=epochs, seed=7, first_step=first_step)
        assert list(order) == whole[first_step:]
        assert len(order) == len(whole) - first_step
        assert list(order) == whole[first_step:]  # it can be gone through again


def test_each_epoch_has_every_clip_once_and_its_own_order() -> None:
    pairs = list(itertools.chain.from_iterable(BatchOrder(10, batch_size=4, epochs=3, seed=7)))

    for epoch in range(3):
        indices = [index for of, index in pairs if of == epoch]
        assert sorted(indices) == list(range(10))
        assert indices == epoch_order(10, seed=7, epoch=epoch).tolist()
    assert [epoch for epoch, _ in pairs] == sorted(epoch for epoch, _ in pairs)
    assert all(type(index) is int for _, index in pairs)


def test_batches_are_full_but_the_last_of_an_epoch() -> None:
    sizes = [len(batch) for batch in BatchOrder(10, batch_size=4, epochs=2, seed=0)]

    assert sizes == [4, 4, 2, 4, 4, 2]


def test_generators_repeat_and_differ_by_every_part_of_their_key() -> None:
    keys = [(0,), (1,), (0, 1), (1, 0), (1, 1), (1, 2, 3), (3, 2, 1), (2**32 - 1, 5, 7)]
    draws = {key: torch.rand(4, generator=generator_for(*key)).tolist() for key in keys if key != (1, 0)}

    assert len({tuple(draw) for draw in draws.values()}) == len(draws)
    for key, draw in draws.items():
        assert torch.rand(4, generator=generator_for(*key)).tolist() == draw


def test_neighboring_keys_are_unrelated() -> None:
    firsts = torch.stack([torch.rand(1, generator=generator_for(0, 0, index)) for index in range(2000)])[:, 0]

    assert abs(firsts.mean().item() - 0.5) < 4 * (1 / 12 / 2000) ** 0.5
    correlation = torch.corrcoef(torch.stack([firsts[:-1], firsts[1:]]))[0, 1].item()
    assert abs(correlation) < 4 / 2000**0.5


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize(("num_clips", "batch_size"), [(10, 4), (13, 6), (3, 8), (1, 1)])
def test_processes_share_what_one_would_have(num_clips: int, batch_size: int, world_size: int) -> None:
    alone = list(BatchOrder(num_clips, batch_size=batch_size, epochs=2, seed=7, first_step=1))
    shares = [
        list(
            BatchOrder(
                num_clips, batch_size=batch_size, epochs=2, seed=7, first_step=1, rank=rank, world_size=world_size
            )
        )
        for rank in range(world_size)
    ]

    assert all(len(share) == len(alone) for share in shares)
    for step, batch in enumerate(alone):
        parts = [share[step] for share in shares]
        assert list(itertools.chain.from_iterable(parts)) == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_order_after_some_batches_is_its_rest() -> None:
    order = BatchOrder(10, batch_size=4, epochs=3, seed=7, first_step=2, rank=1, world_size=2)

    assert list(order.after(3)) == list(order)[3:]
    assert order.first_step == 2


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_that_does_not_exist_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(ConfigError, match=f"rank={rank} of world_size={world_size}"):
        BatchOrder(10, batch_size=4, epochs=1, seed=0, rank=rank, world_size=world_size)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_put_together_are_the_batch(num_parts: int, world_size: int) -> None:
    """Also the smaller last batch of an epoch, and from any part on."""
    whole = list(BatchOrder(20, batch_size=12, epochs=2, seed=7))
    orders = [
        BatchOrder(20, batch_size=12, epochs=2, seed=7, rank=rank, world_size=world_size, num_parts=num_parts)
        for rank in range(world_size)
    ]
    lists = [list(order) for order in orders]
    assert {len(parts) for parts in lists} == {len(orders[0])} == {len(whole) * num_parts}
    for step, batch in enumerate(whole):
        mine = [parts[step * num_parts + part] for parts in lists for part in range(num_parts)]
        assert [key for part in mine for key in part] == batch
        assert max(map(len, mine)) - min(map(len, mine)) <= 1
        assert orders[0].num_clips_of(step) == len(batch)
        places = [order.places(len(batch), part) for order in orders for part in range(num_parts)]
        assert [place for part in places for place in part] == list(range(len(batch)))
    for number in range(len(orders[0]) + 1):
        rest = orders[0].after(number)
        assert list(rest) == lists[0][number:]
        assert len(rest) == len(lists[0]) - number
