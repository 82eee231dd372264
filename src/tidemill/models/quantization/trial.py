"""One pass of a finished decoder over the calibration text, and how its logits compare with the float model's."""

import torch

from tidemill.core.kv_cache import KVCacheLayout
from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.models.decoder import Decoder
from tidemill.models.quantization.evidence import ModelEvidence
from tidemill.models.spec import ModelSpec, kv_groups

_BLOCK = 16
_CHUNK_ROWS = 16


def hidden_states(decoder: Decoder, spec: ModelSpec, token_ids: list[int], dtype: torch.dtype) -> torch.Tensor:
    """(tokens, hidden) of one prompt in one step; keys and values are kept in `dtype`."""
    groups = kv_groups(spec)
    count = len(token_ids)
    num_blocks = -(-count // _BLOCK)
    page = block_bytes(
        layers_per_group=len(groups[0].layers),
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        block_size=_BLOCK,
        dtype=dtype,
    )
    layout = KVCacheLayout(num_blocks * len(groups) + 1, _BLOCK, page, groups)
    kv = KVTensors.allocate(
        layout, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, dtype=dtype, device=torch.device("cpu")
    )
    batches = [
        _prompt(count, torch.arange(num_blocks) + 1 + group * num_blocks, members.window)
        for group, members in enumerate(groups)
    ]
    return decoder.forward(torch.tensor(token_ids), torch.arange(count), kv, batches)


def compare(decoder: Decoder, hidden: torch.Tensor, expected: torch.Tensor) -> ModelEvidence:
    """Logits of `hidden` (tokens, hidden) beside `expected` (tokens, vocab)."""
    count = expected.shape[0]
    divergence = agreed = square = size = 0.0
    for start in range(0, count, _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        found, wanted = decoder.logits(hidden[part].contiguous()), expected[part]
        found_log, wanted_log = found.log_softmax(-1), wanted.log_softmax(-1)
        divergence += float((wanted_log.exp() * (wanted_log - found_log)).sum())
        agreed += float((found.argmax(-1) == wanted.argmax(-1)).sum())
        # A constant on a row of logits changes nothing, so it is no error.
        centred = wanted - wanted.mean(-1, keepdim=True)
        square += float((found - found.mean(-1, keepdim=True) - centred).square().sum())
        size += float(centred.square().sum())
    return ModelEvidence(
        num_tokens=count,
        kl_nats=divergence / count if divergence == divergence else float("inf"),  # noqa: PLR0124
        top1_agreement_ratio=agreed / count,
        logit_error_ratio=(square / size) ** 0.5 if size and square == square else float("inf"),  # noqa: PLR0124
    )


def _prompt(count: int, pages: torch.Tensor, window: int | None) -> AttentionBatch:
    at = torch.arange(count)
    return AttentionBatch(
        num_rows=count,
        query_starts=torch.tensor([0, count], dtype=torch.int32),
        start_positions=torch.zeros(1, dtype=torch.int32),
        context_lens=torch.tensor([count], dtype=torch.int32),
        block_tables=pages[None].int(),
        slot_mapping=pages[at // _BLOCK] * _BLOCK + at % _BLOCK,
        block_size=_BLOCK,
        window=window,
        query_lens=(count,),
        context_lens_list=(count,),
    )
