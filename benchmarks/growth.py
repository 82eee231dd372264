"""How a decode step grows with context and with the number of sequences, and a prompt with its length.

    python -m benchmarks.growth --model 1B --precision int8 --kv-gib 3 --out benchmarks/results/growth-1B-int8.json

The exponent is the slope of log time over log size, by least squares, over all of the range and over its last doubling:
0 is a cost that does not grow, 1 grows in proportion, 2 with the square.
"""

import argparse
import math
import tempfile
from pathlib import Path

from benchmarks import limits
from benchmarks.machine import SHAPES, busy_cores, describe, make_checkpoint, write
from benchmarks.stepping import Decode, Prompt, Stepper
from tidemill.config.settings import ModelSettings
from tidemill.models.spec import load_spec

Row = dict[int, float]
"""Milliseconds by size."""


def exponent(row: Row) -> float | None:
    """The slope of log milliseconds over log size; None of fewer than two points."""
    points = [(math.log(size), math.log(ms)) for size, ms in row.items()]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return round(slope, 2)


def told(row: Row) -> dict[str, object]:
    """A row with its exponents."""
    last = dict(list(row.items())[-2:])
    return {
        "ms": {str(k): round(v, 3) for k, v in row.items()},
        "exponent": exponent(row),
        "at_the_end": exponent(last),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint's folder, or a shape to make: " + ", ".join(SHAPES), default="1B")
    parser.add_argument("--precision", default="int8", help="as of `tidemill serve`")
    parser.add_argument("--contexts", type=int, nargs="*", default=[256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--sequences", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--prompts", type=int, nargs="*", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--chunk", type=int, default=512, help="largest rows of a prompt's step")
    parser.add_argument(
        "--kv-gib", type=float, default=3.0, help="memory for keys and values: larger cells are left out"
    )
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    busy = busy_cores(0.5)
    folder = make_checkpoint(options.checkpoints, options.model) if options.model in SHAPES else Path(options.model)
    spec = load_spec(folder)
    contexts = [c for c in options.contexts if c + options.steps <= spec.max_position_embeddings] or [128]
    # A decode step writes at its position: the longest context leaves room for the steps.
    contexts += [spec.max_position_embeddings - options.steps - 1] if len(contexts) < len(options.contexts) else []
    room = int(options.kv_gib * 2**30 / limits.kv_bytes_per_token(spec, "bf16"))
    model = ModelSettings(precision=options.precision, max_model_len=spec.max_position_embeddings)
    stepper = Stepper(folder, model, most_tokens=room, chunk=options.chunk)
    table: dict[int, Row] = {n: {} for n in options.sequences}
    for context in contexts:
        for count in options.sequences:
            if count * (context + options.steps + 64) <= room:
                work = Decode(count, context)
                stepper.decode_seconds(work, num_steps=2)
                table[count][context] = stepper.decode_seconds(work, num_steps=options.steps) * 1e3
    by_context: dict[int, Row] = {c: {n: row[c] for n, row in table.items() if c in row} for c in contexts}
    prompts: Row = {}
    for tokens in options.prompts:
        if tokens <= min(room, spec.max_position_embeddings):
            prompts[tokens] = min(stepper.prompt_seconds(Prompt(tokens, options.chunk)) for _ in range(2)) * 1e3
    write(
        {
            "what": "growth of a decode step with context and sequences, and of a prompt with its length",
            "machine": describe(),
            "busy_cores_before": busy,
            "config": {k: v for k, v in vars(options).items() if k not in ("out", "checkpoints", "model")},
            "model": {"parameters": spec.num_parameters, "precision": stepper.info.precision},
            "decode_step_over_context_by_sequences": {str(n): told(row) for n, row in table.items() if row},
            "decode_step_over_sequences_by_context": {str(c): told(row) for c, row in by_context.items() if row},
            "prompt_over_tokens": told(prompts),
        },
        options.out,
    )


if __name__ == "__main__":
    main()
