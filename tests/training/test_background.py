"""Copies of states, and the thread that writes them."""

from __future__ import annotations

import threading

import pytest
import torch

from videomae.training.background import BackgroundWriter, HostCopy


def test_a_copy_has_its_own_containers_and_tensors() -> None:
    state = {"a": {"w": torch.ones(3)}, "b": [torch.zeros(2), {"n": 1}], "c": (torch.tensor(1.5), "x"), "d": None}
    copy = HostCopy().take(state)
    assert copy["c"][1] == "x"
    assert isinstance(copy["c"], tuple)
    assert copy["d"] is None
    state["a"]["w"] += 1
    state["b"][0] += 1
    state["b"][1]["n"] = 2
    assert torch.equal(copy["a"]["w"], torch.ones(3))
    assert torch.equal(copy["b"][0], torch.zeros(2))
    assert copy["b"][1] == {"n": 1}


def test_memory_is_used_again_where_it_fits() -> None:
    copier = HostCopy()
    first = copier.take({"w": torch.ones(3), "v": torch.ones(2)})
    second = copier.take({"w": torch.zeros(3), "v": torch.zeros(4)})
    assert first["w"] is second["w"]
    assert torch.equal(second["w"], torch.zeros(3))
    assert torch.equal(second["v"], torch.zeros(4))
    assert torch.equal(first["v"], torch.ones(2))


def test_a_job_runs_beside_and_the_next_one_after_it() -> None:
    writer, go_on, order = BackgroundWriter(), threading.Event(), []

    def first() -> None:
        assert go_on.wait(60)
        order.append("first")

    writer.submit(first)
    writer.check()
    assert order == []
    threading.Timer(0.05, go_on.set).start()
    writer.submit(lambda: order.append("second"))
    writer.wait()
    assert order == ["first", "second"]


def test_what_a_job_raises_is_raised_once() -> None:
    writer = BackgroundWriter()

    def fail() -> None:
        raise OSError("full")

    writer.submit(fail)
    writer.join()
    with pytest.raises(OSError, match="full"):
        writer.check()
    writer.check()
    writer.submit(fail)
    with pytest.raises(OSError, match="full"):
        writer.submit(lambda: None)
    writer.wait()
