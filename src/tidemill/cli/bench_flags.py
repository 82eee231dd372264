"""The flags of `tidemill bench`, by panel. Owns their names and help; `bench.py` turns them into a configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

_LOAD, _WORK, _SLO, _FIND, _OUT = "Load", "Requests", "Objectives", "Search", "Output"


def _flag(panel: str, text: str, metavar: str | None = "X", *names: str, **bounds: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar, **bounds)


Concurrency = Annotated[int | None, _flag(_LOAD, "Closed loop: users at once. (default: 1)", "N", min=1, max=60_000)]
Rate = Annotated[float | None, _flag(_LOAD, "Open loop: requests a second, on average.", min=1e-4)]
Arrive = Annotated[
    Literal["poisson", "constant", "burst"] | None,
    _flag(_LOAD, "How they arrive. (default: poisson)", "poisson|constant|burst"),
]
BurstSize = Annotated[
    int | None, _flag(_LOAD, "Requests that come at once in a burst. (default: 8)", "N", min=2, max=60_000)
]
Trace = Annotated[
    Path | None,
    _flag(
        _LOAD,
        "CSV with TIMESTAMP, ContextTokens and GeneratedTokens: lengths, and times too unless another flag sets those.",
        "FILE",
    ),
]
TraceScale = Annotated[float | None, _flag(_LOAD, "Send a trace so many times as fast. (default: 1)", min=1e-6)]
LengthScale = Annotated[float | None, _flag(_LOAD, "Multiply a trace's lengths. (default: 1)", min=1e-6)]
Requests = Annotated[
    int | None,
    _flag(_LOAD, "Requests to send. (default: 100, or what --duration allows)", "N", min=1, max=10_000_000),
]
Duration = Annotated[
    float | None, _flag(_LOAD, "Seconds in which requests may start; those under way then finish.", min=0.1)
]
Ramp = Annotated[float | None, _flag(_LOAD, "Seconds over which the users of a closed loop start.", min=0)]
Think = Annotated[float | None, _flag(_LOAD, "Seconds a user of a closed loop waits between requests.", min=0)]
Warmup = Annotated[int, _flag(_LOAD, "Requests before, not counted.", "N", min=0, max=100_000)]
Timeout = Annotated[float, _flag(_LOAD, "Seconds a whole answer may take.", min=0.1)]
MaxInFlight = Annotated[
    int | None,
    _flag(
        _LOAD,
        "Open loop: requests under way at once; more are not sent and count as failed. (default: 4096)",
        "N",
        min=1,
        max=60_000,
    ),
]

PromptTokens = Annotated[
    str | None,
    _flag(
        _WORK, "Length of prompts: 128, 64-512 (uniform) or lognormal:200,0.6 (median, sigma). (default: 128)", "LENGTH"
    ),
]
OutputTokens = Annotated[str | None, _flag(_WORK, "Length of answers, in the same notation. (default: 64)", "LENGTH")]
SharedPrefix = Annotated[float, _flag(_WORK, "Share of each prompt that all begin with alike.", min=0, max=1)]
Seed = Annotated[int, _flag(_WORK, "The same seed sends the same requests.", "N", min=0, max=2**63 - 1)]
Interface = Annotated[Literal["completions", "chat"], _flag(_WORK, "Which interface.", "completions|chat", "--api")]
Model = Annotated[str | None, _flag(_WORK, "The model to ask for. (default: the server's first)", "NAME")]
Temperature = Annotated[float, _flag(_WORK, "0 is greedy.", min=0, max=100)]
IgnoreEos = Annotated[
    bool,
    _flag(
        _WORK,
        "Ask for answers of full length, where the server takes ignore_eos.",
        None,
        "--ignore-eos/--no-ignore-eos",
    ),
]
ApiKey = Annotated[str | None, _flag(_WORK, "API key. Others on this machine can see it; better:", "KEY")]
ApiKeyFile = Annotated[Path | None, _flag(_WORK, "File whose first key is used.", "FILE")]

SloTtft = Annotated[float | None, _flag(_SLO, "Longest time to the first token.", min=1e-3)]
SloTpot = Annotated[float | None, _flag(_SLO, "Longest time per further token of a request.", min=1e-3)]
SloWords = Annotated[float | None, _flag(_SLO, "The same as a reading speed, with --words-per-token.", min=1e-3)]
WordsPerToken = Annotated[float | None, _flag(_SLO, "Words a token is worth. (default: 0.75)", min=1e-3, max=10)]
SloItl = Annotated[float | None, _flag(_SLO, "Longest gap, for 99 % of the gaps of a request.", min=1e-3)]
SloE2e = Annotated[float | None, _flag(_SLO, "Longest time to the last token.", min=1e-3)]

Find = Annotated[
    Literal["rate", "users"] | None,
    _flag(_FIND, "Find the highest Poisson rate, or the most users of a closed loop, that meets them.", "rate|users"),
]
TargetShare = Annotated[
    float | None,
    _flag(_FIND, "Share of requests that must meet all objectives. (default: 0.95)", "X", "--target", min=0.01, max=1),
]
ProbeRequests = Annotated[
    int | None,
    _flag(
        _FIND,
        "Requests judged at each load. Fewer: faster and less certain. (default: 100)",
        "N",
        min=10,
        max=1_000_000,
    ),
]
Resolution = Annotated[
    float | None,
    _flag(
        _FIND,
        "How close the best load and the lowest that failed must come, as a share. (default: 0.05)",
        min=0.005,
        max=1,
    ),
]
Start = Annotated[float | None, _flag(_FIND, "The load to begin with. (default: what one user makes)", min=1e-3)]
MaxProbes = Annotated[int | None, _flag(_FIND, "Probes, at most. (default: 24)", "N", min=2, max=1000)]
MaxSeconds = Annotated[float | None, _flag(_FIND, "No probe begins after this much time. (default: 900)", "S", min=1.0)]
ProbeSeconds = Annotated[
    float | None,
    _flag(_FIND, "A probe of a rate lasts so long at least, for a queue to show. (default: 5)", "S", min=0.0),
]

JsonFile = Annotated[
    Path | None, _flag(_OUT, "Write all figures; '-' is standard output, with nothing else.", "FILE", "--json")
]
HtmlFile = Annotated[Path | None, _flag(_OUT, "Write a report with plots, in one file.", "FILE", "--html")]
Records = Annotated[bool, _flag(_OUT, "Put every request into the JSON.", None, "--records")]
ShowProgress = Annotated[bool, _flag(_OUT, "Show it live, on a terminal.", None, "--progress/--no-progress")]
