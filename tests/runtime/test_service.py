"""A whole server in a process of its own, over the simulated engine: it starts, serves, drains and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.fakes.live_server import free_port
from tidemill.config.settings import (
    EngineSettings,
    LogSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    SimulationSettings,
)

PROGRAM = """
import sys, msgspec
from tidemill.config.settings import Settings
from tidemill.runtime.service import serve
status = serve(msgspec.json.decode(sys.argv[1], type=Settings))
heavy = sorted({"torch", "transformers", "numba"} & set(sys.modules))
print("heavy modules:", heavy, flush=True)
sys.exit(status)
"""


class Server:
    """The process, its address, and the lines it prints."""

    def __init__(self, settings: Settings) -> None:
        self.url = f"http://127.0.0.1:{settings.server.port}"
        self.lines: list[str] = []
        self._arrival = threading.Condition()
        self._is_over = False
        command = [sys.executable, "-c", PROGRAM, msgspec.json.encode(settings).decode()]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._arrival:
                self.lines.append(line.rstrip())
                self._arrival.notify_all()
        with self._arrival:
            self._is_over = True
            self._arrival.notify_all()

    def wait_for(self, needle: str) -> None:
        with self._arrival:
            found = self._arrival.wait_for(
                lambda: self._is_over or any(needle in line for line in self.lines), timeout=60
            )
        assert found
        assert any(needle in line for line in self.lines), "\n".join(self.lines)

    def end(self) -> int:
        status = self.process.wait(30)
        self._thread.join(5)
        return status


def settings(folder: Path, **server: Any) -> Settings:
    return Settings(
        model=ModelSettings(model=str(folder), served_model_name=("tiny",)),
        server=ServerSettings(port=free_port(), **server),
        engine=EngineSettings(engine="simulated"),
        simulation=SimulationSettings(sim_seconds_per_token=0.02),
        log=LogSettings(log_format="json"),
    )


@pytest.fixture
def started() -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.process.terminate()
            server.end()


@pytest.fixture
def folder() -> Path:
    from importlib.resources import files

    return Path(str(files("tidemill.bundled"))) / "minnow"


BODY = {"model": "tiny", "prompt": "The river", "max_tokens": 40, "ignore_eos": True}


def test_it_serves_and_ends_in_order(folder: Path, started: list[Server]) -> None:
    started.append(server := Server(settings(folder)))
    server.wait_for("curl ")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.get("/ready").json()["state"] == "ready"
        answer = client.post("/v1/completions", json=BODY).json()
        assert answer["usage"]["completion_tokens"] == 40
        with client.stream("POST", "/v1/completions", json={**BODY, "stream": True}) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("draining")
            with httpx.Client(base_url=server.url) as other:
                assert other.get("/ready").status_code == 503
                assert other.get("/live").status_code == 200
                refused = other.post("/v1/completions", json=BODY)
                assert refused.status_code == 503
                assert refused.headers["retry-after"]
            *_, last = (line for line in lines if line)
            assert last == "data: [DONE]"
    assert server.end() == 0
    assert server.lines[-1] == "heavy modules: []"
    access = [json.loads(line) for line in server.lines if '"tidemill.access"' in line]
    assert {entry["num_output_tokens"] for entry in access if entry["status"] == 200} == {40}


def test_a_second_signal_cuts_it_short(folder: Path, started: list[Server]) -> None:
    started.append(server := Server(settings(folder, drain_seconds=60)))
    server.wait_for("curl ")
    long = {**BODY, "max_tokens": 400, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=long, timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        server.process.send_signal(signal.SIGINT)
        *_, last = (line for line in lines if line)
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "service_unavailable"
    assert server.end() == 1


def test_metrics_of_a_real_run(folder: Path, started: list[Server]) -> None:
    started.append(server := Server(settings(folder)))
    server.wait_for("curl ")
    httpx.post(f"{server.url}/v1/completions", json=BODY, timeout=30).raise_for_status()
    assert httpx.post(f"{server.url}/v1/completions", json={**BODY, "model": "other"}).status_code == 404
    text = httpx.get(f"{server.url}/metrics").text
    assert 'tidemill_request_refusals_total{error="ModelNotFoundError",model_name="tiny"} 1.0' in text
    assert 'vllm:generation_tokens_total{model_name="tiny"} 40.0' in text
    assert 'vllm:request_success_total{finished_reason="length",model_name="tiny"} 1.0' in text
    assert 'tidemill_engine_state{model_name="tiny",state="ready"} 1.0' in text
    assert 'tidemill_process_resident_memory_bytes{process="engine"}' in text


@pytest.mark.parametrize(
    ("change", "status"),
    [("model", 1), ("host", 2), ("port", 2), ("keys", 2), ("device", 2), ("length", 2)],
)
def test_what_cannot_start_says_why_once_on_standard_error(change: str, status: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {
            "model": [str(tmp_path / "none"), "--engine", "simulated"],
            "host": ["--host", "0.0.0.0"],
            "port": ["--port", str(taken.getsockname()[1])],
            "keys": ["--api-key-file", str(tmp_path / "none")],
            "device": ["--device", "cuda"],
            "length": ["--max-model-len", "99999999"],
        }[change]
        # The first `--port` is overruled by a second.
        command = [sys.executable, "-m", "tidemill", "serve", "--port", "0", "--log-format", "json", *words]
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=hidden, timeout=60)
    assert done.returncode == status, done.stderr
    assert "Error" not in done.stdout
    *logged, told = done.stderr.splitlines()
    assert told.startswith("Error: ")
    assert told.endswith(".")
    sentence = told.removeprefix("Error: ").split(". ")[0]
    assert sentence not in "".join(logged)
