"""What exactness costs: steps of the real runner with the row tile, beside --fast-math, alternately in one process.

Decode steps of 1, 8 and 32 sequences at a context of 128 tokens, and a prompt of 512 tokens in one step, in fp32 and
bf16.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.machine import describe, make_checkpoint, write
from benchmarks.stepping import Decode, Prompt, Stepper
from tidemill.config.settings import ModelSettings, Precision

CONTEXT, PROMPT, NUM_STEPS = 128, 512, 24
WORK: dict[str, Decode | Prompt] = {f"decode of {n}": Decode(n, CONTEXT) for n in (1, 8, 32)}
WORK["prompt of 512"] = Prompt(PROMPT, PROMPT)


def stepper(folder: Path, precision: Precision, *, fast_math: bool) -> Stepper:
    """One contestant."""
    model = ModelSettings(precision=precision, fast_math=fast_math, max_model_len=1024)
    return Stepper(folder, model, most_tokens=32 * (CONTEXT + NUM_STEPS + 32), chunk=PROMPT)


def seconds(contestant: Stepper, work: Decode | Prompt) -> float:
    """Seconds of one step."""
    if isinstance(work, Prompt):
        return contestant.prompt_seconds(work)
    return contestant.decode_seconds(work, num_steps=NUM_STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="115M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = make_checkpoint(options.checkpoints, options.shape)
    table = {}
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    for precision in precisions:
        contestants = {"exact": False, "fast_math": True}
        runners = {name: stepper(folder, precision, fast_math=fast) for name, fast in contestants.items()}
        for what, work in WORK.items():
            took: dict[str, list[float]] = {name: [] for name in runners}
            for turn in range(options.rounds + 1):
                for name in list(runners) if turn % 2 else reversed(list(runners)):
                    once = seconds(runners[name], work)
                    if turn:
                        took[name].append(once)
            median = {name: statistics.median(values) * 1e3 for name, values in took.items()}
            table[f"{precision}, {what}"] = {f"{name}_ms": round(value, 2) for name, value in median.items()} | {
                "exact / fast_math": round(median["exact"] / median["fast_math"], 2)
            }
    what = "milliseconds of a step, exact beside --fast-math"
    write({"what": what, "machine": describe(), "shape": options.shape, "steps": table}, options.out)


if __name__ == "__main__":
    main()
