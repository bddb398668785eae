"""Values that describe no network: one line that names the value, never a raw error."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from videomae.core.errors import ConfigError
from videomae.models.config import VideoMAEConfig

WHOLE = (
    "num_frames",
    "tubelet_size",
    "num_channels",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "decoder_num_attention_heads",
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_intermediate_size",
)
FLOATS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps")


def refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        VideoMAEConfig(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [True, 16.0, "16", None, [16], float("nan")])
def test_what_is_no_whole_number(name: str, value: Any) -> None:
    refused({name: value}, f"{name}=.*: expected a whole number of at least [01]; correct {name}")


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_that_are_too_small(name: str) -> None:
    refused({name: -1}, f"{name}=-1: expected at least [01]")
    if name not in ("decoder_num_hidden_layers", "hidden_size"):
        refused({name: 0}, f"{name}=0: expected at least 1")


def test_widths_without_heads_are_refused_by_models() -> None:
    """transformers' configuration takes them, and so do its own checks."""
    for hidden_size in (0, 37):
        config = VideoMAEConfig(hidden_size=hidden_size)
        with pytest.raises(ConfigError, match=f"hidden_size={hidden_size} with num_attention_heads=12"):
            config.validate()


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_floats_out_of_range(name: str, value: Any) -> None:
    refused({name: value}, f"{name}=.*: expected a number ")


def test_the_ends_of_the_ranges() -> None:
    config = VideoMAEConfig(
        hidden_dropout_prob=1,
        attention_probs_dropout_prob=0,
        initializer_range=0,
        layer_norm_eps=1e-30,
        decoder_num_hidden_layers=0,
        num_frames=np.int64(8),
    )
    assert config.grid.time == 4
    refused({"hidden_dropout_prob": 1.01}, "hidden_dropout_prob=1.01: expected a number from 0 to 1")
    refused({"layer_norm_eps": 0.0}, "layer_norm_eps=0.0: expected a number above 0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id2label": {1: "a", 2: "b"}}, "id2label for 1, 2: expected a name for each class from 0 to 1"),
        ({"id2label": {"a": 0}}, "id2label={'a': 0}: expected a dictionary from class numbers to names"),
        ({"id2label": ["a", "b"]}, r"dict\(enumerate\(names\)\)"),
        ({"num_labels": 2.5}, "num_labels=2.5: expected a whole number"),
        ({"num_labels": -1}, "num_labels=-1: expected a whole number from 0 to 1,000,000"),
    ],
)
def test_classes(change: dict[str, Any], message: str) -> None:
    refused(change, message)


def test_values_set_later_are_looked_at_as_well() -> None:
    config = VideoMAEConfig()
    config.hidden_dropout_prob = 2.0
    with pytest.raises(ConfigError, match=r"hidden_dropout_prob=2\.0"):
        config.validate()


def test_configurations_load_no_torch() -> None:
    code = "import sys, videomae.models.config; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
