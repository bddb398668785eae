"""What holds for all tests.

Tests compute on the CPU in fp32 wherever they do not ask for more, whatever the machine has: `auto` follows the
hardware, and numbers within 1e-5 of a reference need fp32. The environment says both, so they hold for the processes
that tests start, too. `TEST_GPU=1` lets tests see a GPU; it is for those that need one:

    TEST_GPU=1 pytest -k "gpu or cuda"

Shapes in the signatures of tubelets and masks are checked while testing, and only then.
"""

import os

if os.environ.get("TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"  # the newest set of instructions without bf16

from jaxtyping import install_import_hook

install_import_hook(["videomae.core.tubelets", "videomae.core.masks"], "shape_checks.check")

pytest_plugins = ["small_runs", "tiny_videos"]
