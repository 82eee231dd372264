"""What a step holds, as far as its time depends on it: the features of the cost model. Owns no coefficient."""

from typing import NamedTuple

KNEES = (16, 64, 256)
"""Rows at which a further row may become dearer: few rows wait for weights to be read, many for arithmetic."""
NUM_FEATURES = 5 + len(KNEES)
ROW_GRAIN = 16
"""Rows are computed in tiles of about so many: a chunk is best cut where a tile ends."""
_EXACT_ROWS = 8
_TILED_ROWS = 128


class StepShape(NamedTuple):
    """Counts of one step. A tuple, for several are made and taken apart in every step.

    `num_samples` rows have their logits computed. `num_kv_tokens` are cached positions looked at, once a sequence;
    `row_context` is the sum over rows of the positions each one looks at.
    """

    num_rows: int
    num_samples: int
    num_kv_tokens: int
    row_context: int

    def with_prompt(self, num_tokens: int, context: int) -> "StepShape":
        """This step and `num_tokens` more rows of a prompt whose first `context` positions are computed."""
        return StepShape(
            self.num_rows + num_tokens,
            self.num_samples,
            self.num_kv_tokens + context + num_tokens,
            self.row_context + num_tokens * context + num_tokens * (num_tokens + 1) // 2,
        )


def streams_shape(num_streams: int, num_kv_tokens: int) -> StepShape:
    """A step of `num_streams` sequences with one token each, that look at `num_kv_tokens` positions together."""
    return StepShape(num_streams, num_streams, num_kv_tokens, num_kv_tokens)


def features(shape: StepShape) -> tuple[float, ...]:
    """(NUM_FEATURES,): constant, rows, rows beyond each knee, sampled rows, KV tokens read, rows x context."""
    rows = shape.num_rows
    first, second, third = KNEES
    return (
        1.0,
        float(rows),
        float(rows - first if rows > first else 0),
        float(rows - second if rows > second else 0),
        float(rows - third if rows > third else 0),
        float(shape.num_samples),
        float(shape.num_kv_tokens),
        float(shape.row_context),
    )


def cell_of(shape: StepShape) -> int:
    """The cell of like steps: by rows, by whether all are sampled, by octaves of samples and of KV tokens."""
    rows, samples = shape.num_rows, shape.num_samples
    is_streams = 1 if rows == samples else 0
    return ((_row_bucket(rows) * 2 + is_streams) * 16 + samples.bit_length()) * 32 + (
        shape.num_kv_tokens >> 8
    ).bit_length()


def _row_bucket(rows: int) -> int:
    """Exact for a few, then by tiles, then four to an octave."""
    if rows <= _EXACT_ROWS:
        return rows
    if rows <= _TILED_ROWS:
        return _EXACT_ROWS + (rows + ROW_GRAIN - 1) // ROW_GRAIN
    shift = (rows - 1).bit_length() - 3
    return 2 * _EXACT_ROWS + 4 * (shift - 5) + ((rows - 1) >> shift)
