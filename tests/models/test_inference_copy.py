"""Copies for inference: exact without shortcuts, close with them, and the original untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import MODELS, make, run
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core.errors import ConfigError
from videomae.models.inference_copy import inference_copy, merge, merged_places
from videomae.models.modeling import VideoMAEForVideoClassification, VideoMAEModel

SHAPES: list[dict[str, Any]] = [
    {},
    {"qkv_bias": False},
    {"attn_implementation": "eager", "hidden_act": "relu"},
    {"use_mean_pooling": False},
    {"hidden_size": 24, "intermediate_size": 40},
]


def output(model: Any) -> Tensor:
    """Logits or hidden states for two clips."""
    with torch.inference_mode():
        found = run(model)
    return found.logits if "logits" in found else found.last_hidden_state


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("model_class", MODELS)
def test_without_shortcuts_nothing_changes(model_class: Any, changes: dict[str, Any]) -> None:
    model = make(model_class, **changes)

    torch.testing.assert_close(output(inference_copy(model)), output(model), rtol=1e-5, atol=1e-5)


def test_the_mlp_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(VideoMAEModel)
    monkeypatch.setattr("videomae.models.inference_copy._MLP_ROWS", 5)

    torch.testing.assert_close(output(inference_copy(model)), output(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("model_class", MODELS)
def test_int8_is_close(model_class: Any, changes: dict[str, Any]) -> None:
    model = make(model_class, **changes)
    expected = output(model)

    error = (output(inference_copy(model, int8=True)) - expected).norm() / expected.norm()

    assert 1e-5 < error < 0.05


def test_pruned_heads() -> None:
    model = make(VideoMAEForVideoClassification)
    model.prune_heads({0: [1, 2], 1: [3]})
    expected = output(model)

    torch.testing.assert_close(output(inference_copy(model)), expected, rtol=1e-5, atol=1e-5)
    assert (output(inference_copy(model, int8=True)) - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("model_class", MODELS)
def test_the_original_stays_as_it_is(model_class: Any) -> None:
    model = make(model_class)
    before, modules = output(model), list(model.modules())
    weights = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}

    copy = inference_copy(model, int8=True, merge_tokens=2)
    output(copy)

    assert list(model.modules()) == modules
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == weights[name][0]
        assert torch.equal(tensor, weights[name][1])
    assert torch.equal(output(model), before)
    shared = copy.base_model.embeddings.patch_embeddings.projection.weight
    assert shared is model.base_model.embeddings.patch_embeddings.projection.weight


def test_merging_none_is_exact_and_merging_some_is_not() -> None:
    model = make(VideoMAEModel)
    expected = output(model)

    assert output(inference_copy(model, merge_tokens=3)).shape == expected.shape
    torch.testing.assert_close(output(inference_copy(model, merge_tokens=0)), expected, rtol=1e-5, atol=1e-5)
    assert (output(inference_copy(model, merge_tokens=3)) - expected).abs().max() > 1e-2


def test_equal_tokens_are_merged_without_a_change() -> None:
    """With log(size) in the attention, n equal tokens in one count as n (§3, proportional attention)."""
    model = make(VideoMAEModel, image_size=32)  # 2 × 4 × 4 tokens, 2 layers
    model.embeddings.position_embeddings.zero_()
    pixels = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    columns = pixels.unfold(4, 8, 8)[:, :, :, :, [0, 0, 2, 2]].flatten(4)  # every other patch is the one before it
    copy = inference_copy(model, merge_tokens=9)
    copy.encoder.layer[1].merge_tokens = 0
    with torch.inference_mode():
        expected = model(columns).last_hidden_state
        found = copy(columns).last_hidden_state

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_layers_keep_half_of_their_tokens_at_least() -> None:
    model = make(VideoMAEModel, num_hidden_layers=6)  # 8 tokens: 4, 2, 1, 1, 1, 1
    copy = inference_copy(model, merge_tokens=4)
    counts: list[int] = []
    for layer in copy.encoder.layer:
        layer.register_forward_hook(lambda _module, _given, found: counts.append(found[0].shape[1]))

    found = output(copy)

    assert counts == [4, 2, 1, 1, 1, 1]
    assert torch.equal(found, found[:, :1].expand_as(found))


def by_hand(x: Tensor, keys: Tensor, sizes: Tensor, num_merged: int) -> tuple[list[list[int]], Tensor]:
    """Groups of tokens and their means for one clip, by the paper's words."""
    evens, odds = list(range(0, len(x), 2)), list(range(1, len(x), 2))
    edges = []
    for a in evens:
        similar = [float(F.cosine_similarity(keys[a], keys[b], dim=0)) for b in odds]
        best = max(range(len(odds)), key=lambda i: similar[i])
        edges.append((similar[best], a, odds[best]))
    chosen = {a: b for _, a, b in sorted(edges, reverse=True)[:num_merged]}
    groups = [[a] for a in evens if a not in chosen]
    groups += [[b, *(a for a in chosen if chosen[a] == b)] for b in odds]
    means = [(x[group] * sizes[group, None]).sum(0) / sizes[group].sum() for group in groups]
    return groups, torch.stack(means)


