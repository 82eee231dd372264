"""This machine's limits, and each figure of the engine as a share of its limit, measured in one process.

    python -m benchmarks.roofline --model CHECKPOINT --precision int8 --out benchmarks/results/roofline-1B-int8.json

Reads: the best of torch's sum and of Numba readers with 512-bit loads over --read-bytes. Arithmetic: dot products held
in registers, which nothing can beat, and the best matrix product there is, which is what a prompt's limit is made of.

The reading limit is not a constant of a virtual machine: two cores on one chiplet share its link to memory, on two they
do not, and the host moves them about. So it is measured before and after every figure, a figure counts when the two
agree, and the share is of the limit at that moment.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import limits, peaks
from benchmarks.machine import SHAPES, busy_cores, describe, make_checkpoint, write
from benchmarks.stepping import Decode, Prompt, Stepper
from tidemill.config.settings import ModelSettings

AGREE = 0.08
"""Readings before and after a figure that are closer than this are of one state of the machine."""
MAX_TRIES = 12


class Limits:
    """The machine's limits: arithmetic once, reading whenever it is asked."""

    def __init__(self, num_bytes: int, arithmetic: str) -> None:
        data = peaks.aligned_bytes(num_bytes)
        self.readers = peaks.read_bandwidths(data, seconds=0.3)
        self._gauge = peaks.Gauge(data)
        self.seen = [max(self.readers.values())]
        self.registers = peaks.register_peaks(seconds=0.5)
        self.products = peaks.product_peaks(rows=512, seconds=0.5)
        self._product = max(value for name, value in self.products.items() if name.startswith(arithmetic))
        self._attention = max(value for name, value in self.products.items() if name.startswith("bf16"))

    def now(self) -> limits.Peaks:
        """Reading as it is now."""
        self.seen.append(self._gauge.bytes_per_second())
        return limits.Peaks(self.seen[-1], self._product, self._attention)

    def told(self) -> dict[str, Any]:
        """For the result's file."""
        return {
            "read_gb_per_second": {
                "by_reader": {name: round(value / 1e9, 1) for name, value in self.readers.items()},
                "least_in_this_run": round(min(self.seen) / 1e9, 1),
                "most_in_this_run": round(max(self.seen) / 1e9, 1),
            },
            "tera_operations_per_second": {
                "in_registers": {name: round(value / 1e12, 3) for name, value in self.registers.items()},
                "matrix_products_of_512_rows": {name: round(value / 1e12, 3) for name, value in self.products.items()},
            },
        }


def figure(seconds: float, work: limits.Work, best: limits.Peaks) -> dict[str, Any]:
    """A measured step beside its limit."""
    by_cause = work.seconds(best)
    cause = max(by_cause, key=lambda name: by_cause[name])
    return {
        "ms": round(seconds * 1e3, 3),
        "limit_ms": round(by_cause[cause] * 1e3, 3),
        "limited_by": cause,
        "share_of_limit": round(by_cause[cause] / seconds, 3),
        "machine_read_gb_per_second": round(best.read_bytes_per_second / 1e9, 1),
        "read_gb_per_second": round((work.weight_bytes + work.kv_bytes) / seconds / 1e9, 1),
        "tera_operations_per_second": round((work.operations + work.attention_operations) / seconds / 1e12, 3),
    }


def in_one_state(measure: Callable[[], float], work: limits.Work, machine: Limits, rounds: int) -> dict[str, Any]:
    """The median by share of `rounds` figures whose limits before and after agree."""
    measure()
    kept: list[dict[str, Any]] = []
    before = machine.now()
    for _ in range(MAX_TRIES):
        took = measure()
        after = machine.now()
        low, high = sorted((before.read_bytes_per_second, after.read_bytes_per_second))
        if high <= low * (1 + AGREE):
            kept.append(figure(took, work, after if after.read_bytes_per_second == high else before))
        before = after
        if len(kept) == rounds:
            break
    if not kept:
        return {"left out": f"the machine did not hold still in {MAX_TRIES} tries"}
    kept.sort(key=lambda row: row["share_of_limit"])
    return kept[len(kept) // 2] | {"rounds": [(row["ms"], row["share_of_limit"]) for row in kept]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint's folder, or a shape to make: " + ", ".join(SHAPES), default="1B")
    parser.add_argument("--precision", default="int8", help="as of `tidemill serve`")
    parser.add_argument("--kv-precision", default=None, help="as of `tidemill serve`; left out, the engine's choice")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--long-rows", type=int, default=32, help="rows of the step with a long context; 0: none")
    parser.add_argument("--long-context", type=int, default=2000)
    parser.add_argument("--prompt-tokens", type=int, nargs="*", default=[210, 842])
    parser.add_argument("--chunk", type=int, default=512, help="largest rows of a prompt's step")
    parser.add_argument("--steps", type=int, default=10, help="decode steps of a round, of which the median counts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read-bytes", type=int, default=2**30)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = make_checkpoint(options.checkpoints, options.model) if options.model in SHAPES else Path(options.model)
    write(measure(folder, options), options.out)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Limits first, then the engine's figures, each with the reading limit of its moment."""
    busy = busy_cores(0.5)
    decodes = [Decode(rows, options.context) for rows in options.rows]
    if options.long_rows:
        decodes.append(Decode(options.long_rows, options.long_context))
    most = max([d.num_sequences * (d.context + options.steps + 32) for d in decodes] + options.prompt_tokens)
    kv = {"kv_precision": options.kv_precision} if options.kv_precision else {}
    model = ModelSettings(precision=options.precision, max_model_len=8192, **kv)
    stepper = Stepper(folder, model, most_tokens=most, chunk=options.chunk)
    spec, precision, kv_precision = stepper.spec, stepper.info.precision, getattr(stepper.info, "kv_precision", None)
    kv_precision = kv_precision or ("fp32" if precision == "fp32" else "bf16")
    peaks.use_threads(stepper.info.num_threads)
    machine = Limits(options.read_bytes, "int8" if precision.startswith("int") else precision)
    steps: dict[str, Any] = {}
    for work in decodes:
        name = f"decode, {work.num_sequences} rows at context {work.context}"
        least = limits.decode(spec, precision, kv_precision, num_rows=work.num_sequences, context=work.context)
        run = functools.partial(stepper.decode_seconds, work, num_steps=options.steps)
        steps[name] = in_one_state(run, least, machine, options.rounds)
    for tokens in options.prompt_tokens:
        least = limits.prompt(spec, precision, kv_precision, num_tokens=tokens)
        run = functools.partial(stepper.prompt_seconds, Prompt(tokens, options.chunk))
        row = in_one_state(run, least, machine, options.rounds)
        row["tokens_per_second"] = round(tokens / row["ms"] * 1e3, 1)
        steps[f"prompt of {tokens}"] = row
    return {
        "what": "limits of the machine, and steps of the engine as shares of them, in one process",
        "machine": describe(),
        "config": {k: v for k, v in vars(options).items() if k not in ("out", "checkpoints", "model")},
        "model": {"parameters": spec.num_parameters, "precision": precision, "kv_precision": kv_precision},
        "busy_cores_before": busy,
        **machine.told(),
        "steps": steps,
    }


if __name__ == "__main__":
    main()
