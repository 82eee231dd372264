"""`tidemill bench`: flags to a configuration, the run with its signals, and where the result goes."""

import asyncio
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli import bench_flags as flags
from tidemill.cli.bench_rules import refuse_contradictions
from tidemill.core.errors import ConfigurationError

if TYPE_CHECKING:
    from tidemill.bench.config import BenchConfig
    from tidemill.bench.objectives import Objectives
    from tidemill.bench.result import BenchResult
    from tidemill.bench.trace import TraceRow

HELP = """
Load a server with OpenAI's interface and measure what its users get.

A closed loop (--concurrency) has users who each wait for an answer before they ask again. An open loop (--rate,
--trace) sends at set times, whatever became of the requests before. A search (--find) looks for the highest load at
which enough requests meet the objectives. Ctrl-C ends with the figures so far.

[bold]Examples[/bold]

  tidemill bench http://127.0.0.1:8000 --concurrency 8 --requests 200

  tidemill bench http://127.0.0.1:8000 --rate 4 --duration 60 --slo-ttft-ms 500 --html report.html

  tidemill bench http://127.0.0.1:8000 --trace azure.csv --trace-scale 0.5 --length-scale 0.25 --requests 300

  tidemill bench http://127.0.0.1:8000 --find rate --slo-ttft-ms 1000 --slo-tpot-ms 100 --json found.json

  tidemill bench http://127.0.0.1:8000 --find users --slo-ttft-ms 150 --slo-words-per-minute 250
"""
_DEFAULT_REQUESTS = 100
_INTERRUPTED = 130


def bench(
    url: Annotated[str, typer.Argument(help="The server, such as http://127.0.0.1:8000, without /v1.")],
    concurrency: flags.Concurrency = None,
    rate: flags.Rate = None,
    arrivals: flags.Arrive = None,
    burst_size: flags.BurstSize = None,
    trace: flags.Trace = None,
    trace_scale: flags.TraceScale = None,
    length_scale: flags.LengthScale = None,
    requests: flags.Requests = None,
    duration: flags.Duration = None,
    ramp: flags.Ramp = None,
    think: flags.Think = None,
    warmup: flags.Warmup = 1,
    timeout: flags.Timeout = 600.0,
    max_in_flight: flags.MaxInFlight = None,
    prompt_tokens: flags.PromptTokens = None,
    output_tokens: flags.OutputTokens = None,
    shared_prefix: flags.SharedPrefix = 0.0,
    seed: flags.Seed = 0,
    api: flags.Interface = "completions",
    model: flags.Model = None,
    temperature: flags.Temperature = 0.0,
    ignore_eos: flags.IgnoreEos = True,
    api_key: flags.ApiKey = None,
    api_key_file: flags.ApiKeyFile = None,
    slo_ttft_ms: flags.SloTtft = None,
    slo_tpot_ms: flags.SloTpot = None,
    slo_words_per_minute: flags.SloWords = None,
    words_per_token: flags.WordsPerToken = None,
    slo_itl_p99_ms: flags.SloItl = None,
    slo_e2e_ms: flags.SloE2e = None,
    find: flags.Find = None,
    target: flags.TargetShare = None,
    probe_requests: flags.ProbeRequests = None,
    resolution: flags.Resolution = None,
    start: flags.Start = None,
    max_probes: flags.MaxProbes = None,
    max_seconds: flags.MaxSeconds = None,
    probe_seconds: flags.ProbeSeconds = None,
    json_file: flags.JsonFile = None,
    html_file: flags.HtmlFile = None,
    records: flags.Records = False,
    progress: flags.ShowProgress = True,
) -> None:
    """Load a server with OpenAI's interface and measure what its users get."""
    from tidemill.bench.arrivals import Arrivals
    from tidemill.bench.config import BenchConfig, RequestConfig, SearchConfig
    from tidemill.bench.lengths import parse_lengths
    from tidemill.bench.load import ClosedLoop, OpenLoop

    refuse_contradictions(locals())
    objectives = _objectives(
        slo_ttft_ms, slo_tpot_ms, slo_words_per_minute, words_per_token or 0.75, slo_itl_p99_ms, slo_e2e_ms
    )
    rows = () if trace is None else _trace(trace, trace_scale or 1.0, length_scale or 1.0)
    is_open = rate is not None or find == "rate" or (bool(rows) and concurrency is None and find is None)
    number = _DEFAULT_REQUESTS if requests is None and duration is None else requests
    if rows and is_open and rate is None and requests is None:
        number = None  # the trace has an end of its own
    config = BenchConfig(
        url=url,
        request=RequestConfig(
            api=api,
            model=model,
            temperature=temperature,
            ignore_eos=ignore_eos,
            timeout_seconds=timeout,
            prompt_tokens=parse_lengths(prompt_tokens or "128", flag="--prompt-tokens"),
            output_tokens=parse_lengths(output_tokens or "64", flag="--output-tokens"),
            shared_prefix_ratio=shared_prefix,
            seed=seed,
            rows=rows,
        ),
        load=OpenLoop(number, duration, max_in_flight or 4096)
        if is_open
        else ClosedLoop(concurrency or 1, number, duration, ramp or 0.0, think or 0.0),
        arrivals=None if rate is None else Arrivals(arrivals or "poisson", rate, burst_size or 8),
        objectives=objectives,
        search=None
        if find is None
        else SearchConfig(
            what=find,
            target_ratio=target or 0.95,
            probe_requests=probe_requests or 100,
            resolution_ratio=resolution or 0.05,
            start=start,
            max_probes=max_probes or 24,
            max_seconds=max_seconds or 900.0,
            probe_seconds=5.0 if probe_seconds is None else probe_seconds,
        ),
        num_warmup=warmup,
    )
    key = _key(api_key, api_key_file)
    raise typer.Exit(_run(config, key, _outputs(json_file, html_file, records=records), progress=progress))


