"""The model card of a trained model: README.md, with the hub's metadata at its top.

A card ends with a line that holds its own checksum. A card without that line, or that does not agree with it, is a
person's work and is never written over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae.checkpoint import TASKS, Checkpoint
from videomae.core.errors import CheckpointError
from videomae.core.files import write_text
from videomae.datasets.layout import split_folder
from videomae.evaluation.results import Evaluation
from videomae.evaluation.validate import MULTI_LABEL, REGRESSION
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.registry import base_of, changed_fields, find_entry
from videomae.report.html import KeyFigure
from videomae.report.text import printable
from videomae.training.run_folder import FREE_FIELDS
from videomae.video import is_url
from videomae.video.sampling import ClipSampling
from videomae.weights import hub

if TYPE_CHECKING:
    from jinja2 import Template

logger = logging.getLogger("videomae")

CARD_NAME = "README.md"
_SEAL = re.compile(r"<!-- videomae wrote this card, sha256 ([0-9a-f]{64})\. .*-->\n\Z")
# The name in the examples: the folder's, as it was then called.
_NAMED = re.compile(r'Checkpoint\.open\(("(?:[^"\\\n]|\\.)*")\)')
_BASE = re.compile(r"^base_model: ([\w.-]+/[\w.-]+)$", re.ASCII | re.MULTILINE)
_ALWAYS_SHOWN = ("epochs", "batch_size", "learning_rate", "precision", "seed")
# The section on the input has these.
_OF_THE_INPUT = {"num_frames", "image_size", "sampling", "frame_stride", "frame_rate"}
# Name in `Metrics.logged`: the hub's name of the metric, and people's.
_METRICS = {
    "top1": ("accuracy", "Top-1 accuracy"),
    "top5": ("accuracy", "Top-5 accuracy"),
    "mean_class_accuracy": ("accuracy", "Mean class accuracy"),
    "mean_average_precision": ("mean_average_precision", "mAP"),
    "mae": ("mae", "Mean absolute error"),
    "rmse": ("rmse", "Root mean squared error"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
}
_AUTO_CLASSES = {
    "classification": "AutoModelForVideoClassification",
    "pretraining": "AutoModel",
    "features": "AutoModel",
}


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How a model was trained, for its card.

    Args:
        command: "pretrain" or "finetune".
        data_set: as the user named it; the card has its last name alone, never a path of the user's machine.
        num_videos: training videos that could be read.
        num_validation_videos: 0 without validation.
        num_unreadable: training videos that were skipped.
        init: as the user named it; None or "scratch" for new weights.
        recipe: fully resolved.
        best_epoch: from 1; None without validation.
        evaluation: of the weights that are kept; None without validation.
        loss: mean training loss at the end; None where it is not known.
    """

    command: str
    data_set: str | Path
    num_videos: int
    num_validation_videos: int
    num_unreadable: int
    init: str | None
    recipe: TrainingRecipe
    best_epoch: int | None = None
    evaluation: Evaluation | None = None
    loss: float | None = None

    @property
    def data(self) -> str:
        """The data set's name."""
        if is_url(str(self.data_set)):
            return str(self.data_set).partition("?")[0].rstrip("/").rpartition("/")[2]
        path = Path(self.data_set).resolve()
        return f"{path.parent.name}/{path.name}" if split_folder(path.name) else path.name

    @property
    def base_model(self) -> str | None:
        """The hub's repository that training started from, or that the folder that it started from was trained from."""
        if self.init is None:
            return None
        card = Path(self.init, CARD_NAME)
        if not card.is_file():
            return hub.repository_of(self.init)
        found = _BASE.search(card.read_text(encoding="utf-8", errors="replace").partition("\n---")[0])
        return None if found is None else found[1]

    @property
    def start(self) -> str:
        """Where the weights came from, for people."""
        if self.init in (None, "scratch"):
            return "from new weights"
        return f"from the checkpoint {_code(hub.repository_of(str(self.init)) or Path(str(self.init)).resolve().name)}"

    @property
    def rows(self) -> list[KeyFigure]:
        """The results."""
        if self.evaluation is not None:
            return self.evaluation.key_figures()
        return [] if self.loss is None else [KeyFigure("last training loss", f"{self.loss:.3f}")]

    @property
    def recipe_name(self) -> str:
        """The named recipe that the settings are based on."""
        return base_of(self.recipe).name

    @property
    def changed(self) -> list[str]:
        """The settings that are not those of the named recipe, and change what is trained."""
        before = find_entry(self.recipe_name).make().to_dict()
        return [
            name
            for name in changed_fields(before, self.recipe.to_dict())
            if name not in FREE_FIELDS | _OF_THE_INPUT and before.get(name) is not None
        ]

    @property
    def settings(self) -> list[tuple[str, str, str]]:
        """(setting, value, value in the named recipe) of what was changed, and of what everybody asks for."""
        before, now = find_entry(self.recipe_name).make().to_dict(), self.recipe.to_dict()
        names = dict.fromkeys((*_ALWAYS_SHOWN, *self.changed))
        return [(name, str(now[name]) or "''", str(before[name]) or "''") for name in names]


