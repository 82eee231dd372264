"""Which arithmetic is tried, before anything is loaded: what was asked for, or what the machine favours.

Whether integers are good enough shows only when they have been made; that is `weight_loading.py`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tidemill.config.settings import Precision
from tidemill.core.errors import ConfigurationError
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.quantization.job import expected_bytes
from tidemill.models.spec import ModelSpec
from tidemill.runner.byte_words import byte_words
from tidemill.runner.devices import choose_dtype

ROOM_RATIO = 0.85
"""Share of the available memory that integer weights may take unasked: something is left for keys and values."""


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """Integer formats to try in turn; the float type is taken if there is none, or none is good enough."""

    formats: tuple[IntegerFormat, ...]
    is_asked: bool
    """Then the first format is taken, whatever its quality."""
    float_dtype: torch.dtype
    reasons: tuple[str, ...]
    """Why formats were left out."""

    @property
    def first(self) -> str:
        """The name of what is tried first."""
        return self.formats[0] if self.formats else dtype_name(self.float_dtype)

    def expected_bytes(self, spec: ModelSpec) -> int:
        """About what the weights of `spec` take in what is tried first."""
        return (
            expected_bytes(spec, self.formats[0]) if self.formats else spec.num_parameters * self.float_dtype.itemsize
        )


def plan_precision(
    asked: Precision,
    spec: ModelSpec,
    *,
    device: torch.device,
    has_fast_bf16: bool,
    integer_path: Callable[[], str | None],
    available_bytes: int | None,
) -> PrecisionPlan:
    """Plan for a model and a device. `integer_path` names the kernels of integer products, None if they are slow; it is
    asked only if it matters, because it may have to compile them.

    Raises ConfigurationError if integers were asked for on a device that has no products of them.
    """
    if asked in ("int8", "int4"):
        if device.type != "cpu":
            raise ConfigurationError(
                f"The precision '{asked}' is made for a CPU, but the device is '{device.type}'.",
                next_step="Pass --device cpu, or --precision bf16.",
            )
        return PrecisionPlan((asked,), is_asked=True, float_dtype=torch.bfloat16, reasons=())
    dtype = choose_dtype(asked, checkpoint_dtype=spec.torch_dtype, has_fast_bf16=has_fast_bf16)
    if asked != "auto" or device.type != "cpu":
        return PrecisionPlan((), is_asked=asked != "auto", float_dtype=dtype, reasons=())
    if integer_path() is None:
        reason = "integers were not tried: this processor has no fast products of them"
        return PrecisionPlan((), is_asked=False, float_dtype=dtype, reasons=(reason,))
    formats, reasons = _that_fit(spec, available_bytes)
    return PrecisionPlan(formats, is_asked=False, float_dtype=dtype, reasons=reasons)


def fast_integer_path(kernels: KernelBackend) -> str | None:
    """The name of the kernels' integer products, None if they are only plain torch, which is slow."""
    return None if kernels.integer_path == "torch" else kernels.integer_path


def dtype_name(dtype: torch.dtype) -> str:
    """A float type's name in settings."""
    return "bf16" if dtype is torch.bfloat16 else "fp32"


def _that_fit(spec: ModelSpec, available_bytes: int | None) -> tuple[tuple[IntegerFormat, ...], tuple[str, ...]]:
    """The widest format that fits: a narrower one would only be worse."""
    reasons: list[str] = []
    formats: tuple[IntegerFormat, ...] = ("int8", "int4")
    for kind in formats:
        needed = expected_bytes(spec, kind)
        if available_bytes is None or needed <= available_bytes * ROOM_RATIO:
            return (kind,), tuple(reasons)
        reasons.append(
            f"{kind} was not tried: it needs {byte_words(needed)} of the {byte_words(available_bytes)} available"
        )
    return (), tuple(reasons)
