"""The command that trains minnow: resumes by itself, writes checkpoints and the loss curve, shows its progress."""

import argparse
import json
import os
from collections.abc import Sequence
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
PLATEAU_STEPS, FALL_STEPS, SETTLE_STEPS = 2_000, 4_000, 1_800
"""The recipe's schedule."""


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


def parser() -> argparse.ArgumentParser:
    """The options. The defaults of the schedule are the recipe's."""
    options = argparse.ArgumentParser(
        description="Train minnow, or go on training it: a plateau of steps at full rate, falling rates, and a second, "
        "lower fall."
    )
    options.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="checkpoints and curve; an existing one is resumed"
    )
    options.add_argument("--start-from", type=Path, help="checkpoint to branch off, when --out holds none")
    options.add_argument("--tokenizer", type=Path, default=BUNDLED / "tokenizer.json")
    options.add_argument(
        "--steps", type=int, default=PLATEAU_STEPS, help="steps at full rate from the very beginning; 0 to branch"
    )
    options.add_argument(
        "--decay-steps", type=int, default=FALL_STEPS, help="steps of falling rates after those; 0 for none"
    )
    options.add_argument("--decay-start-ratio", type=float, default=1.0, help="share of the rates the fall starts from")
    options.add_argument(
        "--settle-steps",
        type=int,
        help=f"steps of a second fall; if not given, {SETTLE_STEPS} after the recipe's first, none after any other",
    )
    options.add_argument("--settle-start-ratio", type=float, default=0.35, help="as --decay-start-ratio")
    options.add_argument("--save-every", type=int, default=250)
    options.add_argument("--keep-every", type=int, default=2_000)
    options.add_argument("--curve-every", type=int, default=10)
    options.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads that share the micro-batches"
    )
    options.add_argument("--compile", action="store_true", help="fuse small operations; needs a C++ compiler")
    options.add_argument("--device", default="cpu")
    return options


def run_schedule(trainer: Trainer, files: Files, arguments: argparse.Namespace) -> None:
    """The plateau, the fall and the second fall, each from where the training stands."""
    run(trainer, files, arguments.steps)
    if not arguments.decay_steps:
        return
    trainer.decay(arguments.decay_steps, arguments.decay_start_ratio)
    run(trainer, files, trainer.last_step)
    if num_steps := _num_settle_steps(trainer.progress, arguments):
        trainer.settle(num_steps, arguments.settle_start_ratio)
        run(trainer, files, trainer.last_step)


def _num_settle_steps(progress: checkpoint.Progress, arguments: argparse.Namespace) -> int:
    """Of the second fall, now that one is over: as asked, or the recipe's after the recipe's first; of no branch's."""
    if (progress.decay_steps, progress.decay_start_ratio) != (arguments.decay_steps, arguments.decay_start_ratio):
        return 0  # It was the second: this training had settled before it was taken up again.
    if arguments.settle_steps is not None:
        return int(arguments.settle_steps)
    return SETTLE_STEPS if (progress.decay_from, progress.decay_steps) == (PLATEAU_STEPS, FALL_STEPS) else 0


def main(words: Sequence[str] | None = None) -> None:
    """Train as the command line says; `words` stand in for it."""
    options = parser()
    arguments = options.parse_args(words)
    second = arguments.settle_steps, arguments.settle_start_ratio
    if arguments.decay_steps and second == (arguments.decay_steps, arguments.decay_start_ratio):
        options.error("the two falls must differ, or a resumed training could not tell which one is under way")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    trainer = Trainer(Recipe(), tokenizer, torch.device(arguments.device), arguments.workers)
    if (found := checkpoint.find(arguments.out)) is not None:
        trainer.resume(checkpoint.load(found))
    elif arguments.start_from is not None:
        if (found := checkpoint.find(arguments.start_from)) is None:
            options.error(f"no checkpoint at {arguments.start_from}")
        trainer.branch(checkpoint.load(found))
    if arguments.compile:
        trainer.compile()
    files = Files(arguments.out, arguments.save_every, arguments.keep_every, arguments.curve_every)
    run_schedule(trainer, files, arguments)


if __name__ == "__main__":
    main()
