"""The main job without what Windows lacks: no POSIX modules, signals, forks, nor files deleted while they are open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import CLIP_WORDS, SPEED_WORDS, command_environment, read_metrics, write_data_set

NUM_STEPS = 12
WORDS = [*CLIP_WORDS, *SPEED_WORDS, "--batch-size", "1", "--save-minutes", "0.0001"]
# The commands one after the other in one process, as `main`; Ctrl-C comes once `metrics.jsonl` has lines.
DRIVER = """
import contextlib, io, json, _thread, sys, threading, time
from pathlib import Path

def interrupt_at(path):
    while not path.exists() or len(path.read_text().splitlines()) < 2:
        time.sleep(0.005)
    _thread.interrupt_main()

if __name__ == "__main__":
    from videomae.cli.main import main
    for interrupted_at, words in json.load(sys.stdin):
        if interrupted_at is not None:
            threading.Thread(target=interrupt_at, args=(Path(interrupted_at),), daemon=True).start()
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(words)
        print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""
PROBE = """
import os, signal, socket, sys
for module in ("fcntl", "resource", "pwd"):
    try:
        __import__(module, globals())
        raise SystemExit(f"{module} is there")
    except ImportError:
        continue
assert not hasattr(os, "sysconf") and not hasattr(os, "fork") and not hasattr(os, "sched_getaffinity")
assert not hasattr(signal, "SIGKILL") and not hasattr(signal, "SIGCHLD") and hasattr(signal, "SIGTERM")
assert not hasattr(socket, "AF_UNIX") and (os.name, sys.platform) == ("nt", "win32")
def refused(act):
    try:
        act()
    except OSError:
        return True
here = os.environ["VIDEOMAE_NO_POSIX"]
with open(f"{here}/held", "w") as held:
    assert refused(lambda: os.remove(held.name)) and refused(lambda: os.replace(held.name, f"{here}/other"))
os.remove(held.name)
assert refused(lambda: open("/proc/cpuinfo")) and refused(lambda: open(f"{here}/a:b", "w"))
assert refused(lambda: os.symlink(here, f"{here}/link")) and refused(lambda: os.link(__file__, f"{here}/link"))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux imitates Windows")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes from which it is taken, each of which leaves a file in `marks`."""
    (tmp_path / "marks").mkdir()
    plain = command_environment()
    taken = str(Path(__file__).parents[1] / "no_posix")
    place = os.pathsep.join([taken, plain["PYTHONPATH"]])
    return {**plain, "PYTHONPATH": place, "VIDEOMAE_NO_POSIX": str(tmp_path / "marks")}


def test_it_is_taken_from_this_package_alone(environment: dict[str, str]) -> None:
    own = f"exec(compile({PROBE!r}, 'probe.py', 'exec'), {{'__name__': 'videomae.probe', '__file__': 'probe.py'}})"
    others = "import fcntl, os, signal; os.sysconf; signal.SIGKILL; open('/proc/cpuinfo').close()"
    for code in (own, others):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_main_job_without_what_windows_lacks(tmp_path: Path, environment: dict[str, str]) -> None:
    data = write_data_set(tmp_path / "clips", per_class=2)
    classifier, metrics = tmp_path / "classifier", tmp_path / "run" / "metrics.jsonl"
    train = ["pretrain", tmp_path / "packed", "--output", tmp_path / "run", "--mask-ratio", "0.75", *WORDS]
    train += ["--num-workers", "1", "--epochs", str(NUM_STEPS // 6)]
    finetune = ["finetune", data, "--output", classifier, "--init", tmp_path / "run", *WORDS, "--epochs", "1"]
    commands = [
        (None, ["scan", data, "--num-workers", "1", "--json"]),
        (None, ["pack", data, tmp_path / "packed", "--num-workers", "1", "--short-side", "32", "--json"]),
        (metrics, train),
        (None, train),
        (None, finetune),
        (None, ["predict", next(data.rglob("*.mp4")), "--model", classifier, "--device", "cpu", "--json"]),
    ]
    given = json.dumps([[place and str(place), [*map(str, words)]] for place, words in commands])
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    done = subprocess.run([sys.executable, driver], input=given, env=environment, capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, _, _ in results] == [0, 0, 130, 0, 0, 0], [
        done.stderr,
        *(said[-900:] for _, _, said in results[2:]),
    ]
    scanned, packed, stopped, _, _, predicted = results
    assert (json.loads(scanned[1])["num_videos"], json.loads(packed[1])["num_packed"]) == (6, 6)
    assert "videomae pretrain" in stopped[2]
    assert [line["step"] for line in read_metrics(metrics.parent)] == list(range(1, NUM_STEPS + 1))
    assert len(json.loads(predicted[1])["videos"][0]["predictions"]) == 3
    # This process, the worker of scan and of pack, and a loader's worker of each part of the run.
    assert len(list((tmp_path / "marks").iterdir())) >= 5
