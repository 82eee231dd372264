"""Folders of the user's, for a cache or for data, that nobody else can write to: whoever can, could change both."""

import os
import stat
from pathlib import Path


def private_cache_folder(name: str) -> Path | None:
    """The cache folder `name` of this user, made if need be; None if there can be none that is ours alone.

    It lies in $XDG_CACHE_HOME, or in ~/.cache. It need not be writable.
    """
    return _private_folder(os.environ.get("XDG_CACHE_HOME"), ".cache", name)


def private_data_folder(name: str) -> Path | None:
    """The same for what is worth keeping: in $XDG_DATA_HOME, or in ~/.local/share."""
    return _private_folder(os.environ.get("XDG_DATA_HOME"), ".local/share", name)


def _private_folder(base: str | None, default: str, name: str) -> Path | None:
    try:
        folder = (Path(base) if base else Path.home() / default) / "tidemill" / name
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
            status = folder.stat()
    except (OSError, RuntimeError):
        return None
    return folder if status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077 else None
