"""What the type of keys and values costs in quality: the bundled model over each kind of cache, on its held-out data.

Weights stay as they are (fp32, bf16 or int8); perplexity, KL divergence, top-1 agreement and logit error are those of
the same weights over an fp32 cache.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, write
from benchmarks.quantization_quality import Sums, held_out, load, logits_of
from tidemill.config.settings import Precision
from tidemill.models.weights.hub import resolve_model

CACHES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
WEIGHTS: tuple[Precision, ...] = ("fp32", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=80)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = resolve_model("minnow", revision=None, offline=True)
    texts = held_out(folder, options.texts)
    results: dict[str, dict[str, Any]] = {}
    for precision in WEIGHTS:
        spec, weights = load(folder, precision)
        sums = {name: Sums() for name in CACHES}
        for text in texts:
            targets = torch.tensor(text.token_ids)[text.positions + 1]
            logits = {name: logits_of(weights.decoder, spec, text, dtype) for name, dtype in CACHES.items()}
            for name in CACHES:
                sums[name].add(logits[name], logits["fp32"], targets)
        results[f"weights {precision}"] = {f"cache {name}": total.results() for name, total in sums.items()}
    num_tokens = sum(len(text.positions) for text in texts)
    what = "quality by type of keys and values, minnow"
    write({"what": what, "machine": describe(), "num_tokens": num_tokens, "results": results}, options.out)


if __name__ == "__main__":
    main()
