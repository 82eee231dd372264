"""A server that leaves out what is measured by step and by token: what `telemetry_cost.py` compares the usual one with.

`python -m benchmarks.untold serve ...` is `tidemill serve ...` without metrics, outcomes of promises and books.
"""

import sys
from typing import Any

from tidemill.cli.main import main
from tidemill.core.backend import Backend
from tidemill.runtime import instruments
from tidemill.telemetry.recorder import EngineRecorder, PromiseRecorder


def _ignore(*_: Any) -> None:
    return None


def _unrecorded(backend: Backend, *_: Any, **__: Any) -> Backend:
    return backend


if __name__ == "__main__":
    EngineRecorder.step = _ignore  # type: ignore[method-assign]
    PromiseRecorder.outcome = _ignore  # type: ignore[method-assign]
    instruments.RecordedBackend = _unrecorded  # type: ignore[misc, assignment]
    sys.argv += ["--meter", "off"]
    main()
