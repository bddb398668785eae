"""Write `processor.npz`: what transformers 4.34.0 makes of the frames of `processor_cases`.

Run in an environment with transformers 4.34.0, Pillow and torch:

    python tests/goldens/make_processor_goldens.py [--output FOLDER]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import transformers
from processor_cases import CASES, frames_of, levels_of
from transformers import VideoMAEImageProcessor


def main():
    if transformers.__version__ != "4.34.0":
        raise SystemExit(f"transformers {transformers.__version__}: expected 4.34.0")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    file = parser.parse_args().output / "processor.npz"
    arrays, types = {}, {}
    for name, (kind, options) in CASES.items():
        frames = frames_of(**kind)
        result = np.array(VideoMAEImageProcessor().preprocess(frames, **options)["pixel_values"])
        types[name] = str(result.dtype)
        levels = levels_of(result, frames, options)
        whole = np.round(levels)
        # Levels are whole numbers after a resize: a quarter of the bytes.
        is_whole = np.abs(levels - whole).max() < 1e-3 and whole.min() >= 0 and whole.max() <= 255
        arrays[name] = whole.astype(np.uint8) if is_whole else levels.astype(np.float32)
    arrays["types"] = np.array(json.dumps(types, sort_keys=True))
    np.savez_compressed(file, **arrays)
    print(f"{file.name}: {len(types)} cases, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
