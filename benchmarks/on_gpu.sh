#!/usr/bin/env bash
# All that only a GPU can tell, in one command, the most telling first: speed and memory of the model beside its peers,
# whole runs from packed clips, larger models, then the tests.
#
#     make gpu-wheels                           # here: what a machine with torch lacks, into .wheels
#     benchmarks/on_gpu.sh OUTPUT [MINUTES]     # there; MINUTES (12) are what it may take
#
# The machine has Python 3.12, torch, torchvision, transformers and pytest; nothing is fetched there, and the wheels
# are installed into that Python, so let it be one to throw away.
# OUTPUT gets a log of each step and the results, each row as soon as it is measured. It ends with 1 where a step of
# tests failed. V1=FOLDER V2=FOLDER add the original code bases (which need timm); DATA=FOLDER with the splits train and
# val (see learning/actions.py) the experiment on real clips; LIPS=FOLDER that on lip-read words (learning/lips.py).
# A trial without a GPU: DEVICE=cpu SIZE=tiny LARGE=tiny PRECISION=fp32 BATCH=2 STEPS=6 benchmarks/on_gpu.sh OUTPUT 12
set -uo pipefail
mkdir -p "$1"
output=$(cd "$1" && pwd)
limit=$((${2:-12} * 60))
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

# step NAME SECONDS COMMAND…: at most so long and in what is left of the time, else not at all.
step() {
    local name=$1 most=$2 begin=$SECONDS status=0
    shift 2
    if ((limit - SECONDS < 20)); then
        echo "== $name: no time left"
        return
    fi
    timeout $((most < limit - SECONDS ? most : limit - SECONDS)) "$@" >"$output/$name.log" 2>&1 || status=$?
    echo "== $name: status $status after $((SECONDS - begin)) s"
    tail -n 15 "$output/$name.log"
    case $name in test-*) ((status)) && failed=1 ;; esac
}

device=${DEVICE:-cuda} size=${SIZE:-base} large=${LARGE:-large} precision=${PRECISION:-bf16}
batch=${BATCH:-32} steps=${STEPS:-120}
half=$((batch / 2)) quarter=$((batch > 3 ? batch / 4 : 1))
"$python" -c 'import av, torch, transformers; print("PyAV", av.__version__, "torch", torch.__version__,
    "transformers", transformers.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")' ||
    exit
results=(--device "$device" --results "$output")
model=("$python" benchmarks/model_speed.py "${results[@]}" --row-seconds 5)
model+=(${V1:+--v1 "$V1"} ${V2:+--v2 "$V2"} --rows)
base=$size/$precision
step model-plain 90 "${model[@]}" "pretrain/$base/$batch" "finetune/$base/$half" "classify/$base/$batch"
step model-compiled 240 "${model[@]}" {"pretrain/$base/$batch","finetune/$base/$half","classify/$base/$batch"}/compiled
step loop 150 "$python" benchmarks/loop_speed.py "${results[@]}" --size "$size" --batch-size $((2 * batch)) --steps "$steps"
step model-memory 60 "${model[@]}" "pretrain/$base/$((4 * batch))" "finetune/$base/$((2 * batch))" "dual/$base/$batch"
step model-large 90 "${model[@]}" "pretrain/$large/$precision/$batch" "finetune/$large/$precision/$quarter" \
    "classify/$large/$precision/$batch"
step pipeline 45 "$python" benchmarks/pipeline_speed.py "${results[@]}" --size "$size" --row-seconds 5 --rows video startup
step inference 75 "$python" benchmarks/inference_speed.py "${results[@]}" --size "$size" --precision "$precision" \
    --videos 1024 --views 0,8 --rounds 2 --jobs predict
step augmentation 45 "$python" benchmarks/augmentation_speed.py "${results[@]}"
step faster-inference 30 "$python" benchmarks/faster_inference.py "${results[@]}" --size "$size" --batch-size "$batch"
step loop-augmented 60 "$python" benchmarks/loop_speed.py "${results[@]}" --size "$size" --batch-size $((2 * batch)) \
    --steps "$steps" --rows finetune/2/workers finetune/2/whole
step loop-overhead 60 "$python" benchmarks/loop_overhead.py "${results[@]}" --size "$size" --batch-size "$batch" \
    --steps 52 --precision "$precision"

workers=$(($(nproc) > 3 ? $(nproc) - 2 : 2))
tests=("$python" -m pytest -q -p no:benchmark -p no:cacheprovider)
TEST_GPU=1 step test-gpu 120 "${tests[@]}" -k "gpu or cuda" tests
OMP_NUM_THREADS=1 step test-suite "$limit" "${tests[@]}" -n "$workers" --dist loadgroup --durations=10
if [[ -n ${DATA:-} ]]; then
    step actions "$limit" "$python" benchmarks/learning/actions.py "$DATA" --output "$output/runs" --device "$device" \
        --size small --image-size 112 --num-frames 16 --pretrain-epochs 400 --learning-rate 1.5e-3 --finetune-epochs 50
fi
if [[ -n ${LIPS:-} ]]; then
    step lips "$limit" "$python" benchmarks/learning/lips.py "$LIPS" --output "$output/lips" --device "$device" \
        --pretrain epochs=30 batch_size=64 learning_rate=6e-3 --finetune epochs=10 batch_size=32 learning_rate=8e-3 \
        --minutes 9 --results "$output"
fi
exit $failed
