"""What Numba must be told before its first kernel: where its cache is, and which threads it runs on."""

import hashlib
import os
import stat
from pathlib import Path

from numba.core import config


def configure() -> bool:
    """Give Numba a private cache directory and a good threading layer; whether kernels can be cached.

    OpenMP before the others: Numba's own work queue slows torch's products by half where both are used in turn.
    """
    config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    base = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(base) if base else private_cache_folder()
    if folder is None:
        return False
    config.CACHE_DIR = str(folder / _sources_digest())
    return True


def private_cache_folder() -> Path | None:
    """A cache directory that only this user can write, made if need be; None if there can be none.

    Numba's cache unpickles what it finds, so whoever can write there could run code here.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "tidemill" / "numba"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    is_private = status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077
    return folder if is_private and os.access(folder, os.W_OK) else None


def _sources_digest() -> str:
    """Numba renews a kernel when its own file changes, but not when a file it calls into does: so all files count."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
