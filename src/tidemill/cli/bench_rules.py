"""Which flags of `tidemill bench` cannot be meant together, and which say nothing alone: none is ignored."""

import math
from typing import Any

from tidemill.core.errors import ConfigurationError

_EXCLUSIVE = (
    ("concurrency", "rate"),
    ("slo_tpot_ms", "slo_words_per_minute"),
    ("api_key", "api_key_file"),
    *(("find", name) for name in ("concurrency", "rate", "requests", "duration", "ramp", "trace_scale")),
    *((first, second) for first in ("rate", "find_rate") for second in ("ramp", "think")),
    *((first, "max_in_flight") for first in ("concurrency", "find_users")),
    *((first, "trace_scale") for first in ("concurrency", "rate")),
    *(("trace", name) for name in ("prompt_tokens", "output_tokens")),
)
_NEEDED = (
    ("arrivals", ("rate",)),
    ("trace_scale", ("trace",)),
    ("length_scale", ("trace",)),
    ("records", ("json_file",)),
    ("burst_size", ("arrivals_burst",)),
    ("max_in_flight", ("rate", "trace", "find")),
    ("words_per_token", ("slo_words_per_minute",)),
    *((name, ("find",)) for name in ("target", "probe_requests", "resolution", "start", "max_probes", "max_seconds")),
    ("probe_seconds", ("find_rate",)),
    ("find", ("slo_ttft_ms", "slo_tpot_ms", "slo_words_per_minute", "slo_itl_p99_ms", "slo_e2e_ms")),
)


def refuse_contradictions(given: dict[str, Any]) -> None:
    """Raise `ConfigurationError` for flags that cannot be meant together, or that nothing would read."""
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{_flag(name)} is {value}, which is not a number to work with.")
    chosen = {name for name, value in given.items() if value is not None and value is not False}
    chosen |= {f"{name}_{given[name]}" for name in ("find", "arrivals") if given[name]}
    for first, second in _EXCLUSIVE:
        if {first, second} <= chosen:
            raise ConfigurationError(
                f"{_flag(first)} and {_flag(second)} cannot both be given.", next_step="Leave one of them out."
            )
    for name, needed in _NEEDED:
        if name in chosen and not chosen.intersection(needed):
            wanted = " or ".join(_flag(one) for one in needed)
            raise ConfigurationError(f"{_flag(name)} says nothing without {wanted}.", next_step="Give that too.")


def _flag(name: str) -> str:
    special = {
        "json_file": "--json",
        "arrivals_burst": "--arrivals burst",
        "find_rate": "--find rate",
        "find_users": "--find users",
    }
    return special.get(name) or "--" + name.replace("_", "-")
