"""Dual masking (VideoMAE V2): what the decoder is fed, what it is compared with, and against what loops say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from videomae.core import tubelets
from videomae.core.errors import ShapeError
from videomae.core.masks import random_mask, running_cell_mask, tube_mask
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.core.tubelets import TokenSplit
from videomae.models import checks
from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining
from videomae.processing.transforms import normalize

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 4,
    "num_frames": 8,
    "tubelet_size": 2,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 24,
    "use_mean_pooling": False,
}
GRID = (4, 4, 4)
NUM_TOKENS = 64


def tiny_model(**changes: Any) -> VideoMAEForPreTraining:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VideoMAEForPreTraining(VideoMAEConfig(**{**TINY, **changes})).eval()
        for parameter in model.parameters():  # no zeros: a bias or mask token that plays no part would not be seen
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def clips(batch_size: int = 3, num_channels: int = 3) -> Tensor:
    return torch.randn(batch_size, 8, num_channels, 16, 16, generator=torch.Generator().manual_seed(1))


def masks(batch_size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        tube_mask(batch_size, GRID, 0.75, generator=generator),
        running_cell_mask(batch_size, GRID, 0.5, generator=generator),
    )


def true_token(clip: Tensor, token: int) -> list[list[float]]:
    """The 0–1 pixels of one tubelet, (32 pixels in the order t, y, x) × 3 channels, number by number."""
    time, row, column = token // 16, token // 4 % 4, token % 4
    return [
        [
            clip[2 * time + t, c, 4 * row + y, 4 * column + x].item() * IMAGENET_STD[c] + IMAGENET_MEAN[c]
            for c in range(3)
        ]
        for t in range(2)
        for y in range(4)
        for x in range(4)
    ]


def naive_loss(
    logits: Tensor, pixel_values: Tensor, hidden: Tensor, not_rebuilt: Tensor, *, norm_pix_loss: bool
) -> float:
    """The mean squared errors of rebuilt tokens that the encoder did not see, summed, by their number in the batch."""
    total, count = 0.0, 0
    for clip in range(len(pixel_values)):
        rebuilt = [token for token in range(NUM_TOKENS) if not not_rebuilt[clip, token]]
        for place, token in enumerate(rebuilt):
            if not hidden[clip, token]:
                continue
            truth = true_token(pixel_values[clip], token)
            if norm_pix_loss:
                for c in range(3):
                    values = [pixel[c] for pixel in truth]
                    mean = sum(values) / 32
                    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 31) + 1e-6
                    for pixel in truth:
                        pixel[c] = (pixel[c] - mean) / deviation
            flat = [value for pixel in truth for value in pixel]
            said = logits[clip, place].tolist()
            total += sum((a - b) ** 2 for a, b in zip(said, flat, strict=True)) / len(flat)
            count += 1
    return total / count


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_loss_and_shape_of_dual_masking(norm_pix_loss: bool) -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(norm_pix_loss=norm_pix_loss), clips(), masks()

    output = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)

    assert output.logits.shape == (3, 32, 96)
    expected = naive_loss(output.logits, pixel_values, hidden, not_rebuilt, norm_pix_loss=norm_pix_loss)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_clips_count_by_their_tokens_not_alike() -> None:
    """Clips with unequal numbers of counted tokens: a mean of means would say something else."""
    model, pixel_values = tiny_model(), clips(2)
    hidden = torch.zeros(2, NUM_TOKENS, dtype=torch.bool)
    hidden[:, :32] = True
    not_rebuilt = torch.ones(2, NUM_TOKENS, dtype=torch.bool)
    not_rebuilt[0, :16] = False  # 16 rebuilt, all hidden
    not_rebuilt[1, 31:47] = False  # 16 rebuilt, one hidden

    output = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)

    singles = [model(pixel_values[[i]], hidden[[i]], decoder_masked_pos=not_rebuilt[[i]]).loss.item() for i in range(2)]
    assert output.loss.item() == pytest.approx((16 * singles[0] + singles[1]) / 17, rel=1e-5)
    assert output.loss.item() != pytest.approx(sum(singles) / 2, rel=1e-3)


def test_complement_of_the_encoder_mask_is_the_ordinary_loss() -> None:
    model, pixel_values = tiny_model(), clips()
    hidden = random_mask(3, GRID, 0.75, generator=torch.Generator().manual_seed(3))

    ordinary = model(pixel_values, hidden)
    dual = model(pixel_values, hidden, decoder_masked_pos=~hidden)

    assert torch.equal(ordinary.logits, dual.logits)
    torch.testing.assert_close(ordinary.loss, dual.loss)


def test_the_decoder_sees_visible_tokens_then_a_mask_token_at_every_rebuilt_place() -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(), clips(), masks()
    seen: dict[str, Tensor] = {}
    model.decoder.register_forward_pre_hook(lambda _, arguments: seen.update(tokens=arguments[0]))
    model.encoder_to_decoder.register_forward_hook(lambda _, __, output: seen.update(encoded=output))

    model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)

    table = model.position_embeddings[0]
    assert seen["tokens"].shape == (3, 16 + 32, 12)
    num_shown_twice = 0
    for clip in range(3):
        visible = (~hidden[clip]).nonzero()[:, 0]
        rebuilt = (~not_rebuilt[clip]).nonzero()[:, 0]
        torch.testing.assert_close(seen["tokens"][clip, :16], seen["encoded"][clip] + table[visible])
        torch.testing.assert_close(seen["tokens"][clip, 16:], model.mask_token[0] + table[rebuilt])
        num_shown_twice += len(set(visible.tolist()) & set(rebuilt.tolist()))
    assert num_shown_twice > 0  # else the case that the two masks overlap was not met


def test_published_token_counts() -> None:
    """160 visible and 784 rebuilt tokens for 16 frames of 224 pixels."""
    config = VideoMAEConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        decoder_hidden_size=8,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=1,
        decoder_intermediate_size=8,
        use_mean_pooling=False,
    )
    model = VideoMAEForPreTraining(config).eval()
    seen: list[Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    hidden, not_rebuilt = tube_mask(1, config.grid.shape, 0.9), running_cell_mask(1, config.grid.shape, 0.5)

    with torch.no_grad():
        output = model(torch.zeros(1, 16, 3, 224, 224), hidden, decoder_masked_pos=not_rebuilt)

    assert seen[0].shape[1] == 160 + 784
    assert output.logits.shape == (1, 784, 1536)


def test_gradients_reach_every_weight() -> None:
    model, (hidden, not_rebuilt) = tiny_model(), masks()

    model(clips(), hidden, decoder_masked_pos=not_rebuilt).loss.backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_seen_tokens_are_rebuilt_but_not_learnt_from() -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(), clips(), masks()

    output = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)
    (gradient,) = torch.autograd.grad(output.loss, output.logits)

    for clip in range(3):
        counted = hidden[clip][~not_rebuilt[clip]]
        assert 0 < counted.sum() < 32
        assert (gradient[clip].abs().sum(dim=-1) > 0).tolist() == counted.tolist()


def test_pixels_that_are_neither_seen_nor_rebuilt_play_no_part() -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(), clips().requires_grad_(), masks()

    logits = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt).logits
    (gradient,) = torch.autograd.grad(logits.sum(), pixel_values)

    tokens = gradient.reshape(3, 4, 2, 3, 4, 4, 4, 4).permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(3, NUM_TOKENS, -1)
    assert ((tokens.abs().sum(dim=-1) > 0) == ~hidden).all()


def test_one_channel_is_compared_as_it_is() -> None:
    model, pixel_values = tiny_model(num_channels=1, norm_pix_loss=False), clips(1, num_channels=1)
    hidden, not_rebuilt = masks(1)

    output = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)

    blocks = pixel_values.reshape(1, 4, 2, 1, 4, 4, 4, 4).permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(1, NUM_TOKENS, 32)
    rebuilt = (~not_rebuilt[0]).nonzero()[:, 0]
    errors = (output.logits[0] - blocks[0, rebuilt]).square().mean(dim=-1)
    assert output.loss.item() == pytest.approx(errors[hidden[0, rebuilt]].mean().item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_masks_of_zeros_and_ones(dtype: torch.dtype) -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(), clips(), masks()

    plain = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt).loss
    numbers = model(pixel_values, hidden.to(dtype), decoder_masked_pos=not_rebuilt.to(dtype)).loss

    assert torch.equal(plain, numbers)


@pytest.mark.parametrize(
    "changes", [{}, {"norm_pix_loss": False}, {"image_mean": (0.2, 0.3, 0.4), "image_std": (0.5,) * 3}]
)
def test_uint8_clips_are_normalized_by_the_model(changes: dict[str, Any]) -> None:
    model, (hidden, not_rebuilt) = tiny_model(**changes), masks()
    pixels = torch.randint(256, clips().shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    pixel_values = normalize(pixels, *model.config.pixel_statistics)

    expected = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)
    found = model(pixels, hidden, decoder_masked_pos=not_rebuilt)

    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    assert found.loss.dtype == torch.float32


def test_uint8_clips_need_statistics() -> None:
    model = tiny_model(num_channels=1)
    with pytest.raises(ShapeError, match="uint8: expected normalized floats"):
        model(clips()[:, :, :1].byte(), masks()[0])


def test_tuples_have_the_same_loss_and_logits() -> None:
    model, pixel_values, (hidden, not_rebuilt) = tiny_model(), clips(), masks()

    output = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt)
    loss, logits = model(pixel_values, hidden, decoder_masked_pos=not_rebuilt, return_dict=False)

    assert torch.equal(loss, output.loss)
    assert torch.equal(logits, output.logits)


def all_of(value: bool) -> Tensor:
    return torch.full((3, NUM_TOKENS), value)


@pytest.mark.parametrize(
    ("hidden", "not_rebuilt", "message"),
    [
        (masks()[0], all_of(True), "16 visible and 0 rebuilt"),
        (masks()[0], masks()[0], "16 visible and 16 rebuilt tokens of a clip: expected .*one hidden token"),
        (all_of(False), masks()[1], "64 visible and 32 rebuilt tokens"),
        (all_of(True), masks()[1], "0 visible"),
        (all_of(True), None, "0 visible and 64 rebuilt"),
        (all_of(False), None, "64 visible and 0 rebuilt"),
        (masks()[0], masks()[1][:, :32], r"decoder_masked_pos of shape \(3, 32\)"),
        (masks()[0], masks()[1][:2], r"decoder_masked_pos of shape \(2, 64\)"),
        (masks()[0][0], masks()[1], r"bool_masked_pos of shape \(64,\)"),
        (masks()[0], masks()[1].view(3, 4, 16), r"decoder_masked_pos of shape \(3, 4, 16\)"),
    ],
)
def test_masks_that_fit_nothing(hidden: Tensor, not_rebuilt: Tensor | None, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        tiny_model()(clips(), hidden, decoder_masked_pos=not_rebuilt)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("is_dual", [False, True])
def test_unequal_masks_give_each_clip_what_it_gets_alone(attention: str, is_dual: bool) -> None:
    model, pixel_values = tiny_model(attn_implementation=attention), clips()
    generator = torch.Generator().manual_seed(7)
    hidden, other = (torch.randint(0, 2, (3, NUM_TOKENS), generator=generator).bool() for _ in range(2))
    assert len(set(hidden.sum(dim=1).tolist())) > 1
    dual = {"decoder_masked_pos": other} if is_dual else {}

    together = model(pixel_values, hidden, output_attentions=True, **dual)
    together.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    counted = (hidden & ~other if is_dual else hidden).sum(dim=1)
    loss = torch.zeros(())
    for row in range(3):
        one = slice(row, row + 1)
        alone = model(pixel_values[one], hidden[one], **{name: mask[one] for name, mask in dual.items()})
        num_rebuilt = alone.logits.shape[1]
        torch.testing.assert_close(together.logits[one, :num_rebuilt], alone.logits, rtol=0, atol=5e-6)
        assert not together.logits[row, num_rebuilt:].any()
        num_visible = int((~hidden[row]).sum())
        assert all(not weights[row, :, :, num_visible:].any() for weights in together.attentions)
        loss = loss + alone.loss * counted[row] / counted.sum()
    torch.testing.assert_close(together.loss, loss, rtol=1e-6, atol=0)
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-7, msg=name)


def test_padding_leaves_no_trace_in_gradients_of_hidden_pixels() -> None:
    """What pads a row is a real token of the clip: its pixels must not reach the encoder."""
    model, pixel_values = tiny_model(), clips().requires_grad_()
    hidden = torch.zeros(3, NUM_TOKENS, dtype=torch.bool)
    hidden[0, :5], hidden[1, :40], hidden[2, 7:] = True, True, True
    output = model(pixel_values, hidden)

    (gradient,) = torch.autograd.grad(output.logits.square().sum(), pixel_values)
    of_tokens = tubelets.patchify(gradient, model.config.grid).abs().sum(dim=-1)
    assert torch.equal(of_tokens > 0, ~hidden)


def test_unequal_masks_train_with_gradient_checkpointing() -> None:
    model = tiny_model().train()
    hidden = torch.zeros(3, NUM_TOKENS, dtype=torch.bool)
    hidden[0, :5], hidden[1, :40], hidden[2, 7:] = True, True, True
    model(clips(), hidden).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(clips(), hidden).loss.backward()
    assert all(torch.equal(expected[name], parameter.grad) for name, parameter in model.named_parameters())


def test_the_encoder_alone_refuses_unequal_masks() -> None:
    hidden = masks()[0].clone()
    hidden[0, hidden[0].nonzero()[0]] = False
    with pytest.raises(
        ShapeError, match=r"a batch of bool_masked_pos hiding from .*: expected masks that hide the same"
    ):
        tiny_model().videomae(clips(), hidden)


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("hides_all", [True, False])
def test_a_single_clip_that_hides_nothing_or_all_is_refused(row: int, hides_all: bool) -> None:
    hidden = masks()[0].clone()
    hidden[row] = hides_all
    with pytest.raises(ShapeError, match="0 visible and" if hides_all else "and 0 rebuilt tokens of a clip"):
        tiny_model()(clips(), hidden)


def test_no_mask_at_all() -> None:
    with pytest.raises(ShapeError, match=r"bool_masked_pos=None: .*tube_mask\(3, \(4, 4, 4\), 0\.9\)"):
        tiny_model()(clips(), None)


@pytest.mark.parametrize("is_dual", [False, True])
def test_each_mask_is_split_once(is_dual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    real = checks.split_mask

    def counted(mask: Tensor, name: str, *, pad: bool) -> TokenSplit:
        names.append(name)
        return real(mask, name, pad=pad)

    monkeypatch.setattr(checks, "split_mask", counted)
    hidden, not_rebuilt = masks()
    tiny_model()(clips(), hidden, decoder_masked_pos=not_rebuilt if is_dual else None)
    assert names == ["bool_masked_pos", "decoder_masked_pos"][: 1 + is_dual]
