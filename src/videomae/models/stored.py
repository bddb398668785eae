"""What a checkpoint holds, in whatever layout: its own configuration, and its tensors under our names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomae.core import tubelets
from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import CONFIG_NAME, VideoMAEConfig
from videomae.models.from_shapes import config_of_tensors
from videomae.weights import adapters, files, hub, names, original

logger = logging.getLogger("videomae")

PROCESSOR_NAME = "preprocessor_config.json"
# Of which forks save what ours compute: the tables of positions.
_COMPUTED = ("pos_embed", "position_embeddings")
_TABLE_TOLERANCE = 5e-3  # half precision
# Heads of a base that an adapter for another class of model does not use.
_DECODER = ("decoder.", "encoder_to_decoder.", "mask_token")
_CLASSES = {
    "VideoMAEModel": (*_DECODER, "classifier.", "fc_norm.", "pooling."),
    "VideoMAEForPreTraining": ("classifier.", "fc_norm.", "pooling."),
    "VideoMAEForVideoClassification": _DECODER,
}


@dataclass(frozen=True)
class Stored:
    """A checkpoint as it is stored.

    Args:
        config: the checkpoint's own.
        state: tensors under the names of transformers 4.x.
        layout: "hf", "original" or "adapter".
        names: whose names the file has, in words.
        container: the file that was read, or its index.
        base: of an adapter, the checkpoint that it was merged into.
    """

    config: VideoMAEConfig
    state: dict[str, Tensor]
    layout: str
    names: str
    container: str
    base: str | None = None


def read_stored(source: str | Path, options: Mapping[str, Any]) -> Stored:
    """Read a checkpoint of any layout.

    Args:
        source: as for `load_checkpoint`.
        options: hub options, and keys of the configuration: of these only those are used that a file of weights alone
            lacks.

    Raises:
        CheckpointError: if it is missing or damaged, or no VideoMAE.
        ConfigError: if a value is missing that the file lacks.
    """
    hub_options, overrides = hub.split_hub_options(options)
    adapter = adapter_settings(source, **hub_options)
    if adapter is not None:
        return _read_adapter(source, adapter, options)
    file = weights_without_config(source, **hub_options)
    if file is None:
        config = VideoMAEConfig.from_pretrained(source, **hub_options)
        state, container = files.read_named_weights(source, **hub_options)
        whose = _whose_names(state)
        state = _without_tables(names.to_current(state), source)
        return Stored(config, state, "hf", whose, container)
    is_index = file.name.endswith(".index.json")
    found, about = (files.read_weights(file.parent), {}) if is_index else files.read_checkpoint_file(file)
    state = original.without_prefixes(found)
    layout, whose, known = "hf", _whose_names(state), {}
    if original.is_original(state):
        layout, whose = "original", "MCG-NJU/VideoMAE and VideoMAEv2"
        state = original.to_current(state)
        known = {"layer_norm_eps": original.LAYER_NORM_EPS, "final_norm_eps": original.LAYER_NORM_EPS}
    known |= original.known_settings(about.get("args"))
    if Path(source).is_dir():
        known |= _clip_of_processor(file.parent / PROCESSOR_NAME)
    state = _without_tables(names.fit_prefix(names.to_current(state), bare=False), source)
    if isinstance(about.get("config"), dict):
        config = VideoMAEConfig.from_dict(about["config"])
    else:
        config = config_of_tensors(state, str(source), {**overrides, **known})
        told = [f"{key}={overrides[key]}" for key in ("num_frames", "image_size") if key in {*overrides} - {*known}]
        if told:
            logger.info(
                "%s does not tell its clips: taken as trained with %s; for others, convert it and adapt the folder",
                source,
                " and ".join(told),
            )
    return Stored(config, state, layout, whose, file.name)


def _clip_of_processor(path: Path) -> dict[str, Any]:
    """Frames and size of the clips that a `preprocessor_config.json` makes, where it has them; nothing without one."""
    values = files.read_json(path) if path.is_file() else {}
    sampling, crop = values.get("sampling"), values.get("crop_size")
    found: dict[str, Any] = {}
    if isinstance(sampling, dict) and isinstance(sampling.get("num_frames"), int):
        found["num_frames"] = sampling["num_frames"]
    if isinstance(crop, dict) and {"height", "width"} <= set(crop):
        found["image_size"] = crop["height"] if crop["height"] == crop["width"] else (crop["height"], crop["width"])
    return found


def weights_without_config(source: str | Path, **hub_options: Any) -> Path | None:
    """The file of weights that `source` is, here or on the hub, or holds without a config.json; else None.

    Without a config.json is a trainer's `checkpoint-N`; the file is then an index where the weights are in shards.
    """
    path = Path(source)
    if path.is_file():
        return path if path.suffix.lower() in hub.WEIGHTS_SUFFIXES else None
    if not path.is_dir():
        return hub.resolve_named_file(source, **hub_options)
    path = path / (hub_options.get("subfolder") or "")
    if (path / CONFIG_NAME).exists():
        return None
    return next((path / name for name in files.WEIGHT_NAMES if (path / name).is_file()), None)


def adapter_settings(source: str | Path, **hub_options: Any) -> dict[str, Any] | None:
    """The `adapter_config.json` of a folder or repository that holds an adapter of PEFT and no whole weights."""
    hub.require_possible_name(source)
    hub_options = {**hub_options, "force_download": False}  # what is downloaded again is read later
    if Path(source).is_file() or hub.resolve_named_file(source, **hub_options) is not None:
        return None
    # On the hub a whole checkpoint has a config.json, and an adapter has none.
    whole = files.WEIGHT_NAMES if Path(source).is_dir() else (CONFIG_NAME,)
    if any(hub.resolve_file(source, name, **hub_options) for name in whole):
        return None
    file = hub.resolve_file(source, adapters.ADAPTER_CONFIG_NAME, **hub_options)
    return None if file is None else files.read_json(file)


def base_of_adapter(
    source: str | Path, settings: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[str | Path, hub.HubOptions]:
    """Where the base of an adapter is: a source and hub options for it; `base_model` among `options` wins."""
    base = options.get("base_model") or settings.get("base_model_name_or_path")
    if not isinstance(base, str | Path) or not base:
        raise CheckpointError(
            f"{source} with base_model_name_or_path={base!r}",
            expected="the checkpoint that the adapter belongs to",
            hint="merge it with that: videomae convert ADAPTER FOLDER --base-model CKPT",
        )
    hub_options, _ = hub.split_hub_options(options)
    place: hub.HubOptions = {**hub_options}
    place.pop("subfolder", None)
    revision = settings.get("revision")
    place["revision"] = revision if isinstance(revision, str) else None
    return base, place


def _read_adapter(source: str | Path, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Stored:
    """The base that an adapter names, with the adapter merged into it."""
    adapters.check_settings(settings, str(source))
    hub_options, overrides = hub.split_hub_options(options)
    base_source, place = base_of_adapter(source, settings, options)
    if adapter_settings(base_source, **place) is not None:
        raise CheckpointError(
            f"{source} with {base_source}, another adapter, as its base",
            expected="a whole checkpoint as the base",
            hint="merge that one first: videomae convert BASE FOLDER, then give base_model=FOLDER",
        )
    base = read_stored(base_source, {**place, **{k: v for k, v in overrides.items() if k != "base_model"}})
    paths = [hub.resolve_file(source, name, **hub_options) for name in adapters.ADAPTER_WEIGHT_NAMES]
    file = next((path for path in paths if path is not None), None)
    if file is None:
        raise CheckpointError(
            f"{source} without {adapters.ADAPTER_WEIGHT_NAMES[0]}",
            expected="an adapter folder as PEFT writes it",
            hint="copy or download it again",
        )
    saved = files.read_tensor_file(file)
    base = _as_it_was_adapted(base, settings, saved, overrides, str(source))
    state = names.fit_prefix(base.state, bare=False)
    merged = adapters.merge(state, saved, settings, str(source))
    config = _config_of_merged(base.config, merged, settings, str(source))
    kind = (config.architectures or ["VideoMAEModel"])[0]
    used = {name: tensor for name, tensor in merged.items() if not name.startswith(_CLASSES.get(kind, ()))}
    return replace(base, config=config, state=used, layout="adapter", container=file.name, base=str(base_source))


def _as_it_was_adapted(
    base: Stored, settings: Mapping[str, Any], saved: Mapping[str, Tensor], overrides: Mapping[str, Any], source: str
) -> Stored:
    """The base with a fresh `fc_norm` in place of its final norm, where a classifier was made of it in this way.

    That is what `load_checkpoint` makes of a pre-trained encoder; `from_pretrained`, here and in transformers, keeps
    the final norm and reads token 0.

    Raises:
        ConfigError: if neither the adapter nor `use_mean_pooling` among `overrides` shows which of them it was.
    """
    mapping = settings.get("auto_mapping")
    about = mapping if isinstance(mapping, dict) else {}
    is_classifier = about.get("base_model_class") == "VideoMAEForVideoClassification"
    state = names.fit_prefix(base.state, bare=False)
    if not is_classifier or "classifier.weight" in state or base.config.use_mean_pooling:
        return base
    pools = overrides.get("use_mean_pooling")
    if any(".fc_norm." in name for name in saved):
        pools = True
    elif pools is None and str(about.get("parent_library")).startswith("videomae."):
        raise ConfigError(
            f"{source}, an adapter without fc_norm on a base without a classifier",
            expected="to know how the tokens were pooled",
            hint="give use_mean_pooling=True for a model that Checkpoint.open made, False for one of from_pretrained",
        )
    if not pools:
        return base
    width = base.config.hidden_size
    state = {name: tensor for name, tensor in state.items() if not name.startswith("videomae.layernorm.")}
    state |= {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)}
    return replace(base, state=state, config=VideoMAEConfig.from_dict(base.config.to_dict(), use_mean_pooling=True))


def _config_of_merged(
    base: VideoMAEConfig, merged: Mapping[str, Tensor], settings: Mapping[str, Any], source: str
) -> VideoMAEConfig:
    """The base's configuration, as a model of the class that was adapted, with as many classes as its head has."""
    values = base.to_dict()
    mapping = settings.get("auto_mapping")
    kind = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    if not isinstance(kind, str) or kind not in _CLASSES:
        # PEFT notes no class where it was told a task.
        own = base.architectures[0] if base.architectures else "VideoMAEModel"
        kind = "VideoMAEForVideoClassification" if "classifier.weight" in merged else own
    values["architectures"] = [kind]
    head = merged.get("classifier.weight")
    if head is not None and head.ndim and len(head) != base.num_labels:
        logger.warning(
            "%s: PEFT stores no names of classes: its %d are LABEL_0, …; name them with id2label={0: …}",
            source,
            len(head),
        )
        for name in ("id2label", "label2id"):
            values.pop(name)
        values["num_labels"] = len(head)
    return VideoMAEConfig.from_dict(values)


def _whose_names(state: Mapping[str, Tensor]) -> str:
    newer = any(name.endswith(("attention.query.bias", "attention.value.bias")) for name in state)
    return f"transformers {'5' if newer else '4'}.x"


def _without_tables(state: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """The tensors without tables of positions that ours compute.

    Raises:
        CheckpointError: if a table is another than ours, such as one that was learned.
    """
    for name in [name for name in state if name.rpartition(".")[2] in _COMPUTED]:
        table = state[name]
        same = table.ndim == 3 and len(table) == 1 and table.dtype.is_floating_point
        if same:
            ours = tubelets.position_table(table.shape[1], table.shape[2])
            same = torch.allclose(table.float(), ours, rtol=0, atol=_TABLE_TOLERANCE)
        if not same:
            raise CheckpointError(
                f"{source} with {name} of shape {tuple(table.shape)}",
                expected="fixed sinusoids over the tokens",
                hint="its positions were learned, or are of another kind: no VideoMAE of this package has these",
            )
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in _COMPUTED}
