"""Real servers over one folder of packed weights: two that start at once, and one that is killed while it packs."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.fakes.checkpoints import make_checkpoint
from tests.fakes.live_server import LiveServer, live_server
from tidemill.core.private_folder import private_cache_folder
from tidemill.models.quantization.packed_file import read_packed

LAYERS = 12
ARGUMENTS = ("--precision", "int8", "--kv-cache-memory", "64MiB", "--threads", "1", "--max-num-seqs", "4")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(
        "llama",
        tmp_path_factory.mktemp("model") / "deep",
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=LAYERS,
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No packed weights, but the compiled kernels of whoever runs the tests."""
    kernels = os.environ.get("NUMBA_CACHE_DIR") or private_cache_folder("numba")
    return {"XDG_CACHE_HOME": str(tmp_path)} | ({} if kernels is None else {"NUMBA_CACHE_DIR": str(kernels)})


def packed(environment: dict[str, str], pattern: str) -> list[Path]:
    return list(Path(environment["XDG_CACHE_HOME"]).glob(f"tidemill/packed/{pattern}"))


def answer(server: LiveServer) -> tuple[str, list[float]]:
    body = {"prompt": "The mill", "max_tokens": 24, "temperature": 0, "ignore_eos": True, "logprobs": 0}
    done = httpx.post(f"{server.url}/v1/completions", json={"model": "deep"} | body, timeout=60)
    assert done.status_code == 200, done.text
    (choice,) = done.json()["choices"]
    return choice["text"], choice["logprobs"]["token_logprobs"]


def assert_one_sound_entry(environment: dict[str, str]) -> None:
    (entry,) = packed(environment, "*.packed")
    assert packed(environment, "*.partial") == []
    header, arrays = read_packed(entry, entry.stem, num_threads=1)
    assert header.matrices.keys() >= {f"layers.{index}.down" for index in range(LAYERS)}
    assert header.arrays.keys() == arrays.keys()


def test_two_servers_that_start_at_once_share_one_entry(checkpoint: Path, environment: dict[str, str]) -> None:
    with (
        live_server(str(checkpoint), *ARGUMENTS, wait=False, **environment) as first,
        live_server(str(checkpoint), *ARGUMENTS, wait=False, **environment) as second,
    ):
        for server in (first, second):
            server.wait_for_line("curl ")
        assert answer(first) == answer(second)
        kept = [sum("Kept the packed weights" in line for line in server.lines) for server in (first, second)]
        assert sorted(kept) == [0, 1]
    assert_one_sound_entry(environment)


def test_what_a_killed_server_had_packed_is_not_trusted(checkpoint: Path, environment: dict[str, str]) -> None:
    with live_server(str(checkpoint), *ARGUMENTS, wait=False, **environment) as killed:
        until = time.monotonic() + 120
        while not any(path.stat().st_size > 1_000_000 for path in packed(environment, "*.partial")):
            assert time.monotonic() < until
            assert killed.process.poll() is None, killed.lines
            time.sleep(0.005)
        os.kill(killed.engine_pid(), signal.SIGKILL)
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
    assert packed(environment, "*.packed") == []
    (left,) = packed(environment, "*.partial")
    with live_server(str(checkpoint), *ARGUMENTS, **environment) as server:
        cold = answer(server)
    assert not left.exists()
    assert_one_sound_entry(environment)
    with live_server(str(checkpoint), *ARGUMENTS, **environment) as server:
        assert answer(server) == cold
        assert not any("Kept the packed weights" in line for line in server.lines)
