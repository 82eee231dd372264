"""The official JavaScript clients of OpenAI and Ollama."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.fakes.live_server import LiveServer

pytestmark = pytest.mark.contract
NODE = Path(__file__).parent / "node"


def test_javascript_clients(server: LiveServer) -> None:
    command = ["node", "clients.mjs", server.url, "llama2"]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["chat"] == seen["streamed"] == seen["ollama"] != ""
    assert seen["usage"]["completion_tokens"] == seen["streamedUsage"]["completion_tokens"]
    assert seen["completion"] == seen["ollamaStreamed"] or seen["ollamaStreamed"]
    assert seen["ollamaDone"] is True
    assert seen["models"] == ["llama2", "minnow"]
    assert "llama2:latest" in seen["tags"]
    assert seen["error"] == {"name": "BadRequestError", "status": 400, "param": "temperature"}
