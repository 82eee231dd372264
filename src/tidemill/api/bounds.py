"""Bounds of request fields as the API document tells them. `text/validation.py` holds them; nothing is refused here."""

from typing import Annotated, Any

from msgspec import Meta

from tidemill.text.message_checks import MAX_MESSAGES
from tidemill.text.sampling_checks import MAX_LOGPROBS, MAX_STOP_CHARS, MAX_STOP_TOKEN_IDS, MAX_STOPS


def _told(**words: Any) -> Meta:
    return Meta(extra_json_schema=words)


Temperature = Annotated[float, _told(minimum=0, maximum=2)]
TopP = Annotated[float, _told(minimum=0, exclusiveMinimum=True, maximum=1)]
MinP = Annotated[float, _told(minimum=0, maximum=1)]
TopK = Annotated[int, _told(minimum=-1, maximum=2**31 - 1)]
Penalty = Annotated[float, _told(minimum=-2, maximum=2)]
RepetitionPenalty = Annotated[float, _told(minimum=0, exclusiveMinimum=True, maximum=10)]
Seed = Annotated[int, _told(minimum=-(2**63), maximum=2**64 - 1)]
Priority = Annotated[int, _told(minimum=-(2**31), maximum=2**31 - 1)]
NumLogprobs = Annotated[int, _told(minimum=0, maximum=MAX_LOGPROBS)]
Count = Annotated[int, _told(minimum=0)]
PositiveCount = Annotated[int, _told(minimum=1)]
StopText = Annotated[str, _told(minLength=1, maxLength=MAX_STOP_CHARS)]
StopTexts = Annotated[list[StopText], _told(maxItems=MAX_STOPS)]
StopTokenIds = Annotated[list[int], _told(maxItems=MAX_STOP_TOKEN_IDS)]
OnlyFalse = Annotated[bool, _told(enum=[False])]
FROM_ONE_MESSAGE = _told(minItems=1, maxItems=MAX_MESSAGES)
