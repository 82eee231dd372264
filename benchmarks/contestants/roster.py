"""The contestants: Tidemill in its precisions, and the peers that are installed; how each of them is started."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OPENVINO_SERVER = Path(__file__).with_name("openvino_server.py")
GGUF_CONVERTER = Path(__file__).with_name("to_gguf.py")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a server must have room for: `num_streams` sequences of up to `tokens_each`."""

    num_streams: int
    tokens_each: int

    @property
    def tokens(self) -> int:
        """All of them together."""
        return self.num_streams * self.tokens_each


Command = Callable[[int, Capacity], list[str]]
"""The command line for a port and a capacity."""


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A server of one model in one precision. `bits` are of a weight, scales included."""

    name: str
    bits: float
    command: Command
    weights: Path
    ready_path: str
    version: str
    is_ours: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    within_seconds: float = 120.0
    model: str = "bench"


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the peers are on this machine; None for one that is not there."""

    llama_server: Path | None
    openvino_python: Path | None
    vllm_python: Path | None
    gguf_python: Path | None


def tidemill(checkpoint: Path, precision: str, arguments: list[str]) -> Contestant:
    """Ours, from the environment that this script runs in."""
    from tidemill import __version__

    def command(port: int, capacity: Capacity) -> list[str]:
        return [
            sys.executable, "-m", "tidemill", "serve", str(checkpoint), "--served-model-name", "bench",
            "--precision", precision, "--max-num-seqs", str(max(64, capacity.num_streams)), "--port", str(port),
            *arguments,
        ]  # fmt: skip

    bits = {"int8": 8.0, "int4": 4.25, "bf16": 16.0, "fp32": 32.0}[precision]
    return Contestant(
        f"tidemill-{precision}", bits, command, checkpoint, "/ready", f"tidemill {__version__}", is_ours=True
    )


def llama_cpp(server: Path, gguf: Path, kind: str, num_threads: int) -> Contestant:
    """llama.cpp's server, with as many places as there are streams."""

    def command(port: int, capacity: Capacity) -> list[str]:
        return [
            str(server), "-m", str(gguf), "-t", str(num_threads), "-np", str(capacity.num_streams),
            "-c", str(capacity.tokens), "--cache-ram", "0", "--alias", "bench", "--host", "127.0.0.1",
            "--port", str(port),
        ]  # fmt: skip

    said = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=True)
    version = next(line for line in (said.stderr + said.stdout).splitlines() if line.startswith("version"))
    bits = {"Q8_0": 8.5, "Q4_0": 4.5}[kind]
    return Contestant(f"llama.cpp-{kind}", bits, command, gguf, "/health", f"llama.cpp {version}")


def openvino(python: Path, gguf: Path, kind: str) -> Contestant:
    """OpenVINO GenAI's continuous batching behind a thin server."""

    def command(port: int, capacity: Capacity) -> list[str]:
        return [
            str(python), str(OPENVINO_SERVER), str(gguf), "--port", str(port),
            "--max-num-seqs", str(max(64, capacity.num_streams)),
        ]  # fmt: skip

    asked = "import openvino_genai as g; print(g.__version__)"
    said = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True)
    bits = {"Q8_0": 8.5, "Q4_0": 4.5}[kind]
    version = f"OpenVINO GenAI {said.stdout.strip()}"
    return Contestant(f"openvino-{kind}", bits, command, gguf, "/v1/models", version)


def vllm(python: Path, checkpoint: Path, num_threads: int) -> Contestant:
    """vLLM's CPU build, in bf16."""

    def command(port: int, capacity: Capacity) -> list[str]:
        return [
            str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint),
            "--served-model-name", "bench", "--dtype", "bfloat16", "--max-num-seqs", str(max(64, capacity.num_streams)),
            "--max-model-len", "8192", "--no-enable-prefix-caching", "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip

    asked = "import vllm; print(vllm.__version__)"
    said = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True)
    environment = {"VLLM_CPU_OMP_THREADS_BIND": f"0-{num_threads - 1}", "VLLM_CPU_KVCACHE_SPACE": "4"}
    return Contestant(
        "vllm-bf16", 16.0, command, checkpoint, "/health", f"vLLM {said.stdout.strip().splitlines()[-1]}",
        environment=environment, within_seconds=300.0,
    )  # fmt: skip


def roster(
    checkpoint: Path, models: Path, installed: Installed, precisions: list[str], arguments: list[str], num_threads: int
) -> tuple[list[Contestant], dict[str, str]]:
    """Everybody who can take part with this model, and why the others cannot. GGUF files are made once, in `models`."""
    found = [tidemill(checkpoint, precision, arguments) for precision in precisions]
    absent = {}
    for kind in ("Q8_0", "Q4_0"):
        gguf = models / f"{checkpoint.name}-{kind}.gguf"
        if not gguf.exists() and installed.gguf_python is not None:
            command = [str(installed.gguf_python), str(GGUF_CONVERTER), str(checkpoint), str(gguf), kind]
            subprocess.run(command, check=True)
        for name, where in (("llama.cpp", installed.llama_server), ("openvino", installed.openvino_python)):
            if where is None:
                absent[f"{name}-{kind}"] = "not installed"
            elif not gguf.exists():
                absent[f"{name}-{kind}"] = f"no {gguf.name}, and no --gguf-python to make it with"
            elif name == "llama.cpp":
                found.append(llama_cpp(where, gguf, kind, num_threads))
            else:
                found.append(openvino(where, gguf, kind))
    if installed.vllm_python is None:
        absent["vllm-bf16"] = "not installed"
    else:
        found.append(vllm(installed.vllm_python, checkpoint, num_threads))
    return found, absent
