"""The checked-in goldens are what their script makes from transformers 4.34.0."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

pytestmark = pytest.mark.parity

GOLDENS = Path(__file__).parents[1] / "goldens"
CASES = sorted(path.name for path in (GOLDENS / "model").glob("*.safetensors"))


def read(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["golden"])


@pytest.fixture(scope="module")
def made_anew(tmp_path_factory):
    python = os.environ.get("VIDEOMAE_PARITY_PYTHON_434")
    if not python:
        pytest.skip("VIDEOMAE_PARITY_PYTHON_434 names no interpreter with transformers 4.34.0; run `make parity`")
    folder = tmp_path_factory.mktemp("goldens")
    command = [python, str(GOLDENS / "make_model_goldens.py"), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_same_cases(made_anew):
    assert sorted(path.name for path in made_anew.iterdir()) == CASES
    assert len(CASES) == 16


@pytest.mark.parametrize("case", CASES)
def test_model_golden(case, made_anew):
    """Drawn numbers are bit-equal; computed ones may differ by the last bits of another processor or torch.

    Goldens from a CPU with AMX, made anew on one with AVX2 alone, differ by up to 5e-6.
    """
    found, about_found = read(made_anew / case)
    expected, about_expected = read(GOLDENS / "model" / case)
    assert about_found.pop("versions")["transformers"] == about_expected.pop("versions")["transformers"] == "4.34.0"
    assert about_found == about_expected
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        if name.startswith("runs/"):
            bound = 1e-5 * max(1.0, value.abs().max().item())
            assert (found[name] - value).abs().max().item() <= bound, name
        else:
            assert torch.equal(found[name], value), name