def model_card(checkpoint: Checkpoint, name: str, training: TrainingFacts | None = None) -> str:
    """The text of a card.

    Args:
        checkpoint: the model with what feeds it.
        name: the folder's or the hub's name of the model, as the examples of use have it.
        training: how it was trained, where that is known.
    """
    config, processor, sampling = checkpoint.model.config, checkpoint.processor, checkpoint.sampling
    _, num_channels, height, width = config.grid.clip_shape
    task = next(task for task, kind in TASKS.items() if isinstance(checkpoint.model, kind))
    is_classifier = task == "classification"
    is_regression = is_classifier and config.problem_type == REGRESSION
    text = _template().render(
        name=printable(name),
        version=sys.modules["videomae"].__version__,  # importing the whole from a part of it would be a cycle
        task=task,
        auto_class="AutoModelForVideoClassification" if is_classifier else "AutoModel",
        is_multi_label=is_classifier and config.problem_type == MULTI_LABEL,
        is_regression=is_regression,
        class_names=[config.id2label[index] for index in sorted(config.id2label)]
        if is_classifier and not is_regression
        else [],
        num_parameters=f"{checkpoint.model.num_parameters() / 1e6:.1f} million",
        sampling=sampling,
        frames_text=_frames_text(sampling),
        clip_lines=_clip_lines(sampling),
        height=height,
        width=width,
        num_channels=num_channels,
        position_grid=config.position_grid,
        mean=_numbers(processor.image_mean),
        std=_numbers(processor.image_std),
        training=training,
    )
    return _sealed(f"---\n{_metadata(name, task, training)}\n---\n\n{text.rstrip()}\n")


def write_model_card(folder: Path, checkpoint: Checkpoint, training: TrainingFacts) -> None:
    """Write the card of a training folder, unless a person's is there.

    Raises:
        InputError: if the folder cannot be written.
    """
    path = folder / CARD_NAME
    if path.exists() and is_edited(path.read_text(encoding="utf-8", errors="replace")):
        logger.warning("%s was edited: left as it is; remove it to have it written anew", path)
        return
    write_text(path, model_card(checkpoint, folder.resolve().name, training))


def push_checkpoint(checkpoint: Checkpoint, repo_id: str, **options: Any) -> str:
    """Upload model, processor and card to the hub; see `videomae.Checkpoint.push_to_hub`."""
    path = None if checkpoint.folder is None else checkpoint.folder / CARD_NAME
    if path is not None and path.is_file():
        card = renamed(path.read_text(encoding="utf-8"), repo_id)
    else:
        card = model_card(checkpoint, repo_id)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(folder)
        if is_edited(card) or not _is_edited_on_hub(repo_id, options):
            write_text(Path(folder, CARD_NAME), card)
        else:
            logger.warning("the %s of %s was edited on the hub: left as it is", CARD_NAME, repo_id)
        message = options.pop("commit_message", None) or f"Upload {type(checkpoint.model).__name__}"
        return hub.upload_folder(folder, repo_id, commit_message=message, **options)


def _is_edited_on_hub(repo_id: str, options: Mapping[str, Any]) -> bool:
    place: Any = {name: options.get(name) for name in ("revision", "token", "endpoint")}
    try:
        there = hub.resolve_file(repo_id, CARD_NAME, **place)
    except CheckpointError:  # a repository that is still to be made; what else is wrong, the upload tells
        return False
    return there is not None and is_edited(there.read_text(encoding="utf-8", errors="replace"))


