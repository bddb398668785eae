"""Self-supervised pre-training: a folder of videos becomes an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint, new_processor, read_config
from videomae.core.distributed import ProcessGroup
from videomae.core.errors import ConfigError
from videomae.core.masks import MASKS, running_cell_mask
from videomae.core.random_keys import Stream, generator_for
from videomae.data.clips import Crop, TrainingClips
from videomae.data.order import epoch_order
from videomae.datasets.manifest import Manifest, read_manifest
from videomae.datasets.output_check import require_apart
from videomae.evaluation.results import Evaluation
from videomae.models.initialization import init_for_pretraining
from videomae.models.modeling import VideoMAEForPreTraining
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.channel_statistics import set_measured_statistics
from videomae.training.ema import WeightAverage
from videomae.training.input_pictures import TitledClip, masked_clips
from videomae.training.micro_batch import MicroBatch
from videomae.training.model_card import TrainingFacts, write_model_card
from videomae.training.monitor import Monitor
from videomae.training.optimizer import parameter_groups
from videomae.training.progress_pictures import ProgressPictures, reconstruct_first
from videomae.training.report import ReportedRun, write_pretrain_report
from videomae.training.setup import clip_sampling, fit_to_checkpoint, new_config, require_finite_start
from videomae.training.validation import BestEpoch
from videomae.video.reader import ReadLimits


class PretrainingTask:
    """Rebuild the hidden tubelets of clips; labels are not used. A `tasks.task.Task`.

    Args:
        data: any form of DATA; of one that names splits, `train` and what is in no split are used.
        recipe: all settings.
        init: a pre-training checkpoint to start from, adapted to the recipe's frames and pixels.
        video_root: where the videos of lists are, as for `read_manifest`.
    """

    command = "pretrain"
    title = "pre-training"
    validation = None
    manifest: Manifest
    checkpoint: Checkpoint
    dataset: TrainingClips

    def __init__(
        self,
        data: str | Path,
        recipe: PretrainRecipe,
        *,
        init: str | None = None,
        video_root: str | Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self._init = init
        self._video_root = video_root

    # --- data and model ------------------------------------------------------------------------------------------

    def read_data(self, output: Path, note: Callable[[str], object]) -> None:
        """See `Task.read_data`."""
        whole = read_manifest(self.data, root=self._video_root)
        require_apart(output, whole, option="--output")
        self.manifest = whole.for_pretraining()

    @property
    def description(self) -> dict[str, Any]:
        """See `Task.description`."""
        return {"init": self._init}

    def build(self, recipe: PretrainRecipe, device: torch.device, note: Callable[[str], object]) -> None:
        """See `Task.build`."""
        model, recipe, measures = self._build_model(recipe)
        self.recipe = recipe
        sampling = clip_sampling(recipe)
        limits = ReadLimits(max_seconds=recipe.read_limit_seconds)
        if measures:
            set_measured_statistics(model.config, self.manifest.entries, sampling, limits, note)
        self.checkpoint = Checkpoint(model.to(device), new_processor(model.config, sampling), sampling)
        # A ratio or grid that no mask fits is found before anything is written.
        hidden, _ = draw_masks(recipe, model.config.grid.shape, 1, 0)
        if not hidden.any():
            raise ConfigError(
                f"mask_ratio={recipe.mask_ratio} of {hidden.shape[1]} tubelets, which hides none",
                expected="at least one hidden tubelet to rebuild",
                hint="raise --mask-ratio; 0.9 is published",
            )
        self.num_encoder_tokens = int((~hidden).sum())
        self._hidden_share = float(hidden[0].float().mean())
        self.dataset = TrainingClips(
            self.manifest.entries,
            (),
            sampling=sampling,
            crop=Crop(recipe.crop),
            image_size=model.config.image_size,
            num_channels=model.config.num_channels,
            seed=recipe.seed,
            num_views=recipe.views,
            limits=limits,
        )

    def _build_model(self, recipe: PretrainRecipe) -> tuple[VideoMAEForPreTraining, PretrainRecipe, bool]:
        """The model, the fully resolved recipe, and whether the statistics of its channels are to be measured."""
        if self._init is not None:
            changes = {**recipe.clip_changes, "norm_pix_loss": recipe.norm_pix_loss}
            opened = Checkpoint.open(self._init, task="pretraining", **changes)
            require_finite_start(opened.model, self._init)
            config = opened.model.config
            if config.pixel_statistics is None:
                mean, std = opened.processor.image_mean, opened.processor.image_std
                config.image_mean, config.image_std = (tuple(np.atleast_1d(v).tolist()) for v in (mean, std))
            is_changed = read_config(self._init, **recipe.clip_changes).num_channels != config.num_channels
            return opened.model, fit_to_checkpoint(recipe, config, opened.sampling), is_changed
        recipe = recipe.for_new_network()
        decoder: dict[str, int] = {}
        if recipe.decoder_depth is not None:
            decoder["decoder_num_hidden_layers"] = recipe.decoder_depth
        if recipe.decoder_width is not None:
            decoder["decoder_hidden_size"] = recipe.decoder_width
            decoder["decoder_intermediate_size"] = 4 * recipe.decoder_width
        config = new_config(recipe, norm_pix_loss=recipe.norm_pix_loss, use_mean_pooling=False, **decoder)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            model = VideoMAEForPreTraining(config)
            init_for_pretraining(model)
        return model, recipe, config.pixel_statistics is None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `Task.parameter_groups`."""
        return parameter_groups(self.checkpoint.model.named_parameters(), weight_decay=self.recipe.weight_decay)

    def weights_for_users(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """As they are."""
        return weights

    def order(self, epoch: int) -> np.ndarray:
        """See `Task.order`."""
        return epoch_order(len(self.dataset), seed=self.recipe.seed, epoch=epoch)

    # --- loss ----------------------------------------------------------------------------------------------------

    def loss(self, network: Callable[..., Any], micro_batch: MicroBatch) -> tuple[Tensor, float]:
        """The mean squared error of the hidden tubelets' pixels; see `Task.loss`."""
        hidden, not_rebuilt = self._masks_of(micro_batch)
        counted = hidden if not_rebuilt is None else hidden & ~not_rebuilt
        weight = float(counted.sum()) / hidden.shape[1]  # clips, weighted by the share of tokens in the loss
        return network(micro_batch.clips, hidden, decoder_masked_pos=not_rebuilt).loss * weight, weight

    def _masks_of(self, micro_batch: MicroBatch) -> tuple[Tensor, Tensor | None]:
        """The rows of this micro-batch of the masks that are drawn for the whole batch."""
        grid = self.checkpoint.model.config.grid.shape
        hidden, not_rebuilt = draw_masks(self.recipe, grid, micro_batch.num_rows, micro_batch.step)
        return hidden[micro_batch.rows], None if not_rebuilt is None else not_rebuilt[micro_batch.rows]

    # --- what is shown -------------------------------------------------------------------------------------------

    def draw_pictures(
        self,
        epoch: int,
        folder: Path,
        *,
        average: WeightAverage | None,
        note: Callable[[str], object],
        show: Callable[[str, np.ndarray], object],
        writes: bool,
    ) -> None:
        """Reconstructions of the same clips; see `Task.draw_pictures`."""
        pictures = ProgressPictures(self.checkpoint, self.manifest.entries, self.recipe, folder, note, average, show)
        pictures.end_epoch(epoch, writes=writes)

    def validates_after(self, epoch: int) -> bool:
        """Never: there is no validation in pre-training."""
        return False

    def stops_after(self, epoch: int, best: BestEpoch) -> bool:
        """Never: nothing shows whether another epoch helps."""
        return False

    def validate(self, on_video: Callable[[], object], processes: ProcessGroup) -> Evaluation:
        """Never called, see `validates_after`."""
        raise AssertionError("pre-training has no validation")

    def show(self, micro_batch: MicroBatch) -> list[TitledClip]:
        """See `Task.show`."""
        hidden, not_rebuilt = self._masks_of(micro_batch)
        pixels = micro_batch.clips.permute(0, 1, 3, 4, 2).cpu().numpy()
        indices = micro_batch.batch.indices.repeat_interleave(self.recipe.views).tolist()
        names = [Path(str(self.manifest.entries[index].path)).name for index in indices]
        return masked_clips(names, pixels, hidden, not_rebuilt, self.checkpoint.model.config.grid)

    def summary(self) -> str:
        """See `Task.summary`."""
        weights = f"{self.checkpoint.model.num_parameters() / 1e6:.1f} M weights"
        splits = f" ({self.manifest.used})" if self.manifest.used else ""
        return f"pre-training {weights} on {len(self.manifest)} videos{splits}"

    def write_interim_report(self, run: ReportedRun, *, best: BestEpoch) -> None:
        """See `Task.write_interim_report`."""
        write_pretrain_report(run, (), hidden_share=self._hidden_share)

    def write_report(self, run: ReportedRun, *, best: BestEpoch, processes: ProcessGroup, monitor: Monitor) -> None:
        """See `Task.write_report`."""

        def write() -> None:
            # The weights of the folder: a sharded model computes nothing in one process alone.
            saved = Checkpoint.open(run.folder.path, task="pretraining")
            device = self.checkpoint.model.device
            pictures = reconstruct_first(saved, self.manifest.entries, self.recipe, device)
            lines = [record["loss"] for record in run.folder.read_metrics() if record["split"] == "train"]
            facts = TrainingFacts(
                command=self.command,
                data_set=self.data,
                num_videos=len(self.manifest) - len(run.broken),
                num_validation_videos=0,
                num_unreadable=len(run.broken),
                init=self._init,
                recipe=self.recipe,
                loss=lines[-1] if lines else None,
            )
            write_model_card(run.folder.path, self.checkpoint, facts)
            write_pretrain_report(run, pictures, hidden_share=self._hidden_share)

        processes.on_main(write)


def draw_masks(
    recipe: PretrainRecipe, grid: tuple[int, int, int], num_rows: int, step: int
) -> tuple[Tensor, Tensor | None]:
    """Masks (rows, N) of a step, a function of (seed, step): the encoder's, and the decoder's if the recipe has one.

    They stay on the CPU, so that the model need not wait for a GPU to count what they hide.

    Args:
        recipe: kind and ratio of the masks, and the seed.
        grid: (time, height, width) in tokens.
        num_rows: clips of the whole batch.
        step: of the run, from 0.
    """
    generator = generator_for(recipe.seed, Stream.MASK, step)
    hidden = MASKS[recipe.mask](num_rows, grid, recipe.mask_ratio, generator=generator)
    if not recipe.decoder_mask_ratio:
        return hidden, None
    generator = generator_for(recipe.seed, Stream.DECODER_MASK, step)
    return hidden, running_cell_mask(num_rows, grid, recipe.decoder_mask_ratio, generator=generator)
