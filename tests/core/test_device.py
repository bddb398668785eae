"""Devices by name. Other devices than the CPU are imitated: what torch would report of them is put in its place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from videomae.core.device import available_devices, choose_device, random_state_kept, send, synchronize
from videomae.core.errors import ConfigError


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many devices of each kind the machine has, to be changed; those of the first kind can accelerate."""
    counts: dict[str, int] = {"cpu": 1}

    def module(kind: str) -> SimpleNamespace:
        if kind not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError(f"Device '{kind}' does not have a corresponding module")
        return SimpleNamespace(is_available=lambda: bool(counts.get(kind)), device_count=lambda: counts.get(kind, 0))

    def accelerator() -> torch.device | None:
        return next((torch.device(kind) for kind in counts if kind != "cpu"), None)

    monkeypatch.setattr(torch, "get_device_module", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(counts.get("cuda")))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(counts.get("mps")))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", accelerator)
    return counts


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [({}, "cpu"), ({"cuda": 2}, "cuda"), ({"mps": 1}, "mps"), ({"xpu": 1}, "cpu"), ({"mps": 1, "cuda": 1}, "cuda")],
)
def test_automatic_device(there: dict[str, int], counts: dict[str, int], chosen: str) -> None:
    there.update(counts)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize(
    ("counts", "name"),
    [({}, "cpu"), ({"cuda": 1}, "cuda"), ({"cuda": 2}, "cuda:1"), ({"mps": 1}, "mps"), ({"xpu": 3}, "xpu:2")],
)
def test_any_device_of_torch_by_its_name(there: dict[str, int], counts: dict[str, int], name: str) -> None:
    there.update(counts)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("counts", "name", "message"),
    [
        ({}, "tpu", "--device tpu, which torch does not know: expected auto or cpu; choose one of these"),
        ({}, "cuda:one", "--device cuda:one, which torch does not know: expected auto or cpu; choose one of these"),
        ({}, "", "--device , which torch does not know: expected auto or cpu; choose one of these"),
        ({}, "cuda", "--device cuda, which is not here: expected auto or cpu; choose one of these"),
        ({}, "meta", "--device meta, which is not here: expected auto or cpu; choose one of these"),
        ({}, "cpu:1", "--device cpu:1, which is not here: expected auto or cpu; choose one of these"),
        ({"mps": 1}, "cuda:0", "--device cuda:0, which is not here: expected auto or cpu or mps; choose one of these"),
        (
            {"cuda": 2},
            "cuda:2",
            "--device cuda:2, of which there are 2: expected auto or cpu or cuda:0 or cuda:1; choose one of these",
        ),
    ],
)
def test_a_device_that_is_not_there(there: dict[str, int], counts: dict[str, int], name: str, message: str) -> None:
    there.update(counts)
    with pytest.raises(ConfigError) as raised:
        choose_device(name)
    assert str(raised.value) == message


def test_this_machine_has_a_cpu() -> None:
    assert available_devices()[0] == "cpu"
    assert choose_device("cpu") == torch.device("cpu")
    synchronize(torch.device("cpu"))


@pytest.mark.parametrize(("kind", "is_waited_for"), [("cpu", True), ("mps", True), ("xpu", True), ("cuda", False)])
def test_copies_to_all_but_cuda_are_waited_for(kind: str, is_waited_for: bool) -> None:
    """On MPS a copy that is not waited for reads memory that others have got meanwhile."""
    asked: dict[str, object] = {}

    class Recording(torch.Tensor):
        def to(self, *args: object, **kwargs: object) -> torch.Tensor:
            asked.update(kwargs)
            return self

    send(torch.ones(2).as_subclass(Recording), torch.device(kind))
    assert asked["non_blocking"] is not is_waited_for


def test_a_tensor_goes_where_it_is_sent() -> None:
    assert send(torch.ones(2), torch.device("meta")).device.type == "meta"


def test_the_random_state_is_kept() -> None:
    before = torch.get_rng_state()
    with random_state_kept(torch.device("cpu")):
        torch.manual_seed(3)
        torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_random_state_of_an_apple_gpu_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    state = [torch.tensor([1])]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[0])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.__setitem__(0, new))
    with random_state_kept(torch.device("mps")):
        state[0] = torch.tensor([2])
    assert state[0].item() == 1


@pytest.mark.parametrize("name", ["mkldnn", "xla", "hpu", "privateuseone", "cuda:-1", "gpu", "CPU", "auto "])
def test_whatever_torch_has_names_for_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}, which .*expected auto or cpu"):
        choose_device(name)
