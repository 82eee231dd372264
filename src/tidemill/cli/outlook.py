"""What a model would be given on this machine, by the engine's own rules but without loading its weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemill.config.settings import Settings
from tidemill.core.errors import CapacityError, SetupError

if TYPE_CHECKING:
    import torch

    from tidemill.models.spec import ModelSpec
    from tidemill.runner.precision import PrecisionPlan


@dataclass(frozen=True, slots=True)
class Outlook:
    """The choices. `kv_cache_bytes` is an estimate: the engine measures a step first. `problem` says what is wrong."""

    model: str
    device: str | None = None
    precision: str | None = None
    precision_note: str | None = None
    num_threads: int | None = None
    max_model_len: int | None = None
    weight_bytes: int | None = None
    kv_cache_bytes: int | None = None
    problem: str | None = None


def look_out(settings: Settings) -> Outlook:
    """The choices for the model in `settings`; a model of the hub is only looked for in the cache."""
    try:
        return _choose(settings)
    except SetupError as error:
        return Outlook(model=settings.model.model, problem=str(error))


def _choose(settings: Settings) -> Outlook:
    import torch

    from tidemill.kernels.backend import choose_backend
    from tidemill.models.spec import load_spec
    from tidemill.models.weights.hub import resolve_model
    from tidemill.runner.devices import choose_device, choose_threads, cpu_flags, has_fast_bf16
    from tidemill.runner.kv_precision import choose_kv_dtype
    from tidemill.runner.memory import memory_of
    from tidemill.runner.precision import fast_integer_path, plan_precision

    asked = settings.model
    why_offline = "--offline is set" if asked.offline else "doctor downloads nothing"
    folder = resolve_model(asked.model, revision=asked.revision, offline=True, why_offline=why_offline)
    spec = load_spec(folder)
    device = choose_device(asked.device)
    available = memory_of(device).available_bytes()
    plan = plan_precision(
        asked.precision,
        spec,
        device=device,
        has_fast_bf16=has_fast_bf16(device, cpu_flags()),
        integer_path=lambda: fast_integer_path(choose_backend(device)),
        available_bytes=available,
    )
    model_dtype = torch.bfloat16 if plan.formats else plan.float_dtype
    dtype = choose_kv_dtype(settings.cache.kv_precision, model_dtype=model_dtype)
    weight_bytes = plan.expected_bytes(spec)
    max_model_len = asked.max_model_len or spec.max_position_embeddings
    kv_bytes = None if available is None else _kv_bytes(settings, spec, device, dtype, available - weight_bytes)
    return Outlook(
        model=asked.model,
        device=device.type,
        precision=plan.first,
        precision_note=_note(plan),
        num_threads=choose_threads(asked.threads, weight_bytes=weight_bytes),
        max_model_len=max_model_len,
        weight_bytes=weight_bytes,
        kv_cache_bytes=kv_bytes,
    )


def _note(plan: "PrecisionPlan") -> str | None:
    """What may come of the precision yet, or why it is not another."""
    from tidemill.runner.precision import dtype_name

    notes = list(plan.reasons)
    if plan.formats and not plan.is_asked:
        notes.append(f"if it passes its guard when the model is loaded, else {dtype_name(plan.float_dtype)}")
    return "; ".join(notes) or None


def _kv_bytes(
    settings: Settings, spec: "ModelSpec", device: "torch.device", dtype: "torch.dtype", memory_bytes: int
) -> int:
    """What the cache would take of the memory left beside the weights. Raises `CapacityError` if nothing fits."""
    from tidemill.runner.cache_sizing import MemoryBudget, size_cache
    from tidemill.runner.loading import CUDA_SHARE_RATIO, HOST_SHARE_RATIO
    from tidemill.runner.prepared_model import cache_shape

    if memory_bytes <= 0:
        raise CapacityError("The model's weights do not fit into the memory that is available.")
    shape = cache_shape(spec, dtype, settings.cache, settings.scheduler)
    share_ratio = CUDA_SHARE_RATIO if device.type == "cuda" else HOST_SHARE_RATIO
    num_blocks = size_cache(
        shape,
        MemoryBudget(available_bytes=memory_bytes, activation_bytes=0, default_share_ratio=share_ratio),
        max_model_len=settings.model.max_model_len or spec.max_position_embeddings,
        is_len_chosen=settings.model.max_model_len is not None,
        requested_bytes=settings.cache.kv_cache_memory,
    )
    return num_blocks * shape.block_bytes
