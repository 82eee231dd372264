"""A model on its way to a runner: weights of the planned precision, and its first steps, which compile and measure.

Owns the order of that, and when a second process compiles beside it. Knows nothing of how large the cache will be.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.backend import KernelBackend, choose_backend
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.models.decoder import Decoder
from tidemill.models.spec import ModelSpec, kv_groups
from tidemill.runner.activation_peak import ProcessMemory, cuda_peak_bytes, host_peak_bytes
from tidemill.runner.allocator import keep_freed_memory
from tidemill.runner.cache_sizing import CacheShape, check_context_fits
from tidemill.runner.compiled_draw import choose_draw
from tidemill.runner.compiling_ahead import CompilingAhead
from tidemill.runner.devices import Compute, choose_threads, cpu_flags, has_fast_bf16
from tidemill.runner.kv_precision import choose_kv_dtype
from tidemill.runner.precision import PrecisionPlan, fast_integer_path, plan_precision
from tidemill.runner.profile_step import ProfileStep
from tidemill.runner.weight_loading import LoadedWeights, WeightLoading
from tidemill.sampling.plain_draw import DrawRows

Progress = Callable[[str, float], None]
"""Told the stage of loading and how far it is, in 0..1."""

_MANY_ROWS = 256
"""So many go through the kernels of the largest step, and take little memory of their own."""


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model that has computed its first steps; its cache is not sized yet. `stage` is what is being told."""

    weights: LoadedWeights
    compute: Compute
    draw: DrawRows
    shape: CacheShape
    activation_bytes: int | None
    stage: str


def prepare_model(
    folder: Path,
    spec: ModelSpec,
    settings: ModelSettings,
    cache: CacheSettings,
    scheduler: SchedulerSettings,
    *,
    device: torch.device,
    max_model_len: int,
    available_bytes: int | None,
    progress: Progress,
    on_layer: Callable[[], None] | None,
) -> PreparedModel:
    """Load the weights and run steps, while a second process compiles what these will need."""
    # Weights that are integers take a byte each; of others nothing is compiled ahead.
    spare_bytes = None if available_bytes is None else available_bytes - spec.num_parameters
    with CompilingAhead.choose(device, settings.precision, cache.kv_precision, spare_bytes=spare_bytes) as ahead:
        if (compiling := ahead.told(device)) is not None:
            progress(compiling, 0.0)
        kernels = choose_backend(device)
        plan = _plan(settings, spec, device, kernels, available_bytes)
        _check_length(plan, spec, settings, cache, scheduler, max_model_len, available_bytes)
        weights = _load_weights(
            plan,
            folder,
            spec,
            settings,
            device,
            kernels,
            available_bytes=available_bytes,
            max_model_len=max_model_len,
            progress=progress,
            on_layer=on_layer,
        )
        stage = compiling or "compiling kernels, measuring memory"
        progress(stage, 0.0)
        draw = choose_draw(kernels, spec.vocab_size)
        compute = _compute(device, weights, cache)
        if device.type == "cpu":
            keep_freed_memory()
        shape = cache_shape(spec, compute.kv_dtype, cache, scheduler)
        activation_bytes = _measure_step(weights.decoder, spec, compute, shape, max_model_len, ahead)
    return PreparedModel(weights, compute, draw, shape, activation_bytes, stage)


def _compute(device: torch.device, weights: LoadedWeights, cache: CacheSettings) -> Compute:
    return Compute(
        device=device,
        dtype=weights.dtype,
        row_tile=weights.row_tile,
        num_threads=torch.get_num_threads(),
        precision=weights.precision,
        kv_dtype=choose_kv_dtype(cache.kv_precision, model_dtype=weights.dtype),
    )


def _plan(
    settings: ModelSettings,
    spec: ModelSpec,
    device: torch.device,
    kernels: KernelBackend,
    available_bytes: int | None,
) -> PrecisionPlan:
    return plan_precision(
        settings.precision,
        spec,
        device=device,
        has_fast_bf16=has_fast_bf16(device, cpu_flags()),
        integer_path=lambda: fast_integer_path(kernels),
        available_bytes=available_bytes,
    )


