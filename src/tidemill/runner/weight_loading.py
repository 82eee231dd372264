"""Loads a model's weights in the precision that was asked for, or in the best that passes its guard."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from tidemill import __version__
from tidemill.config.settings import ModelSettings
from tidemill.core.private_folder import private_cache_folder
from tidemill.core.quantization import Quantization
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.linear import DEFAULT_ROW_TILE
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.decoder import Decoder, load_decoder
from tidemill.models.quantization.evidence import Evidence
from tidemill.models.quantization.job import QuantizationJob, expected_bytes
from tidemill.models.quantization.packed_cache import PackedCache
from tidemill.models.quantization.quantized_model import QuantizedModel, load_quantized
from tidemill.models.quantization.verdict import why_not
from tidemill.models.spec import ModelSpec
from tidemill.runner.cache_sizing import check_weights_fit
from tidemill.runner.fingerprint import weights_digest
from tidemill.runner.precision import PrecisionPlan, dtype_name

Progress = Callable[[str, float], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A decoder, its arithmetic, and how that was chosen."""

    decoder: Decoder
    precision: str
    dtype: torch.dtype
    """Of keys and values."""
    row_tile: int | None
    weight_bytes: int
    mapped_bytes: int
    """Memory of files, which the system counts as available though it is needed."""
    digest: str
    """Hex digest of the weights as they are computed with."""
    reason: str
    quantization: Quantization | None


@dataclass(frozen=True, slots=True)
class WeightLoading:
    """One model on its device; `available_bytes` is None where the system does not say."""

    folder: Path
    spec: ModelSpec
    settings: ModelSettings
    device: torch.device
    kernels: KernelBackend
    has_fast_bf16: bool
    max_model_len: int
    available_bytes: int | None
    progress: Progress
    on_layer: Callable[[], None] | None

    def load(self, plan: PrecisionPlan) -> LoadedWeights:
        """Try what `plan` says. Raises CapacityError before anything is read that cannot fit, and ModelLoadError."""
        reasons = list(plan.reasons)
        for kind in plan.formats:
            check_weights_fit(expected_bytes(self.spec, kind), self.available_bytes)
            model = self._quantized(kind)
            problem = why_not(model.evidence)
            if problem is None or plan.is_asked:
                reason = "asked for, and passes its guard" if plan.is_asked else f"{kind} passes its guard"
                if problem is not None:
                    _log.warning("%s was asked for and is served, but it does not pass its guard: %s.", kind, problem)
                    reason = f"asked for, although {problem}"
                return self._integers(kind, model, "; ".join([*reasons, reason]))
            reasons.append(f"{kind} does not pass its guard: {problem}")
            _log.warning("Not serving in %s: %s.", kind, problem)
            del model
        name = dtype_name(plan.float_dtype)
        reason = "asked for" if plan.is_asked else f"{name} is what the checkpoint and the device favour"
        return self._floats(plan.float_dtype, "; ".join([*reasons, reason]))

    def _floats(self, dtype: torch.dtype, reason: str) -> LoadedWeights:
        weight_bytes = self.spec.num_parameters * dtype.itemsize
        check_weights_fit(weight_bytes, self.available_bytes)
        row_tile = None if self.settings.fast_math else DEFAULT_ROW_TILE
        decoder = load_decoder(
            self.folder,
            self.spec,
            device=self.device,
            dtype=dtype,
            row_tile=row_tile,
            max_model_len=self.max_model_len,
            progress=lambda fraction: self.progress("loading weights", fraction),
            kernels=self.kernels,
            on_layer=self.on_layer,
        )
        _log.info("Weights in %s: %s.", dtype_name(dtype), reason)
        return LoadedWeights(
            decoder=decoder,
            precision=dtype_name(dtype),
            dtype=dtype,
            row_tile=row_tile,
            weight_bytes=weight_bytes,
            mapped_bytes=0,
            digest=weights_digest(self.folder),
            reason=reason,
            quantization=None,
        )

    def _quantized(self, kind: IntegerFormat) -> QuantizedModel:
        job = QuantizationJob(
            folder=self.folder,
            spec=self.spec,
            wanted=kind,
            fallback_dtype=torch.bfloat16 if self.has_fast_bf16 else torch.float32,
            max_model_len=self.max_model_len,
            is_exact=not self.settings.fast_math,
            identity=(
                f"weights {weights_digest(self.folder)} {_changed(self.folder)}",
                f"torch {torch.__version__}",
                f"numba {version('numba')}",
                f"tidemill {__version__}",
            ),
            num_threads=torch.get_num_threads(),
        )
        cache = PackedCache(
            private_cache_folder("packed"),
            limit_bytes=self.settings.packed_cache_bytes,
            clock=time.monotonic,
            sleep=time.sleep,
        )
        return load_quantized(job, self.kernels, cache, progress=self.progress, on_layer=self.on_layer)

    def _integers(self, kind: IntegerFormat, model: QuantizedModel, reason: str) -> LoadedWeights:
        _tell(kind, model.evidence, self.kernels.integer_path, reason)
        return LoadedWeights(
            decoder=model.decoder,
            precision=kind,
            dtype=torch.bfloat16,
            row_tile=model.row_tile,
            weight_bytes=model.weight_bytes,
            mapped_bytes=model.mapped_bytes,
            digest=model.digest,
            reason=reason,
            quantization=model.evidence.summary(),
        )


def _changed(folder: Path) -> str:
    """When the weights were last written: of large files the digest knows samples only."""
    return ",".join(str(path.stat().st_mtime_ns) for path in sorted(folder.glob("*.safetensors")))


def _tell(kind: IntegerFormat, evidence: Evidence, path: str, reason: str) -> None:
    summary, mended = evidence.summary(), evidence.mended
    formats = ", ".join(f"{count} {name}" for name, count in sorted(summary.formats.items()))
    _log.info(
        "Weights in %s (%s; products by %s): %s. On the calibration text, KL divergence from floats %.4f nats, "
        "top-1 agreement %.1f %%, largest error of a matrix %.1f %% (%s).",
        kind,
        formats,
        path,
        reason,
        summary.kl_nats,
        100 * summary.top1_agreement_ratio,
        100 * summary.worst_error_ratio,
        summary.worst_matrix,
    )
    if mended:
        _log.log(
            logging.WARNING if summary.wider_weights_ratio else logging.INFO,
            "%d of %d matrices had to be mended to be served in %s: %d smoothed, %.1f %% of the weights in a wider "
            "format (%s%s).",
            len(mended),
            len(evidence.matrices),
            kind,
            summary.num_smoothed,
            100 * summary.wider_weights_ratio,
            ", ".join(f"{one.name} {one.format}" for one in mended[:5]),
            ", ..." if len(mended) > 5 else "",
        )
