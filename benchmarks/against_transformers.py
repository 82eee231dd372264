"""One stream, and eight requests at once, served over HTTP by Tidemill and generated in process by `transformers`.

The contestants take turns within one run on the same checkpoint (bf16, greedy, end of text ignored):

- `transformers generate`, one request after the other (what a simple service around it does);
- `transformers generate`, the eight as one static batch, reported beside it;
- Tidemill, exact (the default), and with --fast-math, each a server of its own that idles while others run.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.machine import describe, make_checkpoint, write
from tests.fakes.live_server import live_server


def prompts(count: int, num_tokens: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Random token ids, different at every call, so that no prefix cache helps."""
    rng = random.Random(seed)
    return [[rng.randrange(300, vocabulary) for _ in range(num_tokens)] for _ in range(count)]


async def ours(url: str, work: list[list[int]], num_output: int) -> float:
    """Seconds from the first request sent to the last answered, all sent at once."""
    async with httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as client:
        start = time.perf_counter()
        bodies = [
            {"model": "bench", "prompt": p, "max_tokens": num_output, "temperature": 0, "ignore_eos": True}
            for p in work
        ]
        answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
        took = time.perf_counter() - start
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == num_output
    return took


@torch.inference_mode()
def theirs(model: Any, work: list[list[int]], num_output: int, *, static_batch: bool) -> float:
    """Seconds that `generate` takes for the work, as one batch or one after the other."""
    start = time.perf_counter()
    for ids in [work] if static_batch else [[p] for p in work]:
        batch = torch.tensor(ids)
        out = model.generate(
            batch, attention_mask=torch.ones_like(batch), max_new_tokens=num_output, min_new_tokens=num_output,
            do_sample=False, pad_token_id=1,
        )  # fmt: skip
        assert out.shape[1] == batch.shape[1] + num_output
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="115M")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM

    folder = make_checkpoint(options.checkpoints, options.shape)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    vocabulary, num_output = model.config.vocab_size, options.output_tokens
    serve = (str(folder), "--served-model-name", "bench", "--precision", "bf16", "--max-model-len", "2048")
    seconds: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        exact = stack.enter_context(live_server(*serve))
        fast = stack.enter_context(live_server(*serve, "--fast-math"))
        contestants = {
            "transformers_one_stream": (1, lambda w: theirs(model, w, num_output, static_batch=False)),
            "tidemill_one_stream": (1, lambda w: asyncio.run(ours(exact.url, w, num_output))),
            "tidemill_fast_math_one_stream": (1, lambda w: asyncio.run(ours(fast.url, w, num_output))),
            "transformers_8_one_by_one": (8, lambda w: theirs(model, w, num_output, static_batch=False)),
            "transformers_8_static_batch": (8, lambda w: theirs(model, w, num_output, static_batch=True)),
            "tidemill_8_at_once": (8, lambda w: asyncio.run(ours(exact.url, w, num_output))),
            "tidemill_fast_math_8_at_once": (8, lambda w: asyncio.run(ours(fast.url, w, num_output))),
        }
        for turn in range(options.rounds + 1):  # the first round warms up and is dropped
            names = list(contestants)
            for name in names if turn % 2 else reversed(names):
                count, run = contestants[name]
                took = run(prompts(count, options.prompt_tokens, vocabulary, 100 * turn + count))
                if turn:
                    seconds.setdefault(name, []).append(took)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rate = {name: contestants[name][0] * num_output / median[name] for name in median}
    config = {k: v for k, v in vars(options).items() if k not in ("out", "checkpoints")}
    write(
        {
            "what": "output tokens a second over HTTP against transformers generate, bf16, greedy",
            "machine": describe(),
            "config": config,
            "seconds": {k: [round(x, 3) for x in v] for k, v in seconds.items()},
            "output_tokens_per_second": {k: round(v, 1) for k, v in rate.items()},
            "ratios": {
                f"{ours} / {theirs}": round(rate[ours] / rate[theirs], 2)
                for ours, theirs in (
                    ("tidemill_one_stream", "transformers_one_stream"),
                    ("tidemill_fast_math_one_stream", "transformers_one_stream"),
                    ("tidemill_8_at_once", "transformers_8_one_by_one"),
                    ("tidemill_fast_math_8_at_once", "transformers_8_one_by_one"),
                    ("transformers_8_static_batch", "transformers_8_one_by_one"),
                )
            },
        },
        options.out,
    )


if __name__ == "__main__":
    main()