def _check_length(
    plan: PrecisionPlan,
    spec: ModelSpec,
    settings: ModelSettings,
    cache: CacheSettings,
    scheduler: SchedulerSettings,
    max_model_len: int,
    available_bytes: int | None,
) -> None:
    """Refuse a context that cannot fit whatever comes of the plan, before its weights take minutes to load."""
    left = None if available_bytes is None else available_bytes - plan.expected_bytes(spec)
    if left is not None and left <= 0:
        return  # The weights do not fit, and loading them says so.
    model_dtype = torch.bfloat16 if plan.formats else plan.float_dtype
    check_context_fits(
        cache_shape(spec, choose_kv_dtype(cache.kv_precision, model_dtype=model_dtype), cache, scheduler),
        left,
        max_model_len=max_model_len,
        is_len_chosen=settings.max_model_len is not None,
        requested_bytes=cache.kv_cache_memory,
        position_bytes=spec.head_dim * torch.float32.itemsize,
    )


def _load_weights(
    plan: PrecisionPlan,
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
    """Load what comes of the plan, with the threads that its weights are worth."""
    torch.set_num_threads(choose_threads(settings.threads, weight_bytes=plan.expected_bytes(spec)))
    loading = WeightLoading(
        folder=folder,
        spec=spec,
        settings=settings,
        device=device,
        kernels=kernels,
        has_fast_bf16=has_fast_bf16(device, cpu_flags()),
        max_model_len=max_model_len,
        available_bytes=available_bytes,
        progress=progress,
        on_layer=on_layer,
    )
    weights = loading.load(plan)
    # Floats, where integers were tried and not taken, may be worth more threads.
    torch.set_num_threads(choose_threads(settings.threads, weight_bytes=weights.weight_bytes))
    return weights


def cache_shape(
    spec: ModelSpec, kv_dtype: torch.dtype, cache: CacheSettings, scheduler: SchedulerSettings
) -> CacheShape:
    """What a cache of `kv_dtype` for this model and these settings is made of."""
    groups = kv_groups(spec)
    return CacheShape(
        groups=groups,
        block_size=cache.block_size,
        block_bytes=block_bytes(
            layers_per_group=len(groups[0].layers),
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            block_size=cache.block_size,
            dtype=kv_dtype,
        ),
        max_num_seqs=scheduler.max_num_seqs,
        max_step_tokens=scheduler.max_num_batched_tokens,
    )


def layout_of(shape: CacheShape, num_blocks: int) -> KVCacheLayout:
    """A cache of `shape` with so many blocks."""
    return KVCacheLayout(
        num_blocks=num_blocks, block_size=shape.block_size, block_bytes=shape.block_bytes, groups=shape.groups
    )


def allocate_cache(layout: KVCacheLayout, spec: ModelSpec, compute: Compute) -> KVTensors:
    """The tensors of a cache, on the device that computes."""
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
    layout = layout_of(shape, num_blocks=1)
    step = ProfileStep(
        model=decoder,
        kv=allocate_cache(layout, spec, compute),
        layout=layout,
        num_rows=shape.max_step_tokens,
        max_model_len=max_model_len,
        max_num_seqs=shape.max_num_seqs,
        vocab_size=spec.vocab_size,
        row_tile=compute.row_tile,
        device=compute.device,
    )
    if ahead.is_started and decoder.takes_layers_together(1):
        # What a step of many rows takes is compiled here, while that of few rows is compiled there.
        many = replace(step, num_rows=min(step.num_rows, _MANY_ROWS))
        if not decoder.takes_layers_together(many.num_rows):
            many.run()
        ahead.wait()
    # A step of one row goes through other kernels; what they need is less, but the first of them compiles.
    replace(step, num_rows=1).run()
    if compute.device.type == "cuda":
        return cuda_peak_bytes(step.run, compute.device)
    return host_peak_bytes(step.run, ProcessMemory())
