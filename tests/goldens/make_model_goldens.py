"""Make the model goldens: what transformers 4.34.0 computes for tiny VideoMAE models.

How to run, from the repository's root, with an environment of its own (the checked-in files came from Python 3.11,
transformers 4.34.0, torch 2.13.0 on a CPU, numpy 1.26.4):

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.34.0" "torch==2.13.0" "numpy<2" safetensors
    ENV/bin/python tests/goldens/make_model_goldens.py [--output tests/goldens/model]

One `.safetensors` file a case. Its metadata key `golden` holds JSON: the configuration's keyword arguments, the
versions, the names and shapes of each class' `state_dict`, and the runs. A run names the class, the keyword arguments
of `forward` (a string is the name of an input tensor), what was added to the configuration, and the fields of the
output with their lengths. The tensors are named

    weights/NAME                     state_dict of all heads together, in the names of the classes with a head
    inputs/NAME                      pixel_values, masks, labels; `probe` weighs an output into a scalar
    runs/RUN/outputs/FIELD[.INDEX]   loss, logits, last_hidden_state, hidden_states.0 ...
    runs/RUN/gradients/NAME          of the run's loss (or of sum(probe * output)) for a parameter
    runs/RUN/input_gradient          the same for pixel_values

`activations.safetensors` holds one small encoder and its output for every `hidden_act` that 4.34.0 knows.
Weights and inputs come from numpy's PCG64 with a fixed seed, so that a second run gives the same file.
"""

import argparse
import json
import platform
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore", category=FutureWarning)

import transformers  # noqa: E402
from transformers import (  # noqa: E402
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
)
from transformers.activations import ACT2FN  # noqa: E402

CLASSES = {cls.__name__: cls for cls in (VideoMAEModel, VideoMAEForPreTraining, VideoMAEForVideoClassification)}

# Encoder and decoder differ in every size, so that a mix-up cannot pass unseen.
TINY = {
    "image_size": 6,
    "patch_size": 2,
    "num_frames": 4,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "decoder_hidden_size": 9,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 16,
    "num_labels": 3,
}
BATCH_SIZE = 2
ALL = {"output_attentions": True, "output_hidden_states": True}

MODEL = {"class": "VideoMAEModel", "arguments": {"pixel_values": "pixel_values", **ALL}}
MASKED_MODEL = {
    "class": "VideoMAEModel",
    "arguments": {"pixel_values": "pixel_values", "bool_masked_pos": "bool_masked_pos", **ALL},
}
PRETRAINING = {
    "class": "VideoMAEForPreTraining",
    "arguments": {"pixel_values": "pixel_values", "bool_masked_pos": "bool_masked_pos", **ALL},
    "gradients": True,
}
CLASSIFICATION = {
    "class": "VideoMAEForVideoClassification",
    "arguments": {"pixel_values": "pixel_values", "labels": "class_labels", **ALL},
    "gradients": True,
}
STANDARD = {"model": MODEL, "masked_model": MASKED_MODEL, "pretraining": PRETRAINING, "classification": CLASSIFICATION}


def with_head_mask(run, name):
    return {**run, "arguments": {**run["arguments"], "head_mask": name}}


def labelled(labels, **config):
    arguments = {"pixel_values": "pixel_values", "labels": labels}
    return {**CLASSIFICATION, "arguments": arguments, "config": config}


CASES = {
    "defaults": (
        {"decoder_num_hidden_layers": 2},
        {
            **STANDARD,
            "model": {**MODEL, "gradients": True},
            "masked_model": {**MASKED_MODEL, "gradients": True},
            "plain_model": {"class": "VideoMAEModel", "arguments": {"pixel_values": "pixel_values"}},
            "without_labels": {
                "class": "VideoMAEForVideoClassification",
                "arguments": {"pixel_values": "pixel_values", "output_hidden_states": True},
            },
        },
    ),
    "final_norm": ({"use_mean_pooling": False}, STANDARD),
    "raw_pixels": ({"norm_pix_loss": False}, {"pretraining": PRETRAINING}),
    "final_norm_raw_pixels": ({"use_mean_pooling": False, "norm_pix_loss": False}, STANDARD),
    "no_qkv_bias": ({"qkv_bias": False}, STANDARD),
    "one_channel": ({"num_channels": 1, "norm_pix_loss": True}, STANDARD),
    "gelu_new": ({"hidden_act": "gelu_new"}, {"pretraining": PRETRAINING, "classification": CLASSIFICATION}),
    "tubelet_1": ({"tubelet_size": 1, "num_frames": 3, "image_size": 8, "patch_size": 4}, STANDARD),
    "layer_norm_eps": ({"layer_norm_eps": 0.05, "use_mean_pooling": False}, STANDARD),
    "fc_norm_eps": ({"layer_norm_eps": 0.05}, {"classification": CLASSIFICATION}),
    "rectangular_images": ({"image_size": [6, 9], "num_frames": 6, "tubelet_size": 3, "patch_size": 3}, STANDARD),
    "rectangular_patches": (
        {"image_size": [8, 12], "patch_size": [4, 2], "num_frames": 2},
        # 4.34.0's decoder squares patch_size, so it has no pre-training with such patches.
        {"model": MODEL, "masked_model": MASKED_MODEL, "classification": CLASSIFICATION},
    ),
    "one_head_one_layer": (
        {"num_attention_heads": 1, "num_hidden_layers": 1, "decoder_num_attention_heads": 1},
        {"pretraining": PRETRAINING, "classification": CLASSIFICATION},
    ),
    "head_mask": (
        {},
        {
            f"{name}_{mask}": with_head_mask(run, mask)
            for mask in ("head_mask", "layer_head_mask")
            for name, run in STANDARD.items()
        },
    ),
    "losses": (
        {"image_size": 4},
        {
            "regression_one": labelled("value_label", num_labels=1),
            "regression_one_column": labelled("value_label_column", num_labels=1),
            "regression_many": labelled("value_labels", num_labels=3, problem_type="regression"),
            "single_label": labelled("class_labels", num_labels=3),
            "single_label_named": labelled("class_labels", num_labels=3, problem_type="single_label_classification"),
            "multi_label": labelled("hot_labels", num_labels=3),
            "multi_label_named": labelled("hot_labels", num_labels=3, problem_type="multi_label_classification"),
            "no_labels": {
                "class": "VideoMAEForVideoClassification",
                "arguments": {"pixel_values": "pixel_values"},
                "config": {"num_labels": 0},
            },
        },
    ),
}


