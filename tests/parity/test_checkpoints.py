"""Checkpoint folders travel between us and other releases of transformers, each in a virtual environment of its own.

`make parity` makes the environments and names their interpreters; without the names these tests are skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import videomae

pytestmark = pytest.mark.parity

PEER = Path(__file__).with_name("peer.py")
VERSIONS = {"4.34.0": "VIDEOMAE_PARITY_PYTHON_434", "5": "VIDEOMAE_PARITY_PYTHON_5"}
CLASSES = ["VideoMAEModel", "VideoMAEForPreTraining", "VideoMAEForVideoClassification"]
TINY = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
VARIANTS = {
    "defaults": {},
    "final_norm": {"use_mean_pooling": False, "norm_pix_loss": False, "layer_norm_eps": 1e-6},
    "no_qkv_bias": {"qkv_bias": False},
    "labels": {
        "id2label": {0: "push", 1: "pull", 2: "turn"},
        "label2id": {"push": 0, "pull": 1, "turn": 2},
        "hidden_act": "gelu_new",
        "tubelet_size": 1,
    },
}
CONTAINERS = {
    "safetensors": ({"safe_serialization": True}, "model.safetensors"),
    "safetensors_shards": ({"safe_serialization": True, "max_shard_size": "20KB"}, "model.safetensors.index.json"),
    "bin": ({"safe_serialization": False}, "pytorch_model.bin"),
    "bin_shards": ({"safe_serialization": False, "max_shard_size": "20KB"}, "pytorch_model.bin.index.json"),
}
# transformers 5 writes safetensors only.
SAVES = [("4.34.0", name) for name in CONTAINERS] + [("5", "safetensors"), ("5", "safetensors_shards")]


def interpreter(version):
    python = os.environ.get(VERSIONS[version])
    if not python:
        pytest.skip(f"{VERSIONS[version]} names no interpreter with transformers {version}; run `make parity`")
    return python


def run_jobs(version, jobs, folder):
    python = interpreter(version)
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2")
    done = subprocess.run(
        [python, str(PEER), str(path)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def ours_of(class_name, variant):
    """Our model with random weights: biases and mask token too, so that one that gets lost changes the outputs."""
    model = getattr(videomae, class_name)(videomae.VideoMAEConfig(**{**TINY, **VARIANTS[variant]}))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
            shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + shift)
    return model.eval()


def inputs_of(model):
    generator = torch.Generator().manual_seed(6)
    inputs = {"pixel_values": torch.randn(2, *model.config.grid.clip_shape, generator=generator)}
    if isinstance(model, videomae.VideoMAEForPreTraining):
        inputs["bool_masked_pos"] = videomae.tube_mask(2, model.config.grid.shape, 0.5, generator=generator)
    if isinstance(model, videomae.VideoMAEForVideoClassification):
        inputs["labels"] = torch.tensor([0, 1])
    return inputs


def assert_outputs(model, tensors):
    """Our outputs on the inputs in `tensors` equal the outputs there."""
    inputs = {name[len("inputs/") :]: value for name, value in tensors.items() if name.startswith("inputs/")}
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    found = {f"outputs/hidden_states.{index}": value for index, value in enumerate(output.hidden_states)}
    for name in ("loss", "logits", "last_hidden_state"):
        if name in output:
            found[f"outputs/{name}"] = output[name]
    expected = {name: value for name, value in tensors.items() if name.startswith("outputs/")}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        error = (found[name] - value).abs().max().item()
        assert error <= 1e-5 * max(1.0, value.abs().max().item()), f"{name}: off by {error:.3g}"


@pytest.fixture(scope="module")
def saved_by_them(tmp_path_factory):
    """Every folder that a release is asked to save, made by one run of its interpreter, on first use."""
    made = {}

    def make(version):
        if version not in made:
            interpreter(version)
            root = tmp_path_factory.mktemp(f"saved_by_{version}")
            jobs = []
            for container in [name for release, name in SAVES if release == version]:
                options = CONTAINERS[container][0]
                if version != "4.34.0":
                    options = {key: value for key, value in options.items() if key != "safe_serialization"}
                for class_name in CLASSES:
                    for variant in VARIANTS:
                        name = f"{container}-{class_name}-{variant}"
                        jobs.append(
                            {
                                "action": "save",
                                "class": class_name,
                                "folder": str(root / name),
                                "tensors": str(root / f"{name}.safetensors"),
                                "config": {**TINY, **VARIANTS[variant]},
                                "options": options,
                            }
                        )
            run_jobs(version, jobs, root)
            made[version] = root
        return made[version]

    return make


@pytest.fixture(scope="module")
def loaded_by_them(tmp_path_factory):
    """Every folder that we save, loaded by one run of a release's interpreter, on first use."""
    made = {}

    def make(version):
        if version not in made:
            interpreter(version)
            root = tmp_path_factory.mktemp(f"loaded_by_{version}")
            jobs = []
            for class_name in CLASSES:
                for variant in VARIANTS:
                    name = f"{class_name}-{variant}"
                    model = ours_of(class_name, variant)
                    model.save_pretrained(root / name)
                    inputs = {f"inputs/{key}": value for key, value in inputs_of(model).items()}
                    save_file(inputs, str(root / f"{name}-inputs.safetensors"))
                    jobs.append(
                        {
                            "action": "load",
                            "class": class_name,
                            "folder": str(root / name),
                            "tensors": str(root / f"{name}-inputs.safetensors"),
                            "outputs": str(root / f"{name}-outputs.safetensors"),
                        }
                    )
            run_jobs(version, jobs, root)
            made[version] = root
        return made[version]

    return make


def num_biases(class_name, variant):
    layers = 3 if class_name == "VideoMAEForPreTraining" else 2
    return 0 if variant == "no_qkv_bias" else 2 * layers


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize(("version", "container"), SAVES)
def test_we_load_theirs(version, container, class_name, variant, saved_by_them):
    root = saved_by_them(version)
    name = f"{container}-{class_name}-{variant}"
    report = json.loads((root / f"{name}.json").read_text())
    assert report["transformers"].startswith(version)
    assert CONTAINERS[container][1] in report["files"], "the container is the one that was to be tested"
    model, info = getattr(videomae, class_name).from_pretrained(root / name, output_loading_info=True)
    assert not any(info.values()), info
    biases = [value for key, value in model.named_parameters() if key.endswith(("q_bias", "v_bias"))]
    assert len(biases) == num_biases(class_name, variant)
    assert all(bias.abs().min() > 0 for bias in biases)
    assert_outputs(model, load_file(root / f"{name}.safetensors"))
    labels = VARIANTS[variant].get("id2label", {0: "LABEL_0", 1: "LABEL_1"})
    assert model.config.id2label == labels


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("version", VERSIONS)
def test_they_load_ours(version, class_name, variant, loaded_by_them):
    root = loaded_by_them(version)
    name = f"{class_name}-{variant}"
    report = json.loads((root / f"{name}-outputs.json").read_text())
    assert report["transformers"].startswith(version)
    assert set(report["info"]) >= {"missing_keys", "unexpected_keys", "mismatched_keys"}
    assert not any(report["info"].values()), report["info"]
    assert len(report["smallest_bias"]) == num_biases(class_name, variant)
    assert all(value > 0 for value in report["smallest_bias"].values())
    model = ours_of(class_name, variant)
    assert_outputs(model, load_file(root / f"{name}-outputs.safetensors"))
    assert report["id2label"] == {str(index): label for index, label in model.config.id2label.items()}
    assert report["config"] == {key: getattr(model.config, key) for key in report["config"]}
