"""A first start compiles in two processes; what the second leaves is what the engine looks for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numba.core import config

from tests.fakes.checkpoints import make_checkpoint
from tidemill.kernels.cpu import first_stack
from tidemill.runner import compiling_ahead
from tidemill.runner.compiling_ahead import COMMAND, CompilingAhead

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(config, "CACHE_DIR", config.CACHE_DIR)  # put back at the end
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling_ahead, "usable_cores", lambda: 2)
    return tmp_path


@pytest.mark.parametrize(("asked", "kind"), [("auto", "bf16"), ("int8", "int8"), ("fp32", "fp32")])
def test_a_first_start_compiles_ahead_for_the_cache_it_will_have(asked, kind, empty_cache):
    assert CompilingAhead.choose(CPU, "auto", asked)._command == (*COMMAND, kind)
    assert kind in first_stack.CACHE_TYPES


def test_nothing_is_compiled_ahead_in_vain(empty_cache, monkeypatch):
    assert CompilingAhead.choose(GPU, "auto", "auto")._command is None
    assert CompilingAhead.choose(CPU, "bf16", "auto")._command is None
    monkeypatch.setattr(compiling_ahead, "usable_cores", lambda: 1)
    assert CompilingAhead.choose(CPU, "int8", "auto")._command is None, "nobody is there to do it"
    monkeypatch.setattr(compiling_ahead, "usable_cores", lambda: 2)
    assert CompilingAhead.choose(CPU, "int8", "auto")._command is not None
    folder = Path(config.CACHE_DIR) / "cpu_0"
    folder.mkdir(parents=True)
    (folder / "layer_pass.pass_layers-251.py311.nbi").touch()
    assert CompilingAhead.choose(CPU, "int8", "auto")._command is None, "it was compiled before"


def test_what_still_runs_at_the_end_is_killed():
    with CompilingAhead(SLEEPS) as ahead:
        assert ahead.is_started
        process = ahead._process
        assert process is not None
        assert process.poll() is None
    assert process.returncode == -9


def test_one_that_takes_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(compiling_ahead, "MOST_SECONDS", 0.01)
    with CompilingAhead(SLEEPS) as ahead:
        ahead.wait()
        assert ahead.is_started


@pytest.mark.parametrize("command", [None, ("/nowhere/at/all",)])
def test_without_a_process_there_is_nothing_to_wait_for(command):
    with CompilingAhead(command) as ahead:
        assert not ahead.is_started
        ahead.wait()


def test_what_is_compiled_ahead_is_what_a_model_runs(tmp_path):
    """In a process of its own: here other tests have compiled what they need."""
    folder = make_checkpoint("llama", tmp_path, num_hidden_layers=2)
    program = f"""
from pathlib import Path
from tests.runner.engine_parts import load_integers, make_request, run
from tidemill.kernels.cpu import first_stack
from tidemill.kernels.cpu.integer_product import multiply
from tidemill.kernels.cpu.layer_pass import pass_layers
assert first_stack.compute("bf16")
ahead = set(pass_layers.signatures), set(multiply.signatures)
run(load_integers(Path({str(folder)!r}), "int8"), [make_request(0, [1, 2, 3], 2)])
assert ahead == (set(pass_layers.signatures), set(multiply.signatures))
assert all(len(signatures) == 1 for signatures in ahead)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_is_loaded_whatever_becomes_of_what_is_compiled_ahead(load, monkeypatch):
    waited = []

    class Ahead(CompilingAhead):
        def wait(self):
            waited.append(self.is_started)
            super().wait()

    failing = (sys.executable, "-c", "raise SystemExit(1)")
    monkeypatch.setattr(CompilingAhead, "choose", lambda *_: Ahead(failing))
    assert load(precision="int8").info.precision == "int8"
    assert waited == [True]
    assert load(precision="fp32").info.precision == "fp32"
    assert waited == [True], "floats have no use for it"