def draw_weights(shapes, generator):
    """Every parameter non-zero and away from its initial value, so that a forgotten one changes the result."""
    weights = {}
    for name, shape in sorted(shapes.items()):
        values = generator.standard_normal(shape)
        if "norm" in name and name.endswith("weight"):
            values = 1 + 0.2 * values
        elif len(shape) > 1 and name != "mask_token":
            values = values * 1.2 / np.sqrt(np.prod(shape[1:]))
        else:
            values = 0.3 * values
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def draw_inputs(config, generator):
    height, width = config.image_size if isinstance(config.image_size, list) else [config.image_size] * 2
    rows, columns = config.patch_size if isinstance(config.patch_size, list) else [config.patch_size] * 2
    num_tokens = (config.num_frames // config.tubelet_size) * (height // rows) * (width // columns)
    shape = (BATCH_SIZE, config.num_frames, config.num_channels, height, width)
    masks = [generator.permutation(num_tokens) < num_tokens * 3 // 5 for _ in range(BATCH_SIZE)]
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    inputs = {
        "pixel_values": generator.standard_normal(shape).astype(np.float32),
        "bool_masked_pos": np.stack(masks),
        "head_mask": np.linspace(0, 1, heads).astype(np.float32),
        "layer_head_mask": np.linspace(1, 0.25, layers * heads).reshape(layers, heads).astype(np.float32),
        "class_labels": generator.integers(0, 3, BATCH_SIZE),
        "value_label": generator.standard_normal(BATCH_SIZE).astype(np.float32),
        "value_label_column": generator.standard_normal((BATCH_SIZE, 1)).astype(np.float32),
        "value_labels": generator.standard_normal((BATCH_SIZE, 3)).astype(np.float32),
        "hot_labels": generator.integers(0, 2, (BATCH_SIZE, 3)).astype(np.float32),
        "probe": generator.standard_normal((BATCH_SIZE, num_tokens, config.hidden_size)).astype(np.float32),
    }
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def weights_of(model, weights):
    """The share of `weights` that `model` has, in its own names; the head cut to the model's number of labels."""
    prefix = "videomae." if isinstance(model, VideoMAEModel) else ""
    shares = {}
    for name, parameter in model.state_dict().items():
        value = weights[prefix + name]
        shares[name] = value[: parameter.shape[0]] if name.startswith("classifier.") else value
    return shares


def flatten(output):
    """The tensors of an output by name, and its structure: [field, length], length null for a single tensor."""
    tensors, structure = {}, []
    for name, value in output.items():
        if isinstance(value, tuple):
            structure.append([name, len(value)])
            tensors.update({f"{name}.{index}": item.detach() for index, item in enumerate(value)})
        else:
            structure.append([name, None])
            tensors[name] = value.detach()
    return tensors, structure


def check_tuple(output, answer):
    """`return_dict=False` must give the same tensors in the same order, or the recorded structure would be wrong."""
    assert isinstance(answer, tuple), type(answer)
    assert len(answer) == len(output.to_tuple())
    for expected, found in zip(output.to_tuple(), answer, strict=True):
        assert type(expected) is type(found)
        pairs = zip(expected, found, strict=True) if isinstance(expected, tuple) else [(expected, found)]
        assert all(torch.equal(left, right) for left, right in pairs)


def execute(run, config, weights, inputs):
    """One forward (and backward): the tensors to store and what the metadata says about them."""
    model_config = VideoMAEConfig(**{**config, **run.get("config", {})})
    model = CLASSES[run["class"]](model_config).eval()
    model.load_state_dict(weights_of(model, weights))
    arguments = {name: inputs[value] if isinstance(value, str) else value for name, value in run["arguments"].items()}
    arguments["pixel_values"] = arguments["pixel_values"].clone().requires_grad_()
    output = model(**arguments)
    tensors, structure = flatten(output)
    stored = {f"outputs/{name}": value for name, value in tensors.items()}
    if run.get("gradients"):
        scalar = output.loss if "loss" in output else None
        if scalar is None:
            hidden = output.last_hidden_state
            scalar = (inputs["probe"][:, : hidden.shape[1]] * hidden).sum()
        scalar.backward()
        stored["input_gradient"] = arguments["pixel_values"].grad
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            stored[f"gradients/{name}"] = parameter.grad
    check_tuple(output, model(**arguments, return_dict=False))
    about = {
        **run,
        "output_class": type(output).__name__,
        "structure": structure,
        "problem_type": model_config.problem_type,
    }
    return stored, about


def make_case(name, overrides, runs):
    generator = np.random.default_rng([1959, *name.encode()])
    config = {**TINY, **overrides}
    names = sorted({run["class"] for run in runs.values()})
    shapes, merged = {}, {}
    for class_name in names:
        model = CLASSES[class_name](VideoMAEConfig(**config))
        shapes[class_name] = {key: list(value.shape) for key, value in model.state_dict().items()}
        prefix = "videomae." if class_name == "VideoMAEModel" else ""
        merged.update({prefix + key: shape for key, shape in shapes[class_name].items()})
    weights = draw_weights(merged, generator)
    inputs = draw_inputs(VideoMAEConfig(**config), generator)
    used = {value for run in runs.values() for value in run["arguments"].values() if isinstance(value, str)}
    if any(run.get("gradients") and run["class"] == "VideoMAEModel" for run in runs.values()):
        used.add("probe")
    tensors = {f"weights/{key}": value for key, value in weights.items()}
    tensors.update({f"inputs/{key}": inputs[key] for key in sorted(used)})
    about = {}
    for run_name, run in runs.items():
        stored, about[run_name] = execute(run, config, weights, inputs)
        tensors.update({f"runs/{run_name}/{key}": value for key, value in stored.items()})
    return tensors, {"config": config, "state_dicts": shapes, "runs": about}


def make_activations():
    """One encoder, wide in its pre-activations, through every activation that 4.34.0 has a name for."""
    generator = np.random.default_rng([1959, *b"activations"])
    config = {**TINY, "image_size": 4, "num_frames": 2, "num_hidden_layers": 1}
    model = VideoMAEModel(VideoMAEConfig(**config))
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    weights = draw_weights({f"videomae.{key}": shape for key, shape in shapes.items()}, generator)
    inputs = draw_inputs(VideoMAEConfig(**config), generator)
    weights["videomae.encoder.layer.0.intermediate.dense.weight"] *= 6
    tensors = {f"weights/{key}": value for key, value in weights.items()}
    tensors.update({f"inputs/{key}": inputs[key] for key in ("pixel_values", "probe")})
    runs = {}
    for name in sorted(ACT2FN):
        # Deep activations must be reached, or the clipping ones would look like the plain ones.
        seen = []
        model = VideoMAEModel(VideoMAEConfig(**config, hidden_act=name)).eval()
        model.load_state_dict(weights_of(model, weights))
        model.encoder.layer[0].intermediate.dense.register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
        model(inputs["pixel_values"])
        assert seen[0].min() < -11, seen[0].min()
        assert seen[0].max() > 11, seen[0].max()
        run = {
            "class": "VideoMAEModel",
            "arguments": {"pixel_values": "pixel_values"},
            "config": {"hidden_act": name},
            "gradients": True,
        }
        stored, runs[name] = execute(run, config, weights, inputs)
        kept = {key: value for key, value in stored.items() if not key.startswith("gradients/")}
        key = "gradients/encoder.layer.0.intermediate.dense.bias"
        tensors.update({f"runs/{name}/{key}": value for key, value in {**kept, key: stored[key]}.items()})
    return tensors, {"config": config, "state_dicts": {"VideoMAEModel": shapes}, "runs": runs}


def write(path, tensors, about):
    about["versions"] = {
        "python": platform.python_version(),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    tensors = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, str(path), metadata={"golden": json.dumps(about)})
    print(f"{path.name}: {len(about['runs'])} runs, {len(tensors)} tensors, {path.stat().st_size / 1000:.0f} kB")


def main():
    parser = argparse.ArgumentParser(description="Make the model goldens with transformers 4.34.0.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "model")
    output = parser.parse_args().output
    if transformers.__version__ != "4.34.0":
        raise SystemExit(f"transformers {transformers.__version__}: expected 4.34.0; see the top of this file")
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    for name, (overrides, runs) in CASES.items():
        write(output / f"{name}.safetensors", *make_case(name, overrides, runs))
    write(output / "activations.safetensors", *make_activations())


if __name__ == "__main__":
    main()
