"""The examples of the specification run as printed, with `videomae` for `transformers`.

A folder in the working directory stands in for the hub's name, and a clip of `shared/` for the download.
"""

import doctest
import re
from pathlib import Path

import pytest
import torch

import videomae

SHARED = Path(__file__).resolve().parents[3] / "shared"
VIDEO = SHARED / "videos" / "eating_spaghetti.mp4"
# Width and clip are base's, so that shapes come out as printed; two layers are enough for that.
CONFIG = {"num_hidden_layers": 2, "decoder_num_hidden_layers": 1}
LABELS = {index: f"class {index}" for index in range(399)} | {399: "eating spaghetti"}


def examples():
    """The printed examples by the class whose section they stand in."""
    found = {}
    for path in sorted((SHARED / "spec").glob("*.txt")):
        sections = re.split(r"^### class transformers\.(\w+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(sections[1::2], sections[2::2], strict=True):
            for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
                if ">>>" in block:
                    assert name not in found, "one example a section"
                    found[name] = block
    return found


def run(name):
    """Run an example, its printed output compared, and return its variables."""
    blocks = examples()
    if name not in blocks:
        pytest.skip(f"no example of {name} in {SHARED.name}/spec beside the repository")
    text = blocks[name].replace("from transformers import", "from videomae import")
    assert "transformers" not in text
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert len(test.examples) >= 4
    report = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
    assert result.failed == 0, "".join(report)
    assert result.attempted == len(test.examples)
    return test.globs


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A working directory with a folder of the hub's name, and the download answered from `shared/`."""
    if not VIDEO.is_file():
        pytest.skip(f"no {VIDEO.name} in {SHARED.name}/videos beside the repository")
    monkeypatch.chdir(tmp_path)

    def download(repo_id, filename, repo_type):
        assert (repo_id, filename, repo_type) == ("nielsr/video-demo", "eating_spaghetti.mp4", "dataset")
        return str(VIDEO)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)

    def save(name, model):
        model.save_pretrained(name)
        videomae.VideoMAEImageProcessor(
            image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
        ).save_pretrained(name)

    return save


def test_specification_has_its_examples():
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name} folder beside the repository")
    names = {"VideoMAEConfig", "VideoMAEModel", "VideoMAEForPreTraining", "VideoMAEForVideoClassification"}
    assert set(examples()) == names


def test_config_example():
    variables = run("VideoMAEConfig")
    assert isinstance(variables["configuration"], videomae.VideoMAEConfig)
    assert variables["model"].num_parameters() > 86_000_000


def test_model_example(hub):
    hub("MCG-NJU/videomae-base", videomae.VideoMAEModel(videomae.VideoMAEConfig(**CONFIG)))
    variables = run("VideoMAEModel")
    assert variables["last_hidden_states"].shape == (1, 1568, 768)
    assert variables["inputs"]["pixel_values"].shape == (1, 16, 3, 224, 224)
    assert torch.isfinite(variables["last_hidden_states"]).all()


def test_pretraining_example(hub):
    hub("MCG-NJU/videomae-base", videomae.VideoMAEForPreTraining(videomae.VideoMAEConfig(**CONFIG)))
    variables = run("VideoMAEForPreTraining")
    assert variables["pixel_values"].shape == (1, 16, 3, 224, 224)
    hidden = int(variables["bool_masked_pos"].sum())
    assert variables["outputs"].logits.shape == (1, hidden, 1536)
    assert variables["loss"] is variables["outputs"].loss
    assert 0.5 < variables["loss"].item() < 2, "normalized pixels of noise against an untrained model: about 1"


def test_classification_example(hub):
    """The stand-in leans to one class, so that the label comes out as printed."""
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**CONFIG, id2label=LABELS))
    with torch.no_grad():
        model.classifier.bias[399] = 100.0
    hub("MCG-NJU/videomae-base-finetuned-kinetics", model)
    variables = run("VideoMAEForVideoClassification")
    assert variables["logits"].shape == (1, 400)
    assert variables["predicted_label"] == 399
