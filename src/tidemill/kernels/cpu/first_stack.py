"""Compiles the products and the layer pass by one step of a tiny decoder, and leaves them in Numba's cache on disk.

Run as a process of its own at the first start on a machine, beside the engine's, which compiles the rest meanwhile:
Numba compiles one kernel at a time in a process. What types there are comes of the same code as in a real model. It
ends when its standard input does, whose other end the engine holds: so it never outlives one that dies.
"""

import os
import sys
import threading
from pathlib import Path

import numba
import torch
from numba.core import config

from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.kernels.layer_stack import StackedLayer
from tidemill.kernels.linear import Weight
from tidemill.kernels.quantized import QuantizedWeight

_HEAD_DIM, _HIDDEN, _GATED, _PAGE = 16, 32, 32, 16
CACHE_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def is_needed() -> bool:
    """Whether nothing is known of the layer pass yet, and what is compiled can be kept."""
    if not numba_setup.configure():
        return False
    return next(Path(config.CACHE_DIR).glob("*/layer_pass.pass_layers-*.nbi"), None) is None


def compute(kv_type: str) -> bool:
    """One row through one layer with a cache of `kv_type`; whether this CPU takes layers together at all."""
    kernels = NumbaBackend()
    stack = kernels.stack([_layer(kernels)], torch.ones(_HIDDEN), 1e-5)
    if stack is None:
        return False
    kv, batch = _cache(CACHE_TYPES[kv_type]), _batch()
    stack.run(torch.ones(1, _HIDDEN), torch.zeros(1, dtype=torch.int64), kernels.bind(kv), [kernels.plan(batch)])
    return True


def _layer(kernels: NumbaBackend) -> StackedLayer:
    def weight(out_features: int, in_features: int) -> Weight:
        values, ones = torch.ones(out_features, in_features, dtype=torch.int8), torch.ones(out_features)
        return kernels.prepare_integer(QuantizedWeight("int8", values, None, ones, ones))

    return StackedLayer(
        attention_norm=torch.ones(_HIDDEN),
        qkv=weight(3 * _HEAD_DIM, _HIDDEN),
        q_norm=torch.empty(0),
        k_norm=torch.empty(0),
        rotations=torch.ones(2, _HEAD_DIM),
        out=weight(_HIDDEN, _HEAD_DIM),
        mlp_norm=torch.ones(_HIDDEN),
        gate_up=weight(2 * _GATED, _HIDDEN),
        down=weight(_HIDDEN, _GATED),
        scale=1.0,
        group=0,
        place=0,
    )


def _cache(dtype: torch.dtype) -> KVTensors:
    page_bytes = block_bytes(layers_per_group=1, num_kv_heads=1, head_dim=_HEAD_DIM, block_size=_PAGE, dtype=dtype)
    layout = KVCacheLayout(2, _PAGE, page_bytes, (KVCacheGroup((0,), None),))
    return KVTensors.allocate(layout, num_kv_heads=1, head_dim=_HEAD_DIM, dtype=dtype, device=torch.device("cpu"))


def _batch() -> AttentionBatch:
    return AttentionBatch(
        num_rows=1,
        query_starts=torch.tensor([0, 1], dtype=torch.int32),
        start_positions=torch.tensor([0], dtype=torch.int32),
        context_lens=torch.tensor([1], dtype=torch.int32),
        block_tables=torch.tensor([[1]], dtype=torch.int32),
        slot_mapping=torch.tensor([_PAGE]),
        block_size=_PAGE,
        window=None,
        query_lens=(1,),
        context_lens_list=(1,),
    )


def _end_with_the_input() -> None:
    # Read past Python's own buffer, whose lock this thread would still hold at an orderly end.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    numba.set_num_threads(1)
    compute(sys.argv[1])
