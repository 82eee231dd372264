"""The oldest LangChain with an Ollama class, unchanged, against a server in the place of a running Ollama."""

import subprocess
from pathlib import Path

import pytest

from tests.fakes.live_server import LiveServer

pytestmark = pytest.mark.contract
PYTHON = Path(__file__).parents[2] / ".venv-langchain" / "bin" / "python"
PROGRAM = """
from langchain.llms import Ollama
print(Ollama(model="llama2")("who is Oppenheimer"))
"""


def test_the_oldest_langchain_gets_an_answer(server: LiveServer) -> None:
    done = subprocess.run([PYTHON, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert any(c.isalpha() for c in done.stdout), done.stdout
