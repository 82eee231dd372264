"""Whether an answer is to say what it took: the `x-tidemill-footprint` header, or the server's setting."""

from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType

from tidemill.core.errors import InvalidRequestError
from tidemill.core.footprint import Footprint
from tidemill.core.requests import Finish
from tidemill.ledger.statement import together

FOOTPRINT_HEADER = "x-tidemill-footprint"


def is_asked(headers: Mapping[str, str]) -> bool | None:
    """What the header says; None without it. Raises `InvalidRequestError` unless it is true or false."""
    text = headers.get(FOOTPRINT_HEADER)
    if text is None:
        return None
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise InvalidRequestError(
            f"The header '{FOOTPRINT_HEADER}' must be true or false, not '{text[:20]}'.", param=FOOTPRINT_HEADER
        )
    return word == "true"


def footprint_of(finishes: Sequence[Finish | None], *, is_wanted: bool) -> Footprint | UnsetType | None:
    """What all of an answer's sequences took; None if that is not known, or not yet; absent if it is not wanted."""
    if not is_wanted:
        return UNSET
    parts = [finish.footprint for finish in finishes if finish is not None and finish.footprint is not None]
    return together(parts) if len(parts) == len(finishes) else None
