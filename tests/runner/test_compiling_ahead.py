"""A first start compiles in two processes; what the second leaves is what the engine looks for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numba.core import config

from tests.fakes.checkpoints import make_checkpoint
from tidemill.kernels.cpu import first_stack, numba_setup
from tidemill.runner import compiling_ahead
from tidemill.runner.compiling_ahead import COMMAND, CompilingAhead
from tidemill.runner.profile_step import ProfileStep

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
    assert CompilingAhead.choose(CPU, "auto", asked, spare_bytes=None)._command == (*COMMAND, kind)
    assert kind in first_stack.CACHE_TYPES


def test_nothing_is_compiled_ahead_in_vain(empty_cache, monkeypatch):
    assert CompilingAhead.choose(GPU, "auto", "auto", spare_bytes=None)._command is None
    assert CompilingAhead.choose(CPU, "bf16", "auto", spare_bytes=None)._command is None
    monkeypatch.setattr(compiling_ahead, "usable_cores", lambda: 1)
    assert CompilingAhead.choose(CPU, "int8", "auto", spare_bytes=None)._command is None, "nobody is there to do it"
    monkeypatch.setattr(compiling_ahead, "usable_cores", lambda: 2)
    assert CompilingAhead.choose(CPU, "int8", "auto", spare_bytes=None)._command is not None
    folder = Path(config.CACHE_DIR) / "cpu_0"
    folder.mkdir(parents=True)
    (folder / "layer_pass.pass_layers-251.py311.nbi").touch()
    assert CompilingAhead.choose(CPU, "int8", "auto", spare_bytes=None)._command is None, "it was compiled before"


def test_a_first_start_says_what_takes_so_long(empty_cache, monkeypatch):
    with CompilingAhead(SLEEPS) as ahead:
        assert ahead.told(CPU) == "compiling kernels, this once: half a minute to a minute"
        assert ahead.told(GPU) is None
    assert CompilingAhead(None).told(CPU) == "compiling kernels, this once: about a minute"
    folder = Path(config.CACHE_DIR) / "cpu_0"
    folder.mkdir(parents=True)
    (folder / "rows.rms_norm-39.py311.nbi").touch()
    assert CompilingAhead(None).told(CPU) is None, "they are there"
    monkeypatch.setattr(numba_setup, "configure", lambda: False)
    assert CompilingAhead(None).told(CPU) == "compiling kernels, which cannot be kept: about a minute"


@pytest.mark.parametrize(("spare", "is_started"), [(2**29, False), (-(2**33), False), (2**31, True), (None, True)])
def test_nothing_is_compiled_ahead_where_memory_is_short(spare, is_started, empty_cache):
    ahead = CompilingAhead.choose(CPU, "int8", "auto", spare_bytes=spare)
    assert (ahead._command is not None) == is_started


def test_memory_is_looked_at_before_anything_is_started(load, monkeypatch):
    asked = []

    class Memory:
        def available_bytes(self):
            asked.append("memory")
            return 2**32

    def choose(*_, spare_bytes):
        asked.append(spare_bytes)
        return CompilingAhead(None)

    monkeypatch.setattr(CompilingAhead, "choose", choose)
    info = load(memory=Memory()).info
    assert asked == ["memory", 2**32 - info.num_parameters, "memory"]


def test_a_process_whose_engine_is_gone_ends_before_it_has_compiled(empty_cache):
    with CompilingAhead((*COMMAND, "bf16")) as ahead:
        process = ahead._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()  # as the end of the engine would, however it came
        ahead.wait()
        assert process.returncode == 1
    assert first_stack.is_needed()


def test_a_process_that_fails_is_told_of_with_its_last_words(caplog):
    program = "import sys; print('first\\n' + 9999 * '.' + '\\nNo room for \u00fc.\\n', file=sys.stderr); sys.exit(3)"
    with CompilingAhead((sys.executable, "-X", "utf8", "-c", program)) as ahead:
        ahead.wait()
    assert "ended with status 3 after saying: No room for \u00fc." in caplog.text


def test_a_process_that_succeeds_or_is_not_waited_for_is_not_told_of(caplog):
    with CompilingAhead((sys.executable, "-c", "import sys; print('a warning', file=sys.stderr)")) as ahead:
        ahead.wait()
    with CompilingAhead(SLEEPS):
        pass
    assert not caplog.records


def test_what_still_runs_at_the_end_is_killed():
    with CompilingAhead(SLEEPS) as ahead:
        assert ahead.is_started
        process = ahead._process
        assert process is not None
        assert process.poll() is None
    assert process.returncode == -9


def test_one_that_takes_too_long_is_not_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(compiling_ahead, "MOST_SECONDS", 0.01)
    with CompilingAhead(SLEEPS) as ahead:
        ahead.wait()
        assert ahead.is_started
    assert "was not done after 0 s" in caplog.text


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
from tidemill.kernels.cpu import first_stack, numba_setup
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
    monkeypatch.setattr(CompilingAhead, "choose", lambda *_, **__: Ahead(failing))
    assert load(precision="int8").info.precision == "int8"
    assert waited == [True]
    assert load(precision="fp32").info.precision == "fp32"
    assert waited == [True], "floats have no use for it"


@pytest.mark.parametrize(("num_rows", "rows"), [(64, []), (128, [128]), (1024, [256])])
def test_only_steps_of_many_rows_are_compiled_before_the_wait(num_rows, rows, load, monkeypatch):
    """A step of few rows would compile here what is compiled there."""
    events = []

    class Ahead(CompilingAhead):
        def wait(self):
            events.append("wait")

    def run(step):
        events.append(step.num_rows)

    monkeypatch.setattr(CompilingAhead, "choose", lambda *_, **__: Ahead(SLEEPS))
    monkeypatch.setattr(ProfileStep, "run", run)
    load(precision="int8", scheduler={"max_num_batched_tokens": num_rows})
    assert events == [*rows, "wait", 1, num_rows]
