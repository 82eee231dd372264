from pathlib import Path

import pytest

from tidemill.cli.machine import cpu_name, quota_cores


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tightest_quota_of_all_levels_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    }
    assert quota_cores(machine(tmp_path, files)) == 1.5


@pytest.mark.parametrize("files", [{}, {"proc/self/cgroup": "0::/\n"}, {"proc/self/cgroup": "4:memory:/x\n"}])
def test_without_a_quota_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert quota_cores(machine(tmp_path, files)) is None


def test_the_processors_name(tmp_path: Path) -> None:
    assert cpu_name(machine(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast One\n"})) == "Fast One"
    assert cpu_name(tmp_path / "none")
