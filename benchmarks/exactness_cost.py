"""What exactness costs: steps of the real runner with the row tile, beside --fast-math, alternately in one process.

Decode steps of 1, 8 and 32 sequences at a context of 128 tokens, and a prompt of 512 tokens in one step, in fp32 and
bf16.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe, make_checkpoint, write
from tidemill.config.settings import CacheSettings, ModelSettings, Precision, SchedulerSettings
from tidemill.core.requests import SamplingParams
from tidemill.models.spec import load_spec
from tidemill.runner.loading import load_runner
from tidemill.scheduler.batch import Batch, NewSequence, Runner, ScheduledSequence

BLOCK_SIZE = 16
CONTEXT = 128
PROMPT = 512


class Contestant:
    """A runner that is given its steps by hand."""

    def __init__(self, folder: Path, precision: Precision, *, fast_math: bool) -> None:
        loaded = load_runner(
            folder,
            load_spec(folder),
            ModelSettings(precision=precision, fast_math=fast_math, max_model_len=1024),
            CacheSettings(block_size=BLOCK_SIZE, kv_cache_memory=2**30),
            SchedulerSettings(max_num_batched_tokens=CONTEXT * 32),
            model_id=0,
            progress=lambda *_: None,
        )
        self.runner: Runner = loaded.runner
        self._step = 0
        self._sequence = 0

    def seconds(self, num_sequences: int, num_decodes: int, num_prompt: int) -> float:
        """Seconds of one prompt step (`num_decodes` 0), or the median of the decode steps after it."""
        pages = -(-(num_prompt + num_decodes) // BLOCK_SIZE)
        ids = [self._sequence + i for i in range(num_sequences)]
        self._sequence += num_sequences
        sampling = SamplingParams(seed=0, temperature=0.0, ignore_eos=True)
        prompts = {i: tuple(300 + (7 * i + 13 * p) % 9000 for p in range(num_prompt)) for i in ids}
        new = tuple(NewSequence(i, 0, prompts[i], sampling, (0, 0, 0), frozenset()) for i in ids)
        tables = {i: [1 + n * pages + b for b in range(pages)] for n, i in enumerate(ids)}

        def step(start: int, count: int, new: tuple[NewSequence, ...] = (), finished: tuple[int, ...] = ()) -> float:
            self._step += 1
            rows = tuple(ScheduledSequence(i, start, count, (tables[i],), samples=True) for i in ids)
            begin = time.perf_counter()
            self.runner.launch(Batch(self._step, 0, new, rows, finished)).result()
            return time.perf_counter() - begin

        prompt = step(0, num_prompt, new)
        return statistics.median(step(num_prompt + n, 1) for n in range(num_decodes)) if num_decodes else prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="115M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = make_checkpoint(options.checkpoints, options.shape)
    work = {f"decode of {n}": (n, 24, CONTEXT) for n in (1, 8, 32)} | {"prompt of 512": (1, 0, PROMPT)}
    table = {}
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    for precision in precisions:
        contestants = {"exact": False, "fast_math": True}
        runners = {name: Contestant(folder, precision, fast_math=fast) for name, fast in contestants.items()}
        for what, numbers in work.items():
            seconds: dict[str, list[float]] = {name: [] for name in runners}
            for turn in range(options.rounds + 1):
                for name in list(runners) if turn % 2 else reversed(list(runners)):
                    took = runners[name].seconds(*numbers)
                    if turn:
                        seconds[name].append(took)
            median = {name: statistics.median(values) * 1e3 for name, values in seconds.items()}
            table[f"{precision}, {what}"] = {f"{name}_ms": round(value, 2) for name, value in median.items()} | {
                "exact / fast_math": round(median["exact"] / median["fast_math"], 2)
            }
    what = "milliseconds of a step, exact beside --fast-math"
    write({"what": what, "machine": describe(), "shape": options.shape, "steps": table}, options.out)


if __name__ == "__main__":
    main()
