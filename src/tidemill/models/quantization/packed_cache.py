"""The folder of packed models: found by what they were made from, published at once or not at all, bounded in size.

Servers may share it. A file that is mapped by one may be deleted by another: its pages stay until nobody has them.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tidemill.models.quantization.packed_file import Array, DamagedFileError, PackedHeader, PackedWriter, read_packed

_ENTRY, _PARTIAL, _LOCK = ".packed", ".partial", ".lock"
_POLL_SECONDS = 0.1
_log = logging.getLogger(__name__)


class PackedCache:
    """Entries of one folder. Without a folder, or with a limit of 0 bytes, nothing is found and nothing kept."""

    def __init__(
        self,
        folder: Path | None,
        *,
        limit_bytes: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience_seconds: float = 600.0,
    ) -> None:
        """`patience_seconds` is how long another server that makes the same entry is waited for."""
        self._folder = folder if limit_bytes > 0 else None
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._sleep = sleep
        self._patience_seconds = patience_seconds

    def find(self, key: str, *, num_threads: int) -> tuple[PackedHeader, dict[str, Array]] | None:
        """The entry for `key`, mapped and checked; a damaged one is removed with a warning."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}{_ENTRY}"
        try:
            found = read_packed(path, key, num_threads=num_threads)
        except FileNotFoundError:
            return None
        except (OSError, DamagedFileError) as error:
            _log.warning("The packed weights in %s are damaged (%s) and are made again.", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the last use decides who is evicted
        return found

    @contextlib.contextmanager
    def making(self, key: str) -> Iterator[bool]:
        """Hold the right to make the entry for `key`; False if it cannot be had: then nothing can be kept.

        Waits while another server makes it, so look again for the entry inside.
        """
        if self._folder is None:
            yield False
            return
        try:
            descriptor = os.open(self._folder / f"{key}{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.warning("Packed weights cannot be kept in %s: %s", self._folder, error)
            yield False
            return
        try:
            yield self._acquire(descriptor)
        finally:
            os.close(descriptor)  # which gives the lock back

    def writer(self, key: str, *, may_keep: bool, expected_bytes: int) -> PackedWriter:
        """Where the entry for `key` is to be written: to a file if it may be kept and there is room, else to memory."""
        if self._folder is None or not may_keep:
            return PackedWriter(None)
        if expected_bytes > self._limit_bytes:
            _log.info("The packed weights (%d bytes) exceed the cache's limit and are not kept.", expected_bytes)
            return PackedWriter(None)
        self._remove_leftovers(key)
        self._make_room(expected_bytes, but=None)
        free = shutil.disk_usage(self._folder).free
        if free < expected_bytes:
            _log.warning("The disk of %s has %d bytes free, too few to keep packed weights.", self._folder, free)
            return PackedWriter(None)
        return PackedWriter(self._folder / f"{key}{_PARTIAL}")

    def publish(self, key: str, writer: PackedWriter, header: PackedHeader) -> None:
        """Make what was written findable, and evict what has not been used for longest."""
        if self._folder is None or not writer.finish(header):
            return
        path = self._folder / f"{key}{_ENTRY}"
        try:
            (self._folder / f"{key}{_PARTIAL}").rename(path)
            _sync(self._folder)
        except OSError as error:
            _log.warning("The packed weights could not be kept: %s", error)
            with contextlib.suppress(OSError):
                (self._folder / f"{key}{_PARTIAL}").unlink()
            return
        _log.info("Kept the packed weights in %s (%d bytes); the next start maps them.", path, path.stat().st_size)
        self._make_room(0, but=path)

    def _acquire(self, descriptor: int) -> bool:
        until = self._clock() + self._patience_seconds
        has_told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not has_told:
                    _log.info("Another server is quantizing this model; waiting for it.")
                has_told = True
            except OSError as error:
                _log.warning("The folder of packed weights cannot be locked: %s", error)
                return False
            else:
                return True
            if self._clock() >= until:
                _log.warning("The other server is not done after %d s; going on alone.", self._patience_seconds)
                return False
            self._sleep(_POLL_SECONDS)

    def _remove_leftovers(self, key: str) -> None:
        """Of servers that were killed while they wrote: nobody holds their locks any more, and ours is held by us."""
        assert self._folder is not None
        for partial in self._folder.glob(f"*{_PARTIAL}"):
            with contextlib.suppress(OSError):
                if partial.stem == key:
                    partial.unlink()
                else:
                    self._remove_unheld(partial)

    def _remove_unheld(self, partial: Path) -> None:
        """Unlink `partial` if nobody holds its lock, and hold it meanwhile. Raises OSError if somebody does."""
        descriptor = os.open(partial.with_suffix(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
        finally:
            os.close(descriptor)

    def _make_room(self, more_bytes: int, *, but: Path | None) -> None:
        """Remove entries, the longest unused first, until `more_bytes` more are within the limit."""
        assert self._folder is not None
        entries: list[tuple[float, int, Path]] = []
        for path in self._folder.glob(f"*{_ENTRY}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total + more_bytes <= self._limit_bytes:
                return
            if path != but:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.with_suffix(_LOCK).unlink(missing_ok=True)
                _log.info("Removed the packed weights %s, which were unused for longest.", path.name)
                total -= size


def _sync(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
