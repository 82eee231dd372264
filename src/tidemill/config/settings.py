"""Every setting of Tidemill, typed, with its default, bounds and description. Loading and merging live in `loader.py`.

Each leaf is one flag (`--max-queue`), one variable (`TIDEMILL_MAX_QUEUE`) and one key of its table in `tidemill.toml`
(`[scheduler] max_queue`); leaf names are unique across the tree so that flags need no prefix.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Precision = Literal["auto", "fp32", "bf16", "int8", "int4"]
KVPrecision = Literal["auto", "fp32", "bf16", "int8"]
Device = Literal["auto", "cpu", "cuda"]
_SIZE = {"is_size": True}
"""Marks a number of bytes, which may be written as '2GiB'."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is served, and in which arithmetic."""

    model: Annotated[
        str, Meta(description="A local folder, a hub id, or 'minnow', the model that ships with Tidemill.")
    ] = "minnow"
    served_model_name: Annotated[
        tuple[str, ...],
        Meta(description="Names the model answers to; the first is canonical. Default: the model's own name."),
    ] = ()
    revision: Annotated[str | None, Meta(description="Branch, tag or commit of a hub model.")] = None
    offline: Annotated[bool, Meta(description="Never ask the hub; use only what is in its cache.")] = False
    precision: Annotated[
        Precision,
        Meta(
            description="Arithmetic of weights and activations. auto: on a CPU with fast integer products int8 (int4 "
            "where int8 does not fit) if it passes the guard on quality; else what the checkpoint and device favour."
        ),
    ] = "auto"
    packed_cache_bytes: Annotated[
        int,
        Meta(
            ge=0,
            extra=_SIZE,
            description="Disk that quantized weights may take in the user's cache directory; 0 keeps none.",
        ),
    ] = 20 * 1024**3
    device: Annotated[Device, Meta(description="Where the model runs; auto takes a CUDA device if there is one.")] = (
        "auto"
    )
    max_model_len: Annotated[
        Annotated[int, Meta(ge=16)] | None,
        Meta(description="Longest prompt plus output in tokens. Default: the model's own context."),
    ] = None
    fast_math: Annotated[
        bool, Meta(description="Give up bit-identical results under batching for faster fp32 and bf16 matrix products.")
    ] = False
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="Compute threads. Default: the usable cores; one for a model under 32 MiB."),
    ] = None


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The KV cache."""

    block_size: Annotated[int, Meta(ge=1, le=256, description="Token positions in a block.")] = 16
    kv_cache_memory: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            extra=_SIZE,
            description="Memory for keys and values, as '2GiB' or bytes. Default: from what is free after loading.",
        ),
    ] = None
    kv_precision: Annotated[
        KVPrecision,
        Meta(
            description="Type of cached keys and values. auto: as the model computes, bf16 under integer weights. "
            "int8, with a scale for each key and value of a head, holds nearly twice the tokens of bf16."
        ),
    ] = "auto"
    prefix_caching: Annotated[bool, Meta(description="Reuse the keys and values of common prompt prefixes.")] = True


class SchedulerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a step may hold, and who waits."""

    max_num_seqs: Annotated[int, Meta(ge=1, le=4096, description="Sequences that run at once.")] = 64
    max_num_batched_tokens: Annotated[int, Meta(ge=1, le=65536, description="Token budget of one step.")] = 512
    max_queue: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Sequences that may wait; one more is refused with 429.")
    ] = 256
    max_preemptions: Annotated[
        int, Meta(ge=0, le=1000, description="How often one sequence may be preempted before its blocks are reserved.")
    ] = 3


class SloSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The promise: service-level objectives, and what becomes of a request for which one could not be kept."""

    slo_profile: Annotated[
        Literal["batch", "interactive", "relaxed"],
        Meta(
            description="interactive: 150 ms to the first token, 1,000 words a minute. relaxed: 1 s, 250 words a "
            "minute. batch: throughput only, nothing is promised."
        ),
    ] = "batch"
    slo_ttft_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=86_400)] | None,
        Meta(description="Time to the first token that every request is promised. Default: the profile's."),
    ] = None
    slo_tpot_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=3600)] | None,
        Meta(description="Time per output token that every stream is promised. Default: the profile's."),
    ] = None
    slo_attainment_ratio: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of the sequences whose promised times are to be kept: for alerts."),
    ] = 0.95
    slo_availability_ratio: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of the time in which requests are to be taken: for alerts."),
    ] = 0.999
    slo_error_ratio: Annotated[
        float, Meta(gt=0, le=1, description="Share of the requests that may fail: for alerts.")
    ] = 0.001
    on_overload: Annotated[
        Literal["refuse", "queue"],
        Meta(
            description="A request that would miss its time to the first token, its time per token or its deadline: "
            "refuse it at once with 429, or queue it all the same."
        ),
    ] = "refuse"
    calibration_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="Most time that synthetic steps may take at the first start of a model on this machine; they "
            "teach the engine how long its steps take. 0 makes none.",
        ),
    ] = 3.0


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP service."""

    host: Annotated[str, Meta(description="Address to bind. Beyond loopback an API key file is required.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to bind; 0 picks a free one.")] = 8000
    api_key_file: Annotated[str | None, Meta(description="File with one API key a line; '#' starts a comment.")] = None
    most_urgent_priority: Annotated[
        int,
        Meta(
            ge=-(2**31),
            le=2**31 - 1,
            description="Lowest `priority` a request may ask for (lower is sooner), unless its key has a limit.",
        ),
    ] = 0
    shortest_ttft_seconds: Annotated[
        float,
        Meta(gt=0, description="Shortest time to the first token a request may ask for, unless its key has a limit."),
    ] = 0.01
    shortest_tpot_seconds: Annotated[
        float,
        Meta(
            gt=0,
            description="Shortest time per token a request may ask for, unless its key has a limit: a shorter one "
            "leaves room for fewer streams beside it.",
        ),
    ] = 0.02
    max_body_bytes: Annotated[int, Meta(ge=1024, extra=_SIZE, description="Largest request body.")] = 4 * 1024 * 1024
    max_arriving_bytes: Annotated[
        int, Meta(ge=1024, extra=_SIZE, description="Request bodies that may be arriving at one time, all together.")
    ] = 64 * 1024 * 1024
    max_header_bytes: Annotated[int, Meta(ge=1024, extra=_SIZE, description="Largest request line plus headers.")] = (
        32 * 1024
    )
    max_json_depth: Annotated[int, Meta(ge=4, le=512, description="Deepest nesting of a JSON body.")] = 64
    max_choices: Annotated[int, Meta(ge=1, description="Most sequences one request may start (prompts x n).")] = 128
    max_stream_buffer_bytes: Annotated[
        int,
        Meta(ge=4096, extra=_SIZE, description="Undelivered output a stream may hold before a slow reader is cut off."),
    ] = 256 * 1024
    header_timeout_seconds: Annotated[float, Meta(gt=0, description="Time a client has to send a whole request.")] = (
        30.0
    )
    keep_alive_seconds: Annotated[float, Meta(gt=0, description="Time an idle connection is kept.")] = 75.0
    drain_seconds: Annotated[float, Meta(ge=0, description="Time running requests have to finish after SIGTERM.")] = (
        30.0
    )


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine process and its supervision."""

    engine: Annotated[
        Literal["local", "simulated"],
        Meta(description="'local' computes; 'simulated' runs the real scheduler over a model of time."),
    ] = "local"
    heartbeat_seconds: Annotated[float, Meta(gt=0, description="How often the engine says it is alive.")] = 1.0
    stalled_after_seconds: Annotated[float, Meta(gt=0, description="Silence after which /ready turns 503.")] = 5.0
    dead_after_seconds: Annotated[
        float, Meta(gt=0, description="Silence after which the engine is killed and restarted.")
    ] = 30.0
    restart_backoff_seconds: Annotated[
        float, Meta(gt=0, description="Wait before the first restart; doubles up to 60 s.")
    ] = 1.0


class SimulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The simulated engine: its model of time, its capacity, its failures. A lone request's first token takes
    `sim_ttft_seconds` + `sim_seconds_per_token` + `sim_seconds_per_prompt_token` a prompt token.
    """

    sim_ttft_seconds: Annotated[float, Meta(ge=0, description="Added to a step that completes a prompt.")] = 0.05
    sim_seconds_per_token: Annotated[
        float, Meta(ge=0, description="Time of every step, and so between the tokens of a lone stream.")
    ] = 0.01
    sim_seconds_per_prompt_token: Annotated[float, Meta(ge=0, description="Added for each prompt token computed.")] = (
        0.0002
    )
    sim_seconds_per_sequence: Annotated[
        float, Meta(ge=0, description="Added for each further sequence that decodes in the same step.")
    ] = 0.0005
    sim_kv_tokens: Annotated[int, Meta(ge=16, description="Capacity of the simulated KV cache in tokens.")] = 131072
    sim_mean_output_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Mean length of an answer that ends by itself. Default: none does."),
    ] = None
    sim_failure_rate: Annotated[
        float, Meta(ge=0, le=1, description="Chance that a sequence fails, drawn once a sequence.")
    ] = 0.0
    sim_seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Seed of the simulated tokens and failures.")] = 0


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What answers take: the meter, the place the machine stands at, its prices, and the books. Sources of the figures
    that ship with Tidemill are in docs/footprint.md.
    """

    meter: Annotated[
        Literal["auto", "nvml", "rapl", "model", "off"],
        Meta(
            description="Where joules come from: the GPU's counter, the processors' counters, or a model of this "
            "machine, which is called so everywhere. auto takes the first there is."
        ),
    ] = "auto"
    footprint_in_answers: Annotated[
        bool,
        Meta(description="Put `footprint` into every answer's usage, not only where x-tidemill-footprint asks for it."),
    ] = False
    power_idle_watts: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="For the model: what this machine draws at rest. Default: like servers of its kind."),
    ] = None
    power_full_watts: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="For the model: what this machine draws at full load. Default: like servers of its kind."),
    ] = None
    zone: Annotated[
        str, Meta(description="Whose electricity it is: a country's three letters (ISO 3166-1), or 'world'.")
    ] = "world"
    grid_grams_per_kwh: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Grams CO2e per kWh of that electricity. Default: the zone's, from the table."),
    ] = None
    grid_liters_per_kwh: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Liters of water consumed per kWh generated. Default: the zone's, from the table."),
    ] = None
    pue: Annotated[
        float,
        Meta(ge=1, le=10, description="Power usage effectiveness of the building: its energy over the machines'."),
    ] = 1.0
    water_liters_per_kwh: Annotated[
        float,
        Meta(ge=0, description="Water usage effectiveness: liters the building evaporates per kWh of the machines."),
    ] = 0.0
    embodied_kilograms_co2e: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Carbon of making the machine, spread over its lifetime. Default: left out."),
    ] = None
    machine_lifetime_years: Annotated[
        float, Meta(gt=0, le=100, description="Years that purchase and making are spread over.")
    ] = 4.0
    machine_price_per_hour: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="All-in price of the machine an hour. Not together with the two prices below."),
    ] = None
    machine_purchase_price: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="What the machine cost, spread over its lifetime."),
    ] = None
    electricity_price_per_kwh: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Price of a kWh; the building's share (PUE) is paid too."),
    ] = None
    currency: Annotated[str, Meta(description="What prices are in, as it is to be shown.")] = "USD"
    max_metric_keys: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="API keys with series of their own in /metrics: the first that are used. The others are "
            "summed up as '(other)' there; the books on disk know every key.",
        ),
    ] = 100
    ledger_store: Annotated[bool, Meta(description="Keep the books on disk, for `tidemill ledger`.")] = True
    ledger_path: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="The file of the books. Default: ledger.sqlite in the user's data directory."),
    ] = None
    ledger_retention_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Days after which a request's line is deleted; hourly sums stay.")
    ] = 400


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    log_format: Annotated[
        Literal["auto", "text", "json"], Meta(description="auto: text on a terminal, JSON lines elsewhere.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is logged.")
    ] = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole tree; each package is given its own section only."""

    model: ModelSettings = field(default_factory=ModelSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    slo: SloSettings = field(default_factory=SloSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    log: LogSettings = field(default_factory=LogSettings)
