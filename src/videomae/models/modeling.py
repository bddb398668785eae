"""The three models of the interface: encoder, pre-training, classifier; names and parameters as in transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core import tubelets
from videomae.core.device import send
from videomae.core.errors import ShapeError
from videomae.core.tubelets import TokenSplit
from videomae.models.attentive import AttentivePooling
from videomae.models.checks import check_clips, check_labels, expand_head_mask, fit_labels, split_tokens
from videomae.models.config import VideoMAEConfig
from videomae.models.embeddings import Embeddings, channel_values
from videomae.models.network import Decoder, Encoder, Recording
from videomae.models.outputs import BaseModelOutput, ImageClassifierOutput, VideoMAEForPreTrainingOutput
from videomae.models.pretrained import VideoMAEPreTrainedModel


class VideoMAEModel(VideoMAEPreTrainedModel):
    """The bare encoder: clips to tokens.

    Args:
        config: shapes the network; new weights are drawn as transformers does.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        # A classifier that pools the mean norms it afterwards (`fc_norm`) instead.
        self.layernorm = None if config.use_mean_pooling else nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | TokenSplit | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode clips; tokens that the mask hides are neither embedded nor computed.

        Args:
            pixel_values: (B, T, C, H, W) float, normalized.
            bool_masked_pos: (B, N) bool, True = hidden; every clip hides the same number. None hides nothing. A mask
                on the CPU spares a device the wait for its count. Pre-training passes its `split_tokens` instead,
                which may be padded.
            head_mask: (heads,) or (layers, heads); 1 keeps a head, 0 silences it.
            output_attentions: also return attention weights; computed eagerly for this call.
            output_hidden_states: also return the embeddings and every layer's output.
            return_dict: an output object (default) or a tuple.

        Returns:
            `last_hidden_state` (B, N visible, D), `hidden_states`, `attentions`.

        Raises:
            ShapeError: if a tensor does not fit the configuration.
        """
        grid = self.config.grid
        check_clips(pixel_values, grid, allows_uint8=isinstance(bool_masked_pos, TokenSplit))
        visible = key_mask = None
        if bool_masked_pos is not None:
            split = bool_masked_pos
            if not isinstance(split, TokenSplit):
                split = split_tokens(split, "bool_masked_pos", len(pixel_values), grid)
            visible = split.visible
            if not visible.shape[1]:
                raise ShapeError(
                    "bool_masked_pos that hides every token",
                    expected="at least one token to see",
                    hint="choose a mask ratio below 1",
                )
            visible = send(visible, pixel_values.device)
            key_mask = split.visible_valid
        keep = Recording(
            attentions=_chosen(output_attentions, self.config.output_attentions),
            hidden_states=_chosen(output_hidden_states, self.config.output_hidden_states),
        )
        embeddings = self.embeddings(pixel_values, visible)
        head_masks = expand_head_mask(head_mask, self.config.num_hidden_layers, self.config.num_attention_heads)
        tokens, hidden_states, attentions = self.encoder(embeddings, head_masks, keep, key_mask)
        if self.layernorm is not None:
            tokens = self.layernorm(tokens)
        output = BaseModelOutput(last_hidden_state=tokens, hidden_states=hidden_states, attentions=attentions)
        return output if _chosen(return_dict, self.config.return_dict) else output.to_tuple()


class VideoMAEForPreTraining(VideoMAEPreTrainedModel):
    """Encoder and decoder: rebuild the hidden tubelets.

    Args:
        config: shapes the network; published pre-trained models have `use_mean_pooling=False`.
    """

    position_embeddings: Tensor

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__(config)
        self.videomae = VideoMAEModel(config)
        self.encoder_to_decoder = nn.Linear(config.hidden_size, config.decoder_hidden_size, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_hidden_size))
        self.decoder = Decoder(config)
        table = tubelets.grid_positions(config.grid.shape, config.decoder_hidden_size, config.position_grid)
        self.register_buffer("position_embeddings", table, persistent=False)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor,
        head_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        decoder_masked_pos: Tensor | None = None,
    ) -> VideoMAEForPreTrainingOutput | tuple[Any, ...]:
        """Hide tubelets, encode the rest, rebuild the hidden ones and compute the loss.

        Args:
            pixel_values: (B, T, C, H, W) float, normalized with the mean and deviation of the configuration
                (`pixel_statistics`), which the target undoes. Where it has none they are compared as they are. Or
                uint8, where it has them: no float is made then of what no token needs.
            bool_masked_pos: (B, N) bool, True = hidden from the encoder. Clips that hide unequal numbers are padded,
                which changes no result and takes more time.
            head_mask: of the encoder, as in `VideoMAEModel.forward`.
            output_attentions: the encoder's.
            output_hidden_states: the encoder's.
            return_dict: an output object (default) or a tuple.
            decoder_masked_pos: (B, N) bool, True = not rebuilt (VideoMAE V2, §3.2, dual masking). All other tokens are
                rebuilt; the loss counts those of them that the encoder did not see. None rebuilds the hidden ones.

        Returns:
            `loss`, the mean over all hidden tokens of the batch; `logits` (B, M, P) of the M rebuilt tokens in token
            order, of which a clip that has fewer ends with rows of 0; `hidden_states`, `attentions`.

        Raises:
            ShapeError: if a tensor does not fit, or the masks leave nothing to see or to rebuild.
        """
        if bool_masked_pos is None:
            raise ShapeError(
                "bool_masked_pos=None",
                expected="a mask of the tokens to hide",
                hint=f"draw it with tube_mask({len(pixel_values)}, {self.config.grid.shape}, 0.9)",
            )
        split, rebuilt, valid, counted = self._token_indices(pixel_values, bool_masked_pos, decoder_masked_pos)
        encoded = self.videomae(
            pixel_values,
            bool_masked_pos=split,
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        tokens = self.encoder_to_decoder(encoded.last_hidden_state)  # (B, visible, D_dec)
        positions = self.position_embeddings.to(tokens.dtype)
        shown = tokens + tubelets.take_tokens(positions, split.visible)
        asked = self.mask_token.to(tokens.dtype) + tubelets.take_tokens(positions, rebuilt)
        key_mask = None
        if split.visible_valid is not None or valid is not None:
            key_mask = torch.cat([_all_true(split.visible, split.visible_valid), _all_true(rebuilt, valid)], dim=1)
        decoded = self.decoder(torch.cat([shown, asked], dim=1), rebuilt.shape[1], key_mask=key_mask)
        logits = decoded.logits if valid is None else decoded.logits * valid.unsqueeze(-1)  # (B, M, P)
        output = VideoMAEForPreTrainingOutput(
            loss=self._loss(logits, pixel_values, rebuilt, counted),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if _chosen(return_dict, self.config.return_dict) else output.to_tuple()

    def _loss(self, logits: Tensor, pixel_values: Tensor, rebuilt: Tensor, counted: Tensor | None) -> Tensor:
        predicted = _at_least_float32(logits)
        with torch.no_grad():
            targets = self.targets(pixel_values, rebuilt).to(predicted.dtype)
        if counted is None:
            return F.mse_loss(predicted, targets)
        per_token = F.mse_loss(predicted, targets, reduction="none").mean(dim=-1)  # (B, M)
        return (per_token * counted).sum() / counted.sum()

    def targets(self, pixel_values: Tensor, index: Tensor) -> Tensor:
        """The decoder's targets for the tokens at `index` (B, M): (B, M, P), order t, y, x, C.

        float32, or float64 for clips of that type.
        """
        targets = self.target_pixels(pixel_values, index)
        if self.config.norm_pix_loss:
            targets = tubelets.normalize_targets(targets, self.config.num_channels)
        return targets

    def target_pixels(self, pixel_values: Tensor, index: Tensor) -> Tensor:
        """The true tubelets at `index` (B, M) before `norm_pix_loss`: (B, M, P).

        0–1 where the configuration has `pixel_statistics`, else as given.
        """
        pixels = tubelets.gather_targets(pixel_values, index, self.config.grid)
        if pixels.dtype == torch.uint8:
            return pixels.float() / 255
        pixels = _at_least_float32(pixels)
        statistics = self.config.pixel_statistics
        if statistics is None:
            return pixels
        mean, std = (channel_values(values, pixels, pixels.dtype) for values in statistics)
        return (pixels.unflatten(-1, (-1, len(mean))) * std + mean).flatten(-2)

    def _token_indices(
        self, pixel_values: Tensor, bool_masked_pos: Tensor, decoder_masked_pos: Tensor | None
    ) -> tuple[TokenSplit, Tensor, Tensor | None, Tensor | None]:
        """The encoder's split, and the tokens that the decoder rebuilds: which, where they are no padding, which count.

        The last two are (B, M) bool, and None where all are True.
        """
        grid, batch_size = self.config.grid, len(pixel_values)
        check_clips(pixel_values, grid, allows_uint8=self.config.pixel_statistics is not None)
        split = split_tokens(bool_masked_pos, "bool_masked_pos", batch_size, grid, pad=True)
        rebuilt, valid = split.hidden, split.hidden_valid
        counted = valid
        if decoder_masked_pos is not None:
            asked = split_tokens(decoder_masked_pos, "decoder_masked_pos", batch_size, grid, pad=True)
            rebuilt, valid = asked.visible, asked.visible_valid
            counted = bool_masked_pos.to(rebuilt.device, torch.bool).gather(1, rebuilt)
            counted = counted if valid is None else counted & valid
        fewest_visible, fewest_rebuilt = (
            tokens.shape[1] if mask is None else int(mask.sum(dim=1).min())
            for tokens, mask in ((split.visible, split.visible_valid), (rebuilt, valid))
        )
        if not fewest_visible or not fewest_rebuilt or (counted is not None and not counted.any()):
            raise ShapeError(
                f"masks with {fewest_visible} visible and {fewest_rebuilt} rebuilt tokens of a clip",
                expected="at least one token to see and one hidden token to rebuild",
                hint="choose a mask ratio between 0 and 1",
            )
        device = pixel_values.device
        visible_valid, valid, counted = (
            None if mask is None else send(mask, device) for mask in (split.visible_valid, valid, counted)
        )
        split = split._replace(visible=send(split.visible, device), visible_valid=visible_valid)
        return split, send(rebuilt, device), valid, counted


class VideoMAEForVideoClassification(VideoMAEPreTrainedModel):
    """Encoder and a linear classifier, on the mean of the tokens or on what a learned query gathers of them.

    Args:
        config: shapes the network; `num_labels` or `id2label` give the classes.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.videomae = VideoMAEModel(config)
        is_attentive = config.classifier_head == "attentive"
        self.pooling = AttentivePooling(config.hidden_size) if is_attentive else None
        has_norm = is_attentive or config.use_mean_pooling
        self.fc_norm = nn.LayerNorm(config.hidden_size, config.final_norm_eps) if has_norm else None
        self.classifier = nn.Linear(config.hidden_size, config.num_labels) if config.num_labels else nn.Identity()
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        head_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Classify clips.

        Args:
            pixel_values: (B, T, C, H, W) float, normalized.
            head_mask: as in `VideoMAEModel.forward`.
            labels: (B,) integer classes, or (B, num_labels) floats for several labels or regression. `problem_type` of
                the configuration chooses the loss; without it, one class means regression (squared error), integers
                mean one label (cross entropy), anything else means several labels (binary cross entropy).
            output_attentions: also return attention weights.
            output_hidden_states: also return the embeddings and every layer's output.
            return_dict: an output object (default) or a tuple.

        Returns:
            `loss` (where labels were given), `logits` (B, num_labels), `hidden_states`, `attentions`.

        Raises:
            ShapeError: if a tensor does not fit the configuration.
        """
        if pixel_values is None:
            raise ShapeError("pixel_values=None", expected="a batch of clips", hint="pass **image_processor(video)")
        encoded = self.videomae(
            pixel_values,
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        tokens = encoded.last_hidden_state  # (B, N, D)
        pooled = F.dropout(self.pool(tokens), self.config.classifier_dropout, self.training)
        logits = self.classifier(pooled)  # (B, num_labels)
        output = ImageClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if _chosen(return_dict, self.config.return_dict) else output.to_tuple()

    def pool(self, tokens: Tensor) -> Tensor:
        """The input of the head: (B, N, D) to (B, D).

        The normalized mean of the tokens, or what the query of an attentive head gathers; else the first token.
        """
        if self.fc_norm is None:
            return tokens[:, 0]
        return self.fc_norm(tokens.mean(dim=1) if self.pooling is None else self.pooling(tokens))

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        check_labels(labels, len(logits))
        if not self.num_labels:
            raise ShapeError("labels", expected="a model with classes", hint="load the model with num_labels=…")
        problem_type = self.config.problem_type
        if problem_type is None:
            if self.num_labels == 1:
                problem_type = "regression"
            elif labels.is_floating_point():
                problem_type = "multi_label_classification"
            else:
                problem_type = "single_label_classification"
        labels = fit_labels(labels, logits, problem_type).to(logits.device)
        # As transformers does: what was trained is saved, and a pipeline reads from it how to score.
        self.config.problem_type = problem_type
        if problem_type == "regression":
            return F.mse_loss(logits, labels)
        if problem_type == "single_label_classification":
            return F.cross_entropy(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels)


def _all_true(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The mask of `tokens` (B, K); True everywhere where there is none."""
    return torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Half types as float32; float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _chosen(argument: bool | None, default: bool) -> bool:
    return default if argument is None else argument
