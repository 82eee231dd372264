"""Records with given times, for what is computed from records."""

from array import array

from tidemill.bench.record import RequestRecord


def record(
    *pieces: float,
    due: float = 0.0,
    sent: float | None = None,
    tokens: int | None = None,
    prompt: int | None = 10,
    error: str | None = None,
    index: int = 0,
) -> RequestRecord:
    """A request due at `due` whose pieces came at `pieces`; failed if `error` is given."""
    made = RequestRecord(index, due, due if sent is None else sent)
    made.piece_seconds = array("d", pieces)
    made.last_seconds = pieces[-1] if pieces else None
    made.ended_seconds = pieces[-1] if pieces else due
    made.num_output_tokens = len(pieces) if tokens is None else tokens
    made.num_prompt_tokens = prompt
    made.error = error
    return made
