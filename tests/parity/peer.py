"""Saves and loads checkpoint folders with whatever transformers this interpreter has; knows nothing of `videomae`.

Usage: PYTHON peer.py JOBS.json, a list of objects with

    action    "save": a random model into `folder`; "load": the model that is there
    class     VideoMAEModel, VideoMAEForPreTraining or VideoMAEForVideoClassification; of "load" also an Auto class
    folder    the checkpoint folder
    tensors   a .safetensors file: for "save" written, for "load" read for its inputs
    config    of "save": keyword arguments of VideoMAEConfig
    options   of "save": keyword arguments of save_pretrained
    pruned    of "save", optional: pairs of a layer and the heads that are pruned before
    outputs   of "load": a .safetensors file to write

It writes each job's report beside the job's `tensors` or `outputs`, with the suffix .json.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file


def draw(model):
    """Every weight random, biases and mask token too, so that one that gets lost changes the outputs."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
            shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + shift)


def draw_inputs(class_name, config):
    generator = torch.Generator().manual_seed(12)
    shape = (2, config.num_frames, config.num_channels, config.image_size, config.image_size)
    inputs = {"pixel_values": torch.randn(shape, generator=generator)}
    if class_name == "VideoMAEForPreTraining":
        side = config.image_size // config.patch_size
        num_tokens = config.num_frames // config.tubelet_size * side * side
        inputs["bool_masked_pos"] = (torch.arange(num_tokens) % 3 > 0).repeat(2, 1)
    if class_name == "VideoMAEForVideoClassification":
        inputs["labels"] = torch.tensor([1, 0])
    return inputs


def compute(model, inputs):
    """Outputs under names of their own beside the inputs that made them."""
    with torch.no_grad():
        output = model.eval()(**inputs, output_hidden_states=True)
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    for name in ("loss", "logits", "last_hidden_state"):
        if name in output:
            tensors[f"outputs/{name}"] = output[name]
    tensors.update({f"outputs/hidden_states.{i}": value for i, value in enumerate(output.hidden_states)})
    return {name: value.clone().contiguous() for name, value in tensors.items()}


def save(job):
    model = getattr(transformers, job["class"])(transformers.VideoMAEConfig(**job["config"]))
    draw(model)
    if "pruned" in job:
        model.prune_heads(dict(job["pruned"]))
    model.save_pretrained(job["folder"], **job["options"])
    save_file(compute(model, draw_inputs(job["class"], model.config)), job["tensors"])
    return job["tensors"], {"files": sorted(path.name for path in Path(job["folder"]).iterdir())}


def load(job):
    model, info = getattr(transformers, job["class"]).from_pretrained(job["folder"], output_loading_info=True)
    known = load_file(job["tensors"])
    inputs = {name[len("inputs/") :]: value for name, value in known.items() if name.startswith("inputs/")}
    save_file(compute(model, inputs), job["outputs"])
    biases = {
        name: value.abs().min().item()
        for name, value in model.named_parameters()
        if name.endswith(("q_bias", "v_bias", "query.bias", "value.bias"))
    }
    return job["outputs"], {
        "info": {key: sorted(map(str, values)) for key, values in info.items()},
        "smallest_bias": biases,
        "id2label": model.config.id2label,
        "config": {key: getattr(model.config, key) for key in ("num_frames", "hidden_act", "layer_norm_eps")},
    }


def main():
    for job in json.loads(Path(sys.argv[1]).read_text()):
        path, report = {"save": save, "load": load}[job["action"]](job)
        report["transformers"] = transformers.__version__
        Path(path).with_suffix(".json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
