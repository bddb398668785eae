#!/usr/bin/env bash
# All that only a GPU can tell, in one command: the whole test suite there, the tests that need a GPU, the benchmarks.
#
#     make gpu-wheels                           # here: what a machine with torch lacks, into .wheels
#     benchmarks/on_gpu.sh OUTPUT [MINUTES]     # there; MINUTES (15) are what it may take, dearest steps last
#
# The machine has Python 3.12, torch, torchvision, transformers and pytest; nothing is fetched there, and the wheels
# are installed into that Python, so let it be one to throw away.
# OUTPUT gets a log of each step and the benchmarks' results. It ends with 1 where a step of tests failed.
# DATA=FOLDER with the splits train and val (see learning/actions.py) adds the experiment on real clips.
set -uo pipefail
mkdir -p "$1"
output=$(cd "$1" && pwd)
limit=$((${2:-15} * 60))
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if compgen -G ".wheels/*.whl" >/dev/null; then
    # Into that Python itself: tests start processes with a PYTHONPATH of their own.
    install=("$python" -m pip install --quiet --no-index --no-deps --no-compile)
    if ! "${install[@]}" --break-system-packages .wheels/*.whl; then
        echo "this Python cannot be installed into: expect failures of tests that start processes"
        site=$(mktemp -d)
        "${install[@]}" --target "$site" .wheels/*.whl || exit
        PYTHONPATH=$site:${PYTHONPATH:-}
    fi
fi
export PYTHONPATH=$PWD/src:${PYTHONPATH:-} PYTHONUNBUFFERED=1
failed=0
touch "$output/begun"

# step NAME COMMAND…: in what is left of the time, else not at all; $seconds is how long it took.
step() {
    local name=$1 begin=$SECONDS status=0
    shift
    if ((limit - SECONDS < 20)); then
        echo "== $name: no time left"
        return
    fi
    timeout $((limit - SECONDS)) "$@" >"$output/$name.log" 2>&1 || status=$?
    echo "== $name: status $status after $((SECONDS - begin)) s"
    tail -n 15 "$output/$name.log"
    case $name in test-*) ((status)) && failed=1 ;; esac
}

workers=$(($(nproc) > 3 ? $(nproc) - 2 : 2))
tests=("$python" -m pytest -q -p no:benchmark -p no:cacheprovider)
"$python" -c 'import av, torch, transformers; print("PyAV", av.__version__, "torch", torch.__version__,
    "transformers", transformers.__version__, torch.cuda.get_device_name())' || exit
OMP_NUM_THREADS=1 step test-suite "${tests[@]}" -n "$workers" --dist loadgroup --durations=10
TEST_GPU=1 step test-gpu "${tests[@]}" -k "gpu or cuda" tests
step model-speed "$python" benchmarks/model_speed.py --device cuda --batch-sizes 32 --precisions bf16
step augmentation "$python" benchmarks/augmentation_speed.py --device cuda
for precision in bf16 fp32; do
    step "loop-$precision" "$python" benchmarks/loop_overhead.py \
        --device cuda --size base --batch-size 64 --steps 102 --precision "$precision"
done
step loop-large "$python" benchmarks/loop_overhead.py --device cuda --size large --batch-size 32 --steps 52
find benchmarks/results -name '*.json' -newer "$output/begun" -exec cp {} "$output" \;
if [[ -n ${DATA:-} ]]; then
    step actions "$python" benchmarks/learning/actions.py "$DATA" --output "$output/runs" --device cuda \
        --size small --image-size 112 --num-frames 16 --pretrain-epochs 400 --learning-rate 1.5e-3 --finetune-epochs 50
fi
exit $failed
