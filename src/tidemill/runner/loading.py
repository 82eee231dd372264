"""From a model's folder and the settings to a runner that is ready: device, weights, memory, cache, in this order.

Owns the order and what is told about it; each step's rules are in its own file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.core.clock import Clock, monotonic
from tidemill.core.engine_facts import EngineFacts
from tidemill.core.errors import ConfigurationError
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.backend import KernelBackend, choose_backend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.models.decoder import Decoder
from tidemill.models.spec import ModelSpec, kv_groups
from tidemill.runner.activation_peak import ProcessMemory, cuda_peak_bytes, host_peak_bytes
from tidemill.runner.allocator import keep_freed_memory
from tidemill.runner.cache_sizing import CacheShape, MemoryBudget, size_cache
from tidemill.runner.compiled_draw import choose_draw
from tidemill.runner.compiling_ahead import CompilingAhead
from tidemill.runner.devices import Compute, choose_device, choose_threads, cpu_flags, has_fast_bf16
from tidemill.runner.fingerprint import numerics_fingerprint
from tidemill.runner.kv_precision import choose_kv_dtype, kv_precision_name
from tidemill.runner.logit_rows import OnLogits
from tidemill.runner.memory import MemoryReader, memory_of
from tidemill.runner.precision import fast_integer_path, plan_precision
from tidemill.runner.profile_step import ProfileStep
from tidemill.runner.runner import ModelRunner
from tidemill.runner.thread_share import ThreadShare, WaitingTime
from tidemill.runner.weight_loading import LoadedWeights, WeightLoading

Progress = Callable[[str, float], None]
"""Told the stage of loading and how far it is, in 0..1."""

HOST_SHARE_RATIO = 0.5
CUDA_SHARE_RATIO = 0.95
_MANY_ROWS = 256
"""So many go through the kernels of the largest step, and take little memory of their own."""


@dataclass(frozen=True, slots=True)
class LoadedRunner:
    """A runner, the cache it computes in, and what is to be said about both."""

    runner: ModelRunner
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
    with CompilingAhead.choose(device, settings.precision, cache.kv_precision) as ahead:
        kernels = choose_backend(device)
        weights = _load_weights(
            folder,
            spec,
            settings,
            device,
            kernels,
            available_bytes=reader.available_bytes(),
            max_model_len=max_model_len,
            progress=progress,
            on_layer=on_layer,
        )
        progress("compiling kernels, measuring memory", 0.0)
        draw = choose_draw(kernels, spec.vocab_size)
        decoder = weights.decoder
        compute = Compute(
            device=device,
            dtype=weights.dtype,
            row_tile=weights.row_tile,
            num_threads=torch.get_num_threads(),
            precision=weights.precision,
            kv_dtype=choose_kv_dtype(cache.kv_precision, model_dtype=weights.dtype),
        )
        if device.type == "cpu":
            keep_freed_memory()
        shape = _cache_shape(spec, compute, cache, scheduler)
        activation_bytes = _measure_step(decoder, spec, compute, shape, max_model_len, ahead)
    num_blocks = size_cache(
        shape,
        _budget(_left(reader.available_bytes(), weights), activation_bytes, compute.device),
        max_model_len=max_model_len,
        is_len_chosen=settings.max_model_len is not None,
        requested_bytes=cache.kv_cache_memory,
    )
    layout = _layout(shape, num_blocks)
    runner = ModelRunner(
        decoder,
        _allocate(layout, spec, compute),
        layout,
        model_id=model_id,
        vocab_size=spec.vocab_size,
        row_tile=compute.row_tile,
        device=compute.device,
        on_logits=on_logits,
        threads=_thread_share(compute, clock),
        draw=draw,
    )
    progress("compiling kernels, measuring memory", 1.0)
    info = EngineFacts(
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
        block_size=cache.block_size,
        num_blocks=num_blocks,
        kv_cache_bytes=num_blocks * shape.block_bytes,
        num_threads=compute.num_threads,
        numerics_fingerprint=numerics_fingerprint(
            weights.digest, compute, cpu_flags=cpu_flags(), kernels=decoder.kernels_name, max_model_len=max_model_len
        ),
    )
    return LoadedRunner(runner, layout, info)


def _thread_share(compute: Compute, clock: Clock) -> ThreadShare | None:
    if compute.device.type != "cpu" or compute.num_threads == 1:
        return None
    return ThreadShare(compute.num_threads, clock=clock, waiting_time=WaitingTime(), set_threads=torch.set_num_threads)


def _load_weights(
    folder: Path,
    spec: ModelSpec,
    settings: ModelSettings,
    device: torch.device,
    kernels: KernelBackend,
    *,
    available_bytes: int | None,
    max_model_len: int,
    progress: Progress,
    on_layer: Callable[[], None] | None,
) -> LoadedWeights:
    """Plan a precision, and load what comes of it, with the threads that its weights are worth."""
    fast_bf16 = has_fast_bf16(device, cpu_flags())
    plan = plan_precision(
        settings.precision,
        spec,
        device=device,
        has_fast_bf16=fast_bf16,
        integer_path=lambda: fast_integer_path(kernels),
        available_bytes=available_bytes,
    )
    torch.set_num_threads(choose_threads(settings.threads, weight_bytes=plan.expected_bytes(spec)))
    loading = WeightLoading(
        folder=folder,
        spec=spec,
        settings=settings,
        device=device,
        kernels=kernels,
        has_fast_bf16=fast_bf16,
        max_model_len=max_model_len,
        available_bytes=available_bytes,
        progress=progress,
        on_layer=on_layer,
    )
    weights = loading.load(plan)
    # Floats, where integers were tried and not taken, may be worth more threads.
    torch.set_num_threads(choose_threads(settings.threads, weight_bytes=weights.weight_bytes))
    return weights


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


def _cache_shape(spec: ModelSpec, compute: Compute, cache: CacheSettings, scheduler: SchedulerSettings) -> CacheShape:
    groups = kv_groups(spec)
    return CacheShape(
        groups=groups,
        block_size=cache.block_size,
        block_bytes=block_bytes(
            layers_per_group=len(groups[0].layers),
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            block_size=cache.block_size,
            dtype=compute.kv_dtype,
        ),
        max_num_seqs=scheduler.max_num_seqs,
        max_step_tokens=scheduler.max_num_batched_tokens,
    )


def _layout(shape: CacheShape, num_blocks: int) -> KVCacheLayout:
    return KVCacheLayout(
        num_blocks=num_blocks, block_size=shape.block_size, block_bytes=shape.block_bytes, groups=shape.groups
    )


def _allocate(layout: KVCacheLayout, spec: ModelSpec, compute: Compute) -> KVTensors:
    return KVTensors.allocate(
        layout, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, dtype=compute.kv_dtype, device=compute.device
    )


def _measure_step(
    decoder: Decoder,
    spec: ModelSpec,
    compute: Compute,
    shape: CacheShape,
    max_model_len: int,
    ahead: CompilingAhead,
) -> int | None:
    """Bytes the largest step needs beyond weights and cache, or None where that cannot be measured."""
    layout = _layout(shape, num_blocks=1)
    step = ProfileStep(
        model=decoder,
        kv=_allocate(layout, spec, compute),
        layout=layout,
        num_rows=shape.max_step_tokens,
        max_model_len=max_model_len,
        max_num_seqs=shape.max_num_seqs,
        vocab_size=spec.vocab_size,
        row_tile=compute.row_tile,
        device=compute.device,
    )
    if ahead.is_started and decoder.takes_layers_together:
        # What a step of many rows takes is compiled here, while that of few rows is compiled there.
        replace(step, num_rows=min(step.num_rows, _MANY_ROWS)).run()
        ahead.wait()
    # A step of one row goes through other kernels; what they need is less, but the first of them compiles.
    replace(step, num_rows=1).run()
    if compute.device.type == "cuda":
        return cuda_peak_bytes(step.run, compute.device)
    return host_peak_bytes(step.run, ProcessMemory())


def _budget(available_bytes: int | None, activation_bytes: int | None, device: torch.device) -> MemoryBudget | None:
    if available_bytes is None:
        return None
    return MemoryBudget(
        available_bytes=available_bytes,
        # Not measured (the kernel keeps no peak): a tenth of what there is stands in for it.
        activation_bytes=available_bytes // 10 if activation_bytes is None else activation_bytes,
        default_share_ratio=CUDA_SHARE_RATIO if device.type == "cuda" else HOST_SHARE_RATIO,
    )
