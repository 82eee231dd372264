"""The engine process's entry: `python -m tidemill.engine.core --socket-fd N`, started by `engine.client.process` only.

The first frame on the socket is a `Boot`. Exit status: 0 told to stop, or nobody is left to work for; 1 failed;
2 cannot start.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence as Seq

from tidemill.core.clock import monotonic
from tidemill.core.errors import SetupError
from tidemill.engine.core.channel import PeerGoneError, SocketChannel
from tidemill.engine.core.cost_keeper import CostKeeper
from tidemill.engine.core.heartbeat import HeartbeatThread, Pulse
from tidemill.engine.core.loop import EngineLoop, TooManyFailuresError
from tidemill.engine.core.title import end_with_parent, name_process
from tidemill.engine.protocol import Boot, Fatal, FrameError, Loading, Ready

logger = logging.getLogger("tidemill.engine.core")

EXIT_DONE, EXIT_FAILED, EXIT_CANNOT_START = 0, 1, 2
BOOT_SECONDS = 30.0


def main(arguments: Seq[str]) -> int:
    """Serve the socket until told to stop; returns the exit status."""
    # The parent decides when we end, and drains first: Ctrl-C at its terminal, or a service manager that signals every
    # process, is not for us. It ends us by a frame, by closing the socket, or by SIGKILL.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    name_process("tidemill-engine")
    parser = argparse.ArgumentParser(
        prog="tidemill.engine.core", description="Started by tidemill; not for direct use."
    )
    parser.add_argument("--socket-fd", type=int, required=True)
    channel = SocketChannel(socket.socket(fileno=parser.parse_args(arguments).socket_fd))
    try:
        boot = _receive_boot(channel)
        return _serve(channel, boot)
    except PeerGoneError:
        return EXIT_DONE
    except FrameError as error:
        logger.error("The client sent what is no frame of ours: %s.", error)  # noqa: TRY400 - says all there is
        return EXIT_FAILED


def _receive_boot(channel: SocketChannel) -> Boot:
    frames = channel.receive(BOOT_SECONDS)
    if len(frames) != 1 or not isinstance(frames[0], Boot):
        raise FrameError("the first frame was not a boot frame")
    return frames[0]


def _serve(channel: SocketChannel, boot: Boot) -> int:
    # Levels lead each line, where the parent reads them off again.
    logging.basicConfig(
        stream=sys.stderr, format="%(levelname)s %(message)s", level=boot.settings.log.log_level.upper(), force=True
    )
    pulse = Pulse(monotonic)
    # The loop may be deep in a load or a step when the client goes away: this thread notices, and ends the process.
    heartbeat = HeartbeatThread(
        channel, boot.epoch, boot.settings.engine.heartbeat_seconds, pulse, lambda: os._exit(EXIT_DONE)
    )
    heartbeat.start()
    try:
        loop = _load(channel, boot, pulse)
        loop.run()
    except SetupError as error:
        _say_fatal(channel, boot, type(error).__name__, error.message, error.next_step)
        return EXIT_CANNOT_START
    except TooManyFailuresError as error:
        logger.error("The engine gives itself up: %s.", error)  # noqa: TRY400 - each step's traceback is logged
        return EXIT_FAILED
    finally:
        heartbeat.stop()
    return EXIT_DONE


def _load(channel: SocketChannel, boot: Boot, pulse: Pulse) -> EngineLoop:
    """Assemble the engine and report it ready. What is no `SetupError` is reported as internal, and raised."""

    def progress(stage: str, fraction: float) -> None:
        channel.send(Loading(epoch=boot.epoch, stage=stage, fraction=fraction))

    progress("starting", 0.0)
    try:
        from tidemill.engine.core.assembly import assemble  # late, so that heartbeats run while its imports load

        engine = assemble(boot, progress, monotonic, on_layer=pulse.beat)
    except (SetupError, PeerGoneError):
        raise
    except Exception as error:
        _say_fatal(
            channel, boot, "internal", f"The engine failed while it loaded ({type(error).__name__}: {error}).", None
        )
        raise
    # What was loaded stays: the garbage collector need not look at it again in the middle of a stream.
    gc.collect()
    gc.freeze()
    channel.send(Ready(epoch=boot.epoch, info=engine.info))
    return EngineLoop(
        engine.scheduler,
        engine.runner,
        channel,
        epoch=boot.epoch,
        eos_token_ids=frozenset(boot.eos_token_ids),
        pulse=pulse,
        clock=monotonic,
        keeper=CostKeeper(engine.scheduler.costs, engine.cost_store, monotonic),
        books=engine.books,
    )


def _say_fatal(channel: SocketChannel, boot: Boot, kind: str, message: str, next_step: str | None) -> None:
    channel.send(Fatal(epoch=boot.epoch, kind=kind, message=message, next_step=next_step))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
