"""What a request asks to be promised: its priority and its `x-slo-*` headers, within what its key may ask for."""

from collections.abc import Mapping

from msgspec.structs import replace

from tidemill.api.limits import parse_milliseconds
from tidemill.api.service import RequestFacts
from tidemill.config.settings import ServerSettings
from tidemill.core.errors import InvalidRequestError
from tidemill.core.objectives import Objectives
from tidemill.core.requests import GenerationRequest

TTFT_HEADER = "x-slo-ttft-ms"
TPOT_HEADER = "x-slo-tpot-ms"
DEADLINE_HEADER = "x-slo-deadline-ms"


def promised(
    generation: GenerationRequest, headers: Mapping[str, str], facts: RequestFacts, settings: ServerSettings
) -> GenerationRequest:
    """`generation` with its tenant and with what `headers` ask for. Raises `InvalidRequestError`."""
    limits = facts.limits
    least = settings.most_urgent_priority if limits.most_urgent_priority is None else limits.most_urgent_priority
    if generation.priority < least:
        raise InvalidRequestError(
            f"The value of 'priority' is {generation.priority}, but the most urgent one you may ask for is {least}.",
            param="priority",
        )
    objectives = Objectives(
        ttft_seconds=_asked(headers, TTFT_HEADER, limits.min_ttft_seconds),
        tpot_seconds=_asked(headers, TPOT_HEADER, limits.min_tpot_seconds),
        deadline_seconds=_asked(headers, DEADLINE_HEADER, limits.min_deadline_seconds),
    )
    return replace(generation, objectives=objectives, tenant=facts.tenant)


def _asked(headers: Mapping[str, str], name: str, least_seconds: float | None) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        seconds = parse_milliseconds(text.strip())
    except ValueError as error:
        raise InvalidRequestError(f"The header '{name}' cannot be honoured: {error}.", param=name) from error
    if least_seconds is not None and seconds < least_seconds:
        raise InvalidRequestError(
            f"The header '{name}' asks for {seconds * 1000:g} ms, but your key may ask for no less than "
            f"{least_seconds * 1000:g} ms.",
            param=name,
        )
    return seconds
