"""The real scheduler over the real runner and decoder, without processes: for tests that compare bits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tidemill.config.settings import SchedulerSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.core.requests import SamplingParams
from tidemill.kernels.backend import KernelBackend, choose_backend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.kernels.linear import DEFAULT_ROW_TILE
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.decoder import Decoder, load_decoder
from tidemill.models.quantization.job import QuantizationJob
from tidemill.models.quantization.packed_cache import PackedCache
from tidemill.models.quantization.quantized_model import load_quantized
from tidemill.models.spec import ModelSpec, kv_groups, load_spec
from tidemill.runner.compiled_draw import CompiledDraw
from tidemill.runner.runner import ModelRunner
from tidemill.scheduler.outputs import SchedulerOutput
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import SequenceRequest

CPU = torch.device("cpu")


@dataclass(frozen=True)
class LoadedModel:
    spec: ModelSpec
    decoder: Decoder
    dtype: torch.dtype
    row_tile: int | None
    kv_dtype: torch.dtype
    """Of the cache: `dtype`, if nothing else is asked for."""

    @staticmethod
    def load(folder: Path, dtype: torch.dtype, *, row_tile: int | None = DEFAULT_ROW_TILE) -> "LoadedModel":
        spec = load_spec(folder)
        decoder = load_decoder(
            folder,
            spec,
            device=CPU,
            dtype=dtype,
            row_tile=row_tile,
            max_model_len=spec.max_position_embeddings,
            progress=lambda _: None,
        )
        return LoadedModel(spec, decoder, dtype, row_tile, dtype)


def load_integers(folder: Path, kind: IntegerFormat, kernels: KernelBackend | None = None) -> LoadedModel:
    """The model in `folder` in integers, made anew; keys and values are bf16."""
    spec = load_spec(folder)
    job = QuantizationJob(
        folder=folder,
        spec=spec,
        wanted=kind,
        fallback_dtype=torch.bfloat16,
        max_model_len=spec.max_position_embeddings,
        is_exact=True,
        identity=(),
        num_threads=1,
    )
    cache = PackedCache(None, limit_bytes=0, clock=lambda: 0.0, sleep=lambda _: None)
    model = load_quantized(job, kernels or choose_backend(CPU), cache, progress=lambda *_: None)
    return LoadedModel(spec, model.decoder, torch.bfloat16, model.row_tile, torch.bfloat16)


def make_request(sequence_id: int, prompt: Sequence[int], max_new_tokens: int, **params: Any) -> SequenceRequest:
    sampling = SamplingParams(**({"seed": 1000 + sequence_id, "ignore_eos": True} | params))
    return SequenceRequest(
        sequence_id=sequence_id,
        prompt_token_ids=tuple(prompt),
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        eos_token_ids=frozenset({2}),
        arrival=0.0,
    )


@dataclass
class Record:
    """What a run showed: every row of logits as bytes, and every token."""

    logits: dict[tuple[int, int], bytes] = field(default_factory=dict)
    token_ids: dict[int, list[int]] = field(default_factory=dict)
    outputs: list[SchedulerOutput] = field(default_factory=list)
    num_preemptions: int = 0
    num_prefix_hits: int = 0
    num_steps: int = 0

    def on_logits(self, sequence_id: int, position: int, logits: np.ndarray[Any, Any]) -> None:
        """A position that is computed twice must give the same bits both times."""
        key = (sequence_id, position)
        assert self.logits.setdefault(key, logits.tobytes()) == logits.tobytes(), key


def run(
    model: LoadedModel,
    requests: Sequence[SequenceRequest],
    *,
    budget: int = 1024,
    num_blocks: int = 400,
    block_size: int = 16,
    prefix_caching: bool = False,
    max_num_seqs: int = 64,
    num_threads: int = 1,
    arrivals_per_step: int = 1000,
) -> Record:
    """Serve `requests` to their end; `arrivals_per_step` of them arrive before each step."""
    record = Record()
    groups = kv_groups(model.spec)
    shape = {"num_kv_heads": model.spec.num_kv_heads, "head_dim": model.spec.head_dim, "dtype": model.kv_dtype}
    page = block_bytes(layers_per_group=len(groups[0].layers), block_size=block_size, **shape)
    layout = KVCacheLayout(num_blocks=num_blocks, block_size=block_size, block_bytes=page, groups=groups)
    runner = ModelRunner(
        model.decoder,
        KVTensors.allocate(layout, device=CPU, **shape),
        layout,
        model_id=0,
        vocab_size=model.spec.vocab_size,
        row_tile=model.row_tile,
        device=CPU,
        on_logits=record.on_logits,
        draw=CompiledDraw(model.spec.vocab_size),
    )
    longest = max(len(request.prompt_token_ids) + request.max_new_tokens for request in requests)
    scheduler = Scheduler(
        SchedulerSettings(max_num_seqs=max_num_seqs, max_num_batched_tokens=budget),
        layout,
        prefix_caching=prefix_caching,
        model_fingerprint=b"",
        max_model_len=longest,
        clock=VirtualClock(),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        _serve(scheduler, runner, list(requests), arrivals_per_step, record)
    finally:
        torch.set_num_threads(before)
    return record


def _serve(
    scheduler: Scheduler,
    runner: ModelRunner,
    requests: list[SequenceRequest],
    arrivals_per_step: int,
    record: Record,
) -> None:
    while requests or scheduler.has_work:
        for request in requests[:arrivals_per_step]:
            scheduler.add(request)
        del requests[:arrivals_per_step]
        batch = scheduler.schedule()
        assert batch is not None
        outputs = scheduler.update(batch, runner.launch(batch).result())
        stats = scheduler.stats(step_seconds=0.0, schedule_seconds=0.0)
        record.num_steps += 1
        record.num_preemptions += stats.num_preemptions
        record.num_prefix_hits += stats.num_prefix_hits
        record.outputs += outputs
        for output in outputs:
            record.token_ids.setdefault(output.sequence_id, []).extend(output.token_ids)
