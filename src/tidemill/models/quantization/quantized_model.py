"""A quantized decoder from a checkpoint: from the cache of packed models, or made layer by layer and kept there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.linear import DEFAULT_ROW_TILE
from tidemill.models.decoder import Decoder, build_decoder
from tidemill.models.quantization.calibration import calibration_tokens
from tidemill.models.quantization.evidence import Evidence
from tidemill.models.quantization.job import LOOKUP_DTYPE, QuantizationJob, expected_bytes
from tidemill.models.quantization.packed_cache import PackedCache
from tidemill.models.quantization.packed_file import Array, PackedHeader, PackedMatrix
from tidemill.models.quantization.packed_parts import PackedParts, PartsWriter
from tidemill.models.quantization.quantizing import compared_rows, quantize_checkpoint
from tidemill.models.quantization.trial import compare, hidden_states

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A decoder and what is known of it."""

    decoder: Decoder
    evidence: Evidence
    digest: str
    """Of all weights: whatever chose them, equal ones compute the same."""
    weight_bytes: int
    mapped_bytes: int
    """How much of the weights is the memory of a file, which the system counts as available."""
    row_tile: int | None
    """Rows are padded to it if a matrix stayed in floats; integers need none."""


@dataclass(frozen=True, slots=True)
class _Making:
    """What all steps need."""

    job: QuantizationJob
    kernels: KernelBackend
    progress: Progress
    on_layer: Callable[[], None] | None

    def build(self, arrays: dict[str, Array], matrices: dict[str, PackedMatrix]) -> Decoder:
        """The decoder over `arrays`."""
        return build_decoder(
            PackedParts(arrays, matrices, self.kernels, row_tile=self.row_tile(matrices)),
            self.job.spec,
            self.kernels,
            device=torch.device("cpu"),
            max_model_len=self.job.max_model_len,
            progress=lambda fraction: self.progress("preparing weights", fraction),
            on_layer=self.on_layer,
        )

    def row_tile(self, matrices: dict[str, PackedMatrix]) -> int | None:
        """See QuantizedModel."""
        are_integers = all(matrix.format in ("int8", "int4") for matrix in matrices.values())
        return None if are_integers or not self.job.is_exact else DEFAULT_ROW_TILE

    def described(
        self, decoder: Decoder, header: PackedHeader, arrays: dict[str, Array], *, is_mapped: bool
    ) -> QuantizedModel:
        """The decoder with what the header and the arrays say."""
        num_bytes = sum(array.nbytes for array in arrays.values())
        return QuantizedModel(
            decoder=decoder,
            evidence=header.evidence,
            digest=header.digest,
            weight_bytes=num_bytes,
            mapped_bytes=num_bytes if is_mapped else 0,
            row_tile=self.row_tile(header.matrices),
        )


@torch.inference_mode()
def load_quantized(
    job: QuantizationJob,
    kernels: KernelBackend,
    cache: PackedCache,
    *,
    progress: Progress,
    on_layer: Callable[[], None] | None = None,
) -> QuantizedModel:
    """Load the model of `job`. Raises ModelLoadError for a checkpoint that is not as it must be.

    Peak memory is the result and about a layer in floats. `progress` is told what is done, and how much of it.
    """
    making = _Making(job, kernels, progress, on_layer)
    token_ids = calibration_tokens(job.folder, job.spec)
    key = job.key(kernels, token_ids)
    progress("looking for packed weights", 0.0)
    found = cache.find(key, num_threads=job.num_threads)
    if found is None:
        with cache.making(key) as may_keep:
            found = cache.find(key, num_threads=job.num_threads) if may_keep else None
            if found is None:
                return _make(making, cache, key, token_ids, may_keep=may_keep)
    header, arrays = found
    return making.described(making.build(arrays, header.matrices), header, arrays, is_mapped=True)


def _make(making: _Making, cache: PackedCache, key: str, token_ids: list[int], *, may_keep: bool) -> QuantizedModel:
    """Quantize, compare the finished decoder with the float model, and publish both."""
    job = making.job
    writer = cache.writer(key, may_keep=may_keep, expected_bytes=expected_bytes(job.spec, job.wanted))
    matrices, logits = quantize_checkpoint(job, making.kernels, PartsWriter(writer), token_ids, making.progress)
    arrays = writer.arrays()
    decoder = making.build(arrays, writer.matrices)
    hidden = hidden_states(decoder, job.spec, token_ids, LOOKUP_DTYPE)
    model = compare(decoder, hidden[compared_rows(job.spec, len(token_ids))], logits)
    header = writer.header(key, Evidence(wanted=job.wanted, matrices=tuple(matrices), model=model))
    is_mapped = writer.is_file
    cache.publish(key, writer, header)
    return making.described(decoder, header, arrays, is_mapped=is_mapped)
