"""Quantizing takes the memory of the result and about one layer in floats, however many layers there are."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fakes.checkpoints import make_checkpoint

HIDDEN, INNER, LAYERS = 512, 2048, 16
# One layer's weights in float32, and what the calibration text leaves on its way through it.
LAYER_BYTES = 4 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER)
TEXT_BYTES = 4 * 384 * (9 * HIDDEN + 4 * INNER)
OTHER_BYTES = 40 * 1024 * 1024
"""Compiled kernels of the finished decoder, which reads the text once."""

_QUANTIZE = """
import sys, time, torch
from pathlib import Path
from tidemill.kernels.backend import choose_backend
from tidemill.kernels.quantized import QuantizedWeight
from tidemill.models.quantization.job import QuantizationJob
from tidemill.models.quantization.packed_cache import PackedCache
from tidemill.models.quantization.quantized_model import load_quantized
from tidemill.models.quantization.rounding import quantize
from tidemill.models.spec import load_spec
folder, kept = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
kernels, spec = choose_backend(torch.device("cpu")), load_spec(folder)
# What compiled kernels and the libraries take once is no part of the model.
weight = kernels.prepare_integer(quantize(torch.randn(64, 64), "int8"))
weight.multiply(kernels.quantize(torch.randn(8, 64)))
job = QuantizationJob(
    folder=folder, spec=spec, wanted="int8", fallback_dtype=torch.bfloat16, max_model_len=512, is_exact=True,
    identity=(), num_threads=1,
)
cache = PackedCache(Path(kept) if kept else None, limit_bytes=2**34, clock=time.monotonic, sleep=time.sleep)
print("begin", flush=True)
sys.stdin.readline()
model = load_quantized(job, kernels, cache, progress=lambda *_: None)
print("end", model.weight_bytes, model.mapped_bytes, flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(
        "llama",
        tmp_path_factory.mktemp("deep"),
        dtype=torch.bfloat16,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
        initializer_range=0.02,
    )


def anonymous_bytes(pid):
    """Memory that is no file's: neither the mapped checkpoint nor the mapped result."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def peak_bytes(folder, kept):
    """Bytes above the start at the peak, and what the model says it takes, in all and mapped."""
    # What is freed goes back to the system, so that what is resident is what is held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    with subprocess.Popen(
        [sys.executable, "-c", _QUANTIZE, str(folder), kept],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout.readline() == "begin\n"
        start = peak = anonymous_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        while not select.select([process.stdout], [], [], 0.001)[0]:
            peak = max(peak, anonymous_bytes(process.pid))
        _, weight_bytes, mapped_bytes = process.stdout.readline().split()
        process.stdin.write("\n")
    return peak - start, int(weight_bytes), int(mapped_bytes)


@pytest.mark.parametrize("is_kept", [False, True])
def test_the_peak_is_the_result_and_about_a_layer(folder, tmp_path, is_kept):
    peak, weight_bytes, mapped_bytes = peak_bytes(folder, str(tmp_path) if is_kept else "")
    assert weight_bytes > LAYERS * LAYER_BYTES / 4
    assert mapped_bytes == (weight_bytes if is_kept else 0)
    allowed = weight_bytes - mapped_bytes + LAYER_BYTES + TEXT_BYTES + OTHER_BYTES
    # Half of the layers kept in floats, 16 bits each, would show.
    assert LAYERS * LAYER_BYTES / 4 > OTHER_BYTES
    assert peak < allowed
