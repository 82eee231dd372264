"""What a request asks to be promised: its `x-slo-*` headers and its priority, within what its key may ask for."""

from msgspec.structs import replace
from starlette.datastructures import Headers

from tidemill.api.limits import parse_milliseconds
from tidemill.api.service import RequestFacts
from tidemill.config.settings import ServerSettings
from tidemill.core.errors import InvalidRequestError
from tidemill.core.objectives import Objectives
from tidemill.core.requests import GenerationRequest

TTFT_HEADER = "x-slo-ttft-ms"
TPOT_HEADER = "x-slo-tpot-ms"
DEADLINE_HEADER = "x-slo-deadline-ms"
_HEADERS = (TTFT_HEADER, TPOT_HEADER, DEADLINE_HEADER)
_PREFIX = "x-slo-"


def note_asked(facts: RequestFacts, headers: Headers, settings: ServerSettings) -> None:
    """A request for tokens has come, with `headers`. Raises `InvalidRequestError`, also for more than its key may."""
    limits = facts.limits
    unknown = next((name for name in headers if name.startswith(_PREFIX) and name not in _HEADERS), None)
    if unknown is not None:
        raise InvalidRequestError(
            f"There is no header '{unknown[:100]}'.",
            param=unknown[:100],
            next_step=f"There are: {', '.join(_HEADERS)}.",
        )
    facts.asked = Objectives(
        ttft_seconds=_asked(headers, TTFT_HEADER, limits.min_ttft_seconds or settings.shortest_ttft_seconds),
        tpot_seconds=_asked(headers, TPOT_HEADER, limits.min_tpot_seconds or settings.shortest_tpot_seconds),
        deadline_seconds=_asked(headers, DEADLINE_HEADER, limits.min_deadline_seconds),
    )


def promised(
    generation: GenerationRequest, facts: RequestFacts, settings: ServerSettings, *, priority: int | None
) -> GenerationRequest:
    """`generation` with its tenant, its priority and what it asks for. Raises `InvalidRequestError`.

    Who asks for no `priority` gets 0, or the most urgent that is allowed if that is later: Ollama's clients cannot ask.
    """
    limits = facts.limits
    least = settings.most_urgent_priority if limits.most_urgent_priority is None else limits.most_urgent_priority
    if priority is None:
        priority = max(0, least)
    elif priority < least:
        raise InvalidRequestError(
            f"The value of 'priority' is {priority}, but the most urgent one you may ask for is {least}.",
            param="priority",
        )
    assert facts.asked is not None
    return replace(generation, priority=priority, objectives=facts.asked, tenant=facts.tenant)


def _asked(headers: Headers, name: str, least_seconds: float | None) -> float | None:
    values = headers.getlist(name)
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequestError(f"The header '{name}' is there {len(values)} times; send it once.", param=name)
    try:
        seconds = parse_milliseconds(values[0].strip())
    except ValueError as error:
        raise InvalidRequestError(f"The header '{name}' cannot be honoured: {error}.", param=name) from error
    if least_seconds is not None and seconds < least_seconds:
        raise InvalidRequestError(
            f"The header '{name}' asks for {seconds * 1000:g} ms, but you may ask for no less than "
            f"{least_seconds * 1000:g} ms.",
            param=name,
        )
    return seconds
