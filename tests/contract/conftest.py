"""One server for all clients: the bundled model in the place of a running Ollama."""

from collections.abc import Iterator

import pytest

from tests.fakes.live_server import LiveServer, live_server

OLLAMA_PORT = 11434


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    with live_server("--served-model-name", "llama2", "--served-model-name", "minnow", port=OLLAMA_PORT) as running:
        yield running
