"""How the engine process presents itself to the system: its name in process lists, and that it ends with its parent."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def name_process(name: str) -> None:
    """Show `name` (15 bytes count) in process lists. Only Linux has this; elsewhere nothing changes."""
    _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


def end_with_parent() -> None:
    """Be killed when the parent dies, even while stopped and unable to notice the end of the socket. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _prctl(option: int, argument: object) -> None:
    if sys.platform == "linux":
        # A refusal changes nothing that matters: the name is a courtesy, and the end of the socket is seen anyway.
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
