import sys

import pytest
import torch

from tidemill.runner.activation_peak import ProcessMemory, host_peak_bytes

MIB = 1024 * 1024


class ScriptedProcess(ProcessMemory):
    """Answers from a list of readings a field."""

    def __init__(self, readings, *, can_reset=True):
        self._readings = readings
        self._can_reset = can_reset

    def reset_peak(self):
        return self._can_reset

    def status_bytes(self, field):
        return self._readings[field].pop(0)


def test_file_pages_do_not_count():
    process = ScriptedProcess({"VmRSS": [100], "RssFile": [30, 50], "VmHWM": [170]})
    steps = []
    assert host_peak_bytes(lambda: steps.append(1), process) == 50
    assert steps == [1]


def test_never_negative():
    process = ScriptedProcess({"VmRSS": [100], "RssFile": [30, 80], "VmHWM": [120]})
    assert host_peak_bytes(lambda: None, process) == 0


def test_a_system_that_cannot_tell_still_runs_the_step():
    steps = []
    assert host_peak_bytes(lambda: steps.append(1), ScriptedProcess({}, can_reset=False)) is None
    assert steps == [1]


def test_no_proc_cannot_tell(tmp_path):
    assert not ProcessMemory(tmp_path).reset_peak()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_real_allocation_is_seen():
    process = ProcessMemory()
    if not process.reset_peak():
        pytest.skip("this kernel does not let the peak be reset")
    peak = host_peak_bytes(lambda: torch.ones(64 * MIB // 4).sum().item(), process)
    assert 60 * MIB <= peak <= 80 * MIB
