"""The command that trains minnow: resumes by itself, writes checkpoints and the loss curve, shows its progress."""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from training import checkpoint
from training.trainer import Recipe, StepReport, Trainer

BUNDLED = Path(__file__).parent.parent / "src" / "tidemill" / "bundled" / "minnow"
DEFAULT_OUT = Path("checkpoints/minnow")
SMOOTHING = 0.98


class Curve:
    """Smooths the loss and appends it to a file, one JSON line every few steps."""

    def __init__(self, path: Path, every: int) -> None:
        self._path = path
        self._every = every
        self.loss: float | None = None

    def add(self, report: StepReport) -> None:
        """Take in a step."""
        self.loss = report.loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * report.loss
        if report.num_steps % self._every == 0:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(report) | {"smooth_loss": self.loss}) + "\n")


@dataclass(frozen=True, slots=True)
class Files:
    """Where a training writes, and how often."""

    root: Path
    save_every: int
    keep_every: int
    curve_every: int


def run(trainer: Trainer, files: Files, num_steps: int) -> None:
    """Train until so many steps are done, saving as it goes."""
    curve = Curve(files.root / "curve.jsonl", files.curve_every)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("minnow", total=num_steps, completed=trainer.progress.num_steps)
        while trainer.progress.num_steps < num_steps:
            curve.add(trainer.step())
            bar.update(task, advance=1, description=f"minnow, loss {curve.loss:.3f}")
            if trainer.progress.num_steps % files.save_every == 0 or trainer.progress.num_steps == num_steps:
                checkpoint.save(trainer.checkpoint(), files.root)
                checkpoint.prune(files.root, keep_last=2, keep_every=files.keep_every)


def main() -> None:
    """Train minnow, or go on training it: a plateau of steps at full rate, falling rates, and a second, lower fall."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="checkpoints and curve; an existing one is resumed"
    )
    parser.add_argument("--start-from", type=Path, help="checkpoint to branch off, when --out holds none")
    parser.add_argument("--tokenizer", type=Path, default=BUNDLED / "tokenizer.json")
    parser.add_argument(
        "--steps", type=int, default=2_000, help="steps at full rate from the very beginning; 0 to branch"
    )
    parser.add_argument("--decay-steps", type=int, default=4_000, help="steps of falling rates after those; 0 for none")
    parser.add_argument("--decay-start-ratio", type=float, default=1.0, help="share of the rates the fall starts from")
    parser.add_argument(
        "--settle-steps",
        type=int,
        default=1_800,
        help="steps of a second fall, if the first began at --steps; 0 for none",
    )
    parser.add_argument("--settle-start-ratio", type=float, default=0.35, help="as --decay-start-ratio")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--keep-every", type=int, default=2_000)
    parser.add_argument("--curve-every", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that share the micro-batches")
    parser.add_argument("--compile", action="store_true", help="fuse small operations; needs a C++ compiler")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    trainer = Trainer(Recipe(), tokenizer, torch.device(arguments.device), arguments.workers)
    if (found := checkpoint.find(arguments.out)) is not None:
        trainer.resume(checkpoint.load(found))
    elif arguments.start_from is not None:
        if (found := checkpoint.find(arguments.start_from)) is None:
            parser.error(f"no checkpoint at {arguments.start_from}")
        trainer.branch(checkpoint.load(found))
    if arguments.compile:
        trainer.compile()
    files = Files(arguments.out, arguments.save_every, arguments.keep_every, arguments.curve_every)
    run(trainer, files, arguments.steps)
    if arguments.decay_steps:
        trainer.decay(arguments.decay_steps, arguments.decay_start_ratio)
        run(trainer, files, trainer.last_step)
        if arguments.settle_steps and trainer.progress.decay_from == arguments.steps:
            trainer.settle(arguments.settle_steps, arguments.settle_start_ratio)
            run(trainer, files, trainer.last_step)


if __name__ == "__main__":
    main()
