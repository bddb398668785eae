"""The configuration of a VideoMAE network: transformers 4.34.0's `VideoMAEConfig`, without importing it or torch.

Longer than 400 lines: the interface of one class, with a line for each of its parameters and of transformers' own.
"""

from __future__ import annotations

import copy
import difflib
import json
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Self

from videomae.core.errors import CheckpointError, ConfigError
from videomae.core.files import write_text
from videomae.core.grid import TubeletGrid
from videomae.core.pixels import IMAGENET_MEAN, IMAGENET_STD
from videomae.models import limits
from videomae.weights import files, hub

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
CLASSIFIER_HEADS = ("linear", "attentive")
ATTENTION_IMPLEMENTATIONS = ("sdpa", "eager")
CONFIG_NAME = "config.json"

# transformers writes these into config.json; they describe the writer or the file of weights, not the network. Kept, a
# float16 from one file would make transformers 5.x halve the float32 weights that we save later.
_WRITER_KEYS = (
    "transformers_version",
    "name_or_path",
    "_name_or_path",
    "model_type",
    "_attn_implementation",
    "_commit_hash",
    "torch_dtype",
    "dtype",
)


class VideoMAEConfig:
    """Everything that shapes the network; the defaults are those of VideoMAE base (Tong et al. 2022, §4.1).

    Args:
        image_size: frame height and width in pixels, one number or a (height, width) pair.
        patch_size: patch height and width in pixels, one number or a pair; divides the image size.
        num_channels: color channels.
        num_frames: frames in a clip.
        tubelet_size: frames in one tubelet; divides `num_frames`.
        hidden_size: encoder width; a multiple of `num_attention_heads`.
        num_hidden_layers: encoder depth.
        num_attention_heads: encoder heads.
        intermediate_size: width of the encoder's MLP.
        hidden_act: activation of the MLPs; a name that transformers knows.
        hidden_dropout_prob: dropout after attention and MLP, 0–1.
        attention_probs_dropout_prob: dropout on attention weights, 0–1.
        initializer_range: standard deviation of new weights.
        layer_norm_eps: epsilon of the encoder's LayerNorms.
        qkv_bias: whether queries and values have a bias (keys never do).
        use_mean_pooling: classify the mean of the tokens (else token 0); then the encoder has no final LayerNorm.
        decoder_num_attention_heads: decoder heads.
        decoder_hidden_size: decoder width.
        decoder_num_hidden_layers: decoder depth.
        decoder_intermediate_size: width of the decoder's MLP.
        norm_pix_loss: rebuild each tubelet normalized to zero mean and unit variance per channel.
        **kwargs: what every transformers configuration has (`num_labels`, `id2label`, `label2id`, `problem_type`,
            `output_attentions`, `output_hidden_states`, `return_dict`, `attn_implementation`: "sdpa" or "eager");
            `drop_path_rate` of the last encoder layer and `classifier_dropout`, 0–1, both ours, used only in training;
            `classifier_head`, ours: "linear" or "attentive", where a learned query pools the tokens;
            `pruned_heads`, the encoder's heads that are gone, by layer;
            `final_norm_eps`, ours: epsilon of the classifier's `fc_norm` and of the decoder's norm, 1e-5 as in
            transformers, 1e-6 in weights of the original code; `position_grid`, ours: (time, height, width) in tokens
            of the grid whose positions are interpolated for the grid of this configuration, None for its own positions;
            `image_mean` and `image_std`, ours: of each channel of the pixels, 0–1, which the target of pre-training
            undoes, None for ImageNet's of three channels and for none of others;
            any other key is kept as an attribute and saved.

    Raises:
        ConfigError: if a value is none that a network can have; `validate`, which models call, also looks at how widths
            and heads go together.
    """

    model_type = "videomae"
    is_composition = False  # of several models, as transformers asks
    image_mean: tuple[float, ...] | None
    image_std: tuple[float, ...] | None

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        num_channels: int = 3,
        num_frames: int = 16,
        tubelet_size: int = 2,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.0,
        attention_probs_dropout_prob: float = 0.0,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        qkv_bias: bool = True,
        use_mean_pooling: bool = True,
        decoder_num_attention_heads: int = 6,
        decoder_hidden_size: int = 384,
        decoder_num_hidden_layers: int = 4,
        decoder_intermediate_size: int = 1536,
        norm_pix_loss: bool = True,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_channels = num_channels
        self.num_frames = num_frames
        self.tubelet_size = tubelet_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        # transformers 5.23 writes the key under another name.
        self.qkv_bias = kwargs.pop("qv_bias", qkv_bias)
        self.use_mean_pooling = use_mean_pooling
        self.decoder_num_attention_heads = decoder_num_attention_heads
        self.decoder_hidden_size = decoder_hidden_size
        self.decoder_num_hidden_layers = decoder_num_hidden_layers
        self.decoder_intermediate_size = decoder_intermediate_size
        self.norm_pix_loss = norm_pix_loss
        self._set_common(kwargs)
        self._check_values()

    def _set_common(self, kwargs: dict[str, Any]) -> None:
        """The keys that every transformers configuration has, then whatever else was given."""
        self.output_attentions: bool = kwargs.pop("output_attentions", False)
        self.output_hidden_states: bool = kwargs.pop("output_hidden_states", False)
        self.return_dict: bool = kwargs.pop("return_dict", True)
        self.architectures: list[str] | None = kwargs.pop("architectures", None)
        self.problem_type: str | None = kwargs.pop("problem_type", None)
        self.attn_implementation: str = kwargs.pop("attn_implementation", None) or "sdpa"
        self.drop_path_rate: float = kwargs.pop("drop_path_rate", 0.0)
        self.classifier_dropout: float = kwargs.pop("classifier_dropout", None) or 0.0
        self.classifier_head: str = kwargs.pop("classifier_head", "linear")
        self.final_norm_eps: float = kwargs.pop("final_norm_eps", 1e-5)
        pruned = kwargs.pop("pruned_heads", None) or {}
        if isinstance(pruned, dict):  # JSON makes text of the layers' numbers
            pruned = {int(key) if str(key).isdecimal() and len(str(key)) < 9 else key: v for key, v in pruned.items()}
        self.pruned_heads: Any = pruned
        self.position_grid: tuple[int, int, int] | None = limits.as_tuple(kwargs.pop("position_grid", None))
        for key in ("image_mean", "image_std"):
            # No attribute by default: transformers' checks give each whose name has "_std" in it another value.
            if (value := kwargs.pop(key, None)) is not None:
                setattr(self, key, limits.as_tuple(value))
        writer = {key: kwargs.pop(key, None) for key in _WRITER_KEYS}
        self.torch_dtype = writer["torch_dtype"] or writer["dtype"]
        num_labels, id2label, label2id = (kwargs.pop(key, None) for key in ("num_labels", "id2label", "label2id"))
        if label2id is not None and not (
            isinstance(label2id, Mapping) and all(isinstance(index, Hashable) for index in label2id.values())
        ):
            raise ConfigError(
                f"label2id={label2id!r}", expected="a dictionary from names to numbers", hint="correct it"
            )
        if id2label is None and label2id:
            id2label = {index: label for label, index in label2id.items()}
        if id2label is None:
            self.num_labels = 2 if num_labels is None else num_labels
        else:
            self.set_labels(id2label, label2id)
            if num_labels is not None and num_labels != len(self.id2label):
                raise ConfigError(
                    f"num_labels={num_labels} with {len(self.id2label)} entries in id2label",
                    expected="equal numbers",
                    hint="leave num_labels out: it follows from id2label",
                )
        for key, value in kwargs.items():
            if hasattr(type(self), key) or not isinstance(key, str) or key.startswith("__"):
                raise ConfigError(f"{key}={value!r}"[:100], expected="a key of a configuration", hint="remove it")
            setattr(self, key, value)

    @property
    def num_labels(self) -> int:
        """Number of classes; setting another number renames the classes to LABEL_0, LABEL_1, …."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, number: int) -> None:
        if not limits.is_whole(number) or not 0 <= number <= limits.MOST_CLASSES:
            raise ConfigError(
                f"num_labels={number!r}",
                expected=f"a whole number from 0 to {limits.MOST_CLASSES:,}",
                hint="give the number of classes",
            )
        if getattr(self, "id2label", None) is None or len(self.id2label) != number:
            self.set_labels({index: f"LABEL_{index}" for index in range(number)})

    def set_labels(self, id2label: Mapping[Any, str], label2id: Mapping[str, int] | None = None) -> None:
        """Name the classes. Keys of `id2label` may be the strings that JSON makes of numbers."""
        try:
            self.id2label = {int(index): label for index, label in id2label.items()}
            numbers = {label: index for index, label in self.id2label.items()}
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"id2label={id2label!r}",
                expected="a dictionary from class numbers to names",
                hint="make one of a list with dict(enumerate(names))",
            ) from error
        self.label2id = dict(label2id) if label2id else numbers

    @property
    def name_or_path(self) -> str:
        """Where `from_pretrained` read from, "" for a new configuration. Not saved."""
        # No default: where there is an attribute, transformers' Trainer takes it for the name of what was fine-tuned.
        return vars(self).get("_name_or_path", "")

    @name_or_path.setter
    def name_or_path(self, value: str) -> None:
        if value:
            self._name_or_path = value

    @property
    def torch_dtype(self) -> Any:
        """The type of the weights in the file that the configuration came with, a `torch.dtype`, or None. Not saved."""
        value = vars(self).get("_torch_dtype")
        if isinstance(value, str):
            import torch

            value = getattr(torch, value, None)
        return value

    @torch_dtype.setter
    def torch_dtype(self, value: Any) -> None:
        if value is not None:
            self._torch_dtype = value

    dtype = torch_dtype

    @property
    def use_return_dict(self) -> bool:
        """Whether models return output objects (else tuples)."""
        return self.return_dict

    @property
    def grid(self) -> TubeletGrid:
        """How a clip of this configuration falls into tubelets."""
        return TubeletGrid.of(
            num_frames=self.num_frames,
            image_size=self.image_size,
            tubelet_size=self.tubelet_size,
            patch_size=self.patch_size,
            num_channels=self.num_channels,
        )

    @property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of each channel, which the target of pre-training undoes; None where it takes pixels as
        given."""
        if self.image_mean is not None and self.image_std is not None:
            return self.image_mean, self.image_std
        return (IMAGENET_MEAN, IMAGENET_STD) if self.num_channels == 3 else None

    def validate(self) -> None:
        """Check that the values describe a network; models call it, since attributes can be set.

        Raises:
            ConfigError: names the first value that does not fit.
        """
        self._check_values()
        limits.check_pruned_heads(self.pruned_heads, self.num_hidden_layers, self.num_attention_heads)
        for part, width_key, heads_key in (
            ("an encoder", "hidden_size", "num_attention_heads"),
            ("a decoder", "decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            width, heads = getattr(self, width_key), getattr(self, heads_key)
            if width % heads or not width:
                raise ConfigError(
                    f"{width_key}={width} with {heads_key}={heads}",
                    expected=f"{part} width that its heads divide",
                    hint=f"choose a {width_key} that is a multiple of {heads_key}",
                )

    def _check_values(self) -> None:
        """All but how widths, heads and pruned heads go together, which transformers too leaves to the models."""
        limits.check_numbers(self)
        limits.check_labels(self.id2label)
        limits.check_kinds(self)
        limits.check_positions(self.position_grid, max(self.hidden_size, self.decoder_hidden_size))
        limits.check_statistics(self.num_channels, self.image_mean, self.image_std)
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise ConfigError(
                f"problem_type={self.problem_type!r}",
                expected=" or ".join(PROBLEM_TYPES),
                hint="leave it out to let the labels decide",
            )
        if self.classifier_head not in CLASSIFIER_HEADS:
            raise ConfigError(
                f"classifier_head={self.classifier_head!r}",
                expected=" or ".join(CLASSIFIER_HEADS),
                hint="leave it out for linear",
            )
        if self.attn_implementation not in ATTENTION_IMPLEMENTATIONS:
            raise ConfigError(
                f"attn_implementation={self.attn_implementation!r}",
                expected=" or ".join(ATTENTION_IMPLEMENTATIONS),
                hint="leave it out for sdpa, the faster one",
            )

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **kwargs: Any) -> Self:
        """Read `config.json` from a folder, that file itself, or a hub repository.

        Args:
            name_or_path: folder, file or hub name.
            **kwargs: hub options (`cache_dir`, `revision`, `token`, `subfolder`, `local_files_only`,
                `force_download`); all others override the file's values.

        Raises:
            CheckpointError: if there is no readable configuration of a VideoMAE there.
            ConfigError: if its values describe no network.
        """
        options, overrides = hub.split_hub_options(kwargs)
        config = cls.from_dict(cls.get_config_dict(name_or_path, **options), **overrides)
        config.name_or_path = str(name_or_path)
        return config

    @classmethod
    def get_config_dict(cls, name_or_path: str | Path, **hub_options: Any) -> dict[str, Any]:
        """The parsed `config.json` of a folder, file or hub repository; arguments as in `from_pretrained`."""
        hub.require_possible_name(name_or_path)
        if Path(name_or_path).is_file():
            path: Path | None = Path(name_or_path)
        else:
            path = hub.resolve_file(name_or_path, CONFIG_NAME, **hub_options)
        if path is None:
            raise hub.lacks_config(name_or_path, CONFIG_NAME, **hub_options)
        values = files.read_json(path)
        found = values.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise CheckpointError(
                f"{path} with model_type {found!r}",
                expected=f"model_type {cls.model_type!r}",
                hint="this is another architecture's checkpoint",
            )
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """A configuration from a plain dictionary, `overrides` winning.

        Raises:
            ConfigError: for an override of a key that neither a configuration nor `values` has: a slip of the pen would
                otherwise be kept and do nothing.
        """
        possible = {*cls().to_dict(), *values, *_WRITER_KEYS, *_ABSENT, "num_labels", "qv_bias"}
        for key, value in overrides.items():
            if key not in possible:
                near = difflib.get_close_matches(key, possible, n=1)
                raise ConfigError(
                    f"{key}={value!r}",
                    expected="an option of from_pretrained or a key of the configuration",
                    hint=f"did you mean {near[0]}?" if near else "leave it out",
                )
        merged = {**values, **overrides}
        if "num_labels" in overrides and "id2label" not in overrides:
            known = values.get("id2label")
            if known is None or len(known) != overrides["num_labels"]:
                merged.pop("id2label", None)
                merged.pop("label2id", None)
        elif "id2label" in overrides:
            merged.pop("num_labels", None)
            if "label2id" not in overrides:
                merged.pop("label2id", None)
        return cls(**merged)

    @classmethod
    def from_json_file(cls, json_file: str | Path) -> Self:
        """A configuration from a file that `to_json_file` wrote; errors as `from_pretrained`."""
        return cls.from_dict(files.read_json(json_file))

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set many values at once, all or none.

        Raises:
            ConfigError: if the values then describe no network.
        """
        changed = copy.deepcopy(self)
        for key, value in config_dict.items():
            if key not in ("id2label", "label2id", "model_type"):
                setattr(changed, key, value)
        if "id2label" in config_dict:
            changed.set_labels(config_dict["id2label"], config_dict.get("label2id"))
        elif "label2id" in config_dict:
            changed.label2id = dict(config_dict["label2id"])
        changed.validate()
        self.__dict__.update(changed.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """All values as plain data, `model_type` included."""
        values = copy.deepcopy(self.__dict__)
        for key in ("_name_or_path", "_torch_dtype"):
            values.pop(key, None)
        values["model_type"] = self.model_type
        return values

    def to_diff_dict(self) -> dict[str, Any]:
        """The values to save: the network's own, and what every configuration has only where it is not the default."""
        values = self.to_dict()
        for key, default in _COMMON_DEFAULTS.items():
            if values.get(key) == default:
                values.pop(key, None)
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            values.pop("id2label")
            values.pop("label2id")
        # How attention is computed and what training recomputes is the reader's choice, not a property of the weights.
        for key in ("attn_implementation", "gradient_checkpointing"):
            values.pop(key, None)
        return values

    def to_json_string(self, use_diff: bool = True) -> str:
        """JSON text, keys sorted; with `use_diff` without the common keys that have their default."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True, default=_plain) + "\n"

    def to_json_file(self, json_file_path: str | Path, use_diff: bool = True) -> None:
        """Write `to_json_string` to a file."""
        write_text(json_file_path, self.to_json_string(use_diff))

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write `config.json` into a folder (made if absent), readable by transformers 4.x and 5.x.

        Args:
            save_directory: the folder.
            push_to_hub: also upload it, to `repo_id` or a repository named like the folder.
            **kwargs: for `push_to_hub`.

        Raises:
            TypeError: for keywords that mean nothing here.
        """
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained() got an unexpected keyword argument {next(iter(kwargs))!r}")
        folder = Path(save_directory)
        self.to_json_file(folder / CONFIG_NAME)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.resolve().name), **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload `config.json` to a repository on the hub; returns the address of the commit.

        Further keywords are those of `videomae.weights.hub.upload_folder`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload_folder(folder, repo_id, **{"commit_message": "Upload config", **kwargs})

    def __getattr__(self, name: str) -> Any:
        if name in _ABSENT:
            return _ABSENT[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key` as of a dictionary; PEFT asks configurations in this way."""
        return getattr(self, key, default)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and hasattr(self, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VideoMAEConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def _plain(value: Any) -> Any:
    """What JSON has no word for: a NumPy number as the number that it is, all else by its name."""
    return value.item() if hasattr(value, "item") else str(value)


# Of attributes that are there only where they were given: ours, and what transformers' tools ask of any configuration.
_ABSENT: dict[str, Any] = {
    "image_mean": None,
    "image_std": None,
    **dict.fromkeys(("is_encoder_decoder", "is_decoder", "add_cross_attention", "torchscript", "use_bfloat16"), False),
    **dict.fromkeys(("_commit_hash", "task_specific_params", "tokenizer_class", "prefix", "finetuning_task")),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id")),
    "tie_word_embeddings": True,
    "chunk_size_feed_forward": 0,
}

_COMMON_DEFAULTS: dict[str, Any] = {
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "architectures": None,
    "problem_type": None,
    "pruned_heads": {},
    "drop_path_rate": 0.0,
    "classifier_dropout": 0.0,
    "classifier_head": "linear",
    "final_norm_eps": 1e-5,
    "position_grid": None,
    "image_mean": None,
    "image_std": None,
}
