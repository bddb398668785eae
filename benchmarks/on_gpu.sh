#!/usr/bin/env bash
# All that only a GPU can tell, the shortest first; results in benchmarks/results, named by the GPU.
#
#     benchmarks/on_gpu.sh DATA [OUTPUT]
#
# DATA has the splits train and val (see learning/actions.py); OUTPUT keeps its runs, so that a second call goes on.
set -euo pipefail
data=$1
output=${2:-gpu-runs}
cd "$(dirname "$0")"
python=${PYTHON:-python}
# The tests that the CPU skips.
"$python" -m pytest -q -k "gpu or cuda" ../tests
"$python" model_speed.py --device cuda --batch-size 32
for precision in bf16 fp32; do
    "$python" loop_overhead.py --device cuda --size base --batch-size 64 --steps 102 --precision "$precision"
done
"$python" loop_overhead.py --device cuda --size large --batch-size 32 --steps 52
"$python" learning/actions.py "$data" --output "$output" --device cuda \
    --size small --image-size 112 --num-frames 16 --pretrain-epochs 400 --learning-rate 1.5e-3 --finetune-epochs 50
