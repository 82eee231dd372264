"""The engine's end of a real socket: whole frames, both ends of a stream, heartbeats from a thread."""

import queue
import socket
import threading

import pytest

from tidemill.core.clock import VirtualClock
from tidemill.engine.core.channel import PeerGoneError, SocketChannel
from tidemill.engine.core.heartbeat import HeartbeatThread, Pulse
from tidemill.engine.protocol import (
    Abort,
    FrameError,
    FrameReader,
    FromEngine,
    Heartbeat,
    Loading,
    Shutdown,
    encode_frame,
)


@pytest.fixture
def ends() -> tuple[SocketChannel, socket.socket]:
    theirs, ours = socket.socketpair()
    return SocketChannel(theirs), ours


def test_receive_returns_what_is_there(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, client = ends
    assert channel.receive(0.0) == []
    client.sendall(encode_frame(Abort(sequence_ids=(1,))) + encode_frame(Shutdown()))
    assert channel.receive(None) == [Abort(sequence_ids=(1,)), Shutdown()]


def test_receive_waits_for_the_rest_of_a_frame(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, client = ends
    data = encode_frame(Abort(sequence_ids=tuple(range(1000))))
    client.sendall(data[:100])
    assert channel.receive(0.0) == []
    client.sendall(data[100:])
    assert channel.receive(None) == [Abort(sequence_ids=tuple(range(1000)))]


def test_the_end_of_the_stream_is_the_end(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, client = ends
    client.close()
    with pytest.raises(PeerGoneError):
        channel.receive(None)
    with pytest.raises(PeerGoneError):
        channel.send(Heartbeat(epoch=1, loop_age_seconds=0.0))


def test_bad_bytes_are_refused(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, client = ends
    client.sendall(b"\xff" * 8)
    with pytest.raises(FrameError):
        channel.receive(None)


def test_a_send_waits_for_a_reader_that_is_slow_and_ends_with_one_that_goes(
    ends: tuple[SocketChannel, socket.socket],
) -> None:
    channel, client = ends
    outcome: queue.Queue[Exception | None] = queue.Queue()
    frame = Loading(epoch=1, stage="x" * 4_000_000, fraction=0.0)

    def send() -> None:
        try:
            channel.send(frame)
            outcome.put(None)
            channel.send(frame)
        except PeerGoneError as error:
            outcome.put(error)

    sender = threading.Thread(target=send)
    sender.start()
    reader: FrameReader[FromEngine] = FrameReader(FromEngine)
    received: list[FromEngine] = []
    while not received:
        received.extend(reader.feed(client.recv(65536)))
    assert received == [frame]
    assert outcome.get(timeout=10) is None
    client.close()
    assert isinstance(outcome.get(timeout=10), PeerGoneError)
    sender.join()


def test_two_threads_never_mix_their_frames(ends: tuple[SocketChannel, socket.socket]) -> None:
    channel, client = ends
    frames = [Loading(epoch=1, stage=letter * 50_000, fraction=0.0) for letter in "ab"]
    senders = [threading.Thread(target=lambda f=frame: [channel.send(f) for _ in range(20)]) for frame in frames]
    for sender in senders:
        sender.start()
    reader: FrameReader[FromEngine] = FrameReader(FromEngine)
    received: list[FromEngine] = []
    while len(received) < 40:
        received.extend(reader.feed(client.recv(65536)))
    assert sorted(f.stage[0] for f in received if isinstance(f, Loading)) == ["a"] * 20 + ["b"] * 20
    for sender in senders:
        sender.join()


def test_heartbeats_tell_the_age_of_the_turn_and_notice_that_nobody_listens() -> None:
    sent: queue.Queue[FromEngine] = queue.Queue()
    gone = threading.Event()
    is_gone = threading.Event()

    class Sender:
        def send(self, frame: FromEngine) -> None:
            if gone.is_set():
                raise PeerGoneError("gone")
            sent.put(frame)

    clock = VirtualClock()
    pulse = Pulse(clock)
    pulse.turn()
    clock.advance(2.5)
    thread = HeartbeatThread(Sender(), 4, 0.001, pulse, is_gone.set)
    thread.start()
    assert sent.get(timeout=10) == Heartbeat(epoch=4, loop_age_seconds=2.5)
    gone.set()
    assert is_gone.wait(timeout=10)
    thread.stop()