def is_edited(card: str) -> bool:
    """Whether a card is not, or no longer, what `model_card` wrote."""
    card = card.replace("\r\n", "\n")  # Git on Windows
    seal = _SEAL.search(card)
    return seal is None or hashlib.sha256(card[: seal.start()].encode()).hexdigest() != seal[1]


def renamed(card: str, name: str) -> str:
    """The card with the examples of use for another name; all else that a person may have written stays."""
    body = _SEAL.sub("", card.replace("\r\n", "\n"))
    found = _NAMED.search(body)
    if found is None:
        return card
    old = json.loads(found[1])
    for before, after in ((found[1], _quoted(name)), (f"--model {shlex.quote(old)}", f"--model {shlex.quote(name)}")):
        body = re.sub(re.escape(before) + r"(?=[\s)])", after.replace("\\", r"\\"), body)
    return body if is_edited(card) else _sealed(body)


def _sealed(body: str) -> str:
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"{body}<!-- videomae wrote this card, sha256 {digest}. Edit it: an edited card is never written over. -->\n"


def _metadata(name: str, task: str, training: TrainingFacts | None) -> str:
    """The hub's metadata as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    results: list[EvalResult] = []
    if training is not None and training.evaluation is not None:
        logged: Mapping[str, float] = training.evaluation.metrics.logged()
        results = [
            EvalResult(
                task_type="video-classification",
                dataset_type=re.sub(r"[^\w.-]+", "-", training.data),
                dataset_name=printable(training.data),
                dataset_split="validation",
                metric_type=_METRICS[metric][0],
                metric_name=_METRICS[metric][1],
                metric_value=round(value, 4),
            )
            for metric, value in logged.items()
            if metric in _METRICS and math.isfinite(value)
            if metric != "top5" or len(training.evaluation.class_names) > 5
        ]
    data = ModelCardData(
        library_name="transformers",
        license="unknown",
        pipeline_tag="video-classification" if task == "classification" else None,
        tags=["videomae", "video"],
        base_model=None if training is None else training.base_model,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=printable(name) if results else None,
        eval_results=results or None,
    )
    yaml: str = data.to_yaml()
    return yaml.strip()


def _frames_text(sampling: ClipSampling) -> str:
    if sampling.method == "uniform":
        return f"{sampling.num_frames}, one from each of as many equal parts of the video"
    if sampling.frame_rate is not None:
        return f"{sampling.num_frames}, {sampling.frame_rate:g} a second"
    distance = f"{sampling.frame_stride} apart" if sampling.frame_stride > 1 else "in a row"
    return f"{sampling.num_frames}, {distance}" + (" on average (linspace)" if sampling.method == "linspace" else "")


def _clip_lines(sampling: ClipSampling) -> list[str]:
    """Python code that makes `clip` from `frames`: the clip in the video's center, as a single test clip is."""
    count, stride = sampling.num_frames, sampling.frame_stride
    if sampling.method == "uniform":
        return [f"clip = [frames[(2 * i + 1) * len(frames) // {2 * count}] for i in range({count})]"]
    lines, place, span = [], f"start + {stride} * i", str((count - 1) * stride + 1)
    if sampling.frame_rate is not None:
        lines = [f"step = frames_per_second / {sampling.frame_rate:g}"]
        place, span = "int(start + step * i)", f"{count - 1} * step - 1"
    elif sampling.method == "linspace":
        span = str(count * stride)
        place = f"start + min({span} * i // {max(count - 1, 1)}, {count * stride - 1})"
    lines.append(f"start = max(len(frames) - {span}, 0) // 2")
    lines.append(f"clip = [frames[min({place}, len(frames) - 1)] for i in range({count})]")
    return lines


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


# --- text that is not ours -----------------------------------------------------------------------------------------


def _one_line(text: object) -> str:
    return " ".join(printable(str(text)).split())


def _plain(text: object) -> str:
    """For prose: no character of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", _one_line(text))


def _code(text: object) -> str:
    """A code span; in a table, too."""
    return "`" + _one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def _cell(text: object) -> str:
    return _one_line(text).replace("|", "\\|")


def _quoted(text: str) -> str:
    """For Python, and read back by `renamed`."""
    return json.dumps(text, ensure_ascii=False)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"plain": _plain, "code": _code, "cell": _cell, "sh": shlex.quote, "py": _quoted}
    return environment.from_string(files(__package__).joinpath("model_card.md.jinja").read_text(encoding="utf-8"))
