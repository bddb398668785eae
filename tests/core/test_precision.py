"""In which precision products run. Machines are imitated by what torch reports of them; one test multiplies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from videomae.core import precision
from videomae.core.errors import ConfigError
from videomae.core.precision import (
    ChosenPrecision,
    CpuFacts,
    autocast,
    automatic_precision,
    choose_precision,
    of_cpu,
    of_cuda,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Decisions are kept in the process; each test decides anew, and leaves nothing behind."""
    for forget in (True, False):
        automatic_precision.cache_clear()
        precision._warn_if_slow.cache_clear()
        if forget:
            yield


def not_measured() -> float:
    raise AssertionError("the facts are enough")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (CpuFacts(False, True, "", is_certain=True), "fp32: this CPU has no bf16 instructions"),  # AVX-512 without
        (CpuFacts(False, True, "", is_certain=False), "fp32: this CPU has no bf16 instructions"),  # AVX2; older Arm
        (CpuFacts(True, True, "", is_certain=True), "bf16: this CPU has bf16 instructions"),  # AMX, AVX512-BF16
        (CpuFacts(True, False, "", is_certain=True), "fp32: this torch has no oneDNN to multiply bf16"),
        (
            CpuFacts(True, True, "ONEDNN_MAX_CPU_ISA=AVX2", is_certain=True),
            "fp32: ONEDNN_MAX_CPU_ISA=AVX2 forbids bf16 instructions",
        ),
    ],
)
def test_facts_that_decide_for_a_cpu(facts: CpuFacts, text: str) -> None:
    assert str(of_cpu(facts, not_measured)) == text


@pytest.mark.parametrize("has_instructions", [True, None])
@pytest.mark.parametrize(
    ("speedup", "text"),
    [
        (2.41, "bf16: a product in bf16 is 2.41 times as fast as in fp32 here"),
        (1.1, "fp32: a product in bf16 is 1.1 times as fast as in fp32 here"),
        (1 / 20, "fp32: a product in bf16 is 20 times slower than in fp32 here"),
    ],
)
def test_a_product_decides_where_facts_cannot(has_instructions: bool | None, speedup: float, text: str) -> None:
    facts = CpuFacts(has_instructions, True, "", is_certain=False)
    assert str(of_cpu(facts, lambda: speedup)) == text


@pytest.mark.parametrize(
    ("capabilities", "kernels", "environment", "facts"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "AVX2", {}, CpuFacts(False, True, "", False)),
        ({"avx512_bf16": False, "amx_bf16": False}, "AVX512", {}, CpuFacts(False, True, "", True)),
        ({"avx512_bf16": True, "amx_bf16": False}, "AVX512", {}, CpuFacts(True, True, "", True)),
        ({"avx512_bf16": True, "amx_bf16": True}, "AVX2", {}, CpuFacts(True, True, "", False)),
        (
            {"avx512_bf16": True, "amx_bf16": True},
            "AVX2",
            {"ONEDNN_MAX_CPU_ISA": "avx2"},
            CpuFacts(True, True, "ONEDNN_MAX_CPU_ISA=avx2", False),
        ),
        ({"avx512_bf16": True}, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, CpuFacts(True, True, "", True)),
        ({"avx512_bf16": True}, "AVX512", {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, CpuFacts(True, True, "", True)),
        ({"neon": True, "bf16": True}, "DEFAULT", {}, CpuFacts(True, True, "", False)),
        ({"neon": True, "bf16": False}, "DEFAULT", {}, CpuFacts(False, True, "", False)),
        ({"architecture": "ppc64le"}, "VSX", {}, CpuFacts(None, True, "", False)),
    ],
)
def test_facts_of_imitated_machines(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, Any],
    kernels: str,
    environment: dict[str, str],
    facts: CpuFacts,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert precision.cpu_facts() == facts


@pytest.mark.parametrize(
    ("capability", "name", "word"),
    [
        ((6, 1), "fp32", "compute capability 6.1"),
        ((7, 0), "fp16", "compute capability 7.0"),
        ((7, 5), "fp16", "compute capability 7.5"),
        ((8, 0), "bf16", "this GPU multiplies it"),
        ((9, 0), "bf16", "this GPU multiplies it"),
        ((12, 0), "bf16", "this GPU multiplies it"),
    ],
)
def test_nvidia_gpus(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str, word: str) -> None:
    asked = []
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    found = choose_precision("auto", torch.device("cuda:1"))
    assert found == of_cuda(capability)
    assert (found.name, asked) == (name, [torch.device("cuda:1")])
    assert word in found.reason


def test_fp16_is_not_chosen_for_a_sharded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_precision("auto", torch.device("cuda")).name == "fp16"
    found = choose_precision("auto", torch.device("cuda"), sharded=True)
    assert str(found) == "fp32: fp16 cannot be trained with --sharding full"


def test_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", torch.device("mps")).name == "fp32"
    for supported, name in ((True, "bf16"), (False, "fp32")):
        automatic_precision.cache_clear()
        monkeypatch.setattr(torch, "xpu", SimpleNamespace(is_bf16_supported=lambda supported=supported: supported))
        assert choose_precision("auto", torch.device("xpu")).name == name


def test_what_is_asked_for_is_obeyed_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "cpu_facts", lambda: CpuFacts(False, True, "", is_certain=True))
    monkeypatch.setattr(precision, "bf16_speedup", lambda dtype: 1 / 135)
    with caplog.at_level(logging.WARNING, logger="videomae"):
        for _ in range(3):
            assert choose_precision("bf16", CPU) == ChosenPrecision("bf16", "as asked")
            with autocast(CPU, "bf16"):
                pass
    said = "--precision bf16 on this CPU: a product in it is 135 times slower than in fp32; auto takes fp32"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_what_is_fast_or_exact_gives_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "cpu_facts", lambda: CpuFacts(True, True, "", is_certain=True))
    monkeypatch.setattr(precision, "bf16_speedup", lambda dtype: 1.5)
    for name in ("auto", "bf16", "fp32", "fp16"):
        choose_precision(name, CPU)
    assert not caplog.records


def test_a_precision_that_the_device_lacks() -> None:
    with pytest.raises(ConfigError, match=r"--precision bf16 on meta: expected a precision that torch has there; use "):
        choose_precision("bf16", torch.device("meta"))
    with pytest.raises(ConfigError, match="--precision fp8: expected auto or fp32 or bf16 or fp16; auto chooses what"):
        choose_precision("fp8", CPU)


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_precision_of_matrix_products(name: str, dtype: torch.dtype) -> None:
    with autocast(CPU, name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_automatic_products_follow_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_instructions, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        facts = CpuFacts(has_instructions, True, "", is_certain=True)
        monkeypatch.setattr(precision, "cpu_facts", lambda facts=facts: facts)
        automatic_precision.cache_clear()
        with autocast(CPU, "auto"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_measured_product_agrees_with_this_machine() -> None:
    """The flags and the clock must tell the same; the number of threads stays."""
    num_threads = torch.get_num_threads()
    speedup = precision.bf16_speedup()
    assert torch.get_num_threads() == num_threads
    facts = precision.cpu_facts()
    if facts.has_instructions is False:
        assert speedup < 1
    elif facts.is_certain and not facts.limit:
        assert speedup > 1


def test_an_old_cpu_is_imitated_by_the_environment() -> None:
    """As users are told to: a process of its own, since oneDNN reads it once."""
    code = (
        "import torch; from videomae.core import precision as p; print(p.choose_precision('auto', torch.device('cpu')))"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("fp32: ")
    assert "bf16 instructions" in found.stdout
