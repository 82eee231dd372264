"""The folder of packed models: shared by servers, bounded, and never a reason not to serve."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.models.quantization.test_packed_file import EVIDENCE, LARGE
from tidemill.models.quantization.packed_cache import PackedCache

ENTRY_BYTES = LARGE.nbytes


class Clock:
    """Stands still until somebody sleeps."""

    def __init__(self, on_sleep=lambda: None):
        self.now = 0.0
        self.on_sleep = on_sleep

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.on_sleep()


def cache_in(folder, limit=100 * ENTRY_BYTES, clock=None):
    clock = clock or Clock()
    return PackedCache(folder, limit_bytes=limit, clock=clock, sleep=clock.sleep, patience_seconds=5.0)


def keep(cache, key, fill=1):
    with cache.making(key) as may_keep:
        writer = cache.writer(key, may_keep=may_keep, expected_bytes=ENTRY_BYTES)
        writer.put("data", np.full(LARGE.shape, fill, np.uint8))
        cache.publish(key, writer, writer.header(key, EVIDENCE))
    return writer


def find(cache, key):
    return cache.find(key, num_threads=1)


def test_what_was_kept_is_found_by_its_key(tmp_path):
    cache = cache_in(tmp_path)
    assert find(cache, "a") is None
    keep(cache, "a")
    header, arrays = find(cache, "a")
    assert header.evidence == EVIDENCE
    assert (arrays["data"] == 1).all()
    assert find(cache, "b") is None


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_removed_with_a_warning_and_made_again(tmp_path, harm, caplog):
    cache = cache_in(tmp_path)
    keep(cache, "a")
    path = tmp_path / "a.packed"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-100], "empty": b""}[harm])
    assert find(cache, "a") is None
    assert "damaged" in caplog.text
    assert not path.exists()
    keep(cache, "a", fill=2)
    assert (find(cache, "a")[1]["data"] == 2).all()


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_regular_file_holds_nothing_up_and_is_made_again(tmp_path, put, caplog):
    cache = cache_in(tmp_path)
    put(tmp_path / "a.packed")
    assert find(cache, "a") is None
    assert "not a regular file" in caplog.text
    for suffix in ("lock", "partial"):
        (tmp_path / f"a.{suffix}").unlink(missing_ok=True)
        put(tmp_path / f"a.{suffix}")
    keep(cache, "a", fill=2)
    assert (find(cache, "a")[1]["data"] == 2).all()


def test_a_folder_in_its_place_is_served_without(tmp_path, caplog):
    cache = cache_in(tmp_path)
    (tmp_path / "a.packed").mkdir()
    assert find(cache, "a") is None
    keep(cache, "a")
    assert "could not be kept" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["a.packed"]


def test_what_was_unused_for_longest_goes_first_and_served_arrays_live_on(tmp_path):
    cache = cache_in(tmp_path, limit=int(2.5 * ENTRY_BYTES))
    keep(cache, "old", fill=1)
    keep(cache, "used", fill=2)
    os.utime(tmp_path / "old.packed", (1, 1))
    os.utime(tmp_path / "used.packed", (2, 2))
    _, served = find(cache, "old")  # which is its last use
    os.utime(tmp_path / "old.packed", (3, 3))
    keep(cache, "new", fill=3)
    assert find(cache, "used") is None
    assert find(cache, "old") is not None
    assert find(cache, "new") is not None
    os.utime(tmp_path / "old.packed", (1, 1))
    keep(cache, "newer", fill=4)
    assert find(cache, "old") is None
    assert (served["data"] == 1).all()


def test_what_exceeds_the_limit_or_must_not_be_kept_stays_in_memory(tmp_path):
    for cache in (cache_in(tmp_path, limit=ENTRY_BYTES - 1), cache_in(tmp_path, limit=0), cache_in(None)):
        writer = keep(cache, "a")
        assert not writer.is_file
        assert (writer.arrays()["data"] == 1).all()
        assert find(cache, "a") is None


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = cache_in(tmp_path / "file")  # stands for a read-only one, which root could write to
    writer = keep(cache, "a")
    assert not writer.is_file
    assert "cannot be kept" in caplog.text


def test_the_second_server_waits_and_finds_what_the_first_made(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = cache_in(tmp_path)
    lock = first.making("a")
    assert lock.__enter__()

    def finish():
        if not (tmp_path / "a.packed").exists():
            writer = first.writer("a", may_keep=True, expected_bytes=ENTRY_BYTES)
            writer.put("data", LARGE)
            first.publish("a", writer, writer.header("a", EVIDENCE))
            lock.__exit__(None, None, None)

    second = cache_in(tmp_path, clock=Clock(finish))
    with second.making("a") as may_keep:
        assert may_keep
        assert find(second, "a") is not None
    assert "waiting for it" in caplog.text


def test_a_server_that_hangs_is_not_waited_for_without_end(tmp_path):
    with cache_in(tmp_path).making("a") as is_first, cache_in(tmp_path).making("a") as is_second:
        assert is_first
        assert not is_second


def test_leftovers_of_a_server_that_died_are_replaced(tmp_path):
    (tmp_path / "a.partial").write_bytes(b"half")
    keep(cache_in(tmp_path), "a")
    assert not (tmp_path / "a.partial").exists()
    assert find(cache_in(tmp_path), "a") is not None


def test_leftovers_of_other_models_go_unless_somebody_writes_them(tmp_path):
    for name in ("dead", "killed", "alive"):
        (tmp_path / f"{name}.partial").write_bytes(b"half")
    (tmp_path / "killed.lock").touch()
    with cache_in(tmp_path).making("alive"):
        keep(cache_in(tmp_path), "a")
    assert {path.name for path in tmp_path.glob("*.partial")} == {"alive.partial"}


def test_a_file_that_cannot_be_finished_is_removed(tmp_path, monkeypatch, caplog):
    def refuse(_):
        raise OSError("no space is left")

    cache = cache_in(tmp_path)
    with cache.making("a") as may_keep:
        writer = cache.writer("a", may_keep=may_keep, expected_bytes=ENTRY_BYTES)
        writer.put("data", np.ones(LARGE.shape, np.uint8))
        arrays = writer.arrays()
        monkeypatch.setattr("tidemill.models.quantization.packed_file.os.fsync", refuse)
        cache.publish("a", writer, writer.header("a", EVIDENCE))
    assert "could not be kept" in caplog.text
    assert not list(tmp_path.glob("*.partial"))
    assert (arrays["data"] == 1).all(), "what is mapped stays"


_KEEP = """
import sys, time
from pathlib import Path
from tests.models.quantization.test_packed_cache import find, keep
from tidemill.models.quantization.packed_cache import PackedCache
cache = PackedCache(Path(sys.argv[1]), limit_bytes=2**30, clock=time.monotonic, sleep=time.sleep)
sys.stdin.readline()
for number in range(20):
    keep(cache, f"key{number % 3}", fill=number % 3)
    header, arrays = find(cache, f"key{number % 3}")
    assert (arrays["data"] == number % 3).all()
print("well")
"""


def test_two_processes_at_once(tmp_path):
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", _KEEP, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for server in servers:
        server.stdin.write("go\n")
        server.stdin.flush()
    assert [server.communicate(timeout=120)[0] for server in servers] == ["well\n"] * 2
    for number in range(3):
        assert find(cache_in(tmp_path), f"key{number}") is not None
