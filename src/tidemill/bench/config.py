"""Everything one invocation asks for, checked. Flags become this in `cli/bench.py`."""

from dataclasses import dataclass
from typing import Literal

from tidemill.bench.arrivals import Arrivals
from tidemill.bench.dialect import Api
from tidemill.bench.lengths import Lengths
from tidemill.bench.load import ClosedLoop, OpenLoop
from tidemill.bench.objectives import Objectives
from tidemill.bench.trace import TraceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestConfig:
    """What each request is like. A trace's rows replace the two distributions of lengths."""

    api: Api
    model: str | None
    temperature: float | None
    ignore_eos: bool
    timeout_seconds: float
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_ratio: float
    seed: int
    rows: tuple[TraceRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """A search for the highest rate, or the largest number of users, at which `target_ratio` meet the objectives.

    `probe_requests` are judged at each probe. It ends when the highest that passed and the lowest that failed are
    within `resolution_ratio` (or one user), or after `max_probes` or the probe that `max_seconds` have passed in.
    Requests of a rate arrive for `probe_seconds`, or longer.
    """

    what: Literal["rate", "users"]
    target_ratio: float
    probe_requests: int
    resolution_ratio: float
    start: float | None
    max_probes: int
    max_seconds: float
    probe_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """One invocation. `arrivals` None in an open loop means the trace's own times."""

    url: str
    request: RequestConfig
    load: ClosedLoop | OpenLoop
    arrivals: Arrivals | None
    objectives: Objectives
    search: SearchConfig | None
    num_warmup: int
