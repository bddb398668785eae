"""Inputs of the image processor's goldens, made alike for transformers 4.34.0 and for us (NumPy only)."""

from __future__ import annotations

import numpy as np

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def frames_of(
    height, width, *, num_frames=1, num_channels=3, layout="channels_last", dtype="uint8", fractions=False, black=()
):
    """A list of frames: gradients, edges and grain from whole-number arithmetic; `black` names frames that are 0."""
    t, y, x, c = np.ogrid[0:num_frames, 0:height, 0:width, 0:num_channels]
    grain = (t * 7919 + y * 104729 + x * 1299709 + c * 15485863) % 8191
    levels = (y * 5 + x * 3 + c * 40 + t * 11) % 256
    edges = ((y // 7 + x // 5 + t) % 2) * 90
    frames = (levels // 2 + edges + grain % 48) % 256
    if fractions:
        frames = (frames * 32 + grain % 32) / 8192
    for index in black:
        frames[index] = 0
    if layout == "channels_first":
        frames = frames.transpose(0, 3, 1, 2)
    return list(frames.astype(dtype))


def _cases():
    cases = {
        "landscape": ({"height": 48, "width": 80, "num_frames": 2}, SMALL),
        "portrait": ({"height": 81, "width": 46, "num_frames": 2}, SMALL),
        "exact": ({"height": 32, "width": 32}, SMALL),
        "square": ({"height": 65, "width": 65}, SMALL),
        "odd_sides": ({"height": 45, "width": 67}, {**SMALL, "size": {"shortest_edge": 39}}),
        "enlarged": ({"height": 20, "width": 30}, SMALL),
        "large_crop": ({"height": 48, "width": 80}, {**SMALL, "size": {"shortest_edge": 24}}),
        "smaller_than_crop": ({"height": 20, "width": 26}, {**SMALL, "do_resize": False}),
        "lower_than_crop": ({"height": 20, "width": 60}, {**SMALL, "do_resize": False}),
        "narrower_than_crop": ({"height": 61, "width": 22}, {**SMALL, "do_resize": False}),
        # 4.34.0 returns 31 rows here, not the 32 of the crop.
        "odd_padding": ({"height": 25, "width": 40}, {**SMALL, "do_resize": False}),
        "height_and_width": ({"height": 48, "width": 80}, {**SMALL, "size": {"height": 40, "width": 36}}),
        "crop_of_two_sides": ({"height": 48, "width": 80}, {**SMALL, "crop_size": {"height": 24, "width": 31}}),
        "imagenet": ({"height": 48, "width": 80}, {**SMALL, **IMAGENET}),
        "one_number_for_all": ({"height": 48, "width": 80}, {**SMALL, "image_mean": 0.4, "image_std": 0.3}),
        "other_factor": ({"height": 48, "width": 80}, {**SMALL, "rescale_factor": 1 / 127.5}),
        "channels_last_result": ({"height": 48, "width": 80}, {**SMALL, **IMAGENET, "data_format": "channels_last"}),
        "one_channel": (
            {"height": 48, "width": 80, "num_channels": 1},
            {**SMALL, "image_mean": [0.45], "image_std": [0.25]},
        ),
        "four_channels_unresized": (
            {"height": 48, "width": 80, "num_channels": 4},
            {"crop_size": SMALL["crop_size"], "do_resize": False, "input_data_format": "channels_last"}
            | {"image_mean": 0.5, "image_std": 0.25},
        ),
        "fractions_with_a_black_frame": (
            {"height": 48, "width": 80, "num_frames": 3, "dtype": "float32", "fractions": True, "black": (1,)},
            {**SMALL, **IMAGENET},
        ),
    }
    for name, resample in FILTERS.items():
        cases[f"{name}_shrinking"] = ({"height": 48, "width": 80}, {**SMALL, "resample": resample})
        cases[f"{name}_enlarging"] = ({"height": 20, "width": 30}, {**SMALL, "resample": resample})
        cases[f"{name}_both"] = (
            {"height": 90, "width": 21},
            {**SMALL, "resample": resample, "size": {"height": 34, "width": 36}},
        )
    for number in range(1, 16):
        off = [name for bit, name in enumerate(STEPS) if number >> bit & 1]
        # 4.34.0 normalizes whole numbers in whole numbers (0.5 becomes 0), which gives no result to compare with.
        if "do_rescale" not in off or "do_normalize" in off:
            cases["without_" + "_".join(off)] = (
                {"height": 38, "width": 42},
                {**SMALL, **dict.fromkeys(off, False)},
            )
    for layout in ("channels_first", "channels_last"):
        kinds = {"uint8": False, "int64": False, "float32": False, "float64": True}
        for dtype, fractions in kinds.items():
            kind = {"height": 48, "width": 70, "layout": layout, "dtype": dtype, "fractions": fractions}
            cases[f"{dtype}_{layout}"] = (kind, {**SMALL, "do_rescale": not fractions})
    for dtype in ("float32", "float64"):
        kind = {"height": 48, "width": 70, "dtype": dtype, "fractions": True}
        cases[f"fractions_{dtype}_rescaled_twice"] = (kind, SMALL)
        cases[f"fractions_{dtype}_resized_only"] = (kind, {**SMALL, "do_rescale": False, "do_normalize": False})
        cases[f"fractions_{dtype}_unresized"] = (kind, {**SMALL, "do_resize": False, "do_rescale": False})
        cases[f"fractions_{dtype}_cropped_only"] = (
            kind,
            {**SMALL, "do_resize": False, "do_rescale": False, "do_normalize": False},
        )
    int64 = {"height": 48, "width": 70, "dtype": "int64"}
    cases["int64_unresized"] = (int64, {**SMALL, "do_resize": False})
    cases["int64_cropped_only"] = (
        int64,
        {**SMALL, "do_resize": False, "do_rescale": False, "do_normalize": False},
    )
    return cases


STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
CASES = _cases()


def levels_of(values, frames, options):
    """A result (float64) without its normalization and rescaling, in gray levels of 255."""
    levels = np.asarray(values, dtype=np.float64)
    num_channels = 1 if len(frames) == 0 else min(frames[0].shape[0], frames[0].shape[-1])
    shape = (-1,) if options.get("data_format") == "channels_last" else (-1, 1, 1)
    if options.get("do_normalize", True):
        mean = np.broadcast_to(options.get("image_mean", 0.5), (num_channels,)).reshape(shape)
        std = np.broadcast_to(options.get("image_std", 0.5), (num_channels,)).reshape(shape)
        levels = levels * std + mean
    if options.get("do_rescale", True):
        levels = levels / options.get("rescale_factor", 1 / 255)
    fractions = frames[0].dtype.kind == "f" and bool((frames[0] % 1).any())
    return levels * 255 if fractions else levels
