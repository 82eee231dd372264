"""The pass that quantizes a checkpoint: layer by layer, each part put away as soon as it is settled."""

import logging
from collections.abc import Callable, Iterable

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.decoder_parts import Matrix
from tidemill.models.decoder_weights import DecoderWeights
from tidemill.models.layers.rotary import rotation_table
from tidemill.models.quantization.evidence import OUTPUT_NAME, MatrixEvidence
from tidemill.models.quantization.guard import Guard, Settled
from tidemill.models.quantization.job import LOOKUP_DTYPE, QuantizationJob
from tidemill.models.quantization.layer_quantizer import divided, settle_layer
from tidemill.models.quantization.packed_parts import PartsWriter
from tidemill.models.quantization.reference_stream import Product, ReferenceStream
from tidemill.models.quantization.smoothing import Channels
from tidemill.models.spec import ModelSpec
from tidemill.models.weights.checkpoint import Checkpoint

_MOST_LOGITS = 1 << 24
"""Logits of the float model that are kept for the comparison."""
_OUTPUT_CHUNK = 4096


def quantize_checkpoint(
    job: QuantizationJob,
    kernels: KernelBackend,
    sink: PartsWriter,
    token_ids: list[int],
    progress: Callable[[str, float], None],
) -> tuple[list[MatrixEvidence], torch.Tensor]:
    """Put every part to `sink`; the evidence by matrix, and the float model's logits on `compared_rows` of the text.

    Raises ModelLoadError when a tensor is not as it must be.
    """
    spec, stage = job.spec, f"quantizing to {job.wanted}"
    weights = DecoderWeights(Checkpoint(job.folder), spec, device=torch.device("cpu"), dtype=None)
    guard = Guard(kernels, job.fallback_dtype)
    embedding = weights.embedding()
    sink.embedding(embedding.to(LOOKUP_DTYPE))
    rotations = rotation_table(spec.rope, head_dim=spec.head_dim, num_positions=job.max_model_len)
    stream = ReferenceStream(spec, embedding[torch.tensor(token_ids)].float(), rotations)
    evidence: list[MatrixEvidence] = []
    for index in range(spec.num_layers):
        progress(stage, index / (spec.num_layers + 1))
        tensors = weights.layer(index)
        products = stream.through(tensors, index)
        layer = settle_layer(tensors, products, guard, spec, job.wanted, index)
        sink.layer(index, layer)
        evidence += _found(layer.matrices.values(), job.wanted)
    progress(stage, spec.num_layers / (spec.num_layers + 1))
    final_norm, matrix = weights.final_norm(), weights.output(embedding)
    weights.finish()
    hidden = stream.hidden(final_norm)[compared_rows(spec, len(token_ids))]
    logits = _outputs(hidden, matrix)
    everything = Channels(1, 1, spec.hidden_size)
    output = guard.settle(OUTPUT_NAME, matrix, Product(hidden, logits), "int8", channels=everything)
    sink.output(divided(final_norm, output.factors), output)
    evidence += _found([output], "int8")
    progress(stage, 1.0)
    return evidence, logits


def compared_rows(spec: ModelSpec, num_tokens: int) -> slice:
    """The positions whose logits are compared: all, or the last ones where the vocabulary is large."""
    return slice(max(0, num_tokens - max(16, _MOST_LOGITS // spec.vocab_size // 16 * 16)), num_tokens)


def _outputs(hidden: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """Logits in float32, without a copy of the whole matrix in it."""
    return torch.cat([hidden @ part.float().T for part in torch.split(matrix.weight, _OUTPUT_CHUNK)], dim=1)


def _found(matrices: Iterable[Settled], wanted: IntegerFormat) -> list[MatrixEvidence]:
    """The evidence, and a line in the log for each matrix that had to be mended."""
    found = [matrix.evidence for matrix in matrices]
    for one in found:
        if one.smoothing is not None or one.format != wanted:
            smoothed = "" if one.smoothing is None else f", smoothed with exponent {one.smoothing}"
            logging.getLogger(__name__).info(
                "%s in %s has an output error of %.1f %%: now %s%s, with %.1f %%",
                one.name,
                wanted,
                100 * one.plain_error_ratio,
                one.format,
                smoothed,
                100 * one.error_ratio,
            )
    return found
