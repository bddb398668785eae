"""`videomae demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videomae.api._console import stderr_console
from videomae.cli.arguments import parse, require_at_least
from videomae.cli.console import EXIT_DONE, print_json


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """The whole pipeline on generated clips: a few minutes on two cores, no data needed.

    Writes short clips whose class is their motion alone, pre-trains a small model on unlabelled ones, fine-tunes it
    on a few labelled ones, and compares with the same network from scratch. Repeat the command to go on after an
    interruption.
    """

    output: Path = Path("demo-run")
    """Folder for clips, models and report."""
    seed: int = 0
    """Seed of clips and training."""
    device: str = "auto"
    """Where to compute: auto (CUDA, else MPS, else the CPU) or any device of torch, such as cpu, cuda:1 or mps."""
    json: bool = False
    """Print one JSON document on stdout at the end."""


def run(arguments: list[str]) -> int:
    """Parse, run the demonstration, print its results."""
    options = parse(DemoOptions, arguments, command="demo")
    require_at_least(0, "--seed", options.seed)

    from videomae.api.progress import ProgressMonitor
    from videomae.cli.training import interruptible
    from videomae.demo.main_job import run_main_job
    from videomae.demo.report import reconstruct_command, write_demo_report

    console = stderr_console()

    def demo() -> int:
        result = run_main_job(
            options.output, seed=options.seed, monitor=ProgressMonitor(console), device=options.device
        )
        report = write_demo_report(result)
        pretrained, scratch = result.pretrained.metrics, result.scratch.metrics
        if options.json:
            print_json(
                {
                    "report": str(report),
                    "pretrained_top1": pretrained.top1,
                    "scratch_top1": scratch.top1,
                    "chance": result.chance,
                    "num_unlabelled": result.num_unlabelled,
                    "num_labelled": result.num_labelled,
                    "num_held_out": pretrained.num_videos,
                    "pretrain_loss": result.pretrain_loss,
                    "seconds": result.seconds,
                }
            )
        else:
            print(
                f"\n{len(result.pretrained.class_names)} motions, {result.num_unlabelled} clips without labels, "
                f"{result.num_labelled} with, {pretrained.num_videos} held out\n"
                f"  pre-trained, then fine-tuned  {pretrained.top1:6.1%}\n"
                f"  from scratch, same steps      {scratch.top1:6.1%}\n"
                f"  chance                        {result.chance:6.1%}\n"
                f"time    {', '.join(f'{name} {seconds:.0f} s' for name, seconds in result.seconds.items())}\n"
                f"report  {report}  (open it in a browser)\n"
                f"try     {reconstruct_command(options.output)}"
            )
        return EXIT_DONE

    return interruptible(demo, console, words=["demo", *arguments])
