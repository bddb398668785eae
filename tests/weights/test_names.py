"""Maps of names: pure, and the identity on our own names."""

from __future__ import annotations

import pytest

from videomae.weights.names import fit_prefix, to_current

OURS = "videomae.encoder.layer.0.attention.attention."
DECODER = "decoder.decoder_layers.3.attention.attention."


@pytest.mark.parametrize(
    ("found", "current"),
    [
        (OURS + "query.weight", OURS + "query.weight"),
        (OURS + "q_bias", OURS + "q_bias"),
        (OURS + "query.bias", OURS + "q_bias"),
        (OURS + "value.bias", OURS + "v_bias"),
        ("encoder.layer.11.attention.attention.query.bias", "encoder.layer.11.attention.attention.q_bias"),
        (DECODER + "value.bias", DECODER + "v_bias"),
        # The output projection has a bias of its own.
        ("encoder.layer.0.attention.output.dense.bias", "encoder.layer.0.attention.output.dense.bias"),
        ("module." + OURS + "q_bias", OURS + "q_bias"),
        ("_orig_mod." + OURS + "query.bias", OURS + "q_bias"),
        ("module._orig_mod.classifier.weight", "classifier.weight"),
        ("_orig_mod.module.classifier.weight", "classifier.weight"),
        ("module.module.mask_token", "mask_token"),
        ("videomae.encoder.layer.2._orig_mod.output.dense.weight", "videomae.encoder.layer.2.output.dense.weight"),
        (
            "_orig_mod.videomae.encoder.layer.2._checkpoint_wrapped_module.layernorm_after.bias",
            "videomae.encoder.layer.2.layernorm_after.bias",
        ),
    ],
)
def test_current_names(found: str, current: str) -> None:
    value = object()

    assert to_current({found: value}) == {current: value}
    assert to_current(to_current({found: value})) == {current: value}


def test_biases_of_keys_are_dropped() -> None:
    state = {OURS + "key.bias": 1, OURS + "key.weight": 2, DECODER + "key.bias": 3}
    assert to_current(state) == {OURS + "key.weight": 2}


def test_prefix_is_added_to_the_encoder_alone() -> None:
    bare = {"embeddings.x": 1, "encoder.layer.0.y": 2, "layernorm.weight": 3}
    heads = {"encoder_to_decoder.weight": 4, "decoder.norm.weight": 5, "mask_token": 6, "fc_norm.bias": 7}
    inside = {"videomae.embeddings.x": 1, "videomae.encoder.layer.0.y": 2, "videomae.layernorm.weight": 3}

    assert fit_prefix({**bare, **heads}, bare=False) == {**inside, **heads}
    assert fit_prefix({**inside, **heads}, bare=False) == {**inside, **heads}
    assert fit_prefix({**inside, **heads}, bare=True) == {**bare, **heads}
    assert fit_prefix(bare, bare=True) == bare


def test_the_maps_leave_their_argument_alone() -> None:
    state = {"module.encoder.layer.0.attention.attention.query.bias": 1}

    to_current(state)
    fit_prefix(state, bare=False)

    assert state == {"module.encoder.layer.0.attention.attention.query.bias": 1}
