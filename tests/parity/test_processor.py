"""The image processor's goldens made anew, and its file in other releases of transformers."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from videomae.processing.image_processor import VideoMAEImageProcessor

pytestmark = pytest.mark.parity

GOLDENS = Path(__file__).parents[1] / "goldens"
VERSIONS = {"4.34.0": "VIDEOMAE_PARITY_PYTHON_434", "5": "VIDEOMAE_PARITY_PYTHON_5"}
SETTINGS = {
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 24, "width": 32},
    "resample": 3,
    "do_rescale": False,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "sampling": {"method": "dense", "num_frames": 16, "frame_stride": 4},
}
# Loads our folder, says what it read, and saves it again.
PEER = """
import json, sys
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(sys.argv[1])
assert type(processor).__name__ == "VideoMAEImageProcessor", type(processor)
processor.save_pretrained(sys.argv[2])
sys.stdout.write(json.dumps({name: getattr(processor, name) for name in sys.argv[3:]}, default=dict))
"""


def run(version, *arguments):
    python = os.environ.get(VERSIONS[version])
    if not python:
        pytest.skip(f"{VERSIONS[version]} names no interpreter with transformers {version}; run `make parity`")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2")
    done = subprocess.run(
        [python, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_goldens_made_anew(tmp_path):
    run("4.34.0", GOLDENS / "make_processor_goldens.py", "--output", tmp_path)
    with np.load(tmp_path / "processor.npz") as found, np.load(GOLDENS / "processor.npz") as expected:
        assert set(found) == set(expected)
        for name in expected:
            if name == "types":
                assert str(found[name]) == str(expected[name])
            else:
                # Another release of Pillow may round a pixel differently.
                difference = np.abs(found[name].astype(float) - expected[name].astype(float))
                assert difference.max() <= 1, name


@pytest.mark.parametrize("version", VERSIONS)
def test_file_there_and_back(version, tmp_path):
    ours = VideoMAEImageProcessor(**SETTINGS)
    ours.save_pretrained(tmp_path / "ours")
    read = json.loads(run(version, "-c", PEER, tmp_path / "ours", tmp_path / "theirs", *SETTINGS))
    read["size"] = {key: length for key, length in read["size"].items() if length is not None}
    read["crop_size"] = {key: length for key, length in read["crop_size"].items() if length is not None}
    assert read == SETTINGS
    back = VideoMAEImageProcessor.from_pretrained(tmp_path / "theirs")
    assert {name: getattr(back, name) for name in SETTINGS} == SETTINGS
