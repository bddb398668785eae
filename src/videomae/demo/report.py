"""The demonstration's `report.html`: the comparison first, then what it rests on."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from pathlib import Path

from videomae.checkpoint import Checkpoint
from videomae.core.device import choose_device
from videomae.core.environment import command_line, machine_facts
from videomae.core.random_keys import generator_for
from videomae.datasets.manifest import read_manifest
from videomae.demo.main_job import DemoResult
from videomae.demo.settings import FINETUNE, PRETRAIN
from videomae.evaluation.report import add_classes, add_confusion
from videomae.inference.reconstruct import reconstruct_video
from videomae.report.curves import curve_pairs
from videomae.report.html import KeyFigure, Report
from videomae.report.pictures import contact_sheet, encode_webp
from videomae.report.svg import bar_chart, line_chart
from videomae.training.report import add_reconstruction
from videomae.training.run_folder import METRICS_NAME, REPORT_NAME
from videomae.video.opening import open_video
from videomae.video.source import VideoSource

_NUM_RECONSTRUCTIONS = 3


def write_demo_report(result: DemoResult) -> Path:
    """Write the report into the demonstration's folder; returns its path."""
    pretrained, scratch = result.pretrained.metrics, result.scratch.metrics
    facts = [("command", command_line()), ("date", f"{datetime.now():%Y-%m-%d %H:%M}"), *machine_facts()]
    report = Report("VideoMAE on generated clips", subtitle="the class of a clip is its motion alone", facts=facts)
    report.key_figures(
        [
            KeyFigure(
                "pre-trained, then fine-tuned", f"{pretrained.top1:.1%}", f"{pretrained.num_videos} held-out clips"
            ),
            KeyFigure("from scratch, same steps", f"{scratch.top1:.1%}", f"chance is {result.chance:.1%}"),
            KeyFigure("labelled clips", str(result.num_labelled), f"{result.num_unlabelled} without labels"),
            KeyFigure("time", f"{sum(result.seconds.values()) / 60:.1f} min", "all stages"),
        ]
    )
    report.text(
        "A small VideoMAE was pre-trained on clips without labels to rebuild hidden tubelets. It was then fine-tuned "
        "to classify eight motions from a few labelled clips. The same network started from new weights, with the "
        "same labelled clips and the same number of fine-tuning steps, is the comparison."
    )
    chart = bar_chart(
        "Top-1 accuracy (%)",
        ["pre-trained", "from scratch"],
        [pretrained.top1, scratch.top1],
        level=("chance", result.chance),
        intervals=[pretrained.top1_interval, scratch.top1_interval],
    )
    report.charts([chart])
    _add_clips(report, result)
    report.section("Pre-training")
    report.charts([line_chart("Pre-training loss", {"pre-training": _curve(result, "pretrained")})])
    _add_reconstructions(report, result)
    report.section("Fine-tuning")
    curves = {"pre-trained": _curve(result, "classifier"), "from scratch": _curve(result, "scratch")}
    report.charts([line_chart("Fine-tuning loss", curves)])
    add_confusion(report, result.pretrained)
    add_classes(report, result.pretrained)
    report.section("Time").table(["stage", "seconds"], [[name, f"{s:.0f}"] for name, s in result.seconds.items()])
    _add_commands(report, result)
    return report.save(result.folder / REPORT_NAME)


def reconstruct_command(folder: Path) -> str:
    """A command to try on what the demonstration left in its folder."""
    words = ["videomae", "reconstruct", folder / "clips/pretrain/clip_00000.mp4", "--model", folder / "pretrained"]
    return shlex.join([*map(str, words), "--output", "rebuilt.gif"])


def _curve(result: DemoResult, run: str) -> list[tuple[float, float]]:
    lines = (result.folder / run / METRICS_NAME).read_text(encoding="utf-8").splitlines()
    return curve_pairs([json.loads(line) for line in lines], "train", "loss")


def _clip_of_each_class(result: DemoResult) -> dict[str, VideoSource]:
    """The first held-out clip of each class, by the name of the class; no two show the same scene."""
    first: dict[str, VideoSource] = {}
    for entry in read_manifest(result.folder / "clips/finetune/val").entries:
        first.setdefault(entry.label or "", entry.path)
    return first


def _add_clips(report: Report, result: DemoResult) -> None:
    first = _clip_of_each_class(result)
    clips = []
    for path in first.values():
        with open_video(path) as reader:
            clips.append(reader.read(range(reader.num_frames)))
    report.section("The clips").picture(
        encode_webp(contact_sheet(clips, list(first))),
        alt="one clip of each class",
        caption="One held-out clip of each class.",
    )


def _add_reconstructions(report: Report, result: DemoResult) -> None:
    checkpoint = Checkpoint.open(result.folder / "pretrained", task="pretraining")
    for number, path in enumerate(list(_clip_of_each_class(result).values())[:_NUM_RECONSTRUCTIONS]):
        rebuilt = reconstruct_video(
            checkpoint,
            path,
            mask=PRETRAIN.mask,
            mask_ratio=PRETRAIN.mask_ratio,
            generator=generator_for(0, number),
            device=choose_device("auto"),
        )
        add_reconstruction(report, path, rebuilt)


def _add_commands(report: Report, result: DemoResult) -> None:
    folder = result.folder
    predict = ["videomae", "predict", folder / "clips/finetune/val", "--model", folder / "classifier"]
    report.section("Do it yourself").text("The same on your own videos:").commands(
        f"videomae pretrain VIDEOS --output pretrained\n"
        f"videomae finetune LABELLED --init pretrained --output classifier\n"
        f"videomae evaluate LABELLED --model classifier\n"
        f"videomae predict VIDEO --model classifier\n\n"
        f"# and with what the demonstration left behind\n"
        f"{shlex.join(map(str, predict))}\n"
        f"{reconstruct_command(folder)}"
    )
    rows = [
        [name, str(PRETRAIN.to_dict().get(name, "")), str(FINETUNE.to_dict().get(name, ""))]
        for name in {**PRETRAIN.to_dict(), **FINETUNE.to_dict()}
    ]
    report.section("Settings").table(
        ["setting", "pre-training", "fine-tuning"], rows, folded=f"All {len(rows)} settings"
    )