@pytest.mark.parametrize(("num_tokens", "num_merged"), [(8, 4), (9, 4), (13, 3), (20, 1), (2, 1)])
def test_bipartite_soft_matching_against_loops(num_tokens: int, num_merged: int) -> None:
    generator = torch.Generator().manual_seed(num_tokens)
    x, keys = torch.randn(3, num_tokens, 6, generator=generator), torch.randn(3, num_tokens, 5, generator=generator)
    sizes = torch.randint(1, 5, (3, num_tokens), generator=generator).float()

    place = merged_places(keys, num_merged)
    found, new_sizes = merge(x, sizes, place, num_tokens - num_merged)

    for clip in range(3):
        groups, means = by_hand(x[clip], keys[clip], sizes[clip], num_merged)
        torch.testing.assert_close(found[clip], means)
        assert new_sizes[clip].tolist() == [float(sizes[clip][group].sum()) for group in groups]
        for number, group in enumerate(groups):
            assert (place[clip, group] == number).all()


@pytest.mark.parametrize("shortcuts", [{"merge_tokens": 2}, {"int8": True}, {"int8": True, "merge_tokens": 2}])
def test_in_bf16(shortcuts: dict[str, Any]) -> None:
    """Where `auto` takes bf16, all that is not int8 runs in it; and weights may be of that type."""
    model = make(VideoMAEForVideoClassification)
    exact = output(inference_copy(model, merge_tokens=shortcuts.get("merge_tokens", 0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = output(inference_copy(model, **shortcuts))

    assert (found - exact).norm() < 0.1 * exact.norm()
    with torch.inference_mode():
        clips = torch.randn(2, 4, 3, 16, 16).bfloat16()
        assert (
            inference_copy(make(VideoMAEForVideoClassification).bfloat16(), **shortcuts)(clips).logits.isfinite().all()
        )


def test_means_of_many_half_precision_tokens() -> None:
    x = torch.full((1, 601, 1), 1.0, dtype=torch.bfloat16)
    sizes = torch.full((1, 601), 3.0)

    found, new_sizes = merge(x, sizes, torch.zeros(1, 601, dtype=torch.long), 1)

    assert found.dtype == torch.bfloat16
    assert (found.item(), new_sizes.item()) == (1.0, 1803.0)


def test_each_clip_is_merged_for_itself() -> None:
    model = inference_copy(make(VideoMAEForVideoClassification), merge_tokens=3)
    clips = torch.randn(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = model(clips).logits
        alone = torch.cat([model(clip[None]).logits for clip in clips])

    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("merge_tokens", [-1, 5, 10_000])
def test_more_than_half_of_the_tokens(merge_tokens: int) -> None:
    with pytest.raises(ConfigError, match=rf"--merge-tokens {merge_tokens}: expected 0 to 4"):
        inference_copy(make(VideoMAEModel), merge_tokens=merge_tokens)


def test_int8_on_another_device() -> None:
    with pytest.raises(ConfigError, match="--precision int8 on meta: expected the CPU"):
        inference_copy(make(VideoMAEModel).to("meta"), int8=True)


def test_adapters_are_refused() -> None:
    class Adapted(nn.Linear):
        """Stands for a Linear of PEFT."""

    model = make(VideoMAEModel)
    model.encoder.layer[1].attention.attention.query = Adapted(16, 16)

    with pytest.raises(
        ConfigError, match="with a Adapted: expected a model of plain Linear layers; merge its adapters"
    ):
        inference_copy(model, int8=True)


def test_what_else_a_model_gives_is_not_there() -> None:
    with pytest.raises(NotImplementedError, match="last hidden state only"):
        run(inference_copy(make(VideoMAEModel)), output_attentions=True)