def _objectives(
    ttft_ms: float | None,
    tpot_ms: float | None,
    words_per_minute: float | None,
    words_per_token: float,
    itl_p99_ms: float | None,
    e2e_ms: float | None,
) -> "Objectives":
    from tidemill.bench.objectives import Objectives, tpot_of_reading_speed

    def seconds(milliseconds: float | None) -> float | None:
        return None if milliseconds is None else milliseconds / 1e3

    tpot = seconds(tpot_ms)
    if words_per_minute is not None:
        tpot = tpot_of_reading_speed(words_per_minute, words_per_token)
    return Objectives(seconds(ttft_ms), tpot, seconds(itl_p99_ms), seconds(e2e_ms))


def _trace(path: Path, trace_scale: float, length_scale: float) -> "tuple[TraceRow, ...]":
    from tidemill.bench.trace import read_trace, scale_trace

    return scale_trace(read_trace(path), rate_scale=trace_scale, length_scale=length_scale)


def _key(api_key: str | None, path: Path | None) -> str | None:
    if path is not None:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The key file {path} cannot be read: {error}.") from error
        api_key = next((line for line in lines if line and not line.startswith("#")), None)
        if api_key is None:
            raise ConfigurationError(f"The key file {path} has no key.")
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ConfigurationError("The API key has characters that no header can hold.")
    return api_key


Output = Callable[["BenchResult"], None]


def _outputs(json_file: Path | None, html_file: Path | None, *, records: bool) -> list[Output]:
    """What is done with a result. Files are opened now: an hour's run should not end with a folder that is missing."""
    for path in (json_file, html_file):
        if path is not None and str(path) != "-":
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("a").close()
            except OSError as error:
                raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error

    def write_json(result: "BenchResult") -> None:
        from tidemill.bench.result import to_json

        assert json_file is not None
        document = to_json(result, with_records=records)
        if str(json_file) == "-":
            sys.stdout.write(document.decode())
        else:
            json_file.write_bytes(document)

    def write_html(result: "BenchResult") -> None:
        from tidemill.bench.report import to_html

        assert html_file is not None
        html_file.write_text(to_html(result), encoding="utf-8")

    def show(result: "BenchResult") -> None:
        from tidemill.bench.plain import to_text

        print(to_text(result), end="")

    outputs: list[Output] = [] if str(json_file) == "-" else [show]
    outputs += [write_json] if json_file is not None else []
    return outputs + ([write_html] if html_file is not None else [])


def _run(config: "BenchConfig", api_key: str | None, outputs: list[Output], *, progress: bool) -> int:
    from tidemill.bench.session import NothingSucceededError

    try:
        result = _measured(config, api_key, progress=progress)
    except NothingSucceededError as error:
        for output in outputs:
            output(error.result)
        raise
    if result.summary.num_requests == 0 and result.is_interrupted:
        raise KeyboardInterrupt
    for output in outputs:
        output(result)
    return _INTERRUPTED if result.is_interrupted else 0


def _measured(config: "BenchConfig", api_key: str | None, *, progress: bool) -> "BenchResult":
    from tidemill.bench.session import Bench
    from tidemill.cli.bench_display import open_display

    async def measure() -> "BenchResult":
        loop = asyncio.get_running_loop()
        with open_display(is_wanted=progress) as display:
            bench = Bench(config, api_key=api_key, machine=_machine, display=display)
            work = loop.create_task(bench.run())

            def interrupt() -> None:
                loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C is the ordinary one
                if not bench.stop():
                    work.cancel()

            if threading.current_thread() is threading.main_thread():
                loop.add_signal_handler(signal.SIGINT, interrupt)
            try:
                return await work
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(measure())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _machine() -> dict[str, Any]:
    """The machine that measures; the server's too, if it is on loopback."""
    from tidemill.cli.machine import cpu_name, quota_cores

    return {
        "processor": cpu_name(),
        "cores": os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0)),
        "quota_cores": quota_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }
