"""Frames survive the wire however it cuts them, and bytes that are not ours are refused, never guessed at."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.fake_engine import INFO, STATS, finish
from tidemill.config.settings import Settings
from tidemill.core.requests import SamplingParams
from tidemill.engine.protocol import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Abort,
    Boot,
    Fatal,
    FrameError,
    FrameReader,
    FromEngine,
    Heartbeat,
    Loading,
    Ready,
    SequenceOutput,
    Shutdown,
    StepOutput,
    Submit,
    ToEngine,
    WireLogprobs,
    WireStart,
    encode_frame,
)

LOGPROBS = (WireLogprobs(5, -0.5, (5, 6), (-0.5, -1.0)),)
TO_ENGINE = [
    Boot(epoch=1, settings=Settings(), model_folder="/models/é", eos_token_ids=(1, 2)),
    Submit(
        sequence_id=7,
        prompt_token_ids=(1, 2, 3),
        sampling=SamplingParams(seed=2**64 - 1, logit_bias={3: -1.5}, num_logprobs=0, stop_token_ids=(4,)),
        max_new_tokens=5,
        prompt_index=1,
        sample_index=2,
        priority=-1,
        cache_salt="salt",
        arrival=12.5,
    ),
    Abort(sequence_ids=(1, 2, 2**40)),
    Shutdown(),
]
FROM_ENGINE = [
    Loading(epoch=1, stage="loading weights", fraction=0.5),
    Ready(epoch=1, info=INFO),
    StepOutput(
        epoch=2,
        outputs=(
            SequenceOutput(sequence_id=7, token_ids=(5,), logprobs=LOGPROBS, start=WireStart(1, 2, 0.5)),
            SequenceOutput(sequence_id=8, prompt_logprobs=LOGPROBS, finish=finish(stop_token_id=9)),
            SequenceOutput(sequence_id=9),
        ),
        stats=STATS,
    ),
    Heartbeat(epoch=1, loop_age_seconds=0.25),
    Fatal(epoch=1, kind="CapacityError", message="Too small.", next_step=None),
]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.lists(st.sampled_from(FROM_ENGINE)), st.lists(st.integers(0, 90)))
def test_frames_survive_any_cut(frames: list[FromEngine], sizes: list[int]) -> None:
    reader: FrameReader[FromEngine] = FrameReader(FromEngine)
    data = b"".join(encode_frame(frame) for frame in frames)
    received = [frame for piece in cut(data, sizes) for frame in reader.feed(piece)]
    assert received == frames


@pytest.mark.parametrize("frame", TO_ENGINE, ids=lambda frame: type(frame).__name__)
def test_frames_to_the_engine_survive(frame: ToEngine) -> None:
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    assert reader.feed(encode_frame(frame)) == [frame]


@given(st.binary(max_size=200))
def test_hostile_bytes_are_frames_or_a_frame_error(data: bytes) -> None:
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    try:
        frames = reader.feed(struct.pack("<I", len(data)) + data)
    except FrameError:
        return
    assert len(frames) == 1
    assert msgspec.msgpack.encode(frames[0])


@given(st.sampled_from(TO_ENGINE), st.data())
def test_a_flipped_byte_is_a_frame_or_a_frame_error(frame: ToEngine, data: st.DataObject) -> None:
    body = bytearray(encode_frame(frame))
    where = data.draw(st.integers(4, len(body) - 1))
    body[where] ^= data.draw(st.integers(1, 255))
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    try:
        frames = reader.feed(bytes(body))
    except FrameError:
        return
    assert len(frames) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (struct.pack("<I", MAX_FRAME_BYTES + 1), "over the cap"),
        (struct.pack("<I", 0), "not a frame of ours"),
        (struct.pack("<I", 1) + b"\xc1", "not a frame of ours"),
        (struct.pack("<I", 100_000) + b"\x91" * 100_000, "not a frame of ours"),
        (struct.pack("<I", 8) + b"\x81\xa4type\xa1\xff", "not a frame of ours"),
    ],
    ids=["too long", "empty", "not msgpack", "deep", "not UTF-8"],
)
def test_what_is_not_ours_is_refused(data: bytes, says: str) -> None:
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    with pytest.raises(FrameError, match=says):
        reader.feed(data)


def test_deeply_nested_unknown_fields_are_refused() -> None:
    body = msgspec.msgpack.encode({"type": "shutdown"})
    body = bytes([body[0] + 1]) + body[1:] + b"\xa1x" + b"\x91" * 100_000
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    with pytest.raises(FrameError):
        reader.feed(struct.pack("<I", len(body)) + body)


def test_a_frame_of_the_other_direction_is_refused() -> None:
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    with pytest.raises(FrameError):
        reader.feed(encode_frame(Ready(epoch=1, info=INFO)))


def test_another_version_is_refused() -> None:
    reader: FrameReader[FromEngine] = FrameReader(FromEngine)
    with pytest.raises(FrameError, match="version"):
        reader.feed(encode_frame(Heartbeat(epoch=1, version=PROTOCOL_VERSION + 1, loop_age_seconds=0.0)))


def test_one_bad_frame_fails_the_whole_feed() -> None:
    """A peer that sends one bad frame is not trusted with another, not even one before it."""
    reader: FrameReader[ToEngine] = FrameReader(ToEngine)
    with pytest.raises(FrameError):
        reader.feed(encode_frame(Shutdown()) + struct.pack("<I", 1) + b"\xc1")
