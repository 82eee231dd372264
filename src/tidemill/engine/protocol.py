"""The frames that cross the process boundary: length-prefixed msgpack on a Unix socket, bounded, versioned."""

import struct
from collections.abc import Sequence as Seq
from typing import Any, Generic, TypeVar

import msgspec

from tidemill.config.settings import Settings
from tidemill.core.engine_facts import EngineFacts
from tidemill.core.footprint import IntervalBooks
from tidemill.core.objectives import Objectives
from tidemill.core.requests import FinishReason, SamplingParams
from tidemill.core.stats import StepStats
from tidemill.cost.step_times import CostParameters

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")


class Boot(msgspec.Struct, frozen=True, kw_only=True, tag="boot"):
    """Client to engine: always the first frame, and sent once. Every frame of this engine carries `epoch`."""

    epoch: int
    version: int = PROTOCOL_VERSION
    settings: Settings
    model_folder: str
    eos_token_ids: tuple[int, ...]
    """End-of-text tokens, as the client's side of the model folder knows them."""


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag="submit"):
    """Client to engine: start a sequence. `sampling.stop` strings are the client's business and are ignored here."""

    sequence_id: int
    model_id: int = 0
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    max_new_tokens: int
    prompt_index: int
    sample_index: int
    priority: int
    cache_salt: str
    tenant: str = ""
    objectives: Objectives = Objectives()
    arrival: float
    """When the request came, on the machine's monotonic clock. Nothing is read while a step is computed: by when they
    are read, those that came during one would have come all at once, in any order."""


class Abort(msgspec.Struct, frozen=True, kw_only=True, tag="abort"):
    """Client to engine: forget these sequences; no output follows for them."""

    sequence_ids: tuple[int, ...]


class Shutdown(msgspec.Struct, frozen=True, kw_only=True, tag="shutdown"):
    """Client to engine: stop now and exit 0."""


class Loading(msgspec.Struct, frozen=True, kw_only=True, tag="loading"):
    """Engine to client: progress of the start, `fraction` in 0..1 of the current stage."""

    epoch: int
    version: int = PROTOCOL_VERSION
    stage: str
    fraction: float


class EngineInfo(EngineFacts, frozen=True, kw_only=True):
    """What the engine turned out to be, and how long it took."""

    load_seconds: float
    costs: CostParameters | None = None
    """What steps cost, as far as that is known from before."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """Engine to client: loaded; submissions are welcome."""

    epoch: int
    version: int = PROTOCOL_VERSION
    info: EngineInfo


class WireLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """`RawLogprobs` on the wire."""

    token_id: int
    logprob: float
    top_token_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


class WireFinish(msgspec.Struct, frozen=True, kw_only=True):
    """The engine-side end of a sequence. `stop_token_id` is set if a stop token (not an end-of-text one) ended it."""

    reason: FinishReason
    stop_token_id: int | None = None
    error: str | None = None
    num_cached_tokens: int
    num_preemptions: int
    queue_seconds: float


class WireStart(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a sequence at its first token; the client needs it if a stop string ends the sequence."""

    num_cached_tokens: int
    num_preemptions: int
    queue_seconds: float


class SequenceOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one step yielded for one sequence. `start` comes once, with the first token."""

    sequence_id: int
    start: WireStart | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[WireLogprobs, ...] = ()
    prompt_logprobs: tuple[WireLogprobs, ...] = ()
    finish: WireFinish | None = None


class StepOutput(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """Engine to client: one frame a step."""

    epoch: int
    version: int = PROTOCOL_VERSION
    outputs: tuple[SequenceOutput, ...]
    stats: StepStats
    progress: tuple[tuple[int, int], ...] = ()
    """(sequence id, positions computed) of prompts that this step went on with and did not complete."""
    costs: CostParameters | None = None
    """What steps cost, from time to time."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """Engine to client: the process is alive; its loop last got somewhere `loop_age_seconds` ago."""

    epoch: int
    version: int = PROTOCOL_VERSION
    loop_age_seconds: float


class Books(msgspec.Struct, frozen=True, kw_only=True, tag="books"):
    """Engine to client: an interval of the meter is closed. It comes after the steps that it tells of."""

    epoch: int
    version: int = PROTOCOL_VERSION
    interval: IntervalBooks


class Fatal(msgspec.Struct, frozen=True, kw_only=True, tag="fatal"):
    """Engine to client: cannot start. `kind` is the name of a `SetupError` class, or "internal"."""

    epoch: int
    version: int = PROTOCOL_VERSION
    kind: str
    message: str
    next_step: str | None = None


T = TypeVar("T")
ToEngine = Boot | Submit | Abort | Shutdown
FromEngine = Loading | Ready | StepOutput | Heartbeat | Books | Fatal


class FrameError(Exception):
    """The peer sent what no peer of ours sends: too long, not msgpack, or of another version."""


def encode_frame(frame: ToEngine | FromEngine) -> bytes:
    """The frame's bytes, length first (4 bytes, little endian)."""
    body = msgspec.msgpack.encode(frame)
    assert len(body) <= MAX_FRAME_BYTES, len(body)
    return _LENGTH.pack(len(body)) + body


class FrameReader(Generic[T]):
    """Cuts a byte stream into frames of one direction. Feed it whatever arrived; it keeps what is incomplete."""

    def __init__(self, frames: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(frames)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Seq[T]:
        """The frames completed by `data`, in order. Raises `FrameError` on bytes that are not ours."""
        self._buffer += data
        frames: list[T] = []
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {size} bytes is over the cap of {MAX_FRAME_BYTES}")
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                break
            body = bytes(memoryview(self._buffer)[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                frames.append(self._decoder.decode(body))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise FrameError(f"not a frame of ours: {error}") from error
            version = getattr(frames[-1], "version", PROTOCOL_VERSION)
            if version != PROTOCOL_VERSION:
                raise FrameError(f"a frame of version {version}, but this side speaks version {PROTOCOL_VERSION}")
        return frames
