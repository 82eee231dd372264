"""From a model's folder and the settings to a runner that is ready: device, weights, memory, cache, in this order.

Owns the order and what is told about it; each step's rules are in its own file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.core.clock import Clock, monotonic
from tidemill.core.engine_facts import EngineFacts
from tidemill.core.errors import ConfigurationError
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.models.spec import ModelSpec
from tidemill.runner.cache_sizing import MemoryBudget, size_cache
from tidemill.runner.devices import Compute, choose_device, cpu_flags
from tidemill.runner.fingerprint import numerics_fingerprint
from tidemill.runner.kv_precision import kv_precision_name
from tidemill.runner.logit_rows import OnLogits
from tidemill.runner.memory import MemoryReader, memory_of
from tidemill.runner.prepared_model import PreparedModel, Progress, allocate_cache, layout_of, prepare_model
from tidemill.runner.runner import ModelRunner
from tidemill.runner.thread_share import ThreadShare, WaitingTime
from tidemill.runner.weight_loading import LoadedWeights

HOST_SHARE_RATIO = 0.5
CUDA_SHARE_RATIO = 0.95


@dataclass(frozen=True, slots=True)
class LoadedRunner:
    """A runner, the cache it computes in, and what is to be said about both."""

    runner: ModelRunner
    kv: KVTensors
    layout: KVCacheLayout
    info: EngineFacts


def load_runner(
    folder: Path,
    spec: ModelSpec,
    settings: ModelSettings,
    cache: CacheSettings,
    scheduler: SchedulerSettings,
    *,
    model_id: int,
    progress: Progress,
    memory: MemoryReader | None = None,
    on_logits: OnLogits | None = None,
    on_layer: Callable[[], None] | None = None,
    clock: Clock = monotonic,
) -> LoadedRunner:
    """Load the model in `folder`. `memory` replaces the device's own reading; `on_layer` is called as a layer begins.

    Raises ConfigurationError for a device or a length that cannot be had, CapacityError with the numbers if weights or
    one sequence do not fit, and ModelLoadError for weights that are missing or do not match `spec`.
    """
    device = choose_device(settings.device)
    max_model_len = _choose_length(settings, spec)
    reader = memory or memory_of(device)
    prepared = prepare_model(
        folder,
        spec,
        settings,
        cache,
        scheduler,
        device=device,
        max_model_len=max_model_len,
        available_bytes=reader.available_bytes(),
        progress=progress,
        on_layer=on_layer,
    )
    compute = prepared.compute
    num_blocks = size_cache(
        prepared.shape,
        _budget(_left(reader.available_bytes(), prepared.weights), prepared.activation_bytes, device),
        max_model_len=max_model_len,
        is_len_chosen=settings.max_model_len is not None,
        requested_bytes=cache.kv_cache_memory,
    )
    layout = layout_of(prepared.shape, num_blocks)
    kv = allocate_cache(layout, spec, compute)
    runner = ModelRunner(
        prepared.weights.decoder,
        kv,
        layout,
        model_id=model_id,
        vocab_size=spec.vocab_size,
        row_tile=compute.row_tile,
        device=device,
        on_logits=on_logits,
        threads=_thread_share(compute, clock),
        draw=prepared.draw,
    )
    progress(prepared.stage, 1.0)
    return LoadedRunner(runner, kv, layout, _facts(spec, prepared, layout, max_model_len))


def _facts(spec: ModelSpec, prepared: PreparedModel, layout: KVCacheLayout, max_model_len: int) -> EngineFacts:
    weights, compute = prepared.weights, prepared.compute
    return EngineFacts(
        architecture=spec.architecture,
        family=spec.family,
        num_parameters=spec.num_parameters,
        weight_bytes=weights.weight_bytes,
        precision=compute.precision,
        precision_reason=weights.reason,
        quantization=weights.quantization,
        kv_precision=kv_precision_name(compute.kv_dtype),
        device=str(compute.device.type),
        vocab_size=spec.vocab_size,
        max_model_len=max_model_len,
        block_size=layout.block_size,
        num_blocks=layout.num_blocks,
        kv_cache_bytes=layout.num_blocks * layout.block_bytes,
        num_threads=compute.num_threads,
        numerics_fingerprint=numerics_fingerprint(
            weights.digest,
            compute,
            cpu_flags=cpu_flags(),
            kernels=weights.decoder.kernels_name,
            max_model_len=max_model_len,
        ),
    )


def _thread_share(compute: Compute, clock: Clock) -> ThreadShare | None:
    if compute.device.type != "cpu" or compute.num_threads == 1:
        return None
    return ThreadShare(compute.num_threads, clock=clock, waiting_time=WaitingTime(), set_threads=torch.set_num_threads)


def _left(available_bytes: int | None, weights: LoadedWeights) -> int | None:
    """What may be taken beside the weights: the pages of a mapped file can be dropped, but every step reads them."""
    return None if available_bytes is None else max(0, available_bytes - weights.mapped_bytes)


def _choose_length(settings: ModelSettings, spec: ModelSpec) -> int:
    asked = settings.max_model_len
    if asked is not None and asked > spec.longest_context_len:
        raise ConfigurationError(
            f"--max-model-len {asked} is beyond the model's context of {spec.longest_context_len} tokens.",
            next_step=f"Pass {spec.longest_context_len} or less.",
        )
    return asked or spec.max_position_embeddings


def _budget(available_bytes: int | None, activation_bytes: int | None, device: torch.device) -> MemoryBudget | None:
    if available_bytes is None:
        return None
    return MemoryBudget(
        available_bytes=available_bytes,
        # Not measured (the kernel keeps no peak): a tenth of what there is stands in for it.
        activation_bytes=available_bytes // 10 if activation_bytes is None else activation_bytes,
        default_share_ratio=CUDA_SHARE_RATIO if device.type == "cuda" else HOST_SHARE_RATIO,
    )
